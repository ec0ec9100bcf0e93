"""Distillation: the updates, what trains, and that a killed or cached run gives the same student."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from tests.unit.conftest import ends
from wecolora.config.datasets import Folder
from wecolora.config.methods import METHODS
from wecolora.config.recipes import CacheRecipe
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.data.images import read_index
from wecolora.data.prepare import prepare
from wecolora.data.subset import read_subset, write_subset
from wecolora.models import vit
from wecolora.models.weight_copy import copy_weights
from wecolora.training import distill as module
from wecolora.training.batches import CachedBatches, OnlineBatches, prefetched
from wecolora.training.cache import CacheReader, write_shard
from wecolora.training.distill import update_windows
from wecolora.training.fit import JobContext, fit
from wecolora.training.objectives import start_student
from wecolora.training.students import start

IMAGES = 36


def distill(teacher, batches, recipe, *, images=IMAGES, labels=None, **context):
    """A run on the first images of the batches; ``context`` as JobContext has it."""
    batches = copy.copy(batches)
    batches.images, batches.labels = images, labels
    return fit(teacher, batches, recipe, JobContext(**{"log": lambda line: None, **context}))


def same(one, other):
    """Two models, or a model and the snapshot of one."""
    one, other = (part if isinstance(part, dict) else part.state_dict() for part in (one, other))
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def tokens(model, pixels, recipe, point):
    """Of pixels, as ends() gives them of normalised images."""
    inputs = (pixels.permute(0, 3, 1, 2).float() / 255 - torch.tensor(recipe.input.mean).view(3, 1, 1)) / torch.tensor(
        recipe.input.std
    ).view(3, 1, 1)
    return ends(model, inputs, point)


class Spy(torch.optim.SGD):
    """Records the learning rate and the gradients of each update; moves nothing."""

    def __init__(self, parameters, weight_decay):
        self.parameters = list(parameters)
        super().__init__(self.parameters, lr=0.0)
        self.lrs, self.gradients = [], []

    def step(self, closure=None):
        self.lrs.append(self.param_groups[0]["lr"])
        self.gradients.append([None if p.grad is None else p.grad.clone() for p in self.parameters])


@pytest.fixture
def spies(monkeypatch):
    made = []
    monkeypatch.setattr(module, "adamw", lambda parameters, decay: made.append(Spy(parameters, decay)) or made[-1])
    return made


# The updates


@pytest.mark.parametrize(
    ("micro_batches", "accumulate", "leftover", "expected"),
    [
        (10, 4, "use", [range(4), range(4, 8), range(8, 10)]),
        (10, 4, "drop", [range(4), range(4, 8)]),
        (8, 4, "drop", [range(4), range(4, 8)]),
        (8, 4, "use", [range(4), range(4, 8)]),
        (3, 4, "use", [range(3)]),
        (3, 4, "drop", []),
        (0, 4, "use", []),
        (3, 1, "drop", [range(1), range(1, 2), range(2, 3)]),
    ],
)
def test_left_over_micro_batches_are_used_or_dropped(micro_batches, accumulate, leftover, expected):
    assert update_windows(micro_batches, accumulate, leftover) == expected


def test_the_gradient_of_every_window_is_the_mean_of_its_micro_batches(
    tiny_teacher, online_batches, distill_recipe, spies
):
    """36 images in batches of 6, four to an update: windows of 4 and, left over, 2."""
    recipe = distill_recipe(method="weco_kd", epochs=1, accumulate=4)
    distill(tiny_teacher, online_batches, recipe)
    student = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2)
    batches = online_batches.calls[:]
    assert len(batches) == 6 and len(spies[0].gradients) == 2
    for window, found in zip([batches[:4], batches[4:]], spies[0].gradients, strict=True):
        means = []
        for rows, view in window:
            pixels, _ = online_batches.batch(rows, view)
            difference = tokens(student, pixels, recipe, "after_norm") - tokens(
                tiny_teacher, pixels, recipe, "after_norm"
            )
            means.append(torch.autograd.grad(difference.abs().mean(), list(student.parameters())))
        for gradient, *parts in zip(found, *means, strict=True):
            torch.testing.assert_close(gradient, torch.stack(parts).mean(0), rtol=1e-4, atol=1e-7)


def test_the_learning_rate_follows_warmup_and_cosine_once_an_update(
    tiny_teacher, online_batches, distill_recipe, spies
):
    recipe = distill_recipe(epochs=4, warmup_epochs=2, accumulate=3, lr=0.5)
    _, history = distill(tiny_teacher, online_batches, recipe)
    cosine = [0.5 * (1 + math.cos(math.pi * x)) for x in (0, 0.25, 0.5, 0.75)]
    expected = [0.5 * factor for factor in [0, 0.25, 0.5, 0.75, *cosine]]
    assert spies[0].lrs == pytest.approx(expected)
    assert [epoch["lr"] for epoch in history] == pytest.approx(expected[1::2])


def test_the_first_update_has_no_learning_rate(tiny_teacher, online_batches, distill_recipe):
    recipe = distill_recipe(method="weco_kd", epochs=1, accumulate=6, warmup_epochs=1)
    student, _ = distill(tiny_teacher, online_batches, recipe)
    assert same(student, copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2))


def test_an_epoch_sees_each_image_once_in_a_new_order_and_its_own_view(tiny_teacher, online_batches, distill_recipe):
    distill(tiny_teacher, online_batches, distill_recipe(epochs=5, views=2), images=34)
    epochs = [online_batches.calls[5 * epoch : 5 * epoch + 5] for epoch in range(5)]
    assert len(online_batches.calls) == 25  # 34 images fill five batches of 6; the sixth is dropped
    assert [{view for _, view in epoch} for epoch in epochs] == [{0}, {1}, {0}, {1}, {0}]
    orders = [tuple(row for rows, _ in epoch for row in rows) for epoch in epochs]
    assert all(len(order) == len(set(order)) == 30 and set(order) <= set(range(34)) for order in orders)
    assert len(set(orders)) == 5


def test_dropped_micro_batches_are_not_even_read(tiny_teacher, online_batches, distill_recipe):
    distill(tiny_teacher, online_batches, distill_recipe(epochs=1, accumulate=4, leftover="drop"))
    assert len(online_batches.calls) == 4


def test_a_distillation_equals_one_written_in_plain_torch(tiny_teacher, online_batches, distill_recipe):
    recipe = distill_recipe(method="weco_kd", accumulate=4, epochs=3, loss_point="before_norm")
    found, history = distill(tiny_teacher, online_batches, recipe)
    student = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2)
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    losses = []
    for number, (rows, view) in enumerate(online_batches.calls[:]):
        epoch, batch = divmod(number, 6)
        pixels, _ = online_batches.batch(rows, view)
        wanted = tokens(tiny_teacher, pixels, recipe, "before_norm")
        loss = (tokens(student, pixels, recipe, "before_norm") - wanted).abs().mean()
        losses.append(loss.item())
        (loss / (4 if batch < 4 else 2)).backward()
        if batch in (3, 5):
            progress = epoch + (0 if batch == 3 else 4 / 6)
            factor = progress if progress < 1 else 0.5 * (1 + math.cos(math.pi * (progress - 1) / 2))
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * factor
            optimiser.step()
            optimiser.zero_grad()
    assert [epoch["loss"] for epoch in history] == pytest.approx(np.reshape(losses, (3, 6)).mean(1), rel=1e-4)
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, student.state_dict()[name], rtol=1e-3, atol=1e-4)


# What changes and what does not


DISTILLED = [name for name, method in METHODS.items() if method.trains != "nothing" and not method.calibration]


def labels_of(method):
    """What the corpus would say of the pictures, for a method that reads it."""
    return torch.arange(IMAGES) % 3 if METHODS[method].reads_labels else None


@pytest.mark.parametrize("method", DISTILLED)
def test_every_method_lowers_its_loss_and_leaves_the_teacher_alone(
    headed_teacher, online_batches, distill_recipe, method
):
    before = snapshot(headed_teacher)
    recipe = distill_recipe(method=method, epochs=8, lr=1e-2)
    student, history = distill(headed_teacher, online_batches, recipe, labels=labels_of(method))
    assert history[-1]["loss"] < 0.95 * history[0]["loss"]
    assert same(headed_teacher, before)
    for parameter in headed_teacher.parameters():
        assert parameter.grad is None and not parameter.requires_grad
    architecture = recipe.input.architecture.model_dump()
    if method == "minivit":
        shape = vit.build(architecture, 4, "transformed")
    elif method == "minivit_depth":
        shape = vit.build(architecture, 2, "transformed")
    elif method.startswith("deit"):
        shape = VisionTransformerDistilled(**{**vit.timm_arguments(architecture), "depth": 2})
    else:
        shape = VisionTransformer(**{**vit.timm_arguments(architecture), "depth": 2})
    assert type(student) is type(shape)
    assert {name: tensor.shape for name, tensor in student.state_dict().items()} == {
        name: tensor.shape for name, tensor in shape.state_dict().items()
    }
    assert not student.training and not any(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("method", [method for method in DISTILLED if METHODS[method].online])
def test_a_method_whose_teacher_runs_online_needs_no_tokens(headed_teacher, online_batches, distill_recipe, method):
    recipe = distill_recipe(method=method, epochs=2)
    student, _ = distill(headed_teacher, online_batches, recipe)
    online_batches.teacher = None
    assert same(distill(headed_teacher, online_batches, recipe)[0], student)


def test_labels_follow_their_images(headed_teacher, online_batches, distill_recipe, monkeypatch):
    """The objective sees, with each picture, the label of its row."""
    known = torch.arange(IMAGES) * 7 % 5
    seen = []
    objective = start(headed_teacher, distill_recipe(method="deit_hard"), known)
    objective.register_forward_hook(lambda module, inputs, output: seen.append(inputs[2]))
    monkeypatch.setattr(module, "start", lambda *_: objective)
    distill(headed_teacher, online_batches, distill_recipe(method="deit_hard", epochs=2), labels=known)
    assert len(seen) == len(online_batches.calls) == 12
    for (rows, _), labels in zip(online_batches.calls, seen, strict=True):
        assert torch.equal(labels, known[torch.tensor(rows)])


def test_an_objective_is_told_each_epoch_before_its_first_batch(
    tiny_teacher, online_batches, distill_recipe, monkeypatch
):
    recipe = distill_recipe(method="dmae", epochs=3)
    objective = start(tiny_teacher, recipe)
    told = []
    real = objective.start_epoch
    objective.register_forward_hook(lambda *_: told.append("batch"))
    monkeypatch.setattr(objective, "start_epoch", lambda epoch, done: told.append((epoch, done)) or real(epoch, done))
    monkeypatch.setattr(module, "start", lambda *_: objective)
    distill(tiny_teacher, online_batches, recipe)
    assert told == [part for epoch in range(3) for part in ((epoch, 0), *["batch"] * 6)]


@pytest.mark.parametrize("method", DISTILLED)
def test_a_run_starts_from_its_seed_alone(headed_teacher, distill_recipe, method):
    def started(seed):
        return start(headed_teacher, distill_recipe(method=method, seed=seed), labels_of(method)).state_dict()

    one, _, again, other = started(0), torch.randn(3), started(0), started(1)
    assert one.keys() == again.keys() and all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    draws = method not in ("top_kd", "weco_kd", "minivit", "minivit_depth")
    assert draws == any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("method", ["wecolora", "weco_lora_qv"])
def test_the_copied_weights_stay_frozen_until_the_merge(
    tiny_teacher, online_batches, distill_recipe, method, monkeypatch
):
    monkeypatch.setattr("wecolora.training.objectives.merge", lambda model: model)
    recipe = distill_recipe(method=method)
    start = snapshot(start_student(tiny_teacher, recipe))
    student, _ = distill(tiny_teacher, online_batches, recipe)
    for name, tensor in student.state_dict().items():
        moves = ".A." in name or ".B." in name
        assert torch.equal(tensor, start[name]) == (not moves), name


def test_the_merged_student_differs_from_its_teacher_in_the_adapted_matrices_alone(
    tiny_teacher, online_batches, distill_recipe
):
    recipe = distill_recipe()
    student, _ = distill(tiny_teacher, online_batches, recipe)
    start = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2).state_dict()
    adapted = {f"{layer}.weight" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, start[name]) == (name.removeprefix("blocks.").split(".", 1)[-1] not in adapted), name


def test_explicit_layers_decide_the_students_depth(tiny_teacher, online_batches, distill_recipe):
    for method in ("scratch_kd", "wecolora"):
        student, _ = distill(tiny_teacher, online_batches, distill_recipe(method=method, epochs=1, layers=[0, 1, 3]))
        assert len(student.blocks) == 3


@pytest.mark.parametrize("point", ["before_norm", "after_norm"])
@pytest.mark.parametrize("method", ["weco_kd", "wecolora"])
def test_the_recorded_loss_is_taken_at_the_loss_point(
    tiny_teacher, online_batches, distill_recipe, method, point, spies
):
    recipe = distill_recipe(method=method, epochs=1, loss_point=point, lr=0.0)
    _, history = distill(tiny_teacher, online_batches, recipe)
    student = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2)
    pixels, _ = online_batches.batch(range(IMAGES), 0)
    with torch.no_grad():
        wanted = {p: tokens(tiny_teacher, pixels, recipe, p) for p in ("before_norm", "after_norm")}
        losses = {p: (tokens(student, pixels, recipe, p) - wanted[p]).abs().mean().item() for p in wanted}
    assert history[0]["loss"] == pytest.approx(losses[point], rel=1e-5)
    assert abs(losses["before_norm"] - losses["after_norm"]) > 0.05 * losses[point]


def test_the_final_norm_trains_only_where_the_loss_comes_after_it(tiny_teacher, online_batches, distill_recipe):
    for point in ("before_norm", "after_norm"):
        recipe = distill_recipe(method="weco_kd", loss_point=point)
        student, _ = distill(tiny_teacher, online_batches, recipe)
        assert torch.equal(student.norm.weight, tiny_teacher.norm.weight) == (point == "before_norm")


@pytest.mark.parametrize("method", DISTILLED)
def test_the_seed_decides_the_student(headed_teacher, online_batches, distill_recipe, method):
    labels = labels_of(method)
    one, again, other = (
        distill(headed_teacher, online_batches, distill_recipe(method=method, seed=seed), labels=labels)
        for seed in (0, 0, 1)
    )
    assert same(one[0], again[0]) and one[1] == again[1] and not same(one[0], other[0])


def test_the_record_of_an_epoch_holds_the_loss_against_the_teachers_own_spread(
    tiny_teacher, online_batches, distill_recipe
):
    _, history = distill(tiny_teacher, online_batches, distill_recipe(epochs=2))
    for epoch in history:
        assert set(epoch) == {"loss", "relative_loss", "student_rank", "teacher_rank", "lr", "signs"}
        assert epoch["relative_loss"] > 0 and 1 <= epoch["student_rank"] <= 32 and 1 <= epoch["teacher_rank"] <= 32


def test_a_loss_that_is_no_distance_is_compared_with_none(headed_teacher, online_batches, distill_recipe):
    lines = []
    recipe = distill_recipe(method="minivit", epochs=1)
    _, history = distill(headed_teacher, online_batches, recipe, log=lines.append)
    assert history[0]["relative_loss"] is None
    assert lines[0] == "the loss has these terms: soft logits, attention relations, hidden relations"
    assert "deviation" not in lines[1]


# A killed run


class Killed(Exception):
    pass


def killer(line_start):
    def log(line):
        if line.startswith(line_start):
            raise Killed

    return log


@pytest.mark.parametrize(
    "method", ["wecolora", "weco_kd", "deit", "deit_hard", "deit_soft", "minivit", "minivit_depth", "dmae"]
)
def test_a_run_killed_after_an_epoch_and_resumed_gives_the_same_student(
    headed_teacher, online_batches, distill_recipe, method, tmp_path
):
    recipe, labels = distill_recipe(method=method, epochs=4), labels_of(method)
    whole, whole_history = distill(headed_teacher, online_batches, recipe, labels=labels)
    state = Checkpoint(tmp_path, "run")
    with pytest.raises(Killed):
        distill(headed_teacher, online_batches, recipe, labels=labels, checkpoint=state, log=killer("epoch 3/4"))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".pt"] == ["run.pt"]
    lines = []
    online_batches.calls.clear()
    state = Checkpoint(tmp_path, "run")
    resumed, history = distill(
        headed_teacher, online_batches, recipe, labels=labels, checkpoint=state, log=lines.append
    )
    assert lines[1] == "resumed after epoch 2 and 0 of 6 micro-batches of the next"
    assert len(online_batches.calls) == 2 * 6  # epochs 3 and 4 alone
    assert same(resumed, whole) and history == whole_history
    vit.save_weights(whole, tmp_path / "whole.safetensors", {"history": whole_history})
    vit.save_weights(resumed, tmp_path / "resumed.safetensors", {"history": history})
    for suffix in (".safetensors", ".json"):
        whole_bytes, resumed_bytes = (
            (tmp_path / name).with_suffix(suffix).read_bytes() for name in ("whole", "resumed")
        )
        assert whole_bytes == resumed_bytes
    state.remove()
    assert not state.path.exists()


@pytest.mark.parametrize("method", DISTILLED)
def test_a_run_told_to_stop_goes_on_after_the_update_at_which_it_stopped(
    headed_teacher, online_batches, distill_recipe, method, tmp_path
):
    """Of each epoch's three updates: within one, at the end of one, and twice in one."""
    recipe, labels = distill_recipe(method=method, epochs=3), labels_of(method)
    whole, whole_history = distill(headed_teacher, online_batches, recipe, labels=labels)
    calls, state = online_batches.calls[:], Checkpoint(tmp_path, "run")
    online_batches.calls.clear()
    stops = [(4, "epoch 2, 2 of 6"), (1, "epoch 2, 4 of 6"), (1, "epoch 2, 6 of 6"), (1, "epoch 3, 2 of 6")]
    for updates, where in stops:
        asked = iter([*[False] * (updates - 1), True])
        with pytest.raises(Stopped, match=f"^{where} micro-batches$"):
            distill(
                headed_teacher,
                online_batches,
                recipe,
                labels=labels,
                checkpoint=state,
                stopping=lambda asked=asked: next(asked),
            )
    lines = []
    resumed, history = distill(
        headed_teacher, online_batches, recipe, labels=labels, checkpoint=state, log=lines.append
    )
    assert lines[1] == "resumed after epoch 2 and 2 of 6 micro-batches of the next"
    assert same(resumed, whole) and history == whole_history
    made = [call for number, call in enumerate(online_batches.calls) if call != online_batches.calls[number - 1]]
    assert made == calls  # a batch that was read ahead when it stopped is read again; none is trained on twice


