"""How far a campaign is, from files and logs written by hand."""

from __future__ import annotations

import io
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
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - seconds_ago))


def log(path, *lines):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(f"{stamp(ago)} {words}\n" for ago, words in lines), encoding="utf-8")


def of(campaign, rule, run=RUN, dataset=None):
    """The job of a rule and run."""
    (job,) = [
        job
        for job in jobs(campaign)
        if job.rule == rule and job.run and job.run.slug() == run and (dataset is None or dataset in job.datasets)
    ]
    return job


def finish(job, seconds):
    log(job.log, (seconds + 60, 'recipe: {"a": 1}'), (60, "wrote it"))
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
    log(
        of(campaign, "distill").log,
        (90, "recipe: {}"),
        (60, "epoch 1/2: loss 0.5"),
        (30, "ERROR: x.h5: is [no] cache."),
    )
    log(of(campaign, "distill", "weco_kd_r3_a1_s0").log, (9, "recipe: {}"), (5, "epoch 1/2: loss 0.25"))
    assert look(campaign).artifacts == {"table1": (0, 1, 1, 6), "figure5": (0, 1, 1, 10)}
    shown = page(campaign)
    assert f"failed: results/small/logs/distill/one/{RUN}.log: x.h5: is [no] cache." in shown
    assert "running: results/small/logs/distill/one/weco_kd_r3_a1_s0.log: epoch 1/2: loss 0.25, " in shown
    assert re.search(r"loss 0\.25, \d s ago\n", shown) and "killed?" not in shown


def test_what_was_made_and_is_gone_is_to_be_made_again(campaign):
    log(of(campaign, "distill").log, (90, "recipe: {}"), (60, "epoch 2/2: loss 0.5"), (30, "finished"))
    assert look(campaign).artifacts == {"table1": (0, 0, 0, 8), "figure5": (0, 0, 0, 12)}
    assert "running:" not in page(campaign)


def test_a_log_that_is_silent_for_long_is_told(campaign):
    log(of(campaign, "distill").log, (SILENT + 600, "recipe: {}"), (SILENT + 500, "epoch 1/2: loss 0.5"))
    assert "silent for 38 min: killed?" in page(campaign)


def test_what_is_left_is_told_at_the_pace_of_what_is_done(campaign):
    finish(of(campaign, "distill"), 100)
    finish(of(campaign, "distill", "weco_kd_r3_a1_s0"), 200)
    seconds, unknown = look(campaign).seconds_left()
    assert seconds == pytest.approx(10 * 150, abs=10)  # stamps have no fractions
    rules = [job.rule for job in jobs(campaign)]
    assert unknown == len(rules) - rules.count("distill")
    assert "take about 25 min, one after another; of " in page(campaign)


def test_nothing_is_said_of_the_time_of_what_nobody_knows_or_needs(campaign):
    count = len(jobs(campaign))
    assert f"0 of {count} jobs are done (tables and figures not counted); of {count} there is no" in page(campaign)
    for job in jobs(campaign):
        finish(job, 5)
    assert page(campaign).endswith(f"{count} of {count} jobs are done (tables and figures not counted).\n")
