"""docs/own-method.md, word for word: its file and its config, from nothing to a row in a table and beyond."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, Place

PAGE = (REPOSITORY / "docs" / "own-method.md").read_text(encoding="utf-8")
RUNS = {"teacher": ["demo"], "method": ["weco_kd", "mine"], "r": [2], "alpha": [100]}
ABOUT = {"title": "A title", "caption": "A caption."}
OTHERS = {  # of the same runs
    "a_figure": {"kind": "figure", "x": "alpha", "datasets": ["digits"], "runs": RUNS, **ABOUT},
    "a_map": {"kind": "latent", "datasets": ["digits"], "runs": RUNS, **ABOUT},
    "a_rollout": {"kind": "rollout", "images": 2, "datasets": ["digits"], "runs": RUNS, **ABOUT},
    "a_study": {"kind": "computation", "runs": RUNS, **ABOUT},
    "the_verdicts": {"kind": "claims", **ABOUT},
}


def shown(language: str) -> str:
    """The one block of the page in this language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return block


@pytest.fixture(scope="module")
def config() -> dict:
    """The page's, and an artifact of each other kind."""
    values = yaml.safe_load(shown("yaml"))
    return {**values, "artifacts": {**values["artifacts"], **OTHERS}}


@pytest.fixture(scope="module")
def own(config: dict, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The campaign after one real run."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(REPOSITORY / "assets" / "teachers", folder / "assets" / "teachers")
    (folder / "my_method.py").write_text(shown("python"), encoding="utf-8")
    place = Place(folder)
    run = place.snakemake(config)
    assert run.returncode == 0, run.stdout[-5000:]
    return place


@pytest.fixture
def edited(own: Place, tmp_path: Path) -> Place:
    """A copy of it that a test may change."""
    shutil.copytree(own.folder, tmp_path / "own")
    return Place(tmp_path / "own")


def results(place: Place) -> Path:
    return place.folder / "results" / "own"


def test_the_table_has_its_row(own):
    lines = (results(own) / "tables/my_table.md").read_text(encoding="utf-8").splitlines()
    rows = {cells[1].strip(): cells[2].strip("* ") for cells in (line.split("|") for line in lines) if len(cells) == 4}
    score = json.loads((results(own) / "runs/demo/mine_r2_a100_s0/scores/digits.json").read_text())
    assert score["run"]["method"] == "mine" and 0 < score["last"] <= 100
    assert rows["Mine"].rstrip("†") == f"{score['last']:.1f}"
    assert rows.keys() >= {"Mine", "WeCo+KD", "Teacher"}


def test_its_loss_is_what_the_page_says(own):
    """And it falls."""
    log = (own.folder / "results/own/logs/distill/demo/mine_r2_a100_s0.log").read_text()
    assert "the loss has these terms: L2 of the class token" in log
    history = json.loads((results(own) / "runs/demo/mine_r2_a100_s0/student.json").read_text())["history"]
    assert len(history) == 4 and history[-1]["loss"] < history[0]["loss"]


def test_its_run_knows_the_text_that_made_it_and_the_other_runs_do_not(own):
    sha256 = hashlib.sha256((own.folder / "my_method.py").read_bytes()).hexdigest()
    recipes = {
        run: json.loads((results(own) / f"runs/demo/{run}_r2_a100_s0/student.json").read_text())["recipe"]
        for run in ("mine", "weco_kd")
    }
    assert recipes["mine"]["own_methods"]["mine"]["sha256"] == sha256
    assert "own_methods" not in recipes["weco_kd"]


def test_it_stands_in_every_other_kind_of_artifact(own):
    root = results(own)
    assert set(pd.read_csv(root / "figures/a_figure.csv")["method"]) == {"mine", "weco_kd"}
    for name in ("a_map", "a_rollout"):
        assert "Mine" in (root / f"figures/{name}.csv").read_text(encoding="utf-8")
    study = pd.read_csv(root / "computation/a_study.csv").set_index("method")
    assert study.loc["mine", "parameters"] == study.loc["mine", "trained"] == study.loc["weco_kd", "parameters"] > 0
    assert study.loc["mine", "teacher_macs"] == 0  # its tokens are cached
    report = (root / "report.html").read_text(encoding="utf-8")
    assert report.count("Mine") > 5 and "mine_r2_a100_s0" in report


@pytest.mark.parametrize("command", ["plan", "status"])
def test_plan_and_status_know_it(own, command):
    shown = subprocess.run(
        [sys.executable, "-m", "wecolora.cli", command, "smoke.yaml"],
        cwd=own.folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"own: 3 runs" if command == "plan" else r"my_table +3 +3", shown.stdout), shown.stdout


def test_nothing_is_left_to_do(own, config):
    assert own.planned(config) == {}


@pytest.mark.long
def test_an_edit_of_its_file_makes_its_runs_again_and_no_others(own, edited, config):
    file = edited.folder / "my_method.py"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("F.mse_loss(own, wanted)", "2 * F.mse_loss(own, wanted)")
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    planned = edited.planned(config)
    assert planned["distill"] == planned["features_digits"] == planned["probe_digits"] == planned["table"] == 1
    assert not planned.keys() & {"prepare", "subset", "cache_teacher"}
    run = edited.snakemake(config)
    assert run.returncode == 0, run.stdout[-5000:]
    assert set(re.findall(r"Distilling (\w+) from demo", run.stdout)) == {"mine_r2_a100_s0"}
    before, after = (
        json.loads((results(place) / "runs/demo/mine_r2_a100_s0/student.json").read_text())["history"][0]["loss"]
        for place in (own, edited)
    )
    assert 1.5 < after / before < 2.5
    assert edited.planned(config) == {}


def test_another_label_distils_nothing(own, config):
    labelled = {**config, "methods": {"mine": {**config["methods"]["mine"], "label": "Ours"}}}
    planned = own.planned(labelled)
    assert planned["table"] == 1 and not planned.keys() & {"distill", "features_digits", "probe_digits"}


def test_without_its_file_nothing_starts(edited, config):
    (edited.folder / "my_method.py").unlink()
    run = edited.snakemake(config, "--dry-run")
    assert run.returncode != 0 and "Traceback" not in run.stdout
    assert "methods.mine.implementation: my_method.py cannot be read (No such file or directory)" in run.stdout


@pytest.mark.long
def test_a_file_that_fails_to_import_ends_its_job_with_its_line(edited, config):
    text = "import nothing_of_that_name\n" + shown("python")
    (edited.folder / "my_method.py").write_text(text, encoding="utf-8")
    run = edited.snakemake(config, "my_table")
    assert run.returncode != 0
    log = (edited.folder / "results/own/logs/distill/demo/mine_r2_a100_s0.log").read_text()
    (line,) = [line for line in log.splitlines() if "ERROR" in line]
    assert "my_method.py: cannot be imported (line 1: ModuleNotFoundError: No module named" in line
