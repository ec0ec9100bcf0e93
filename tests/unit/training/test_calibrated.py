"""Calibration: the solution against scikit-learn's ridge, what each block is aimed at, its invariants, and resuming."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from torch import nn

from wecolora.config.methods import METHODS
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.process_group import ProcessGroup
from wecolora.models import vit
from wecolora.models.lora import add_lora
from wecolora.models.weight_copy import copy_weights, layers
from wecolora.training import calibrated as module
from wecolora.training.calibrated import Calibration, Sums, best_strength, leading, ridge
from wecolora.training.fit import JobContext, fit
from wecolora.training.students import start

CALIBRATED = ["calibrated", "calibrated_k", "calibrated_kd", "calibrated_lora"]


@pytest.fixture
def recipe(distill_recipe):
    """Of a calibrated run."""

    def make(method="calibrated", **changes):
        return distill_recipe(method=method, layers="authors_code", calibration_views=2, **changes)

    return make


def run(teacher, batches, recipe, *, images=None, **context):
    batches = copy.copy(batches)
    batches.images = images or batches.images
    return fit(teacher, batches, recipe, JobContext(**{"log": lambda line: None, **context}))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def pictures(batches, recipe, rows, view=0):
    """Normalised images, by numpy."""
    pixels, _ = next(batches.read([list(rows)], view))
    scaled = (pixels.numpy() / 255 - np.array(recipe.input.mean)) / np.array(recipe.input.std)
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2))


def sums_of(inputs, wanted):
    found = Sums.empty(inputs.shape[1], wanted.shape[1], "cpu")
    for part, aim in zip(torch.from_numpy(inputs).split(7), torch.from_numpy(wanted).split(7), strict=True):
        found.add(part, aim)
    return found.over(ProcessGroup())


@pytest.fixture
def problem():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)) + 3
    return inputs, inputs @ rng.normal(size=(8, 5)) + rng.normal(size=(60, 5)) - 2


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_products_of_float32_lose_no_weak_penalty(strength):
    """Inputs far from zero, and of a spectrum that falls by six powers of ten: about zero, float32 would lose it."""
    rng = np.random.default_rng(3)
    turned = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    inputs = ((rng.normal(size=(3000, 40)) * np.logspace(0, -3, 40)) @ turned + 30).astype(np.float32)
    wanted = (inputs @ rng.normal(size=(40, 5)) + rng.normal(size=(3000, 5))).astype(np.float32)
    weight, bias = ridge(sums_of(inputs, wanted), strength)
    exact = inputs.astype(float)
    expected = Ridge(alpha=strength * len(inputs) * exact.var(0).mean(), solver="svd").fit(exact, wanted)
    np.testing.assert_allclose(weight.T, expected.coef_, rtol=2e-3, atol=2e-3 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(exact @ weight.numpy() + bias.numpy(), expected.predict(exact), atol=2e-3)


@pytest.mark.parametrize("strength", [1e-6, 1e-2, 1.0])
def test_the_solution_is_scikit_learns(problem, strength):
    inputs, wanted = problem
    weight, bias = ridge(sums_of(inputs, wanted), strength)
    # Ours: a share of the mean variance, times the rows. scikit-learn: a number.
    penalty = strength * len(inputs) * inputs.var(0).mean()
    expected = Ridge(alpha=penalty, solver="cholesky").fit(inputs, wanted)
    np.testing.assert_allclose(weight.T, expected.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(bias, expected.intercept_, rtol=1e-8)
    error = mean_squared_error(wanted, expected.predict(inputs))
    assert sums_of(inputs, wanted).error(weight, bias) == pytest.approx(error, rel=1e-9)


def test_the_held_out_rows_choose_the_strength(problem):
    inputs, wanted = problem
    used, held_out = sums_of(inputs[:40], wanted[:40]), sums_of(inputs[40:], wanted[40:])
    errors = {math.inf: (wanted[40:] ** 2).mean()}
    for strength in module.STRENGTHS:
        model = Ridge(alpha=strength * 40 * inputs[:40].var(0).mean()).fit(inputs[:40], wanted[:40])
        errors[strength] = mean_squared_error(wanted[40:], model.predict(inputs[40:]))
    strength, error = best_strength(used, held_out)
    assert strength == min(errors, key=errors.get) and error == pytest.approx(errors[strength], rel=1e-6)


def test_what_cannot_be_predicted_is_left_alone():
    """Held-out rows that the solution makes worse: no correction."""
    rng = np.random.default_rng(2)
    inputs, noise = rng.normal(size=(12, 9)), rng.normal(size=(12, 4))
    used, held_out = sums_of(inputs, noise + 50), sums_of(inputs, -noise)
    assert best_strength(used, held_out)[0] == math.inf


def test_the_leading_directions_are_those_of_the_fitted_values(problem):
    """Reduced-rank regression: the fitted values lose what their own singular value decomposition loses."""
    inputs, wanted = problem
    sums = sums_of(inputs, wanted)
    weight, _ = ridge(sums, 1e-3)
    kept, bias = leading(sums, weight, 2)
    assert np.linalg.matrix_rank(kept.numpy()) == 2
    fitted = (inputs - inputs.mean(0)) @ weight.numpy()
    left, values, right = np.linalg.svd(fitted, full_matrices=False)
    expected = left[:, :2] * values[:2] @ right[:2]
    found = inputs @ kept.numpy() + bias.numpy()
    np.testing.assert_allclose(found - wanted.mean(0), expected, atol=1e-8)
    whole, _ = leading(sums, weight, 5)
    np.testing.assert_allclose(whole, weight, atol=1e-10)


@pytest.mark.parametrize("constant", ["one", "all"])
def test_constant_activations(problem, constant):
    inputs, wanted = problem
    inputs = inputs.copy()
    inputs[:, 0 if constant == "one" else slice(None)] = 4.25
    weight, bias = ridge(sums_of(inputs, wanted), 1e-3)
    assert weight.isfinite().all() and weight[0].abs().max() < 1e-9
    if constant == "all":
        np.testing.assert_allclose(bias, wanted.mean(0))


def test_fewer_rows_than_columns_are_handled(problem):
    inputs, wanted = problem
    weight, bias = ridge(sums_of(inputs[:5], wanted[:5]), 1e-3)
    expected = Ridge(alpha=1e-3 * 5 * inputs[:5].var(0).mean()).fit(inputs[:5], wanted[:5])
    np.testing.assert_allclose(weight.T, expected.coef_, atol=1e-7)
    assert bias.isfinite().all()


def walked(teacher, student, copied, images):
    """The student's stream that enters each block, by timm's own blocks, and the teacher's after each."""
    with torch.no_grad():
        teachers = [vit.embedded(teacher, images), *vit.block_outputs(teacher, images, range(len(teacher.blocks)))]
        own = [vit.embedded(student, images), *vit.block_outputs(student, images, range(len(student.blocks)))]
    return own, [teachers[end] for end in [*copied[1:], len(teacher.blocks)]]


