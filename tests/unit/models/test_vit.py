"""Vision transformers: files that load in timm alone, files that are refused, and tokens as timm computes them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import table
from wecolora.core.errors import BadInput
from wecolora.core.files import sha256
from wecolora.models import vit
from wecolora.models.lora import add_lora, merge
from wecolora.models.weight_copy import copy_weights


@pytest.fixture
def weights(tiny_teacher, tmp_path):
    path = tmp_path / "teacher.safetensors"
    vit.save_weights(tiny_teacher, path, {"teacher": "tiny"})
    return path


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_saved_weights_come_back_bit_by_bit_frozen_and_in_eval_mode(tiny_teacher, tiny_architecture, weights):
    model = vit.load(tiny_architecture, weights)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in tiny_teacher.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_metadata_is_a_json_file_beside_the_weights(weights):
    assert json.loads(weights.with_suffix(".json").read_text()) == {"teacher": "tiny"}
    assert {path.name for path in weights.parent.iterdir()} == {"teacher.safetensors", "teacher.json"}


def test_the_same_weights_give_the_same_bytes(tiny_teacher, tmp_path):
    for name in ("a", "b"):
        vit.save_weights(tiny_teacher, tmp_path / f"{name}.safetensors", {})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sha256(tmp_path / "a.safetensors") == sha256(tmp_path / "b.safetensors")


def test_weights_stored_in_half_precision_load_in_full(tiny_teacher, tiny_architecture, tmp_path):
    vit.save_weights(tiny_teacher, tmp_path / "half.safetensors", {}, dtype=torch.float16)
    model = vit.load(tiny_architecture, tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.norm.weight, tiny_teacher.norm.weight.half().float())


def test_a_merged_student_loads_in_timm_without_code_of_ours(tiny_teacher, tiny_architecture, images, tmp_path):
    student = add_lora(copy_weights(tiny_teacher, tiny_architecture, 2), 4)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if ".B." in name:
                parameter.normal_(std=0.1)
        wanted = student.eval()(images)
    vit.save_weights(merge(student), tmp_path / "student.safetensors", {})
    plain = VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0).eval()
    plain.load_state_dict(load_file(tmp_path / "student.safetensors"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), wanted, rtol=1e-4, atol=1e-5)
    student = vit.load_student(tiny_architecture, tmp_path / "student.safetensors")
    assert type(student) is VisionTransformer and len(student.blocks) == 2


@pytest.mark.parametrize("form", ["plain", "distilled", "transformed"])
@pytest.mark.parametrize("depth", [1, 12])
def test_a_student_loads_in_the_depth_and_form_of_its_file(tiny_architecture, images, tmp_path, form, depth):
    """Twelve, so that blocks 1, 10 and 11 are told apart."""
    model = vit.build(tiny_architecture, depth, form).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    vit.save_weights(model, tmp_path / "student.safetensors", {})
    found = vit.load_student(tiny_architecture, tmp_path / "student.safetensors")
    assert type(found) is type(model) and len(found.blocks) == depth
    assert [type(block.attn) for block in found.blocks] == [type(block.attn) for block in model.blocks]
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())
    with torch.no_grad():
        assert torch.equal(vit.pooled(found, images), vit.pooled(model, images))


def test_a_teacher_loads_as_the_student_that_it_is_when_probed(headed_teacher, tiny_architecture, images, tmp_path):
    vit.save_weights(headed_teacher, tmp_path / "teacher.safetensors", {})
    found = vit.load_student(tiny_architecture, tmp_path / "teacher.safetensors")
    with torch.no_grad():
        assert torch.equal(vit.pooled(found, images), headed_teacher.forward_features(images)[:, 0])


def test_the_forms_are_timms_classes_and_differ_in_what_the_method_adds(tiny_architecture):
    plain, distilled, transformed = (
        {name: tensor.shape for name, tensor in vit.build(tiny_architecture, 2, form).state_dict().items()}
        for form in ("plain", "distilled", "transformed")
    )
    assert type(vit.build(tiny_architecture, 2, "distilled")) is VisionTransformerDistilled
    assert distilled == {**plain, "dist_token": (1, 1, 32), "pos_embed": (1, 6, 32)}
    added = {f"blocks.{block}.attn.{name}.weight": (2, 2, 1, 1) for block in (0, 1) for name in ("before", "after")}
    assert transformed == {**plain, **added}


def test_a_distilled_student_keeps_its_norm_before_the_pooling(tiny_architecture, images):
    """timm's distilled head knows no norm after it; a teacher that has one there would leave its student none."""
    model = vit.build({**tiny_architecture, "fc_norm": True}, 2, "distilled").eval()
    with torch.no_grad():
        features = vit.pooled(model, images)
        tokens = vit.tokens_before_norm(model, images)
        normed = torch.nn.functional.layer_norm(tokens, (32,), eps=1e-6)
    torch.testing.assert_close(features, (normed[:, 0] + normed[:, 1]) / 2)


def test_a_stored_head_is_left_out_unless_asked_for(tiny_teacher, headed_teacher, tiny_architecture, images, tmp_path):
    vit.save_weights(headed_teacher, tmp_path / "head.safetensors", {})
    model = vit.load(tiny_architecture, tmp_path / "head.safetensors")
    assert model.state_dict().keys() == tiny_teacher.state_dict().keys()
    assert torch.equal(model.norm.bias, tiny_teacher.norm.bias)
    headed = vit.load(tiny_architecture, tmp_path / "head.safetensors", head=True)
    assert not headed.training and not any(parameter.requires_grad for parameter in headed.parameters())
    with torch.no_grad():
        assert torch.equal(headed(images), headed_teacher(images)) and headed(images).shape == (3, 5)


