"""MiniViT: what is shared and how it starts, the relations and their losses, and the student that is saved."""

import copy
import math

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.teachers import Architecture
from wecolora.models import vit
from wecolora.models.weight_copy import copy_weights
from wecolora.training.minivit import (
    MiniViT,
    attention_loss,
    hidden_loss,
    last_relations,
    multiplexed,
    soft_cross_entropy,
)

SHARED = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
OWN = ("norm1", "norm2", "attn.before", "attn.after")


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perturb(model):
    """As training would; a shared parameter moves once."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


# The student


def stack(teacher, architecture, rows):
    """A plain timm model of the teacher's blocks: (block of attention and MLP, block of the norms), one a row."""
    model = VisionTransformer(**{**vit.timm_arguments(architecture), "depth": len(rows)})
    for name in ("patch_embed", "norm"):
        getattr(model, name).load_state_dict(getattr(teacher, name).state_dict())
    for name in ("cls_token", "pos_embed"):
        getattr(model, name).data.copy_(getattr(teacher, name))
    for block, (shared, norms) in zip(model.blocks, rows, strict=True):
        block.load_state_dict(teacher.blocks[shared].state_dict())
        for name in ("norm1", "norm2"):
            getattr(block, name).load_state_dict(getattr(teacher.blocks[norms], name).state_dict())
    return model.eval()


