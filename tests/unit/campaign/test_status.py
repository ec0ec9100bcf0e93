"""How far a campaign is, from files, logs and states written by hand."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from wecolora.campaign.jobs import jobs
from wecolora.campaign.selection import Campaign
from wecolora.campaign.status import SILENT, look, show

RUN = "weco_kd_r2_a1_s0"


@pytest.fixture
def campaign(small_config, tmp_path, monkeypatch):
    """table1 on two data sets has 8 runs, figure5 on one of them 12."""
    monkeypatch.chdir(tmp_path)
    return Campaign(small_config)


def stamp(seconds_ago):
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() - seconds_ago))


def tell(path, state, ago=0, **more):
    """Write a log, and the state beside it, that was told so many seconds ago."""
    log(path)
    about = {"state": state, "started": stamp(ago + 60), "told": stamp(ago), "words": "", "error": None, "seconds": 60}
    Path(path).with_suffix(".json").write_text(json.dumps({**about, **more}), encoding="utf-8")


def log(path, ago=0, text="2024-01-01 00:00:00 ERROR: nobody reads this\n"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    os.utime(path, (time.time() - ago,) * 2)


def of(campaign, rule, run=RUN, dataset=None):
    """The job of a rule and run."""
    (job,) = [
        job
        for job in jobs(campaign)
        if job.rule == rule and job.run and job.run.slug() == run and (dataset is None or dataset in job.datasets)
    ]
    return job


def finish(job, seconds):
    tell(job.log, "done", 60, words="finished", seconds=seconds)
    touch(job)


def touch(job):
    for path in job.files:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def page(campaign):
    console = Console(record=True, width=160, file=io.StringIO(), markup=False)
    show(look(campaign), "small", console)
    return console.export_text()


def test_nothing_has_begun(campaign):
    status = look(campaign)
    assert status.artifacts == {"table1": (0, 0, 0, 8), "figure5": (0, 0, 0, 12)}
    assert status.seconds_left() == (0, len(jobs(campaign)))
    assert status.drawn == {"table1": False, "figure5": False}


def test_a_run_is_done_where_its_artifacts_data_sets_are(campaign):
    """The figure needs the shapes alone."""
    finish(of(campaign, "distill"), 10)
    for rule in ("features", "probe"):
        finish(of(campaign, rule, dataset="shapes"), 4)
    assert look(campaign).artifacts == {"table1": (0, 0, 0, 8), "figure5": (1, 0, 0, 11)}
    for rule in ("features", "probe"):
        finish(of(campaign, rule, dataset="marks"), 4)
    assert look(campaign).artifacts == {"table1": (1, 0, 0, 7), "figure5": (1, 0, 0, 11)}


def test_a_failed_run_has_its_reason_and_a_running_one_its_last_line(campaign):
    reason = "x.h5: is [no] cache."
    tell(of(campaign, "distill").log, "failed", 30, words=f"ERROR: {reason}", error=reason)
    tell(of(campaign, "distill", "weco_kd_r3_a1_s0").log, "running", 5, words="epoch 1/2: loss 0.25")
    tell(of(campaign, "distill", "weco_kd_r2_a2_s0").log, "stopped", 5, error="stopped by SIGTERM")
    tell(of(campaign, "distill", "weco_kd_r3_a2_s0").log, "stopped", 5, words="epoch 1/2: loss 0.5")
    assert look(campaign).artifacts == {"table1": (0, 1, 1, 6), "figure5": (0, 1, 3, 8)}
    shown = page(campaign)
    assert f"failed: results/small/logs/distill/one/{RUN}.log: x.h5: is [no] cache." in shown
    assert "failed: results/small/logs/distill/one/weco_kd_r2_a2_s0.log: stopped by SIGTERM\n" in shown
    assert "failed: results/small/logs/distill/one/weco_kd_r3_a2_s0.log: interrupted\n" in shown
    assert "running: results/small/logs/distill/one/weco_kd_r3_a1_s0.log: epoch 1/2: loss 0.25, " in shown
    assert re.search(r"loss 0\.25, \d s ago\n", shown) and "killed?" not in shown


def test_what_was_made_and_is_gone_is_to_be_made_again(campaign):
    tell(of(campaign, "distill").log, "done", 30, words="finished")
    assert look(campaign).artifacts == {"table1": (0, 0, 0, 8), "figure5": (0, 0, 0, 12)}
    assert "running:" not in page(campaign)


def test_a_job_that_is_silent_for_long_is_told(campaign):
    tell(of(campaign, "distill").log, "running", SILENT + 500, words="epoch 1/2: loss 0.5")
    assert "loss 0.5, silent for 38 min: killed?" in page(campaign)


@pytest.mark.parametrize(
    "state", [None, "", '{"state": "runni', "[]", '{"state": "lost"}', '{"state": "done"}', "\0\xff"]
)
def test_a_log_without_a_whole_state_beside_it_is_told_as_such(campaign, state):
    """Of an earlier version, say, or of a disk that was full."""
    path = of(campaign, "distill").log
    log(path, SILENT + 500)
    if state is not None:
        Path(path).with_suffix(".json").write_text(state, encoding="latin-1")
    assert look(campaign).artifacts == {"table1": (0, 1, 0, 7), "figure5": (0, 1, 0, 11)}
    assert f"{RUN}.log: its log has no state beside it, so that nobody knows whether it runs, silent" in page(campaign)
    touch(of(campaign, "distill"))
    status = look(campaign)
    assert [seen.seconds for seen in status.of("done")] == [None]
    assert status.seconds_left() == (0, len(jobs(campaign)) - 1)


def test_a_log_that_has_just_been_emptied_says_nothing(campaign):
    log(of(campaign, "distill").log, text="")
    assert look(campaign).artifacts == {"table1": (0, 0, 0, 8), "figure5": (0, 0, 0, 12)}


def test_what_is_left_is_told_at_the_pace_of_what_is_done(campaign):
    finish(of(campaign, "distill"), 100)
    finish(of(campaign, "distill", "weco_kd_r3_a1_s0"), 200)
    seconds, unknown = look(campaign).seconds_left()
    assert seconds == pytest.approx(10 * 150)
    rules = [job.rule for job in jobs(campaign)]
    assert unknown == len(rules) - rules.count("distill")
    assert "take about 25 min, one after another; of " in page(campaign)


def test_nothing_is_said_of_the_time_of_what_nobody_knows_or_needs(campaign):
    count = len(jobs(campaign))
    assert f"0 of {count} jobs are done (tables and figures not counted); of {count} there is no" in page(campaign)
    for job in jobs(campaign):
        finish(job, 5)
    assert page(campaign).endswith(f"{count} of {count} jobs are done (tables and figures not counted).\n")
