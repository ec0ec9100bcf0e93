"""A small campaign through Snakemake for real: a method of each kind, two data sets, a teacher with random weights, and
an artifact of each kind."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

from wecolora.models import vit

REPOSITORY = Path(__file__).parents[2]
ARCHITECTURE = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
PAIR = {"teacher": ["tiny"], "method": ["weco_kd", "wecolora"], "r": [2], "k": [4], "alpha": [20]}
SMOKE = {
    "name": "smoke",
    "title": "Smoke",
    "corpus": {"dataset": "photos", "views": 2, "shard_percent": 20},
    "teachers": {
        "tiny": {
            "label": "Tiny",
            "stands_for": "vitb_sup",
            "weights": "tiny.safetensors",
            "architecture": ARCHITECTURE,
        }
    },
    "datasets": {
        "photos": {"label": "photos", "source": "bundled", "bundled": "photos", "train": 200, "test": 20},
        "digits": {
            "label": "digits",
            "stands_for": "cifar100",
            "source": "bundled",
            "bundled": "digits",
            "train": 100,
            "test": 50,
            "job": "all",
        },
        "tags": {"label": "tags", "source": "bundled", "bundled": "tags", "train": 100, "test": 50, "job": "all"},
    },
    "distill": {"epochs": 3, "warmup_epochs": 1, "batch": 10, "accumulate": 1, "lr": {2: 0.001}},
    "probe": {"epochs": 3, "warmup_epochs": 1, "batch": 32, "base_lr": 8},
    "artifacts": {
        "table3": {
            "kind": "table",
            "title": "Table 3",
            "caption": "A caption.",
            "rows": ["teacher", "r", "method"],
            "runs": {
                "teacher": ["tiny"],
                "method": ["deit_hard", "weco_kd", "wecolora", "teacher"],
                "r": [2],
                "k": [4],
                "alpha": [20],
            },
            "datasets": ["digits", "tags"],
        },
        "figure8": {
            "kind": "figure",
            "title": "Figure 8",
            "caption": "A caption.",
            "x": "alpha",
            "runs": {**PAIR},
            "datasets": ["digits"],
        },
        "figure2": {
            "kind": "latent",
            "title": "Figure 2",
            "caption": "A caption.",
            "runs": {**PAIR},
            "datasets": ["digits"],
        },
        "figure3": {
            "kind": "rollout",
            "title": "Figure 3",
            "caption": "A caption.",
            "runs": {**PAIR},
            "datasets": ["digits"],
            "images": 2,
        },
        "verdicts": {"kind": "claims", "title": "Verdicts", "caption": "A caption."},
        "computation_study": {"kind": "computation", "title": "Computation", "caption": "A caption.", "runs": {**PAIR}},
    },
}


@dataclass
class Place:
    """A working directory with its teacher; ``workflow`` is the checkout whose Snakefile runs there."""

    folder: Path
    workflow: Path = REPOSITORY

    def snakemake(
        self, config: dict | None, *arguments: str, environment: Mapping[str, str] = os.environ, python: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here on this config, or on config.yaml; output and error in ``stdout``."""
        command = [python or sys.executable, "-m", "snakemake", "--snakefile", str(self.workflow / "Snakefile")]
        command += ["--cores", "2", *arguments]
        if config is not None:
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            (self.folder / "smoke.yaml").write_text(text, encoding="utf-8")
            command += ["--configfile", "smoke.yaml"]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            encoding="utf-8",
            errors="backslashreplace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def planned(self, config: dict) -> dict[str, int]:
        """Jobs that a dry run announces, by rule."""
        run = self.snakemake(config, "--dry-run")
        assert run.returncode == 0, run.stdout
        if "Nothing to be done" in run.stdout:
            return {}
        stats = run.stdout.split("Job stats:")[1].split("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}


def new_place(folder: Path) -> Place:
    """A working directory with the smoke teacher, which has a head, the same bytes each time."""
    torch.manual_seed(0)
    vit.save_weights(vit.build({**ARCHITECTURE, "num_classes": 5}), folder / "tiny.safetensors", {})
    return Place(folder)


@pytest.fixture
def smoke_config() -> dict:
    return copy.deepcopy(SMOKE)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The smoke campaign after one real run: one for all of pytest's processes, each of which gets a copy."""
    run_folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # else its parent is that of all runs of pytest
        run_folder = run_folder.parent
    once = run_folder / "shared" / "finished"
    once.parent.mkdir(exist_ok=True)
    with FileLock(once.with_suffix(".lock")):
        if not once.exists():
            made = new_place(tmp_path_factory.mktemp("made"))
            run = made.snakemake(SMOKE)
            assert run.returncode == 0, run.stdout[-5000:]
            made.folder.rename(once)
    own = tmp_path_factory.mktemp("smoke") / "finished"
    shutil.copytree(once, own)
    return Place(own)


@pytest.fixture
def copied(finished: Place, tmp_path: Path) -> Place:
    """A copy of the finished campaign, and of the checkout, that a test may change."""
    folder = tmp_path / "smoke"
    shutil.copytree(finished.folder, folder)
    workflow = tmp_path / "checkout"
    for name in ("rules", "workflow_scripts", "wecolora", "profiles"):
        shutil.copytree(REPOSITORY / name, workflow / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Snakefile", workflow)
    return Place(folder, workflow)
