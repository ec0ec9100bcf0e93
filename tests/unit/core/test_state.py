"""What a job says of its state, in a file beside its log."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime

import pytest

from wecolora.core import job, state
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.state import read_state


@pytest.fixture(autouse=True)
def own_log(monkeypatch):
    """A job takes the package's logger over; give it back."""
    monkeypatch.setattr(job.log, "handlers", [])
    monkeypatch.setattr(job.log, "propagate", True)
    level = job.log.level
    yield
    job.log.setLevel(level)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "distill" / "tiny" / "weco_kd_r2_a0.5_s0.log"


def content(log):
    return json.loads((log.parent / "weco_kd_r2_a0.5_s0.json").read_text())


def test_a_job_says_how_far_it_is_and_how_it_ended(log):
    began = time.time()
    with job.running(str(log), "the recipe"):
        first = content(log)
        assert (first["state"], first["words"], first["error"]) == ("running", "", None)
        job.log.info("epoch %d", 1)
        now = content(log)
        assert (now["state"], now["words"]) == ("running", "epoch 1")
    last = content(log)
    assert (last["state"], last["error"]) == ("done", None)
    for name in ("started", "told"):
        assert began - 0.1 <= datetime.fromisoformat(last[name]).timestamp() <= time.time()
    assert 0 <= last["seconds"] <= time.time() - began + 0.1
    assert sorted(path.suffix for path in log.parent.iterdir()) == [".json", ".log"]  # nothing temporary


def test_lines_in_quick_succession_are_written_once_a_second(log, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(state.time, "monotonic", lambda: clock[0])
    seen = []
    with job.running(str(log)):
        for number in range(11):
            job.log.debug("epoch %d", number)
            clock[0] += 0.25
            seen.append(content(log)["words"])
    assert list(dict.fromkeys(seen)) == ["epoch 0", "epoch 4", "epoch 8"]
    assert content(log)["words"] == "finished" and content(log)["seconds"] == 2.75


@pytest.mark.parametrize(
    ("ends", "how", "error"),
    [
        (BadInput("a.png: cannot be read."), "failed", "a.png: cannot be read."),
        (KeyError("missing"), "failed", "unexpected"),
        (Stopped("epoch 3"), "stopped", "stopped by SIGTERM, and saved: epoch 3"),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_a_job_that_ends_early_says_why(log, ends, how, error):
    with pytest.raises((SystemExit, KeyboardInterrupt)), job.running(str(log)):
        job.log.info("epoch 1")
        job.log.warning("WARNING: the loss rose")
        raise ends
    last = content(log)
    assert (last["state"], last["error"]) == (how, error)


def test_a_job_that_is_stopped_at_once_says_so(log):
    with pytest.raises(SystemExit), job.running(str(log)):
        signal.raise_signal(signal.SIGTERM)
    assert (content(log)["state"], content(log)["error"]) == ("stopped", "stopped by SIGTERM")


def test_a_new_attempt_forgets_the_last_one(log):
    with pytest.raises(SystemExit), job.running(str(log)):
        raise BadInput("no teacher.")
    with job.running(str(log)):
        assert content(log)["state"] == "running" and content(log)["error"] is None
    assert content(log)["state"] == "done"
    job.empty_log(str(log))  # before the processes of several GPUs start
    assert [path.suffix for path in log.parent.iterdir()] == [".log"]


def test_of_several_processes_the_first_alone_tells(log, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "1")
    log.parent.mkdir(parents=True)
    with pytest.raises(SystemExit), job.running(str(log)):
        raise BadInput("no GPU.")
    assert [path.name for path in log.parent.iterdir()] == [log.name]
    monkeypatch.setenv("RANK", "0")
    with job.running(str(log)):
        pass
    assert content(log)["state"] == "done"


def test_what_a_forked_helper_says_is_not_the_jobs(log):
    with job.running(str(log)):
        if os.fork() == 0:
            try:
                job.log.error("ERROR: stopped by SIGTERM")
            finally:
                os._exit(0)
        os.wait()
        assert (content(log)["words"], content(log)["error"]) == ("", None)


def test_a_line_that_is_no_text_is_told_all_the_same(log):
    with job.running(str(log)):
        job.log.info("bild\udcff.png\nand more")
        assert content(log)["words"] == "bild\\udcff.png"
        assert read_state(log).words == "bild\\udcff.png"


# What cannot be written, or read


def test_a_disk_that_is_full_stops_no_job(log, monkeypatch):
    def full(path, text):
        raise BadInput(f"{path}: cannot be written (No space left on device).")

    monkeypatch.setattr(state, "write_text", full)
    with job.running(str(log)):
        job.log.info("epoch 1")
    assert "epoch 1" in log.read_text() and read_state(log) is None


def test_a_state_whose_place_is_taken_stops_no_job(log):
    """No file can come where a folder stands, whoever asks: root, too."""
    log.parent.mkdir(parents=True)
    log.with_suffix(".json").mkdir()
    (log.with_suffix(".json") / "inside").touch()
    with job.running(str(log)):
        job.log.info("epoch 1")
    assert "epoch 1" in log.read_text() and read_state(log) is None
    assert sorted(path.suffix for path in log.parent.iterdir()) == [".json", ".log"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_stops_no_job(log):
    log.parent.mkdir(parents=True)
    log.touch()
    log.parent.chmod(0o500)
    try:
        with job.running(str(log)):
            job.log.info("epoch 1")
        assert "epoch 1" in log.read_text() and read_state(log) is None
    finally:
        log.parent.chmod(0o700)


GOOD = {"state": "running", "started": "2024-01-01T00:00:00+00:00", "told": "2024-01-01T00:00:09+02:00"}


def test_a_state_is_read_with_its_zone(log):
    log.parent.mkdir(parents=True)
    log.with_suffix(".json").write_text(json.dumps({**GOOD, "later": "versions say more"}))
    found = read_state(log)
    assert (found.state, found.words, found.error) == ("running", "", None)
    assert (found.started - found.told).total_seconds() == 2 * 3600 - 9


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        json.dumps(GOOD).encode()[:-9],
        b"[]",
        b"\xff\xfe",
        json.dumps({**GOOD, "state": "lost"}).encode(),
        json.dumps({**GOOD, "told": "2024-01-01T00:00:09"}).encode(),
        json.dumps({**GOOD, "seconds": "many"}).encode(),
        None,
    ],
)
def test_a_broken_state_is_none(log, broken):
    log.parent.mkdir(parents=True)
    if broken is not None:
        log.with_suffix(".json").write_bytes(broken)
    assert read_state(log) is None