def test_a_state_from_before_epochs_were_cut_is_one_of_their_ends(
    tiny_teacher, online_batches, distill_recipe, tmp_path
):
    recipe, state = distill_recipe(), Checkpoint(tmp_path, "run")
    whole, whole_history = distill(tiny_teacher, online_batches, recipe)
    with pytest.raises(Killed):
        distill(tiny_teacher, online_batches, recipe, checkpoint=state, log=killer("epoch 2/3"))
    saved = state.load()
    del saved["tally"]
    state.save(saved)
    resumed, history = distill(tiny_teacher, online_batches, recipe, checkpoint=state)
    assert same(resumed, whole) and history == whole_history


def test_a_long_epoch_is_saved_in_its_middle(tiny_teacher, online_batches, distill_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAVE_SECONDS", 0)
    recipe, state = distill_recipe(epochs=2), Checkpoint(tmp_path, "run")
    updates = []

    def killed():  # after two updates of the second epoch, the first of which was saved
        updates.append(1)
        if len(updates) == 5:
            raise Killed
        return False

    with pytest.raises(Killed):
        distill(tiny_teacher, online_batches, recipe, checkpoint=state, stopping=killed)
    lines = []
    resumed, history = distill(tiny_teacher, online_batches, recipe, checkpoint=state, log=lines.append)
    assert lines[1] == "resumed after epoch 1 and 2 of 6 micro-batches of the next"
    whole, whole_history = distill(tiny_teacher, online_batches, recipe)
    assert same(resumed, whole) and history == whole_history


def test_a_run_killed_while_its_student_was_being_written_trains_no_further(
    tiny_teacher, online_batches, distill_recipe, tmp_path
):
    recipe, state = distill_recipe(), Checkpoint(tmp_path, "run")
    whole, history = distill(tiny_teacher, online_batches, recipe, checkpoint=state)
    online_batches.calls.clear()
    resumed, again = distill(tiny_teacher, online_batches, recipe, checkpoint=state)
    assert same(resumed, whole) and again == history and not online_batches.calls


# Where tokens come from


@pytest.fixture
def cached_batches(tiny_teacher, unlabelled_index, distill_recipe, tmp_path):
    """The same pictures and tokens as online, from two shards."""
    recipe = distill_recipe()
    shard_recipe = CacheRecipe.model_validate({**recipe.cache(), "low": 0, "high": 100})
    paths = [tmp_path / "000.h5", tmp_path / "001.h5"]
    for path, positions in zip(paths, [range(IMAGES)[::-1][:20], range(IMAGES)[::-1][20:]], strict=True):
        write_shard(path, unlabelled_index, positions, tiny_teacher, "digest", shard_recipe)
    return CachedBatches(CacheReader(paths, recipe.cache(), "digest"))


def test_cached_and_online_give_the_same_pixels_and_the_same_tokens_up_to_float16(online_batches, cached_batches):
    rows = [30, 2, 19, 20]
    for view in (0, 1):
        pixels, wanted = online_batches.batch(rows, view)
        cached_pixels, cached = cached_batches.batch(rows, view)
        assert torch.equal(pixels, cached_pixels) and cached.dtype == torch.float16
        torch.testing.assert_close(cached.float(), wanted, rtol=2**-10, atol=1e-5)


@pytest.mark.parametrize("method", ["wecolora", "weco_kd"])
def test_cached_and_online_give_the_same_student_up_to_the_caches_rounding(
    tiny_teacher, online_batches, cached_batches, distill_recipe, method
):
    recipe = distill_recipe(method=method)
    online, _ = distill(tiny_teacher, online_batches, recipe)
    cached, _ = distill(tiny_teacher, cached_batches, recipe)
    other, _ = distill(tiny_teacher, online_batches, distill_recipe(method=method, seed=1))
    pixels, _ = online_batches.batch(range(IMAGES), 0)
    with torch.no_grad():
        copied = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2)
        start = tokens(copied, pixels, recipe, "after_norm")
        outputs = [tokens(student, pixels, recipe, "after_norm") for student in (online, cached, other)]
    learnt, rounding, seeds = ((outputs[0] - out).norm() for out in (start, outputs[1], outputs[2]))
    assert rounding < 0.01 * learnt
    assert seeds > 5 * rounding  # so the comparison can fail


