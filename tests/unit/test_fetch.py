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

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from wecolora import fetch, vit
from wecolora.errors import BadInput
from wecolora.fetch import fetched, read_state
from wecolora.recipes import FetchRecipe, Teacher
from workflow_scripts.fetch_teacher import main

SMALL = "test_vit.r160_in1k"  # timm's own for tests: 6 blocks of width 64
REPOSITORY = Path(__file__).parents[2]


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


def test_weights_that_lack_a_block_are_refused_where_timm_would_forgive_it(tmp_path):
    name = "vit_base_patch32_siglip_256"
    state = timm.create_model(name, img_size=64).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    assert fetched(recipe(name, img_size=64, global_pool="avg"), tmp_path / "w.safetensors").attn_pool is None
    del state["blocks.3.norm1.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=r"has no blocks\.3\.norm1\.weight"):
        fetched(recipe(name, img_size=64, global_pool="avg"), tmp_path / "w.safetensors")


# The job


def test_the_job_writes_what_the_other_jobs_read_and_says_where_it_is_from(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    wanted = recipe(SMALL, img_size=96)
    arguments = {"source": [str(tmp_path / "w.safetensors")], "recipe": wanted.canonical(), "threads": 1}
    main(weights=tmp_path / "out" / "weights.safetensors", **arguments)
    about = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert about["source"] == str(tmp_path / "w.safetensors") and about["classes"] == 1000
    assert about["source_sha256"] == vit.sha256(tmp_path / "w.safetensors")
    assert about["recipe"]["timm"] == SMALL and about["recipe"]["architecture"]["img_size"] == 96
    teacher = vit.load(wanted.architecture.model_dump(), tmp_path / "out" / "weights.safetensors", head=True)
    agree(teacher, fetched(wanted, tmp_path / "w.safetensors").eval(), 96)
    main(weights=tmp_path / "again" / "weights.safetensors", **arguments)
    assert vit.sha256(tmp_path / "again" / "weights.safetensors") == vit.sha256(
        tmp_path / "out" / "weights.safetensors"
    )


def job(tmp_path, **environment):
    """The job without a source, in a process of its own: huggingface_hub reads its environment once."""
    code = (
        "import sys; from wecolora import runtime; from workflow_scripts.fetch_teacher import main\n"
        "with runtime.job(sys.argv[1] + '/log'):\n"
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
    assert about["source"] == "hub" and about["source_sha256"] == vit.sha256(snapshot / file)
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
