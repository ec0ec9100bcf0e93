"""Exported students: every form gives the student's own features, whatever its shape, or is refused with the reason."""

from __future__ import annotations

import json
import math
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import table
from wecolora.core.errors import BadInput
from wecolora.data.images import Picture, centre_crop, shorter_side
from wecolora.models import forms as module
from wecolora.models import vit
from wecolora.models.forms import WRITERS, about, export, hub_config, hub_model
from wecolora.models.student import read_student

# What students may have in another way than the paper's; see wecolora.config.teachers.Architecture.
SHAPES = {
    "class_token": {},
    "average": {"global_pool": "avg"},
    "average_fc_norm": {"global_pool": "avg", "fc_norm": True},
    "average_of_all": {"global_pool": "avg", "pool_include_prefix": True},
    "no_class_token": {"global_pool": "avg", "class_token": False},
    "attention_pooling": {"global_pool": "map", "class_token": False},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "registers_embedded": {"reg_tokens": 3},
    "pre_norm": {"pre_norm": True, "norm_eps": 1e-5, "act_layer": "quick_gelu"},
    "layer_scale": {"init_values": 1e-5},
    "no_final_norm": {"final_norm": False},
    "no_qkv_bias": {"qkv_bias": False, "mlp_ratio": 3.0},
    "inner_norms": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "rmsnorm": {"norm_layer": "rmsnorm"},
    "tanh": {"act_layer": "gelu_tanh"},
    "silu": {"act_layer": "silu"},
    "large_images": {"img_size": 40, "patch_size": 4},
}


def images(size, batch=3):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def own_features(folder, pictures):
    """Features by the loading of the rest of the project."""
    recipe = json.loads((folder / "student.json").read_text())["recipe"]
    with torch.no_grad():
        return vit.pooled(vit.load_student(recipe["architecture"], folder / "student.safetensors"), pictures)


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_timm_loads_a_student_of_every_shape(shape, student_folder, tmp_path):
    folder = student_folder(**SHAPES[shape])
    export(read_student(folder), tmp_path / "out", ["hf"])
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    pictures = images(SHAPES[shape].get("img_size", 16))
    assert (loaded(pictures) - own_features(folder, pictures)).abs().max() < 1e-6


@torch.no_grad()
def test_timm_loads_a_student_with_a_distillation_token(student_folder, tmp_path):
    folder = student_folder("distilled", method="deit")
    export(read_student(folder), tmp_path / "out", ["hf"])
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert (loaded(images(16)) - own_features(folder, images(16))).abs().max() < 1e-6


# Of shapes whose programs have the same operations, one is always tried.
PROGRAMS = ["average_fc_norm", "no_class_token", "attention_pooling", "registers", "pre_norm", "inner_norms", "rmsnorm"]
OF_FORMS = [
    *(pytest.param("plain", shape, marks=[] if shape in PROGRAMS else pytest.mark.long) for shape in SHAPES),
    ("distilled", "class_token"),
    ("transformed", "class_token"),
]


@pytest.mark.parametrize(("form", "shape"), OF_FORMS)
@torch.no_grad()
def test_programs_of_every_student_take_any_number_of_images(form, shape, student_folder, tmp_path):
    folder = student_folder(form, **SHAPES[shape])
    export(read_student(folder), tmp_path / "out", ["onnx", "torch"])
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    loaded = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for batch in (1, 4, 7):
        pictures = images(SHAPES[shape].get("img_size", 16), batch)
        own = own_features(folder, pictures)
        assert (loaded(pictures) - own).abs().max() < 1e-6
        found = torch.from_numpy(session.run(["features"], {"images": pictures.numpy()})[0])
        assert found.shape == own.shape and (found - own).abs().max() < 1e-5


def test_programs_say_what_they_take_and_nothing_of_this_machine(student_folder, tmp_path):
    student = read_student(student_folder())
    export(student, tmp_path / "out", ["onnx", "torch"])
    stored = onnx.load(tmp_path / "out" / "model.onnx")
    assert [(entry.domain, entry.version) for entry in stored.opset_import] == [("", module.OPSET)]
    said = {entry.key: entry.value for entry in stored.metadata_props}
    extra = {"about.json": ""}
    torch.export.load(tmp_path / "out" / "model.pt2", extra_files=extra)
    assert said == json.loads(extra["about.json"]) == about(student)
    assert said["mean"] == "[0.5, 0.4, 0.6]" and "normalised with mean and std" in said["input"]
    with zipfile.ZipFile(tmp_path / "out" / "model.pt2") as archive:
        content = [archive.read(name) for name in archive.namelist()]
    for bytes_ in (*content, (tmp_path / "out" / "model.onnx").read_bytes()):
        assert b"site-packages" not in bytes_ and b"/torch/" not in bytes_


