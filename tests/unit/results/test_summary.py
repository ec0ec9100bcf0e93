"""What is told about a finished student."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from wecolora.config.recipes import StudentShape
from wecolora.config.teachers import Teacher
from wecolora.models import vit
from wecolora.results.summary import learnt, loads, size, speed_up

VIT_B = Teacher(label="ViT-B", timm="vit_base_patch16_224.mae")
HALF = StudentShape(method="wecolora", r=2, k=16)


def test_the_size_is_vit_bs():
    """timm's ViT-B without a head has 85.8 M parameters, of which each block has 7.09 M."""
    assert size(VIT_B, HALF, 0) == "6 blocks of 12, 43.3 M parameters of 85.8 M, 8.48 GMACs of 16.8"


def test_half_of_the_blocks_are_faster():
    small = Teacher(
        label="small",
        weights="x",
        architecture={"img_size": 64, "patch_size": 8, "embed_dim": 192, "depth": 12, "num_heads": 3},
    )
    told = speed_up(small, StudentShape(method="wecolora", r=6, k=4), 0, "cpu", 1)
    assert float(told.split()[0]) > 1.5 and told.endswith("(cpu, one at a time)")


def test_how_well_it_learnt_is_the_last_epochs():
    epochs = [
        {"loss": 9.0, "relative_loss": 0.9, "signs": ["old"]},
        {"loss": 0.5, "relative_loss": 0.25, "signs": ["a"]},
    ]
    assert learnt({"history": epochs}) == ["final loss 0.5000, 25.0% of the teacher's deviation", "WARNING: a"]
    assert learnt({"history": [{"loss": 0.5, "relative_loss": None, "signs": []}]}) == ["final loss 0.5000"]


def test_the_two_lines_load_the_student(tmp_path, tiny_architecture):
    images = torch.randn(2, 3, 224, 224)
    student = vit.build(VIT_B.architecture.model_dump(), depth=2).eval()
    path = str(tmp_path / "student.safetensors")
    save_file({name: tensor.clone() for name, tensor in student.state_dict().items()}, path)
    found: dict = {"timm": timm}
    lines = loads(VIT_B, path)
    assert len(lines) == 2
    exec("\n".join(lines), found)
    torch.testing.assert_close(found["student"].eval()(images), vit.pooled(student, images))

    own = Teacher(label="own", weights="x", architecture=tiny_architecture)
    student = vit.build(tiny_architecture, depth=2).eval()
    save_file({name: tensor.clone() for name, tensor in student.state_dict().items()}, path)
    exec("\n".join(loads(own, path)), found)
    for name, tensor in found["student"].state_dict().items():
        assert torch.equal(tensor, student.state_dict()[name])


@pytest.mark.parametrize("form", ["distilled", "transformed"])
def test_the_two_lines_load_a_student_with_parts_of_its_own(tmp_path, form):
    student = vit.build(VIT_B.architecture.model_dump(), depth=1, form=form).eval()
    path = str(tmp_path / "student.safetensors")
    save_file({name: tensor.clone() for name, tensor in student.state_dict().items()}, path)
    found: dict = {}
    exec("\n".join(loads(VIT_B, path)), found)
    assert found["student"].state_dict().keys() == student.state_dict().keys()
