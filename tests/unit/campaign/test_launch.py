"""The command that runs a campaign."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wecolora.campaign import launch
from wecolora.campaign.launch import snakemake_command, workflow_folder
from wecolora.core.errors import BadInput

REPOSITORY = Path(__file__).parents[3]


def test_in_a_checkout_the_workflow_is_the_checkouts():
    assert workflow_folder() == REPOSITORY


def test_a_package_without_a_workflow_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "__file__", str(tmp_path / "wecolora" / "campaign" / "launch.py"))
    monkeypatch.setattr(launch, "files", lambda name: [])
    with pytest.raises(BadInput, match="its Snakefile is not installed"):
        workflow_folder()


def test_the_command_names_everything_by_its_path():
    assert snakemake_command("my.yaml") == [
        *(sys.executable, "-m", "snakemake", "--snakefile", f"{REPOSITORY}/Snakefile"),
        *("--workflow-profile", f"{REPOSITORY}/profiles/default", "--configfile", "my.yaml"),
    ]


def test_targets_come_last_after_a_mark_that_ends_the_options():
    """--configfile takes any number of files."""
    command = snakemake_command("my.yaml", ["table1", "figure5"], dry_run=True, further=["--cores", "1"])
    assert command[-6:] == ["--dry-run", "--cores", "1", "--", "table1", "figure5"]


def test_a_profile_is_the_workflows_or_a_folder_of_the_users(tmp_path):
    for profile, path in {"slurm": f"{REPOSITORY}/profiles/slurm", str(tmp_path): str(tmp_path), "own": "own"}.items():
        command = snakemake_command("my.yaml", profile=profile)
        assert command[command.index("--workflow-profile") + 1] == path