@pytest.mark.parametrize("rule", ["paper", "authors_code", "first"])
def test_each_block_is_aimed_at_the_stream_before_the_next_kept_one(tiny_teacher, online_batches, recipe, rule):
    """In float64, by scikit-learn, from f2's inputs as a hook sees them, on the student's own stream."""
    teacher, wanted = copy.deepcopy(tiny_teacher).double(), recipe(views=1).model_copy(update={"layers": rule})
    images = pictures(online_batches, wanted, range(36))
    student, (record,) = run(teacher, online_batches, wanted)
    copied = layers(4, 2, rule)
    expected = copy_weights(teacher, wanted.input.architecture.model_dump(), 2, rule).double().eval()
    assert [block["copied"] for block in record["calibration"]] == copied
    assert [block["stands_for"] for block in record["calibration"]] == {
        "paper": [[1, 2], [3]],
        "authors_code": [[0, 1], [2, 3]],
        "first": [[0], [1, 2, 3]],
    }[rule]
    for number, block in enumerate(expected.blocks):
        seen = []
        hook = block.mlp.fc2.register_forward_hook(lambda _, given, out, seen=seen: seen.append(given[0]))
        own, aims = walked(teacher, expected, copied, images)
        hook.remove()
        hidden = seen[0].flatten(0, 1).detach().numpy()
        lacking = (aims[number] - own[number + 1]).flatten(0, 1).detach().numpy()
        strength = record["calibration"][number]["strength"]
        if strength is not None:
            found = Ridge(alpha=strength * len(hidden) * hidden.var(0).mean(), solver="svd").fit(hidden, lacking)
            with torch.no_grad():
                block.mlp.fc2.weight += torch.from_numpy(found.coef_)
                block.mlp.fc2.bias += torch.from_numpy(found.intercept_)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], tensor, rtol=1e-5, atol=1e-7)


def test_it_is_nearer_to_the_teacher_than_copied_blocks(tiny_teacher, online_batches, recipe):
    wanted = recipe()
    student, (record,) = run(tiny_teacher, online_batches, wanted)
    copied = copy_weights(tiny_teacher, wanted.input.architecture.model_dump(), 2, "authors_code").eval()
    images = pictures(online_batches, wanted, range(36)).float()
    with torch.no_grad():
        aim = vit.tokens_before_norm(tiny_teacher, images)
        errors = [float((vit.tokens_before_norm(model, images) - aim).square().mean()) for model in (student, copied)]
    assert errors[0] < 0.7 * errors[1]
    assert record["relative_loss"] < 1 and not record["signs"] and record["lr"] == 0


