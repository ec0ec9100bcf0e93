"""`wecolora status --watch`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from wecolora.campaign.jobs import jobs
from wecolora.campaign.selection import Campaign
from wecolora.cli import main
from wecolora.commands import status


@pytest.fixture
def campaign(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(small_config), encoding="utf-8")
    return Campaign(small_config)


def finish(campaign):
    for job in jobs(campaign):
        for file in job.files:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()


def terminal(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    monkeypatch.setattr(status, "Console", lambda **_: screen)
    return screen


def test_it_looks_again_until_all_is_done(campaign, monkeypatch):
    screen = terminal(monkeypatch)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            finish(campaign)

    monkeypatch.setattr(status.time, "sleep", sleep)
    assert main(["status", "--watch"]) == 0
    text, total = screen.file.getvalue(), len(jobs(campaign))
    assert len(slept) == 2 and f"0 of {total} jobs are done" in text and f"{total} of {total} jobs are done" in text


def test_ctrl_c_ends_it_without_an_error(campaign, monkeypatch):
    terminal(monkeypatch)

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupted)
    assert main(["status", "--watch"]) == 0


def test_in_a_file_it_is_printed_once(campaign, monkeypatch, capsys):
    monkeypatch.setattr(status.time, "sleep", lambda seconds: pytest.fail("it looked again"))
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out.count("jobs are done") == 1