@pytest.mark.parametrize("method", [method for method in DISTILLED if METHODS[method].online])
def test_a_method_whose_teacher_runs_learns_the_same_from_the_crops_of_the_cache(
    headed_teacher, online_batches, cached_batches, distill_recipe, method
):
    recipe = distill_recipe(method=method, epochs=2)
    online_batches.teacher = None
    decoded, decoded_history = distill(headed_teacher, online_batches, recipe)
    crops = CachedBatches(cached_batches.reader, tokens=False)
    student, history = distill(headed_teacher, crops, recipe)
    assert same(student, decoded) and history == decoded_history


def test_the_teacher_of_a_cached_run_serves_its_final_norm_alone(tiny_teacher, cached_batches, distill_recipe):
    ran = []
    for name, part in tiny_teacher.named_children():
        part.register_forward_hook(lambda *_, name=name: ran.append(name))
    distill(tiny_teacher, cached_batches, distill_recipe(epochs=1))
    assert set(ran) == {"norm"}


def test_batches_come_in_order_one_read_ahead(online_batches):
    batches = prefetched(online_batches, ([row] for row in range(4)), 0)
    first, _ = next(batches)
    assert torch.equal(first, online_batches.batch([0], 0)[0])
    rest = [pixels for pixels, _ in batches]
    assert [rows for rows, _ in online_batches.calls if rows != [0]] == [[1], [2], [3]]
    assert all(torch.equal(p, online_batches.batch([row], 0)[0]) for row, p in enumerate(rest, start=1))