def test_weights_that_are_too_large_for_an_onnx_file_stand_beside_it(student_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ONE_FILE", 1000)
    export(read_student(student_folder()), tmp_path / "out", ["onnx"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "model.onnx.data", "README.md"}
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"images": images(16).numpy()})[0].shape == (3, 32)


def test_a_student_of_any_model_of_timms_has_a_name(student_folder):
    """Each kind of shape in the table; that the weights then fit is seen with the shapes alone."""
    seen = []
    for entry in table()["models"].values():
        kind = {key: value for key, value in entry["architecture"].items() if key not in ("depth", "mlp_ratio")}
        small = {**kind, "img_size": 2 * kind.get("patch_size", 16), "embed_dim": 32, "num_heads": 2}
        if small in seen:
            continue
        seen.append(small)
        student = read_student(student_folder(**small))
        name, arguments = hub_model(student)
        with torch.device("meta"):
            found = timm.create_model(name, num_classes=0, **arguments).state_dict()
        wanted = student.model.state_dict()
        assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in wanted.items()}
    assert len(seen) > 20


def test_a_student_of_a_model_of_timms_has_its_name(student_folder):
    shape = Architecture(**table()["models"]["vit_small_patch14_reg4_dinov2"]["architecture"])
    name, arguments = hub_model(
        read_student(student_folder(**shape.model_dump(exclude={"depth", "img_size"}), img_size=28))
    )
    assert name == "vit_small_patch14_reg4_dinov2"
    assert (arguments["depth"], arguments["img_size"], arguments["embed_dim"]) == (2, 28, 384)


def test_what_timm_has_no_layer_for_is_refused_before_anything_runs(student_folder, tmp_path):
    minivit = read_student(student_folder("transformed", method="minivit"))
    with pytest.raises(BadInput, match=r"MiniViT.*export it --to onnx or torch"):
        export(minivit, tmp_path / "out", ["hf"])
    odd_norm = read_student(student_folder(norm_eps=1e-4))
    with pytest.raises(BadInput, match=r"timm has no VisionTransformer whose norms are layernorm with 0\.0001"):
        export(odd_norm, tmp_path / "out", ["hf"])
    distilled = read_student(student_folder("distilled", method="deit", norm_eps=1e-5))
    with pytest.raises(BadInput, match="with a distillation token whose norms"):
        export(distilled, tmp_path / "out", ["hf"])
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


# How images are prepared


@pytest.mark.parametrize("size", [16, 28, 224, 443, 518])
def test_timm_prepares_square_images_to_the_very_pixels(size, student_folder):
    config = hub_config(read_student(student_folder(img_size=size, patch_size=size)))["pretrained_cfg"]
    assert math.floor(size / config["crop_pct"]) == shorter_side(size)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    side = size + size // 3 + 1
    picture = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(centre_crop(Picture(picture, side, side), size).copy())
    own = vit.normalise(pixels[None], (0.5, 0.4, 0.6), (0.25, 0.3, 0.2))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config))
    shifted = (shorter_side(size) - size) % 4 == 3  # timm rounds half a pixel to the even number
    found = transform(picture)[None]
    assert found.shape == own.shape
    assert shifted or (found - own).abs().max() < 1e-6


def test_timm_leaves_pictures_of_the_models_size_as_they_are_where_it_is_told_to(student_folder):
    config = hub_config(read_student(student_folder()))["pretrained_cfg"]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    own = torch.from_numpy(centre_crop(Picture(picture, 16, 16), 16).copy())[None]
    transform = timm.data.create_transform(**timm.data.resolve_data_config({"crop_pct": 1.0}, config))
    assert torch.equal(transform(picture)[None], vit.normalise(own, (0.5, 0.4, 0.6), (0.25, 0.3, 0.2)))


# What is left behind


@pytest.mark.parametrize("form", WRITERS)
def test_a_form_that_differs_is_refused_and_leaves_nothing(form, student_folder, tmp_path, monkeypatch):
    student = read_student(student_folder())
    monkeypatch.setattr(module, "LIMIT", -1.0)
    with pytest.raises(BadInput, match=f"its {form} form gives other features"):
        export(student, tmp_path / "a" / "out", [form])
    assert not (tmp_path / "a").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
