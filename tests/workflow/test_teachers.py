"""A teacher of timm's through Snakemake: fetched from a file, and what its weights decide."""

from __future__ import annotations

import hashlib
import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tests.workflow.conftest import Place


@pytest.fixture
def config(smoke_config):
    """One run with timm's smallest model, at another size than its own."""
    smoke_config["teachers"] = {"tiny": {"label": "Tiny", "timm": "test_vit", "weights": "model", "img_size": 32}}
    runs = {"teacher": ["tiny"], "method": ["wecolora"], "r": [2], "k": [4], "alpha": [20]}
    smoke_config["artifacts"] = {
        "table3": {**smoke_config["artifacts"]["table3"], "runs": runs, "datasets": ["digits"]}
    }
    return smoke_config


@pytest.fixture
def place(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "model" / "model.safetensors")
    return Place(tmp_path)


@pytest.mark.long
def test_a_teacher_is_fetched_used_and_known_by_its_weights(config, place):
    run = place.snakemake(config)
    assert run.returncode == 0, run.stdout[-5000:]
    root = place.folder / "results" / "smoke"
    weights = root / "teachers/tiny/weights.safetensors"
    assert load_file(weights)["pos_embed"].shape == (1, 5, 64)
    slug = "runs/tiny/wecolora_r2_k4_a20_s0"
    score = json.loads((root / slug / "scores/digits.json").read_text())
    assert score["teacher_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    student = timm.create_model("test_vit", depth=3, img_size=32, num_classes=0)
    student.load_state_dict(load_file(root / slug / "student.safetensors"), strict=True)
    log = (root / "logs/fetch_teacher/tiny.log").read_text()
    assert "test_vit.r160_in1k: from model/model.safetensors, sha256" in log
    # What was filled in is written out, and means the same when it is read again.
    assert place.planned(config) == place.planned(json.loads((root / "config.yaml").read_text())) == {}
    # Other weights under the same name: all that follows from them is made again.
    state = load_file(place.folder / "model" / "model.safetensors")
    state["norm.bias"] += 1
    save_file(state, place.folder / "model" / "model.safetensors")
    planned = place.planned(config)
    assert {"fetch_teacher", "cache_teacher", "distill", "features_all", "probe_all"} <= planned.keys()
    assert "prepare" not in planned and "subset" not in planned


def test_weights_that_hold_code_stop_the_campaign_with_one_line(config, place):
    (place.folder / "model" / "model.safetensors").unlink()
    torch.save({"model": torch.nn.Linear(2, 2)}, place.folder / "model" / "mine.pth")
    run = place.snakemake(config)
    assert run.returncode != 0
    (line,) = {line for line in run.stdout.splitlines() if "ERROR: model/mine.pth" in line}
    assert "cannot be read as weights" in line and "a pickle that holds code is never run" in line


def test_a_folder_without_weights_is_told_before_anything_runs(config, place):
    (place.folder / "model" / "model.safetensors").unlink()
    run = place.snakemake(config)
    assert run.returncode != 0 and "model: has no file that ends in .safetensors" in run.stdout
    assert "Traceback" not in run.stdout and not (place.folder / "results").exists()
