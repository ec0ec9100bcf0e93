"""Teachers of timm's: weights from the hub's cache and from files, as other projects write them, and files that are
refused."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from wecolora.config.recipes import FetchRecipe
from wecolora.config.teachers import Teacher
from wecolora.config.timm_catalogue import weights_file
from wecolora.core.errors import BadInput
from wecolora.core.files import sha256
from wecolora.models import fetch, vit
from wecolora.models.fetch import fetched, read_state
from workflow_scripts.fetch_teacher import main

SMALL = "test_vit.r160_in1k"  # timm's own for tests: 6 blocks of width 64
REPOSITORY = Path(__file__).parents[3]


def recipe(name, **changes):
    teacher = Teacher(label="T", timm=name, **changes)
    return FetchRecipe(timm=teacher.timm, architecture=teacher.architecture, revision=1)


def perturbed(name, **arguments):
    """timm's model with random weights, no two alike."""
    torch.manual_seed(0)
    model = timm.create_model(name, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1 if parameter.ndim == 1 else 0, 0.05)
    return model


@pytest.fixture
def model():
    return perturbed(SMALL)


def images(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def agree(found, wanted, size):
    pixels = images(size)
    assert torch.equal(found.eval()(pixels), wanted(pixels))


# What is read


@pytest.mark.parametrize("prefix", ["teacher.", "backbone.", "student.module.backbone.", "model.", "net.encoder."])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_model_under_a_prefix_is_found(model, tmp_path, caplog, prefix, name):
    state = {prefix + key: value for key, value in model.state_dict().items()}
    state["projection.weight"] = torch.zeros(3)
    (save_file if name.endswith("tensors") else torch.save)(state, tmp_path / name)
    with caplog.at_level("INFO", "wecolora"):
        agree(fetched(recipe(SMALL), tmp_path / name), model, 160)
    assert f"under {prefix}" in caplog.text and "1 tensors" in caplog.text and "projection.weight" in caplog.text


def test_a_model_in_a_dictionary_of_its_own_is_found(model, tmp_path):
    torch.save({"epoch": 3, "teacher": {"backbone": model.state_dict(), "steps": 7}}, tmp_path / "w.pth")
    agree(fetched(recipe(SMALL), tmp_path / "w.pth"), model, 160)


@pytest.mark.parametrize("nested", [True, False])
def test_of_several_models_none_is_guessed(model, tmp_path, nested):
    state = model.state_dict()
    both = {"teacher": state, "student": state}
    flat = {f"{who}.{key}": value for who, values in both.items() for key, value in values.items()}
    torch.save(both if nested else flat, tmp_path / "w.pth")
    with pytest.raises(BadInput, match=re.escape("holds 2 models, under student. and teacher.; save the")):
        read_state(tmp_path / "w.pth")


def test_where_names_are_missing_those_that_are_there_are_told(model, tmp_path):
    state = {f"vit.{key}".replace("patch_embed", "embeddings"): value for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=r'Missing key.*"cls_token" and more; Unexpected key.*"vit\.'):
        fetched(recipe(SMALL), tmp_path / "w.safetensors")


def test_a_safetensors_file_of_timms_names_comes_back_bit_by_bit_with_its_head(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = fetched(recipe(SMALL), tmp_path / "w.safetensors")
    assert found.num_classes == 1000
    agree(found, model, 160)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_training_scripts_checkpoint_is_unwrapped(model, tmp_path, wrapper, prefix):
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    agree(fetched(recipe(SMALL), tmp_path / "w.pth"), model, 160)


def test_weights_in_half_precision_are_read_in_full(model, tmp_path):
    save_file({key: value.half() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    found = fetched(recipe(SMALL), tmp_path / "w.safetensors")
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}


def test_a_head_is_the_files_whatever_the_tag_says(model, tmp_path):
    state = model.state_dict()
    headless = {key: value for key, value in state.items() if not key.startswith("head.")}
    save_file(headless, tmp_path / "headless.safetensors")
    assert fetched(recipe(SMALL), tmp_path / "headless.safetensors").num_classes == 0
    five = {"head.weight": torch.zeros(5, 64), "head.bias": torch.zeros(5)}
    save_file({**headless, **five}, tmp_path / "five.safetensors")
    assert fetched(recipe(SMALL), tmp_path / "five.safetensors").num_classes == 5


def test_a_masked_autoencoder_comes_without_its_decoder(model, tmp_path):
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}
    decoder = {
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_embed.weight": torch.zeros(8, 64),
        "decoder_pos_embed": torch.zeros(3),
    }
    torch.save({"model": {**state, **decoder}}, tmp_path / "mae.pth")
    found = fetched(recipe(SMALL), tmp_path / "mae.pth")
    assert all(torch.equal(value, state[key]) for key, value in found.state_dict().items())


def test_dinov2s_own_names_are_converted_and_positions_resampled(tmp_path):
    name = "vit_small_patch14_reg4_dinov2"
    model = perturbed(name, num_classes=0, img_size=56)
    state = model.state_dict()
    registers, cls, positions = (state.pop(key) for key in ("reg_token", "cls_token", "pos_embed"))
    offset = torch.full_like(cls, 0.25)
    raw = {**state, "register_tokens": registers, "mask_token": torch.zeros(1, 384), "cls_token": cls - offset}
    torch.save({**raw, "pos_embed": torch.cat([offset, positions], 1)}, tmp_path / "dinov2.pth")
    found = fetched(recipe(name, img_size=56), tmp_path / "dinov2.pth").eval()
    with torch.no_grad():
        torch.testing.assert_close(found(images(56)), model(images(56)), rtol=0, atol=1e-5)
    larger = fetched(recipe(name, img_size=112), tmp_path / "dinov2.pth")
    assert larger.pos_embed.shape == (1, 64, 384)


@pytest.mark.parametrize("size", [80, 160, 224])
def test_another_size_is_timms_own_resampling(model, tmp_path, size):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = fetched(recipe(SMALL, img_size=size), tmp_path / "w.safetensors")
    overlay = {"file": str(tmp_path / "w.safetensors"), "custom_load": False}
    wanted = timm.create_model(SMALL, pretrained=True, pretrained_cfg_overlay=overlay, img_size=size).eval()
    assert found.pos_embed.shape == (1, (size // 16) ** 2 + 1, 64)
    agree(found, wanted, size)


def test_pooling_the_patches_keeps_the_norm_of_the_weights(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = fetched(recipe(SMALL, global_pool="avg"), tmp_path / "w.safetensors").eval()
    with torch.no_grad():
        wanted = model.forward_features(images(160))[:, 1:].mean(1)
        torch.testing.assert_close(found.forward_head(found.forward_features(images(160)), pre_logits=True), wanted)


# What is refused


class Dangerous:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_holds_code_is_never_run(model, tmp_path):
    for name, write in (("w.pth", torch.save), ("w.bin", lambda what, path: path.write_bytes(pickle.dumps(what, 2)))):
        write({"model": model.state_dict(), "more": Dangerous(tmp_path / "ran")}, tmp_path / name)
        with pytest.raises(BadInput, match=f"{name}: cannot be read as weights .*never run") as caught:
            read_state(tmp_path / name)
        assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_is_not_whole_is_refused(model, tmp_path, name):
    path = tmp_path / name
    with pytest.raises(BadInput, match=rf"{name}: cannot be read \(No such file or directory\)"):
        read_state(path)
    (save_file if name.endswith("tensors") else torch.save)(model.state_dict(), path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=f"{name}: cannot be read as weights"):
            read_state(path)


def test_weights_of_another_model_are_refused(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BadInput) as caught:
        fetched(recipe("vit_tiny_patch16_224"), tmp_path / "w.safetensors")
    assert str(caught.value) == (
        f"{tmp_path / 'w.safetensors'}: does not fit timm's vit_tiny_patch16_224.augreg_in21k_ft_in1k: Missing key(s) "
        'in state_dict: "blocks.6.norm1.weight" and more; give that model\'s weights.'
    )


def test_weights_that_lack_a_name_or_have_another_are_refused_where_timm_would_forgive_it(tmp_path):
    name = "vit_base_patch32_siglip_256"
    state = timm.create_model(name, img_size=64).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert fetched(recipe(name, img_size=64, global_pool="avg"), tmp_path / "w.safetensors").attn_pool is None
    save_file({**state, "blocks.3.more": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=r"has a blocks\.3\.more"):
        fetched(recipe(name, img_size=64, global_pool="avg"), tmp_path / "w.safetensors")
    del state["blocks.3.norm1.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=r"has no blocks\.3\.norm1\.weight"):
        fetched(recipe(name, img_size=64, global_pool="avg"), tmp_path / "w.safetensors")


@pytest.mark.parametrize("state", [{}, {"state_dict": {}, "epoch": 3}, {"model": {}, "n": [1]}, "decoder"])
def test_a_file_without_weights_never_gives_the_hubs(tmp_path, monkeypatch, state):
    """timm takes the hub's where it is given none."""
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: pytest.fail("asked the hub"))
    decoder = {"decoder_embed.weight": torch.zeros(8, 64), "decoder_pred.bias": torch.zeros(3)}
    torch.save({"model": decoder} if state == "decoder" else state, tmp_path / "w.pth")
    with pytest.raises(BadInput, match=r"w\.pth: holds no weights of a model; give a file with the state_dict"):
        fetched(recipe(SMALL), tmp_path / "w.pth")
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="holds no weights of a model"):
        fetched(recipe(SMALL), tmp_path / "w.safetensors")


def test_timm_is_given_no_address_of_other_weights(model, tmp_path, monkeypatch):
    """Even where read_state let nothing through."""
    for name in ("load_state_dict_from_hf", "load_state_dict_from_url", "load_state_dict"):
        monkeypatch.setattr(f"timm.models._builder.{name}", lambda *_, **__: pytest.fail("looked elsewhere"))
    monkeypatch.setattr(fetch, "read_state", lambda path: {})
    with pytest.raises(BadInput, match="No pretrained weights exist"):
        fetched(recipe(SMALL), "w.pth")
    monkeypatch.undo()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    about = fetched(recipe(SMALL), tmp_path / "w.safetensors").pretrained_cfg
    assert not any(about.get(key) for key in ("hf_hub_id", "url", "file", "source"))


@pytest.mark.parametrize(
    ("taken", "other"),
    [("model_ema", "model"), ("state_dict_ema", "state_dict"), ("state_dict", "model"), ("model", "ema")],
)
def test_of_two_parts_with_weights_the_log_says_which_is_taken(model, tmp_path, caplog, taken, other):
    state = model.state_dict()
    torch.save({other: {key: 2 * value for key, value in state.items()}, taken: state}, tmp_path / "w.pth")
    agree(fetched(recipe(SMALL), tmp_path / "w.pth"), model, 160)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "wecolora"]
    assert f"the weights under {taken} are taken, not those under {other}" in line and "save them alone" in line


def test_one_part_with_weights_is_taken_without_a_word(model, tmp_path, caplog):
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1}]}
    torch.save({"model": model.state_dict(), "model_ema": None, "optimizer": optimizer}, tmp_path / "w.pth")
    agree(fetched(recipe(SMALL), tmp_path / "w.pth"), model, 160)
    assert not [record for record in caplog.records if record.name == "wecolora"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("first", [True, False])
def test_two_models_whose_names_become_one_are_refused(model, tmp_path, prefix, first):
    plain = model.state_dict()
    wrapped = {prefix + key: 2 * value for key, value in plain.items()}
    save_file({**plain, **wrapped}, tmp_path / "w.safetensors")
    torch.save({**plain, **wrapped} if first else {**wrapped, **plain}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        with pytest.raises(BadInput, match="the same weight of two models; save the weights of one") as caught:
            read_state(tmp_path / name)
        assert re.search(rf" {re.escape(prefix)}(\S+) and \1,| (\S+) and {re.escape(prefix)}\2,", str(caught.value))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["norm.bias", "pos_embed", "blocks.0.attn.qkv.weight"])
def test_weights_that_are_no_floating_point_numbers_are_refused(model, tmp_path, dtype, name):
    state = model.state_dict()
    torch.save({**state, name: state[name].to(dtype)}, tmp_path / "w.pth")
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(BadInput, match=rf"w\.pth: {re.escape(name)} is of {kind}, not of floating-point numbers; give"):
        fetched(recipe(SMALL), tmp_path / "w.pth")


def test_quantised_and_sparse_weights_and_those_without_values_are_refused(model, tmp_path):
    name = "blocks.0.attn.qkv.weight"
    weight = model.state_dict()[name]
    kinds = {
        "is of qint8": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
        "is sparse": weight.to_sparse(),
        "is sparse, or without its values": weight.to("meta"),
    }
    for words, tensor in kinds.items():
        torch.save({**model.state_dict(), name: tensor}, tmp_path / "w.pth")
        with pytest.raises(BadInput, match=f"{re.escape(name)} {words}"):
            fetched(recipe(SMALL), tmp_path / "w.pth")


def test_whole_numbers_beside_a_model_of_clips_names_are_left_out(tmp_path, caplog):
    """As OpenAI's files have them."""
    name = "vit_base_patch32_clip_224.openai"
    state = clips_names(perturbed("vit_base_patch32_clip_224", num_classes=512))
    state |= {"input_resolution": torch.tensor(224), "text.ids": torch.arange(77)[None]}
    torch.save(state, tmp_path / "w.pth")
    found = fetched(recipe(name), tmp_path / "w.pth").state_dict()
    assert torch.equal(found["blocks.3.attn.qkv.weight"], state["visual.transformer.resblocks.3.attn.in_proj_weight"])
    assert not [record for record in caplog.records if record.name == "wecolora"]
    state["visual.transformer.resblocks.3.attn.in_proj_weight"] = torch.ones(2304, 768, dtype=torch.int8)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BadInput, match=r"resblocks\.3\.attn\.in_proj_weight is of int8"):
        fetched(recipe(name), tmp_path / "w.pth")
    state["visual.conv1.weight"] = torch.zeros(768, 3, 16, 16)
    state["visual.transformer.resblocks.3.attn.in_proj_weight"] = torch.ones(2304, 768)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="its patches are of 16 x 16 pixels, not 32 x 32"):
        fetched(recipe(name), tmp_path / "w.pth")


