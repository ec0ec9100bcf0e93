"""Objectives that compare tokens: the loss, how a student starts and what of it trains, which blocks are compared."""

import math

import pytest
import torch

from tests.unit.conftest import ends
from wecolora.config.methods import METHODS
from wecolora.models.weight_copy import copy_weights
from wecolora.training.objectives import TokenObjective, start_student, token_loss

TOKEN_METHODS = [name for name, method in METHODS.items() if method.compares_tokens and name != "teacher"]


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


# The loss


def test_the_loss_is_the_mean_absolute_difference_over_batch_tokens_and_width():
    student = torch.tensor([[[1.0, -2.0], [0.0, 4.0]], [[0.5, 0.5], [3.0, -1.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [0.0, 1.0]], [[1.0, 0.0], [-3.0, -1.0]]])
    assert token_loss(student, teacher).item() == pytest.approx((1 + 4 + 0 + 3 + 0.5 + 0.5 + 6 + 0) / 8)


def test_the_divergence_is_of_the_channels_softmax_and_halved_with_the_distance():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 5, generator=generator) * 2 for _ in range(2))
    total = 0.0
    for s, t in zip(student.double().view(6, 5).tolist(), teacher.double().view(6, 5).tolist(), strict=True):
        q = [math.exp(x) / sum(map(math.exp, s)) for x in s]
        p = [math.exp(x) / sum(map(math.exp, t)) for x in t]
        total += sum(one * math.log(one / other) for one, other in zip(p, q, strict=True)) / 6
    distance = (student - teacher).abs().mean().item()
    assert token_loss(student, teacher, "l1_kl").item() == pytest.approx((distance + total) / 2, rel=1e-5)
    assert token_loss(teacher, teacher, "l1_kl").item() == pytest.approx(0, abs=1e-6)


# The student


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("scratch_kd", None),
        ("top_kd", None),
        ("weco_kd", None),
        ("weco_lora_qv", "qv"),
        ("weco_dora", "qkvo12"),
        ("wecolora", "qkvo12"),
        ("wecolora_kl", "qkvo12"),
        ("wecolora_blocks", "qkvo12"),
        ("calibrated_kd", None),
        ("calibrated_lora", "qkvo12"),
    ],
)
def test_a_method_starts_and_trains_what_its_entry_says(tiny_teacher, distill_recipe, method, parts):
    recipe = distill_recipe(method=method)
    student = start_student(tiny_teacher, recipe)
    trains = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    if parts is None:
        assert trains == {name for name, _ in student.named_parameters()}
    else:
        matrices = {"A", "B"} | ({"magnitude"} if method == "weco_dora" else set())
        assert {name.split(".")[-2] for name in trains} == matrices
        assert {name.split(".")[-1][-1] for name in trains} == set(parts)
        assert len(trains) == len(matrices) * len(student.blocks) * len(parts)
    first = {"scratch_kd": None, "top_kd": 0}.get(method, 1)  # the teacher's block in the place of the student's first
    layer = student.blocks[0].mlp.fc1
    weight = getattr(layer, "base", layer).weight
    assert [torch.equal(weight, block.mlp.fc1.weight) for block in tiny_teacher.blocks] == [
        number == first for number in range(len(tiny_teacher.blocks))
    ]


def test_the_table_of_expected_methods_is_complete():
    """A new entry needs its own line in the test above."""
    marks = test_a_method_starts_and_trains_what_its_entry_says.pytestmark
    assert {method for method, _ in marks[0].args[1]} == set(TOKEN_METHODS)


# What is compared


@pytest.mark.parametrize("method", [name for name in TOKEN_METHODS if METHODS[name].form != "blocks"])
@pytest.mark.parametrize("point", ["before_norm", "after_norm"])
def test_the_last_tokens_are_compared_at_the_loss_point(tiny_teacher, distill_recipe, images, method, point):
    objective = TokenObjective(tiny_teacher, distill_recipe(method=method, loss_point=point))
    form = METHODS[method].form
    given = ends(tiny_teacher, images, "before_norm")
    own, wanted = (ends(model, images, point) for model in (objective.student, tiny_teacher))
    found = objective(images, given, None)
    assert objective.blocks == []
    torch.testing.assert_close(found.loss, token_loss(own, wanted, form))
    torch.testing.assert_close(found.student, own[:, 0])
    torch.testing.assert_close(found.teacher, wanted[:, 0])
    assert not found.student.requires_grad and not found.teacher.requires_grad
    if form == "l1_kl":  # half of it is a divergence
        assert found.deviation is None
    else:
        assert found.deviation.item() == pytest.approx((wanted - wanted.mean(0)).abs().mean().item(), rel=1e-5)


@pytest.mark.parametrize("point", ["before_norm", "after_norm"])
def test_every_block_is_compared_with_the_one_it_was_copied_from(tiny_teacher, distill_recipe, images, point):
    """Hooks read what each block gives; the tokens of a cache are not looked at."""
    recipe = distill_recipe(method="wecolora_blocks", loss_point=point)
    objective = TokenObjective(tiny_teacher, recipe)
    assert objective.blocks == [1, 3]
    loss = objective(images, torch.empty(0), None).loss
    student = copy_weights(tiny_teacher, recipe.input.architecture.model_dump(), 2)
    seen = {}
    for name, model in (("teacher", tiny_teacher), ("student", student)):
        for number, block in enumerate(model.blocks):
            block.register_forward_hook(lambda *args, key=(name, number): seen.__setitem__(key, args[2]))
    own, wanted = (ends(model, images, point) for model in (student, tiny_teacher))
    first = (seen["student", 0] - seen["teacher", 1]).abs().mean()
    torch.testing.assert_close(loss, (first + (own - wanted).abs().mean()) / 2)


def test_the_teacher_is_no_part_of_what_trains(headed_teacher, distill_recipe):
    objective = TokenObjective(headed_teacher, distill_recipe()).train()
    assert objective.teacher is headed_teacher and not headed_teacher.training
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in headed_teacher.parameters()}
    assert all(name.startswith("student.") for name, _ in objective.named_parameters())


def test_a_head_of_the_teacher_stays_with_it(tiny_teacher, headed_teacher, distill_recipe, images):
    tokens = ends(tiny_teacher, images, "before_norm")
    losses = []
    for teacher in (tiny_teacher, headed_teacher):
        objective = TokenObjective(teacher, distill_recipe(method="weco_kd"))
        losses.append(objective(images, tokens, None).loss)
        assert not any(name.startswith("head") for name in objective.exported().state_dict())
    assert torch.equal(*losses)


def test_the_exported_student_is_the_merged_one(tiny_teacher, distill_recipe, images):
    objective = TokenObjective(tiny_teacher, distill_recipe())
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if ".B." in name:
                parameter.normal_(std=0.1)
        wanted = objective.student(images)
        found = objective.exported()
        torch.testing.assert_close(found(images), wanted, rtol=1e-4, atol=1e-5)
    assert not any(".A." in name for name in found.state_dict())