def test_a_ratio_of_one_returns_the_teacher_exactly(tiny_teacher, online_batches, recipe):
    student, (record,) = run(tiny_teacher, online_batches, recipe(r=1))
    assert same(state(student), state(tiny_teacher)) and record["loss"] == 0


def test_the_fit_of_more_images_is_the_best_over_them(tiny_teacher, online_batches, recipe, monkeypatch):
    """A solution of fewer images never has a smaller objective over all of them."""
    kept = []
    correct = Calibration._correct

    def spy(self, number, sums):
        if number == 0:  # both meet the same streams
            kept.append(sums[0] + sums[1])
        correct(self, number, sums)

    monkeypatch.setattr(Calibration, "_correct", spy)
    for images in (12, 36):
        run(tiny_teacher, online_batches, recipe(), images=images)
    few, whole = kept
    for strength in module.STRENGTHS:
        penalty = strength * float(whole.centred()[0].diagonal().mean())
        solutions = [ridge(sums, strength) for sums in (whole, few)]
        cost = [
            whole.error(weight, bias) * whole.rows * weight.shape[1] + penalty * float(weight.square().sum())
            for weight, bias in solutions
        ]
        assert cost[0] <= cost[1]


@pytest.mark.parametrize("changes", [{"batch": 36}, {"batch": 5}, {"accumulate": 1}])
def test_the_batch_changes_nothing_beyond_rounding(tiny_teacher, online_batches, recipe, changes):
    one, _ = run(tiny_teacher, online_batches, recipe())
    other, _ = run(tiny_teacher, online_batches, recipe(**changes))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_layer_scale_is_folded(tiny_architecture, tiny_teacher, online_batches, recipe):
    """Factors near zero would need corrections that are huge; folded, the student's are one."""
    architecture = {**tiny_architecture, "init_values": 1e-5}
    teacher = vit.build(architecture).requires_grad_(False).eval()
    teacher.load_state_dict(tiny_teacher.state_dict(), strict=False)
    for block in teacher.blocks:
        block.ls1.gamma.fill_(0.5)
        block.ls2.gamma.copy_(torch.linspace(1e-6, 0.7, 32))
    before = state(teacher)
    student, (record,) = run(teacher, online_batches, recipe(architecture=architecture))
    assert all(torch.equal(block.ls2.gamma, torch.ones(32)) for block in student.blocks)
    assert max(float(block.mlp.fc2.weight.abs().max()) for block in student.blocks) < 3
    assert all(block["held_out_error"] < block["uncorrected_error"] for block in record["calibration"])
    assert same(before, state(teacher))  # which keeps its own
    whole, _ = run(teacher, online_batches, recipe(architecture=architecture, r=1))
    images = pictures(online_batches, recipe(), range(8)).float()
    torch.testing.assert_close(whole.forward_features(images), teacher.forward_features(images))


def test_rank_k_has_the_size_of_wecoloras_adapters(tiny_teacher, online_batches, recipe):
    wanted = recipe("calibrated_k", k=2)
    student, _ = run(tiny_teacher, online_batches, wanted)
    adapters = copy_weights(tiny_teacher, wanted.input.architecture.model_dump(), 2, "authors_code")
    add_lora(adapters, 2)
    size = sum(p.numel() for p in adapters.blocks[0].parameters() if p.requires_grad)
    rank = size // (32 + 128)
    for block, origin in zip(student.blocks, (0, 2), strict=True):
        change = block.mlp.fc2.weight - tiny_teacher.blocks[origin].mlp.fc2.weight
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == rank == 7
    whole, _ = run(tiny_teacher, online_batches, recipe())
    full, _ = run(tiny_teacher, online_batches, recipe("calibrated_k", k=32))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(full.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["calibrated_kd", "calibrated_lora"])
