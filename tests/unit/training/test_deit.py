"""DeiT: its losses against the paper's equations, what is exported, and what each form needs."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.models.deit import VisionTransformerDistilled

from wecolora.config.teachers import Architecture
from wecolora.core.errors import BadInput
from wecolora.models import vit
from wecolora.training.deit import DeiT, hard_loss, soft_loss
from wecolora.training.students import start

LABELS = torch.tensor([2, 0, 1, 2, 0])


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def logits():
    """Of a student and a teacher, (4, 3), float64."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)) * 2, rng.normal(size=(4, 3)) * 3


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def cross_entropy(rows, classes):
    return -sum(math.log(softmax(row)[wanted]) for row, wanted in zip(rows, classes, strict=True)) / len(rows)


def soft_by_hand(student, teacher, temperature):
    """Equation 2, its second term without lambda."""
    total = 0.0
    for own, wanted in zip(student, teacher, strict=True):
        q, p = softmax(own / temperature), softmax(wanted / temperature)
        total += sum(one * math.log(one / other) for one, other in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def test_the_hard_loss_is_the_cross_entropy_with_the_teachers_decision(logits):
    student, teacher = logits
    wanted = cross_entropy(student, [row.tolist().index(max(row)) for row in teacher])
    assert hard_loss(*map(torch.from_numpy, logits)).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_soft_loss_is_the_divergence_at_a_temperature_times_its_square(logits, temperature):
    found = soft_loss(*map(torch.from_numpy, logits), temperature).item()
    assert found == pytest.approx(soft_by_hand(*logits, temperature), rel=1e-12)
    assert soft_by_hand(*logits, temperature) != pytest.approx(soft_by_hand(*logits[::-1], temperature), rel=0.01)


def test_the_temperature_is_the_papers(logits):
    assert soft_loss(*map(torch.from_numpy, logits)).item() == pytest.approx(soft_by_hand(*logits, 3), rel=1e-12)


def timms(objective):
    """timm's own model with the student's weights and the objective's heads, in its distilled training mode."""
    model = VisionTransformerDistilled(img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=3)
    model.head_dist = torch.nn.Linear(32, 5)
    heads = {
        f"{name}.{key}": tensor
        for name in ("head", "head_dist")
        for key, tensor in getattr(objective, name).state_dict().items()
    }
    model.double().load_state_dict({**objective.student.state_dict(), **heads}, strict=True)
    model.set_distilled_training()
    return model.train()


@pytest.mark.parametrize("form", ["hard", "soft"])
def test_the_loss_is_the_papers_equation(headed_teacher, distill_recipe, images, form):
    """Equations 2 and 3: lambda is 0.1 with tau = 3, and 0.5."""
    objective = DeiT(headed_teacher.double(), distill_recipe(method=f"deit_{form}"), LABELS).double()
    images = images.double()
    with torch.no_grad():
        for head in (objective.head, objective.head_dist):
            head.weight.normal_()
        own, dist = timms(objective)(images)
        wanted = headed_teacher(images).numpy()
        tokens = vit.tokens_before_norm(headed_teacher, images)
        found = objective(images, tokens, LABELS)
    base = cross_entropy(own.numpy(), LABELS.tolist())
    if form == "hard":
        expected = 0.5 * base + 0.5 * cross_entropy(dist.numpy(), wanted.argmax(1))
    else:
        expected = 0.9 * base + 0.1 * soft_by_hand(dist.numpy(), wanted, 3)
    assert found.loss.item() == pytest.approx(expected, rel=1e-9)
    assert found.deviation is None  # it is no distance


def test_without_labels_the_mean_of_both_tokens_is_drawn_to_the_teachers_class_token(
    tiny_teacher, distill_recipe, images
):
    objective = DeiT(tiny_teacher.double(), distill_recipe(method="deit")).double()
    images = images.double()
    with torch.no_grad():
        own = objective.student.forward_features(images)[:, :2].mean(1)
        wanted = tiny_teacher.forward_features(images)[:, 0]
        found = objective(images, vit.tokens_before_norm(tiny_teacher, images), None)
    total = sum(abs(a - b) for a, b in zip(own.flatten().tolist(), wanted.flatten().tolist(), strict=True))
    assert found.loss.item() == pytest.approx(total / (5 * 32), rel=1e-10)
    assert found.deviation.item() == pytest.approx((wanted - wanted.mean(0)).abs().mean().item(), rel=1e-10)
    torch.testing.assert_close(found.teacher, wanted)


@pytest.mark.parametrize("method", ["deit", "deit_hard", "deit_soft"])
def test_the_embeddings_are_what_a_probe_reads(headed_teacher, distill_recipe, images, method):
    objective = DeiT(headed_teacher, distill_recipe(method=method), LABELS)
    with torch.no_grad():
        found = objective(images, vit.tokens_before_norm(headed_teacher, images), LABELS)
        torch.testing.assert_close(found.student, vit.pooled(objective.student, images))
        torch.testing.assert_close(found.teacher, vit.pooled(headed_teacher, images))


@pytest.mark.parametrize("method", ["deit", "deit_hard", "deit_soft"])
def test_everything_but_the_teacher_trains(headed_teacher, distill_recipe, images, method):
    objective = DeiT(headed_teacher, distill_recipe(method=method), LABELS)
    objective(images, vit.tokens_before_norm(headed_teacher, images), LABELS).loss.backward()
    still = {name for name, parameter in objective.named_parameters() if parameter.grad is None}
    assert still == set()
    assert all(parameter.grad is None for parameter in headed_teacher.parameters())


@pytest.mark.parametrize(("method", "heads"), [("deit", 0), ("deit_hard", 2), ("deit_soft", 2)])
def test_heads_are_for_the_corpuss_classes_and_the_teachers(headed_teacher, distill_recipe, method, heads):
    objective = DeiT(headed_teacher, distill_recipe(method=method), LABELS)
    rest = {name: p.shape for name, p in objective.named_parameters() if not name.startswith("student.")}
    expected = {"head.weight": (3, 32), "head.bias": (3,), "head_dist.weight": (5, 32), "head_dist.bias": (5,)}
    assert rest == (expected if heads else {})
    assert not any(name.startswith("head") for name in objective.exported().state_dict())


def test_the_student_starts_at_random(headed_teacher, distill_recipe):
    torch.manual_seed(0)
    student = DeiT(headed_teacher, distill_recipe(method="deit")).student
    weights = [block.mlp.fc1.weight for block in (*student.blocks, *headed_teacher.blocks)]
    assert len(student.blocks) == 2
    assert not any(torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_the_exported_student_loads_in_timm_and_its_feature_is_the_mean_of_both_tokens(
    headed_teacher, distill_recipe, images, tmp_path
):
    objective = DeiT(headed_teacher, distill_recipe(method="deit_hard"), LABELS)
    vit.save_weights(objective.exported(), tmp_path / "student.safetensors", {})
    model = VisionTransformerDistilled(img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    model.load_state_dict(load_file(tmp_path / "student.safetensors"), strict=True)
    model.eval()
    with torch.no_grad():
        tokens = model.forward_features(images)
        feature = model.forward_head(tokens, pre_logits=True)
        torch.testing.assert_close(feature, (tokens[:, 0] + tokens[:, 1]) / 2)
        student = vit.load_student(distill_recipe().input.architecture.model_dump(), tmp_path / "student.safetensors")
        assert torch.equal(vit.pooled(student, images), feature)


def test_vit_b_has_one_token_and_one_position_more():
    """recipes.md: 43,271,424 parameters in six blocks."""
    with torch.device("meta"):
        model = vit.build(Architecture().model_dump(), 6, "distilled")
    assert sum(parameter.numel() for parameter in model.parameters()) == 43_271_424 + 2 * 768
    assert model.pos_embed.shape == (1, 198, 768)


@pytest.mark.parametrize("method", ["deit_hard", "deit_soft"])
def test_a_teacher_without_a_head_is_refused_where_its_logits_are_needed(tiny_teacher, distill_recipe, method):
    with pytest.raises(BadInput, match=rf"teacher tiny: its weights have no head\.weight, and {method} learns from"):
        start(tiny_teacher, distill_recipe(method=method), LABELS)
    assert start(tiny_teacher, distill_recipe(method="deit")).terms == ("L1 of the mean of both tokens",)


def test_a_corpus_without_labels_is_refused(array_index):
    unlabelled = dataclasses.replace(array_index, classes=[], labels=[[]] * 12)
    with pytest.raises(BadInput, match="data set coarse: has no single label an image, which a method needs"):
        unlabelled.single_labels(range(4))