def test_a_student_is_distilled_from_unlabelled_files(tiny_teacher, distill_recipe, tmp_path):
    """From a bare folder to a student: index, subset, cache and run, and no label anywhere."""
    rng = np.random.default_rng(0)
    for number in range(12):
        (tmp_path / "in" / "any").mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        picture.save(tmp_path / "in" / ("any" if number % 2 else ".") / f"{number}.png")
    folder = Folder(label="", source="folder", root=str(tmp_path / "in"))
    prepare("bare", folder, tmp_path / "index.parquet")
    index = read_index(tmp_path / "index.parquet")
    assert index.classes == [] and index.labels == [[]] * 12
    write_subset(index, 0, "balanced", tmp_path / "subset.parquet")
    positions, _, _ = read_subset(tmp_path / "subset.parquet")
    assert sorted(positions) == list(range(12))
    recipe = distill_recipe()
    _, history = fit(tiny_teacher, OnlineBatches(index, positions, tiny_teacher, recipe), recipe)
    assert len(history) == 3


def test_the_shared_index_does_refuse_to_show_a_label(unlabelled_index):
    """The guard behind every test above that distils: it is armed."""
    with pytest.raises(AssertionError, match="read a label"):
        unlabelled_index.labels[0]
    with pytest.raises(AssertionError, match="read a label"):
        list(dataclasses.asdict(unlabelled_index)["labels"])


