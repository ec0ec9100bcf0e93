"""`wecolora run`: what it hands to Snakemake, and what it refuses before."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from wecolora.cli import main
from wecolora.commands import run


@pytest.fixture
def called(small_config, tmp_path, monkeypatch):
    """The commands that would have run, in a folder with the small config, and whether they were followed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(small_config), encoding="utf-8")
    commands = []

    def plainly(command, check):
        commands.append((command, "plainly"))
        return subprocess.CompletedProcess(command, 3)

    def followed(command, campaign, console):
        commands.append((command, "followed"))
        return 4

    monkeypatch.setattr(run.subprocess, "run", plainly)
    monkeypatch.setattr(run, "follow", followed)
    return commands


def test_snakemake_is_called_and_its_status_is_the_commands(called):
    assert main(["run", "my.yaml", "table1", "-n", "--slurm", "--snakemake", "--cores 4 --config 'title=A title'"]) == 3
    ((command, how),) = called
    text = " ".join(command)
    assert "/profiles/slurm --configfile my.yaml --dry-run --cores 4 --config title=A title -- table1" in text
    assert how == "plainly"  # a dry run shows what would run: Snakemake's own words


@pytest.mark.parametrize(("arguments", "how", "status"), [([], "followed", 4), (["-v"], "plainly", 3)])
def test_a_run_is_followed_unless_snakemakes_own_words_are_wanted(called, arguments, how, status):
    assert main(["run", "my.yaml", *arguments]) == status
    assert called[0][1] == how


def test_a_profile_of_the_users_takes_the_place_of_ours(called):
    main(["run", "my.yaml", "--profile", "site"])
    assert "--workflow-profile site" in " ".join(called[0][0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["my.yaml", "tabel1"], "did you mean table1"),
    ],
)
def test_what_is_wrong_is_said_before_snakemake_starts(called, capsys, arguments, said):
    assert main(["run", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ERROR: ") and said in err and called == []