def clips_names(model):
    """Its weights under OpenAI's names."""
    swaps = [
        ("patch_embed.proj", "conv1"), ("norm_pre", "ln_pre"), ("blocks.", "transformer.resblocks."),
        (".norm", ".ln_"), ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("cls_token", "class_embedding"),
        ("pos_embed", "positional_embedding"), ("head.weight", "proj"),
    ]  # fmt: skip
    found = {}
    for name, tensor in model.state_dict().items():
        name = re.sub("^norm[.]", "ln_post.", name)
        for old, new in swaps:
            name = name.replace(old, new)
        if name != "head.bias":
            found[f"visual.{name}"] = tensor
    found["visual.proj"] = found["visual.proj"].T.contiguous()
    for name in ("class_embedding", "positional_embedding"):
        found[f"visual.{name}"] = found[f"visual.{name}"].squeeze()
    return found


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_no_numbers_are_refused_under_the_sources_name(model, tmp_path, value):
    state = model.state_dict()
    state["blocks.2.norm1.bias"][5] = value
    save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(BadInput, match=r"mine\.safetensors: blocks\.2\.norm1\.bias holds values that are no numbers"):
        main(
            source=[str(tmp_path / "mine.safetensors")],
            weights=tmp_path / "out" / "weights.safetensors",
            recipe=recipe(SMALL).canonical(),
            threads=1,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_patches_of_another_size_are_refused(model, tmp_path, size, prefix):
    state = {**model.state_dict(), "patch_embed.proj.weight": torch.ones(64, 3, size, size)}
    save_file({prefix + key: value for key, value in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput) as caught:
        fetched(recipe(SMALL), tmp_path / "w.safetensors")
    assert str(caught.value) == (
        f"{tmp_path / 'w.safetensors'}: does not fit timm's {SMALL}: its patches are of {size} x {size} pixels, not "
        "16 x 16; give that model's weights."
    )


def test_a_flat_kernel_of_the_same_patches_is_timms_to_convert(model, tmp_path):
    state = model.state_dict()
    flat = state["patch_embed.proj.weight"].flatten(1)
    save_file({**state, "patch_embed.proj.weight": flat}, tmp_path / "w.safetensors")
    agree(fetched(recipe(SMALL), tmp_path / "w.safetensors"), model, 160)


def test_positions_of_another_size_are_told_where_the_config_gives_none(tmp_path, caplog):
    save_file(perturbed(SMALL, img_size=224).state_dict(), tmp_path / "w.safetensors")
    fetched(recipe(SMALL), tmp_path / "w.safetensors")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "wecolora"]
    assert "14 x 14 patches, and are resampled to the 10 x 10" in line and "give `img_size: 224`" in line
    caplog.clear()
    fetched(recipe(SMALL, img_size=224), tmp_path / "w.safetensors")
    fetched(recipe(SMALL, img_size=96), tmp_path / "w.safetensors")
    save_file(perturbed(SMALL).state_dict() | {"pos_embed": torch.ones(1, 43, 64)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="does not fit timm's"):  # 6 x 7 patches, which timm cannot resample
        fetched(recipe(SMALL), tmp_path / "w.safetensors")
    assert not [record for record in caplog.records if record.name == "wecolora"]


def test_adapters_are_refused_alone_and_beside_the_weights(model, tmp_path):
    lora = {
        f"base_model.model.blocks.0.attn.qkv.lora_{part}.weight": torch.zeros(shape)
        for part, shape in (("A", (4, 64)), ("B", (192, 4)))
    }
    whole = {f"base_model.model.{key}": value for key, value in model.state_dict().items()}
    scaled = {"base_model.model.blocks.0.mlp.ia3_l": torch.zeros(1)}
    for state, words in ((lora, "alone"), (scaled, "alone"), ({**whole, **lora}, "beside the weights")):
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(BadInput, match=rf"holds adapters {words} \(base_model\..*; merge them into their model"):
            read_state(tmp_path / "w.safetensors")
    save_file(whole, tmp_path / "w.safetensors")
    agree(fetched(recipe(SMALL), tmp_path / "w.safetensors"), model, 160)


@pytest.mark.parametrize(
    ("project", "names"),
    [
        ("transformers", ["vit.embeddings.cls_token", "vit.encoder.layer.0.attention.attention.query.weight"]),
        ("transformers", ["embeddings.patch_embeddings.projection.weight", "embeddings.cls_token"]),
        ("transformers", ["vision_model.embeddings.patch_embedding.weight"]),
        ("torchvision", ["class_token", "conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"]),
    ],
)
def test_names_of_another_project_are_named_as_such(tmp_path, project, names):
    save_file({name: torch.zeros(3) for name in names}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=f"names its weights as {project} does, such as .*give timm's file"):
        fetched(recipe(SMALL), tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_lies_in_the_place_of_weights_is_named(tmp_path, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(BadInput, match=f"{name}: is a Git LFS pointer in the place of the weights; run `git lfs pull`"):
        read_state(tmp_path / name)
    for page in ("<!DOCTYPE html>\n<html>404</html>", "\n<HTML>", "<?xml version='1.0'?><Error>"):
        (tmp_path / name).write_text(page)
        with pytest.raises(BadInput, match=f"{name}: is an HTML page in the place of the weights: their download"):
            read_state(tmp_path / name)


def test_what_holds_no_names_is_told_by_its_kind(model, tmp_path):
    for what, kind in (([model.state_dict()], "list"), (torch.zeros(3), "Tensor"), (7, "int")):
        torch.save(what, tmp_path / "w.pth")
        with pytest.raises(BadInput, match=f"w.pth: holds a {kind}, not weights by name; save the model's state_dict"):
            read_state(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of damaged numbers
def test_a_damaged_pickle_is_one_sentence(tmp_path):
    """Of these, some are KeyError, IndexError, struct.error or AssertionError to torch."""
    torch.save({"model": {"a": torch.zeros(5)}, "epoch": 3}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    whole, random = (tmp_path / "w.pth").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "w.pth").write_bytes(damaged)
        try:
            read_state(tmp_path / "w.pth")
        except BadInput as error:
            refused += 1
            assert len(str(error)) < 400 and "\n" not in str(error)
    assert refused > 100


@pytest.mark.parametrize("name", ["last.ckpt", "W.PTH", "W.SafeTensors"])
def test_a_suffix_of_another_case_and_lightnings_are_read(model, tmp_path, name):
    state = model.state_dict()
    if name == "last.ckpt":
        torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, tmp_path / name)
    else:
        (torch.save if name == "W.PTH" else save_file)(state, tmp_path / name)
    agree(fetched(recipe(SMALL), weights_file(str(tmp_path / name))), model, 160)


def test_a_head_of_no_shape_is_refused(model, tmp_path):
    save_file({**model.state_dict(), "head.weight": torch.tensor(1.0)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="does not fit timm's"):
        fetched(recipe(SMALL), tmp_path / "w.safetensors")


# The job


def test_the_job_writes_what_the_other_jobs_read_and_says_where_it_is_from(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    wanted = recipe(SMALL, img_size=96)
    arguments = {"source": [str(tmp_path / "w.safetensors")], "recipe": wanted.canonical(), "threads": 1}
    main(weights=tmp_path / "out" / "weights.safetensors", **arguments)
    about = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert about["source"] == str(tmp_path / "w.safetensors") and about["classes"] == 1000
    assert about["source_sha256"] == sha256(tmp_path / "w.safetensors")
    assert about["recipe"]["timm"] == SMALL and about["recipe"]["architecture"]["img_size"] == 96
    teacher = vit.load(wanted.architecture.model_dump(), tmp_path / "out" / "weights.safetensors", head=True)
    agree(teacher, fetched(wanted, tmp_path / "w.safetensors").eval(), 96)
    main(weights=tmp_path / "again" / "weights.safetensors", **arguments)
    assert sha256(tmp_path / "again" / "weights.safetensors") == sha256(tmp_path / "out" / "weights.safetensors")


def job(tmp_path, **environment):
    """The job without a source, in a process of its own: huggingface_hub reads its environment once."""
    code = (
        "import sys; from wecolora.core import job; from workflow_scripts.fetch_teacher import main\n"
        "with job.running(sys.argv[1] + '/log'):\n"
        "    main(source=[], weights=sys.argv[1] + '/out/weights.safetensors', recipe=sys.argv[2], threads=1)"
    )
    hub = {"HF_HOME": str(tmp_path / "hub home"), "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), recipe(SMALL).canonical()],
        env={**os.environ, **hub, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_the_hubs_cache_is_enough_when_offline(model, tmp_path, file):
    folder = tmp_path / "hub home" / "hub" / f"models--timm--{SMALL}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd" * 5)
    snapshot = folder / "snapshots" / ("0123abcd" * 5)
    snapshot.mkdir(parents=True)
    (save_file if file.endswith("tensors") else torch.save)(model.state_dict(), snapshot / file)
    done = job(tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out" / "weights.safetensors")
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    about = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert about["source"] == "hub" and about["source_sha256"] == sha256(snapshot / file)
    assert f"from {snapshot / file}, sha256 {about['source_sha256']}" in (tmp_path / "log").read_text()


def test_a_failed_download_is_one_sentence_that_says_what_to_do(tmp_path):
    done = job(tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "Traceback" not in done.stderr
    assert f"HF_HUB_OFFLINE is set; timm/{SMALL} is not in the hub's cache, {tmp_path / 'hub home' / 'hub'}" in line
    assert f"run `hf download timm/{SMALL}`" in line and "the teacher's `weights`" in line


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    asked = []

    def download_one(repository, file, *, local_files_only, **_):
        asked.append((repository, file, local_files_only))
        raise LocalEntryNotFoundError("No connection.\nMore.")

    monkeypatch.setattr(fetch, "hf_hub_download", download_one)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(BadInput, match=r"cannot be downloaded \(No connection\); run") as caught:
        fetch.download(SMALL)
    assert asked == [(f"timm/{SMALL}", "model.safetensors", False), (f"timm/{SMALL}", "pytorch_model.bin", True)]
    assert "HF_HUB_OFFLINE is set" not in str(caught.value)
