"""Progress: lines in a log, and the rate."""

from __future__ import annotations

import logging

import pytest

from wecolora.core import progress
from wecolora.core.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_at_each_tenth_with_the_rate_since_the_start(caplog, clock):
    caplog.set_level(logging.INFO, "wecolora")
    told = Progress(25, "images")
    for done in range(1, 26):
        clock[0] += 6
        told(done)
    assert [record.getMessage() for record in caplog.records] == [
        f"{done} of 25 images, 0 a second" for done in (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)
    ]


def test_fast_work_tells_of_its_end_alone(caplog, clock):
    caplog.set_level(logging.INFO, "wecolora")
    told = Progress(1000, "images")
    for done in range(100, 1100, 100):
        clock[0] += 0.5
        told(done)
    assert [record.getMessage() for record in caplog.records] == ["1000 of 1000 images, 200 a second"]


def test_in_leaps_and_of_nothing(caplog, clock):
    caplog.set_level(logging.INFO, "wecolora")
    told = Progress(10, "images")
    clock[0] += 7
    told(7)
    clock[0] += 1
    told(10)
    Progress(0, "images")(0)
    assert [record.getMessage() for record in caplog.records] == [
        "7 of 10 images, 1 a second",
        "10 of 10 images, 1 a second",
    ]


def test_a_bar_has_no_thread_that_a_fork_would_cut_off():
    assert progress.tqdm.monitor_interval == 0
