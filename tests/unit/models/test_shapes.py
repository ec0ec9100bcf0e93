"""The architecture of a file of weights: from its shapes alone, and with the JSON file beside it."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import lookup
from wecolora.core.errors import BadInput
from wecolora.models import vit
from wecolora.models.shapes import describe

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 3, "num_heads": 2}


def saved(path, architecture, **changes):
    """Save a model with random weights, and return its architecture."""
    shape = Architecture(**{**architecture, **changes})
    save_file({name: tensor.clone() for name, tensor in vit.build(shape.model_dump()).state_dict().items()}, path)
    return shape


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_size": 16, "depth": 5},
        {"mlp_ratio": 2.5},
        {"class_token": False, "global_pool": "avg", "fc_norm": True},
        {"global_pool": "avg", "fc_norm": True},
        {"reg_tokens": 4},
        {"reg_tokens": 4, "no_embed_class": True},
        {"no_embed_class": True},
        {"pre_norm": True},
        {"qkv_bias": False},
        {"init_values": 1e-5},
        {"scale_attn_norm": True, "scale_mlp_norm": True},
        {"norm_layer": "rmsnorm"},
    ],
    ids=str,
)
def test_shapes_tell_all_that_changes_a_shape(tmp_path, changes):
    wanted = saved(tmp_path / "m.safetensors", SMALL, **changes)
    found = describe(tmp_path / "m.safetensors")
    assert found.architecture == wanted and found.source == "its shapes" and found.statistics == {}
    vit.load(found.architecture.model_dump(), tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "deit3_small_patch16_224.fb_in1k",
    ],
)
def test_of_timms_own_models_the_shapes_tell_what_its_table_says(tmp_path, name):
    model = timm.create_model(name, pretrained=False)
    path = tmp_path / "m.safetensors"
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, path)
    known = Architecture(**lookup(name).architecture)
    told = {"norm_eps", "act_layer", "init_values"}  # which no shape tells
    assert describe(path).architecture.model_dump(exclude=told) == known.model_dump(exclude=told)


def test_heads_are_of_64_where_nobody_says_otherwise(tmp_path):
    path = tmp_path / "m.safetensors"
    saved(path, SMALL, num_heads=4)
    assert describe(path).architecture.num_heads == 2
    assert describe(path, heads=4).architecture.num_heads == 4


@pytest.mark.parametrize(("width", "heads", "said"), [(96, None, "give --heads"), (128, 3, "must divide")])
def test_heads_that_do_not_divide_the_width_are_refused(tmp_path, width, heads, said):
    path = tmp_path / "m.safetensors"
    saved(path, SMALL, embed_dim=width, num_heads=1)
    with pytest.raises(BadInput, match=said):
        describe(path, heads)


def test_a_record_of_this_project_tells_heads_and_statistics(tmp_path):
    """A student's record tells its teacher's depth; its own stands in its file."""
    path = tmp_path / "student.safetensors"
    student = saved(path, SMALL, num_heads=4)
    recipe = {"architecture": {**student.model_dump(), "depth": 6}, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    path.with_suffix(".json").write_text(json.dumps({"recipe": recipe}))
    found = describe(path)
    assert found.architecture == student and found.source == str(path.with_suffix(".json"))
    assert found.statistics == {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def test_timms_config_tells_what_no_shape_does(tmp_path):
    name = "vit_base_patch32_clip_224"
    model = timm.create_model(name, depth=2, num_classes=0)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    config = {
        "architecture": name,
        "model_args": {"depth": 2},
        "pretrained_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = describe(tmp_path / "model.safetensors")
    assert found.architecture.norm_eps == 1e-5 and found.architecture.pre_norm and found.architecture.depth == 2
    assert found.statistics["mean"] == [0.48, 0.46, 0.41]
    images = torch.randn(2, 3, 224, 224)
    own = vit.load(found.architecture.model_dump(), tmp_path / "model.safetensors")
    torch.testing.assert_close(vit.pooled(own, images), model.eval()(images))


def test_a_json_file_that_says_something_else_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    shape = saved(path, SMALL)
    path.with_suffix(".json").write_text(json.dumps({"architecture": {**shape.model_dump(), "patch_size": 16}}))
    with pytest.raises(BadInput, match=r"m\.json: says patch_size = 16, and .* has 8"):
        describe(path)


def test_a_json_file_of_something_else_is_none(tmp_path):
    path = tmp_path / "m.safetensors"
    shape = saved(path, SMALL)
    path.with_suffix(".json").write_text("[1, 2]")
    (tmp_path / "config.json").write_text("{}")
    assert describe(path).architecture == shape


def spoilt(path, change):
    saved(path, SMALL)
    from safetensors.torch import load_file

    state = load_file(path)
    change(state)
    save_file(state, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("pos_embed"), "has no pos_embed, so it is no plain VisionTransformer"),
        (lambda state: state.update(pos_embed=torch.zeros(1, 14, 128)), "14 positions are no square"),
        (lambda state: state.update(dist_token=torch.zeros(1, 1, 128)), "a student of DeiT or MiniViT"),
    ],
)
def test_no_plain_vision_transformer_is_refused(tmp_path, change, said):
    spoilt(tmp_path / "m.safetensors", change)
    with pytest.raises(BadInput, match=said):
        describe(tmp_path / "m.safetensors")


@pytest.mark.parametrize("text", [None, "no weights"])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    if text:
        (tmp_path / "m.safetensors").write_text(text)
    with pytest.raises(BadInput, match=r"m\.safetensors"):
        describe(tmp_path / "m.safetensors")