def test_a_file_without_a_head_gives_none_when_asked(tiny_architecture, weights):
    assert isinstance(vit.load(tiny_architecture, weights, head=True).head, torch.nn.Identity)


def test_a_head_without_its_bias_is_refused(headed_teacher, tiny_architecture, tmp_path):
    state = {name: tensor for name, tensor in headed_teacher.state_dict().items() if name != "head.bias"}
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(BadInput, match=r"half\.safetensors: does not fit the architecture .*head\.bias"):
        vit.load(tiny_architecture, tmp_path / "half.safetensors", head=True)


@pytest.fixture(params=[vit.load, vit.load_student], ids=["load", "load_student"])
def refused(request):
    def check(architecture, path, *words):
        with pytest.raises(BadInput) as caught:
            request.param(architecture, path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert all(word in message for word in words), message

    return check


def test_a_missing_file_is_refused_by_name(tiny_architecture, tmp_path, refused):
    refused(tiny_architecture, tmp_path / "none.safetensors", "cannot be read")


def test_a_truncated_file_is_refused_by_name(tiny_architecture, weights, refused):
    whole = weights.read_bytes()
    for length in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:length])
        refused(tiny_architecture, weights, "cannot be read", "whole file")


def test_a_file_of_another_kind_is_refused_by_name(tiny_architecture, tmp_path, refused):
    path = tmp_path / "photo.safetensors"
    path.write_bytes(np.random.default_rng(0).bytes(4000))
    refused(tiny_architecture, path, "cannot be read")
    refused(tiny_architecture, tmp_path, "cannot be read")


def test_a_stand_in_is_named(tiny_architecture, tmp_path, refused):
    path = tmp_path / "teacher.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n")
    refused(tiny_architecture, path, "is a Git LFS pointer", "run `git lfs pull`")
    path.write_text("<!DOCTYPE html><html>404</html>")
    refused(tiny_architecture, path, "is an HTML page", "download failed")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_weights_that_are_no_floating_point_numbers_are_refused(tiny_architecture, weights, refused, dtype):
    state = load_file(weights)
    save_file({**state, "norm.bias": state["norm.bias"].to(dtype)}, weights)
    refused(tiny_architecture, weights, f"norm.bias is of {str(dtype)[6:]}, not of floating-point numbers", "give the")


def test_no_model_has_buffers_that_are_whole_numbers():
    """So that whatever stands in a file of its weights is a floating-point number."""
    with torch.device("meta"):
        entries = [Architecture(**entry["architecture"]) for entry in table()["models"].values()]
        models = [vit.build({**architecture.model_dump(), "depth": 1}) for architecture in entries]
    assert len(models) == 150
    assert {tensor.dtype for model in models for tensor in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "word"),
    [({"depth": 5}, "blocks.4"), ({"depth": 3}, "blocks.3"), ({"embed_dim": 64}, "size mismatch")],
)
def test_weights_of_another_shape_are_refused_by_name(tiny_architecture, weights, change, word):
    with pytest.raises(BadInput, match=f"teacher.safetensors: does not fit the architecture .*{word}"):
        vit.load({**tiny_architecture, **change}, weights)


def test_a_student_of_another_width_is_refused_by_name(tiny_architecture, weights):
    with pytest.raises(BadInput, match=r"teacher\.safetensors: does not fit the architecture .*size mismatch"):
        vit.load_student({**tiny_architecture, "embed_dim": 64}, weights)


@pytest.mark.parametrize(("pool", "fc_norm"), [("token", False), ("avg", False), ("avg", True)])
def test_pooled_features_are_timms_forward_without_a_head(tiny_architecture, images, pool, fc_norm):
    torch.manual_seed(0)
    arguments = {**tiny_architecture, "global_pool": pool, "fc_norm": fc_norm}
    plain = VisionTransformer(**vit.timm_arguments(arguments)).eval()
    model = vit.build(arguments).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(1 if parameter.ndim == 1 else 0, 0.2)
        model.load_state_dict(plain.state_dict())
        wanted = plain(images)
        assert torch.equal(vit.pooled(model, images), wanted) and wanted.shape == (3, 32)


def test_tokens_before_the_norm_are_timms_tokens_once_normed(tiny_teacher, images):
    with torch.no_grad():
        tokens = vit.tokens_before_norm(tiny_teacher, images)
        assert tokens.shape == (3, 5, 32)
        assert torch.equal(tiny_teacher.norm(tokens), tiny_teacher.forward_features(images))
        assert not torch.allclose(tokens, tiny_teacher.norm(tokens), atol=0.1)


def test_what_enters_the_first_block_is_what_timm_gives_it(tiny_teacher, images):
    seen = []
    tiny_teacher.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        tiny_teacher(images)
        assert torch.equal(vit.embedded(tiny_teacher, images), seen[0])


def test_the_tokens_after_each_block_are_what_hooks_see(tiny_teacher, images):
    seen = []
    for block in tiny_teacher.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        tiny_teacher(images)
        found = vit.block_outputs(tiny_teacher, images, [1, 3])
    assert len(found) == 2 and torch.equal(found[0], seen[1]) and torch.equal(found[1], seen[3])


def test_normalising_moves_channels_first_and_scales_each_by_its_own_mean_and_deviation():
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    found = vit.normalise(torch.from_numpy(pixels), (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    wanted = (pixels / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.25, 2.0])
    assert found.shape == (2, 3, 4, 5) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), wanted.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