# What is refused


@pytest.mark.parametrize(("images", "leftover"), [(5, "use"), (11, "drop"), (0, "use")])
def test_a_subset_too_small_for_one_update_is_refused(tiny_teacher, online_batches, distill_recipe, images, leftover):
    with pytest.raises(BadInput, match=rf"alpha = 100\.0: its {images} images do not fill one update"):
        distill(tiny_teacher, online_batches, distill_recipe(leftover=leftover), images=images)


@pytest.mark.parametrize(("images", "leftover"), [(6, "use"), (12, "drop")])
def test_a_subset_of_exactly_one_update_is_enough(tiny_teacher, online_batches, distill_recipe, images, leftover):
    _, history = distill(tiny_teacher, online_batches, distill_recipe(leftover=leftover, epochs=1), images=images)
    assert len(history) == 1


def test_micro_batches_of_one_image_work(tiny_teacher, online_batches, distill_recipe):
    """They have no spread to compare the loss with."""
    _, history = distill(tiny_teacher, online_batches, distill_recipe(batch=1, epochs=1), images=4)
    assert math.isfinite(history[0]["loss"]) and not history[0]["relative_loss"] < 1


def test_a_diverging_student_stops_the_run_and_saves_nothing(tiny_teacher, online_batches, distill_recipe, tmp_path):
    recipe, state, lines = distill_recipe(method="weco_kd", lr=1e30), Checkpoint(tmp_path, "run"), []
    with pytest.raises(BadInput, match=r"weco_kd: the loss is no number in epoch 1; lower distill\.lr"):
        distill(tiny_teacher, online_batches, recipe, checkpoint=state, log=lines.append)
    assert "WARNING: training unstable: the loss is nan" in lines
    assert not state.path.exists()


def test_a_teacher_whose_tokens_are_no_numbers_stops_the_run(tiny_teacher, online_batches, distill_recipe):
    tiny_teacher.blocks[0].mlp.fc1.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match="the loss is no number in epoch 1"):
        distill(tiny_teacher, online_batches, distill_recipe())
