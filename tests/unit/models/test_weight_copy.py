"""Weight copy: which teacher blocks the student gets, and that it gets them whole and for itself."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wecolora.config.teachers import Architecture
from wecolora.core.errors import BadInput
from wecolora.models import vit
from wecolora.models.weight_copy import copy_weights, layers


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("depth", "r", "rule", "expected"),
    [
        (12, 1, "paper", list(range(12))),
        (12, 2, "paper", [1, 3, 5, 7, 9, 11]),
        (12, 3, "paper", [2, 5, 8, 11]),
        (12, 5, "paper", [4, 9]),
        (12, 12, "paper", [11]),
        (12, 2, "authors_code", [0, 2, 4, 6, 8, 10]),
        (12, 3, "authors_code", [0, 3, 6, 9]),
        (12, 5, "authors_code", [0, 5]),
        (12, 12, "authors_code", [0]),
    ],
)
def test_a_rule_chooses_the_blocks_that_recipes_md_lists(depth, r, rule, expected):
    assert layers(depth, r, rule) == expected


@given(depth=st.integers(1, 40), data=st.data())
def test_a_rule_chooses_floor_of_depth_over_r_blocks_r_apart(depth, data):
    r = data.draw(st.integers(1, depth))
    for rule in ("paper", "authors_code"):
        chosen = layers(depth, r, rule)
        assert len(chosen) == depth // r
        assert all(later - earlier == r for earlier, later in pairwise(chosen))
        assert chosen[0] >= 0 and chosen[-1] < depth
    assert (layers(depth, r, "paper")[-1] == depth - 1) == (depth % r == 0)


def test_an_explicit_list_is_taken_as_it_is():
    assert layers(12, 2, [3, 0, 3, 11]) == [3, 0, 3, 11]


@pytest.mark.parametrize("r", [0, -1, 5])
@pytest.mark.parametrize("rule", ["paper", "authors_code"])
def test_a_reduction_ratio_outside_1_to_depth_is_refused(r, rule):
    with pytest.raises(BadInput, match=rf"r = {r}: .*1\.\.4"):
        layers(4, r, rule)


@pytest.mark.parametrize("chosen", [[], [4], [0, -1]])
def test_an_explicit_list_without_blocks_or_with_unknown_ones_is_refused(chosen):
    with pytest.raises(BadInput, match="from 0 to 3"):
        layers(4, 2, chosen)


@pytest.mark.parametrize(("rule", "expected"), [("paper", [1, 3]), ("authors_code", [0, 2]), ([2, 0, 3], [2, 0, 3])])
def test_every_tensor_equals_the_teachers_block_by_block(tiny_teacher, tiny_architecture, rule, expected):
    student = copy_weights(tiny_teacher, tiny_architecture, 2, rule)
    assert len(student.blocks) == len(expected)
    for block, layer in zip(student.blocks, expected, strict=True):
        wanted = tiny_teacher.blocks[layer].state_dict()
        assert block.state_dict().keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in block.state_dict().items())
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight"):
        assert torch.equal(student.state_dict()[name], tiny_teacher.state_dict()[name]), name
    assert torch.equal(student.norm.bias, tiny_teacher.norm.bias)


def test_the_student_computes_what_the_teachers_chosen_blocks_compute(tiny_teacher, tiny_architecture):
    images = torch.randn(3, 3, 16, 16)
    student = copy_weights(tiny_teacher, tiny_architecture, 2).eval()
    hidden = tiny_teacher.patch_embed(images)
    hidden = torch.cat([tiny_teacher.cls_token.expand(3, -1, -1), hidden], 1) + tiny_teacher.pos_embed
    for layer in (1, 3):
        hidden = tiny_teacher.blocks[layer](hidden)
    with torch.no_grad():
        assert torch.equal(student(images), tiny_teacher.norm(hidden)[:, 0])


def test_the_student_shares_no_storage_with_the_teacher(tiny_teacher, tiny_architecture):
    student = copy_weights(tiny_teacher, tiny_architecture, 2)
    owned = {tensor.untyped_storage().data_ptr() for tensor in student.state_dict().values()}
    assert owned.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in tiny_teacher.state_dict().values())
    before = {name: tensor.clone() for name, tensor in tiny_teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_teacher.state_dict().items())


def test_a_block_listed_twice_gives_two_blocks_with_weights_of_their_own(tiny_teacher, tiny_architecture):
    student = copy_weights(tiny_teacher, tiny_architecture, 2, [1, 1])
    with torch.no_grad():
        student.blocks[0].mlp.fc1.weight.zero_()
    assert torch.equal(student.blocks[1].mlp.fc1.weight, tiny_teacher.blocks[1].mlp.fc1.weight)


@pytest.mark.parametrize(("r", "backbone", "with_head"), [(2, 43_271_424, 44_040_424), (3, 29_095_680, 29_864_680)])
def test_the_students_of_vit_b_have_the_parameters_of_recipes_md(r, backbone, with_head):
    architecture = Architecture().model_dump()
    with torch.device("meta"):
        teacher = vit.build(architecture)
        student = copy_weights(teacher, architecture, r)
    assert parameters(teacher) == 85_798_656
    assert {parameters(block) for block in [*teacher.blocks, *student.blocks]} == {7_087_872}
    assert parameters(student) == backbone
    with torch.device("meta"):
        assert parameters(vit.build({**architecture, "num_classes": 1000}, depth=12 // r)) == with_head
