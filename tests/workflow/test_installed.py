"""The package as its wheel installs it, far from any checkout: the workflow comes with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.workflow.conftest import REPOSITORY, new_place

# What a build takes of a checkout.
PARTS = ["wecolora", "rules", "workflow_scripts", "profiles", "config", "assets"]
FILES = ["Snakefile", "config.yaml", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of programs of an environment that has the wheel, and all other packages from this one."""
    folder = tmp_path_factory.mktemp("installed")
    for name in PARTS:  # a copy, because a build leaves files behind
        shutil.copytree(REPOSITORY / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source")]
    subprocess.run(wheel, check=True)
    shutil.rmtree(folder / "source")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    (found,) = folder.glob("*.whl")
    python = folder / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(found)], check=True)
    (packages,) = (folder / "env" / "lib").glob("python3*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python.parent


@pytest.fixture
def environment(installed) -> dict[str, str]:
    """The environment of somebody who has never seen the checkout."""
    return {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "PATH": "/usr/bin:/bin"}


def test_the_package_is_the_wheels(installed, environment, tmp_path):
    code = "import wecolora, wecolora.campaign.launch as l; print(wecolora.__path__[0], l.workflow_folder())"
    shown = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(installed.parent)) for path in shown.stdout.split())


@pytest.mark.long
def test_a_campaign_runs_in_an_empty_folder_and_again_does_nothing(installed, environment, smoke_config, tmp_path):
    place = new_place(tmp_path)
    smoke_config["artifacts"] = {"table3": smoke_config["artifacts"]["table3"]}
    smoke_config["artifacts"]["table3"]["runs"]["method"] = ["wecolora", "teacher"]
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(smoke_config), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "wecolora"), "run", "my.yaml", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    shown = run("-n")
    assert shown.returncode == 0 and not (tmp_path / "results").exists(), shown.stdout + shown.stderr
    shown = run()
    assert shown.returncode == 0, (shown.stdout + shown.stderr)[-3000:]
    assert "| WeCoLoRA" in (place.folder / "results/smoke/tables/table3.md").read_text(encoding="utf-8")
    assert (tmp_path / "results/smoke/report.html").exists()
    again = run("table3")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.long
def test_a_folder_of_images_becomes_a_student_in_one_command(installed, environment, tmp_path):
    new_place(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(48):
        folder = tmp_path / "photos" / ("cats" if number % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")

    def distill(*arguments: str) -> str:
        command = [str(installed / "wecolora"), "distill", "photos", "--teacher", "tiny.safetensors", *arguments]
        shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert shown.returncode == 0, (shown.stdout + shown.stderr)[-3000:]
        return shown.stdout + shown.stderr

    first = ["--heads", "2", "--k", "4", "--epochs", "2", "--labels"]
    told = distill(*first)
    assert "photos.yaml is the campaign's config" in told and "2 blocks of 4" in told
    assert re.search(r"linear probe: [\d.]+, its teacher [\d.]+ \(top-1\): [+-][\d.]+ points", told), told
    student = tmp_path / "results/photos/runs/teacher/wecolora_r2_k4_a100_s0/student.safetensors"
    made = student.stat().st_mtime_ns
    assert "Nothing to be done" in distill(*first) and student.stat().st_mtime_ns == made
    told = distill(*first[:2], "--k", "2", *first[4:])
    assert "distill teacher/wecolora_r2_k2_a100_s0: done" in told and "wecolora_r2_k4" not in told
    code = told.split("Two lines of Python load the student:\n")[1].splitlines()[:2]
    loaded = subprocess.run(
        [installed / "python", "-c", "\n".join([*map(str.strip, code), "print(len(student.blocks))"])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "2"
