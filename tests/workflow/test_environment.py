"""Command lines, profiles and machines as people have them: which config counts, and what a machine may lack."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.workflow.conftest import REPOSITORY, SMOKE, new_place
from wecolora.campaign.selection import refuse_unquotable
from wecolora.config.reading import parse

# One run and one table: the least that has every stage.
DIGITS = {**SMOKE["datasets"]["digits"], "train": 60, "test": 30}
TABLE = {**SMOKE["artifacts"]["table3"], "rows": ["method"], "datasets": ["digits"]}
SMALL = {
    **SMOKE,
    "corpus": {"dataset": "digits", "views": 1, "shard_percent": 100},
    "datasets": {"digits": {key: value for key, value in DIGITS.items() if key not in ("stands_for", "job")}},
    "distill": {**SMOKE["distill"], "epochs": 1, "warmup_epochs": 0},
    "probe": {**SMOKE["probe"], "epochs": 2},
    "artifacts": {
        "table3": {**TABLE, "runs": {**TABLE["runs"], "method": ["wecolora"], "alpha": [50]}},
    },
}


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


@pytest.fixture
def place(tmp_path, small):
    """A working directory with a config.yaml of its own, other than the one that is named."""
    place = new_place(tmp_path)
    own = {**small, "name": "own", "seeds": [0, 1], "title": "Own"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    return place


def config_of(place, config, *arguments):
    """The config of a campaign, as the campaign itself writes it down."""
    shutil.rmtree(place.folder / "results", ignore_errors=True)
    run = place.snakemake(config, "resolved_config", *arguments)
    assert run.returncode == 0, run.stdout
    (path,) = place.folder.glob("results/*/config.yaml")
    return json.loads(path.read_text())


def resolved(config):
    return json.loads(parse(config).model_dump_json())


# Which config counts


NESTED = ["--config", "probe={epochs: 9, base_lr: 2.5}", "seeds=[3, 4]", "distill={lr: {2: 1e-2}}"]
CHANGED = {
    "seeds": [3, 4],
    "probe": {**SMALL["probe"], "epochs": 9, "base_lr": 2.5},
    "distill": {**SMALL["distill"], "lr": {2: 0.01}},
}


@pytest.mark.parametrize("more", [[], ["--workflow-profile", "none"], ["--replace-workflow-config"]])
def test_a_named_config_replaces_config_yaml_and_a_key_of_the_command_line_changes_that_key_alone(place, small, more):
    """Whatever the profile."""
    assert config_of(place, small, *more, *NESTED) == resolved({**small, **CHANGED})


def test_a_key_of_the_command_line_changes_that_key_of_config_yaml_alone(place):
    own = yaml.safe_load((place.folder / "config.yaml").read_text())
    assert config_of(place, None, "--config", "name=other") == resolved({**own, "name": "other"})
    assert config_of(place, None, *NESTED) == resolved({**own, **CHANGED})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("probe={epochs: many}", "config: probe.epochs: Input should be a valid integer, not 'many'."),
        ("probe={epoch: 9}", "config: probe.epoch: unknown key; allowed here are epochs"),
        ("probe=9", "config: probe: Input should be a valid dictionary, not 9."),
    ],
)
def test_a_bad_key_of_the_command_line_is_named(place, key, said):
    run = place.snakemake(None, "--dry-run", "--config", key)
    assert run.returncode != 0 and said in run.stdout and "Traceback" not in run.stdout


def test_a_key_that_a_file_gives_twice_is_named(place, small):
    text = yaml.safe_dump(small, sort_keys=False) + "probe: {epochs: 50}\n"
    (place.folder / "twice.yaml").write_text(text)
    run = place.snakemake(None, "--dry-run", "--configfile", "twice.yaml")
    lines = text.splitlines()
    first, again = lines.index("probe:") + 1, len(lines)
    assert run.returncode != 0
    assert f"line {again}, column 1 gives the key 'probe' again, which line {first}, column 1 gives" in run.stdout


# Texts, paths and machines


@pytest.mark.long
def test_a_bare_machine_makes_what_any_other_makes(place, small):
    """No git, a locale that is not UTF-8, a home folder that cannot be written; braces and foreign letters in every
    text, and a root and images named so."""
    odd = "{1} {name} {{x}} ö ✓ {"
    root = place.folder / "pictures {0} ö"
    for part, label in ((part, label) for part in ("train", "test") for label in ("ä", "{b}")):
        (root / part / label).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (32, 32), (number * 20, 90, 200)).save(root / part / label / f"é{number}.png")
    small["distill"]["batch"], small["title"], small["teachers"]["tiny"]["label"] = 4, odd, odd
    small["artifacts"]["table3"].update(title=odd, caption=odd)
    small["datasets"]["digits"] = {"label": odd, "source": "folder", "root": root.name}
    programs = place.folder / "programs"
    programs.mkdir()
    for name in ("bash", "which", "env", "mkdir", "rm", "uname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    bare = {
        "PATH": str(programs),
        "HOME": "/proc/nowhere",
        "XDG_CACHE_HOME": str(place.folder / "cache"),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "OMP_NUM_THREADS": "1",
    }
    keys = ["--config", "probe={epochs: 3}", "seeds=[5]"]  # they reach the jobs
    run = place.snakemake(small, *keys, environment=bare)
    assert run.returncode == 0, run.stdout[-5000:]
    results = place.folder / "results/smoke"
    assert json.loads(next(results.glob("runs/tiny/*/circumstances.json")).read_text())["git"] is None
    assert json.loads((results / "config.yaml").read_text(encoding="utf-8"))["title"] == odd
    (score,) = results.glob("runs/tiny/*/scores/digits.json")
    bare_score = score.read_bytes()
    told = json.loads(bare_score)
    assert told["classes"] == ["{b}", "ä"] and told["run"]["seed"] == 5 and len(told["history"]) == 3
    shutil.rmtree(place.folder / "results")
    run = place.snakemake(small, *keys)
    assert run.returncode == 0, run.stdout[-5000:]
    assert score.read_bytes() == bare_score


def test_a_python_in_a_path_with_a_space_is_refused_at_once(place, small, tmp_path):
    python = tmp_path / "a b" / "python"
    python.parent.mkdir()
    python.symlink_to(os.path.realpath(sys.executable))
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    run = place.snakemake(small, environment=environment, python=str(python))
    assert run.returncode != 0 and "Traceback" not in run.stdout
    assert re.search(r"/a b/python: Snakemake cannot start jobs by this path.*move the project", run.stdout)
    assert not (place.folder / "results").exists()


def test_a_project_in_a_path_with_a_space_is_refused_before_anything_is_installed(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    command = ["make", "setup", f"PYTHON={sys.executable}"]
    run = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode != 0 and "Move the project to a path of letters" in run.stderr
    assert not (folder / ".venv").exists()


def test_letters_of_any_language_are_no_signs_of_the_shell():
    refuse_unquotable(str(Path("/home/andré/項目/x-1.2_3/.venv/bin/python")))