def twelve(architecture):
    """A teacher of twelve blocks, no two tensors of which are alike."""
    torch.manual_seed(3)
    model = vit.build(architecture, depth=12).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_at_the_start_it_is_a_stack_of_twelve_in_which_pairs_share_all_but_their_norms(
    tiny_architecture, distill_recipe, images
):
    teacher = twelve(tiny_architecture)
    objective = MiniViT(teacher, distill_recipe(method="minivit"))
    rows = [(2 * (number // 2) + 1, number) for number in range(12)]
    with torch.no_grad():
        wanted = stack(teacher, tiny_architecture, rows).forward_features(images)
        torch.testing.assert_close(objective.student.forward_features(images), wanted, rtol=1e-4, atol=1e-5)
        other = stack(teacher, tiny_architecture, [(shared, shared) for shared, _ in rows])
        assert (other.forward_features(images) - wanted).abs().max() > 0.01


def test_of_one_application_it_starts_as_the_copied_student(tiny_teacher, tiny_architecture, distill_recipe, images):
    objective = MiniViT(tiny_teacher, distill_recipe(method="minivit_depth"))
    plain = copy_weights(tiny_teacher, tiny_architecture, 2).eval()
    with torch.no_grad():
        wanted = plain.forward_features(images)
        torch.testing.assert_close(objective.student.forward_features(images), wanted, rtol=1e-5, atol=1e-5)


def test_explicit_layers_are_each_applied_r_times(tiny_teacher, tiny_architecture, distill_recipe, images):
    """Three of four blocks, twice each: the fifth and sixth application find no norms of their place in the teacher."""
    objective = MiniViT(tiny_teacher, distill_recipe(method="minivit", layers=[0, 2, 3]))
    plain = stack(tiny_teacher, tiny_architecture, [(0, 0), (0, 1), (2, 2), (2, 3), (3, 3), (3, 3)])
    with torch.no_grad():
        wanted = plain.forward_features(images)
        torch.testing.assert_close(objective.student.forward_features(images), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("r", "groups"), [(2, [0, 0, 1, 1]), (3, [0, 0, 0]), (4, [0, 0, 0, 0]), (1, [0, 1, 2, 3])])
def test_consecutive_applications_share_attention_and_mlp_and_nothing_else(tiny_teacher, distill_recipe, r, groups):
    student = MiniViT(tiny_teacher, distill_recipe(method="minivit", r=r)).student
    assert len(student.blocks) == len(groups)
    for one, group in zip(student.blocks, groups, strict=True):
        for two, other in zip(student.blocks, groups, strict=True):
            for name in SHARED:
                assert (one.get_submodule(name).weight is two.get_submodule(name).weight) == (group == other)
                assert (one.get_submodule(name).bias is two.get_submodule(name).bias) == (group == other)
            for name in OWN:
                assert (one.get_submodule(name).weight is two.get_submodule(name).weight) == (one is two)


def test_with_one_application_nothing_is_shared(tiny_teacher, distill_recipe):
    student = MiniViT(tiny_teacher, distill_recipe(method="minivit_depth")).student
    assert len(list(student.parameters())) == len(list(student.named_parameters(remove_duplicate=False)))
    assert len(student.blocks) == 2


def test_the_student_owns_its_weights_and_all_of_them_train(headed_teacher, distill_recipe, images):
    objective = MiniViT(headed_teacher, distill_recipe(method="minivit"))
    before = copy.deepcopy(headed_teacher.state_dict())
    objective(images, torch.empty(0), None).loss.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.requires_grad and parameter.grad is not None, name
    perturb(objective)
    assert all(torch.equal(tensor, before[name]) for name, tensor in headed_teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in headed_teacher.parameters())


def test_vit_b_of_six_blocks_applied_twice_has_the_parameters_that_recipes_md_counts(distill_recipe):
    architecture = Architecture()
    recipe = distill_recipe(method="minivit", architecture=architecture.model_dump())
    with torch.device("meta"):
        teacher = vit.build(architecture.model_dump())
        student = multiplexed(teacher, recipe, [1, 3, 5, 7, 9, 11], 2)
    unique = sum(parameter.numel() for parameter in student.parameters())
    # Six blocks as every student's; norms, 4 x 768 a block, and transforms, 2 x 12 x 12, once an application.
    assert unique == 43_271_424 + 6 * 4 * 768 + 12 * 2 * 144
    assert round((unique + 1000 * 769) / 1e6, 2) == 44.06
    assert len(student.blocks) == 12


# The losses


def test_the_soft_cross_entropy_takes_the_teachers_distribution():
    student, teacher = random(2, 3, 4, seed=1), random(2, 3, 4, seed=2)
    total = 0.0
    for own, wanted in zip(student.view(6, 4).tolist(), teacher.view(6, 4).tolist(), strict=True):
        total -= sum(p * math.log(q) for p, q in zip(softmax(wanted), softmax(own), strict=True))
    assert soft_cross_entropy(student, teacher).item() == pytest.approx(total / 6, rel=1e-12)


def test_the_attention_relations_are_nine_and_compared_row_by_row():
    student, teacher = ([random(2, 3, 4, seed=seed + i) for i in range(3)] for seed in (10, 20))
    total = 0.0
    for i in range(3):
        for j in range(3):
            for image in range(2):
                for row in range(3):
                    own, wanted = (
                        softmax([float(x[i][image, row] @ x[j][image, other]) / math.sqrt(4) for other in range(3)])
                        for x in (student, teacher)
                    )
                    total -= sum(p * math.log(q) for p, q in zip(wanted, own, strict=True))
    assert attention_loss(tuple(student), tuple(teacher)).item() == pytest.approx(total / (9 * 2 * 3), rel=1e-12)


def test_the_attention_loss_is_lowest_at_the_teachers_relations():
    teacher = tuple(random(2, 3, 4, seed=i) for i in range(3))
    own = tuple(part.clone().requires_grad_() for part in teacher)
    loss = attention_loss(own, teacher)
    loss.backward()
    assert all(part.grad.abs().max() < 1e-12 for part in own)
    assert loss < attention_loss(tuple(part + 0.5 * random(2, 3, 4, seed=9) for part in teacher), teacher)


def test_the_hidden_relations_are_cosines_of_tokens():
    student, teacher = random(2, 3, 4, seed=1), random(2, 3, 4, seed=2)
    total = 0.0
    for image in range(2):
        for one in range(3):
            for other in range(3):
                cosines = []
                for tokens in (student[image], teacher[image]):
                    a, b = tokens[one].tolist(), tokens[other].tolist()
                    dot = sum(x * y for x, y in zip(a, b, strict=True))
                    cosines.append(dot / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b)))
                total += (cosines[0] - cosines[1]) ** 2
    assert hidden_loss(student, teacher).item() == pytest.approx(total / 18, rel=1e-12)
    assert hidden_loss(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_the_last_relations_are_the_last_blocks_q_k_and_v(tiny_teacher, distill_recipe, images, shared):
    model = tiny_teacher
    if shared:
        model = perturb(MiniViT(tiny_teacher, distill_recipe(method="minivit")).student)
    inputs = []
    handle = model.blocks[-1].register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        (q, k, v), out = last_relations(model, images)
        handle.remove()
        last = model.blocks[-1]
        normed = torch.nn.functional.layer_norm(inputs[0], (32,), last.norm1.weight, last.norm1.bias, last.norm1.eps)
        for found, rows in zip((q, k, v), (range(32), range(32, 64), range(64, 96)), strict=True):
            weight, bias = last.attn.qkv.weight[list(rows)], last.attn.qkv.bias[list(rows)]
            torch.testing.assert_close(found, normed @ weight.T + bias, rtol=1e-4, atol=1e-5)
        assert torch.equal(out, vit.tokens_before_norm(model, images))


@pytest.mark.parametrize("method", ["minivit", "minivit_depth"])
@pytest.mark.parametrize("headed", [True, False])
def test_the_loss_is_the_weighted_sum_of_its_terms(
    headed_teacher, tiny_teacher, distill_recipe, images, method, headed
):
    teacher = (headed_teacher if headed else tiny_teacher).double()
    objective = MiniViT(teacher, distill_recipe(method=method)).double()
    perturb(objective)
    images = images.double()
    with torch.no_grad():
        (own, out), (wanted, target) = (last_relations(model, images) for model in (objective.student, teacher))
        expected = attention_loss(own, wanted) + 0.1 * hidden_loss(out, target)
        if headed:
            logits = objective.student.forward_features(images)[:, 0] @ objective.head.weight.T + objective.head.bias
            shares = teacher(images).softmax(1)
            expected = expected - (shares * logits.log_softmax(1)).sum() / 3
        found = objective(images, torch.empty(0), None)
        torch.testing.assert_close(found.loss, expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(found.student, vit.pooled(objective.student, images))
        torch.testing.assert_close(found.teacher, vit.pooled(teacher, images))
    assert found.deviation is None
    assert objective.terms == ("soft logits",) * headed + ("attention relations", "hidden relations")


def test_the_head_starts_as_the_teachers_and_is_its_own(headed_teacher, distill_recipe):
    head = MiniViT(headed_teacher, distill_recipe(method="minivit")).head
    assert torch.equal(head.weight, headed_teacher.head.weight) and head.weight is not headed_teacher.head.weight
    assert torch.equal(head.bias, headed_teacher.head.bias) and head.weight.requires_grad


# What is saved


@pytest.mark.parametrize(("method", "depth"), [("minivit", 4), ("minivit_depth", 2)])
def test_the_exported_student_is_a_plain_stack_with_the_same_outputs(
    headed_teacher, tiny_architecture, distill_recipe, images, tmp_path, method, depth
):
    objective = MiniViT(headed_teacher, distill_recipe(method=method))
    perturb(objective.student)
    exported = objective.exported().eval()
    assert len(list(exported.parameters())) == len(list(exported.named_parameters(remove_duplicate=False)))
    vit.save_weights(exported, tmp_path / "student.safetensors", {})
    loaded = vit.load_student(tiny_architecture, tmp_path / "student.safetensors")
    assert len(loaded.blocks) == depth
    with torch.no_grad():
        wanted = objective.student.forward_features(images)
        assert torch.equal(exported.forward_features(images), wanted)
        assert torch.equal(loaded.forward_features(images), wanted)
        loaded.blocks[0].mlp.fc1.weight.zero_()
        assert loaded.blocks[1].mlp.fc1.weight.abs().sum() > 0
        assert torch.equal(objective.student.forward_features(images), wanted)
