"""config/paper.yaml from the official layouts of its data sets to every artifact, with one command, in miniature.

Only roots, sizes and counts differ: a few images of each data set under the official file names, two small teachers
with random weights at 32 x 32 pixels, batches and epochs to match, one seed, alpha and r, two ranks, and of the methods
those that a stage treats in a way of its own, so that the whole grid is 14 runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from tests import layouts

REPOSITORY = Path(__file__).parents[2]
RANKS = {128: 8, 512: 32}
METHODS = ["weco_kd", "wecolora", "weco_lora_qv", "deit_hard", "minivit_depth", "dmae", "teacher"]
TEACHER = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
LAYOUTS = {
    "imagenet1k": layouts.imagenet_tars,
    "chestxray14": layouts.chestxray14_nih,
    "inat19": layouts.inat2019,
    "resisc45": layouts.resisc45,
    "cifar100": layouts.cifar100,
}


def miniature(folder: Path) -> dict:
    """The paper's config with roots, sizes and counts of its own; the data and the teachers' weights are written."""
    config = yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text())
    config |= {
        "seeds": [0],
        "distill": {**config["distill"], "epochs": 2, "warmup_epochs": 1, "batch": 2, "accumulate": 2},
    }
    config |= {
        "probe": {**config["probe"], "epochs": 3, "warmup_epochs": 1, "batch": 4},
        "probe_of": {"cifar100": {"epochs": 2}},
    }
    config["corpus"] |= {"views": 2, "shard_percent": 25}
    for number, entry in enumerate(config["teachers"].values()):
        torch.manual_seed(number)
        weights = folder / f"{number}.safetensors"
        save_file(timm.create_model(TEACHER, pretrained=False).state_dict(), weights)
        entry |= {"timm": TEACHER, "weights": str(weights), "img_size": 32}
    for name, entry in config["datasets"].items():
        LAYOUTS[name](folder / name)
        entry |= {"root": str(folder / name), "job": "all"}
    for artifact in config["artifacts"].values():
        if runs := artifact.get("runs"):
            methods = [method for method in runs["method"] if method in METHODS]
            ranks = [RANKS[k] for k in runs["k"] if k in RANKS]
            artifact["runs"] = {**runs, "method": methods, "r": [2], "alpha": [50], "k": ranks}
    return config


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """(results/paper after one command, its config)."""
    folder = tmp_path_factory.mktemp("paper")
    config = miniature(folder)
    (folder / "paper.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    run = subprocess.run(
        [*command, "--configfile", "paper.yaml"],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    return folder / "results/paper", config


def test_every_artifact_of_the_paper_is_there(paper):
    root, config = paper
    kinds = {"table": "tables/{}.tex", "claims": "claims/{}.md", "computation": "computation/{}_speed.csv"}
    for name, artifact in config["artifacts"].items():
        path = kinds.get(artifact["kind"], "figures/{}.pdf").format(name)
        assert (root / path).stat().st_size > 0, path
    assert (root / "report.html").stat().st_size > 0


def test_every_score_is_of_the_layouts_own_classes(paper):
    root, config = paper
    scores = pd.read_csv(root / "scores.csv")
    assert scores["last"].between(0, 100).all()
    for name, layout in LAYOUTS.items():
        report = json.loads((root / f"data/{name}/report.json").read_text())
        expected = layout(root / "again" / name)
        assert report["counts"]["classes"] == len(expected.classes) and report["unreadable"]["count"] == 0
        assert report["agrees"] is False  # a few images are not the published number
        score = json.loads((root / f"runs/vitb_sup/teacher/scores/{name}.json").read_text())
        assert score["classes"] == expected.classes
    assert config["datasets"].keys() == LAYOUTS.keys()


def test_nothing_is_published_for_another_alpha(paper):
    """The config says that teachers and data sets are the paper's; its tables have no alpha of 50 percent."""
    cells = pd.read_csv(paper[0] / "tables/table3.csv")
    assert len(cells) == 2 * 2 * 5 and cells["published"].isna().all()
