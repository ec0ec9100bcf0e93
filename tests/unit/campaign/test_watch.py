"""What is shown of a campaign while it runs."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from wecolora.campaign import watch
from wecolora.campaign.jobs import jobs
from wecolora.campaign.selection import Campaign
from wecolora.campaign.watch import Watch, follow
from wecolora.config.reading import read_config
from wecolora.core.state import JobState, state_file


@pytest.fixture
def campaign(small_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "LEAST", 0.05)
    return Campaign(small_config)


def console(terminal=False):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, markup=False, highlight=False)


def say(job, state, words="", seconds=0.0, error=None):
    """Leave what a job leaves: its state and, at its end, its files."""
    path = state_file(job.log)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    told = JobState(state=state, started=now, told=now, words=words, seconds=seconds, error=error)
    path.write_text(told.model_dump_json(), encoding="utf-8")
    for file in job.files if state == "done" else []:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


def shown(console):
    return console.file.getvalue()


def test_what_was_done_before_is_no_news(campaign):
    first, second, *_ = jobs(campaign)
    say(first, "done", seconds=3)
    screen = console()
    found = Watch(campaign, screen)
    found.update()
    assert shown(screen) == ""
    say(second, "done", seconds=130)
    found.update()
    found.update()
    total = len(jobs(campaign))
    assert shown(screen) == f"{second.rule} {Path(second.log).stem}: done in 2 min (2 of {total})\n"


def test_a_failure_is_told_once_with_its_reason_and_its_log(campaign):
    job = next(job for job in jobs(campaign) if job.rule == "distill")
    screen = console()
    found = Watch(campaign, screen)
    say(job, "failed", error="the loss [red]is no number; lower distill.lr.")
    found.update()
    found.update()
    assert shown(screen).count("FAILED: the loss [red]is no number") == 1 and job.log in shown(screen)
    say(job, "running", "epoch 1/2")  # again, as a scheduler does
    found.update()
    say(job, "failed", error="the loss [red]is no number; lower distill.lr.")
    found.update()
    assert shown(screen).count("FAILED") == 2


def test_a_failure_of_an_earlier_attempt_is_no_news(campaign):
    job = next(job for job in jobs(campaign) if job.rule == "distill")
    say(job, "failed", error="old")
    screen = console()
    Watch(campaign, screen).update()
    assert shown(screen) == ""


def test_a_terminal_has_a_bar_for_each_stage_with_the_words_of_what_runs(campaign):
    runs = [job for job in jobs(campaign) if job.rule == "distill"]
    for job in runs[:2]:
        say(job, "running", "epoch 3/10: loss 0.5, 750 images/s")
    say(runs[2], "done", seconds=5)
    screen = console(terminal=True)
    found = Watch(campaign, screen)
    with found.bars:
        found.update()
    text = shown(screen)
    assert f"1 of {len(runs)}" in text and "2 running: epoch 3/10: loss 0.5, 750 images/s" in text
    assert all(stage in text for stage in ("images", "students", "probes"))
    # One took 5 s, and two run at once; of other stages nobody knows.
    left = sum(job.rule == "distill" for job in jobs(campaign)) - 1
    assert f"about {5 * left / 2:.0f} s and more left" in text


CHILD = """
import sys
print("Snakemake's own words")
print({words!r})
sys.exit({code})
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("Nothing to be done (all requested files are present)", 0, "Nothing to be done: all of it is there"),
        ("done", 0, "The report is results/small/report.html"),
        ("LockException: the directory is locked", 1, "LockException: the directory is locked"),
    ],
)
def test_the_end_tells_what_matters(campaign, words, code, said):
    screen = console()
    assert follow([sys.executable, "-c", CHILD.format(words=words, code=code)], campaign, screen) == code
    assert said in shown(screen)
    assert ("Snakemake's own words" in shown(screen)) == (code == 1)


def test_after_a_failed_job_snakemakes_own_words_are_left_out(campaign):
    job = next(job for job in jobs(campaign) if job.rule == "distill")
    code = f"""
import pathlib, sys
print("Snakemake's own words")
path = pathlib.Path({str(state_file(job.log))!r})
path.parent.mkdir(parents=True, exist_ok=True)
now = "2031-01-01T00:00:00Z"
path.write_text('{{"state": "failed", "started": "%s", "told": "%s", "error": "no disk"}}' % (now, now))
sys.exit(1)
"""
    screen = console()
    assert follow([sys.executable, "-c", code], campaign, screen) == 1
    assert "FAILED: no disk" in shown(screen) and "Snakemake's own words" not in shown(screen)
    assert "It ended with 1 failed jobs" in shown(screen)


def test_every_rule_of_the_demo_has_a_name():
    campaign = Campaign(read_config(Path(__file__).parents[3] / "config.yaml"))
    assert {job.rule for job in jobs(campaign)} <= watch.STAGES.keys()