def test_training_goes_on_from_the_calibrated_student(tiny_teacher, online_batches, recipe, method):
    wanted = recipe(method, lr=1e-3)
    begun, _ = run(tiny_teacher, online_batches, recipe())
    still, _ = run(tiny_teacher, online_batches, recipe(method, lr=1e-30, weight_decay=0.0))
    for name, tensor in begun.state_dict().items():
        torch.testing.assert_close(still.state_dict()[name], tensor, rtol=0, atol=1e-6)
    trained, history = run(tiny_teacher, online_batches, wanted)
    assert len(history) == 3 and history[-1]["loss"] < history[0]["loss"]
    assert [len(epoch.get("calibration", [])) for epoch in history] == [2, 0, 0]
    moved = {name for name, tensor in begun.state_dict().items() if not torch.equal(tensor, trained.state_dict()[name])}
    as_wecolora = {name for name in moved if name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"))}
    assert moved == as_wecolora - {"patch_embed.proj.weight"} if method == "calibrated_lora" else moved > as_wecolora


def test_a_student_is_a_plain_one(tiny_architecture, tiny_teacher, online_batches, recipe, tmp_path):
    for method in CALIBRATED:
        student, history = run(tiny_teacher, online_batches, recipe(method))
        assert type(student) is type(tiny_teacher) and not any(p.requires_grad for p in student.parameters())
        vit.save_weights(student, tmp_path / "student.safetensors", {"history": history})
        again = vit.load_student(tiny_architecture, tmp_path / "student.safetensors")
        assert same(state(again), state(student))


class Counting:
    """Says after so many questions that the job must end."""

    def __init__(self, left):
        self.left = left

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("method", CALIBRATED)
@pytest.mark.parametrize("after", [0, *(pytest.param(after, marks=pytest.mark.long) for after in (5, 15, 27)), 30])
def test_a_killed_run_gives_the_same_bytes(tiny_teacher, online_batches, recipe, tmp_path, method, after):
    """It is stopped within the first block, within the second, and, where it trains, in its epochs."""
    whole, history = run(tiny_teacher, online_batches, recipe(method))
    folder = tmp_path / "resume"
    checkpoint = Checkpoint(folder, "run")
    lines, stopped = [], False
    try:
        run(tiny_teacher, online_batches, recipe(method), checkpoint=checkpoint, stopping=Counting(after))
    except Stopped:
        stopped = True
    assert stopped or (after >= 28 and METHODS[method].trains == "nothing")
    again, told = run(tiny_teacher, online_batches, recipe(method), checkpoint=checkpoint, log=lines.append)
    assert same(state(again), state(whole)) and told == history
    assert any(line.startswith("resumed") for line in lines) == (after >= 14)
    assert [path.name for path in folder.iterdir()] == ["run.pt"]


def test_memory_does_not_grow_with_the_images(tiny_teacher, online_batches, recipe, monkeypatch):
    """All that outlives a batch is the sums: of one size, however many images."""
    sizes = []
    walk = Calibration._walk

    def spy(self, number, streams):
        sums = walk(self, number, streams)
        held = [value for value in vars(streams).values() if isinstance(value, torch.Tensor | np.ndarray)]
        sizes.append(sum(part.gram.numel() + part.cross.numel() for part in sums) + len(held))
        return sums

    monkeypatch.setattr(Calibration, "_walk", spy)
    for images in (12, 36):
        run(tiny_teacher, online_batches, recipe(), images=images)
    assert len(set(sizes)) == 1


def test_one_image_is_refused(tiny_teacher, online_batches, recipe):
    with pytest.raises(BadInput, match=r"^alpha = 100.0: calibrated needs two images, one of them held out; raise"):
        run(tiny_teacher, online_batches, recipe(), images=1)
    student, _ = run(tiny_teacher, online_batches, recipe(), images=2)
    assert all(tensor.isfinite().all() for tensor in student.state_dict().values())


def test_blocks_that_do_not_ascend_are_refused(tiny_teacher, online_batches, recipe):
    with pytest.raises(BadInput, match=r"^distill.layers: calibrated needs ascending blocks, and has \[2, 1\]"):
        run(tiny_teacher, online_batches, recipe().model_copy(update={"layers": [2, 1]}))


def test_streams_that_are_no_numbers_are_refused(tiny_teacher, online_batches, recipe):
    tiny_teacher.blocks[1].mlp.fc2.bias.fill_(math.inf)
    with pytest.raises(BadInput, match=r"^run calibrated: block 0 \(the teacher's 0\) holds values that are no num"):
        run(tiny_teacher, online_batches, recipe())


@pytest.mark.parametrize("method", CALIBRATED)
def test_nothing_is_drawn_but_where_it_trains(tiny_teacher, recipe, method):
    """The axes: no seed without training; a rank where there are adapters, or a rank of the correction."""
    axes = METHODS[method].axes
    assert ("seed" in axes) == (method in ("calibrated_kd", "calibrated_lora"))
    assert ("k" in axes) == (method in ("calibrated_k", "calibrated_lora"))
    trained = [p for p in start(tiny_teacher, recipe(method), None).parameters() if p.requires_grad]
    assert bool(trained) == ("seed" in axes)


def test_the_halves_of_a_block_are_timms(tiny_teacher):
    stream = torch.randn(3, 5, 32)
    for block in tiny_teacher.blocks:
        assert isinstance(block, nn.Module)
        out, hidden = module.feed_forward(block, module.attend(block, stream))
        assert torch.equal(out, block(stream)) and hidden.shape == (3, 5, 128)
