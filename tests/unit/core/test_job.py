"""What every job does first: its log and its end; and what it records of itself."""

from __future__ import annotations

import json
import logging
import platform
import signal
from types import SimpleNamespace

import pytest

from wecolora.core import job
from wecolora.core.errors import BadInput, Stopped


@pytest.fixture(autouse=True)
def own_log(monkeypatch):
    """A job takes the package's logger over; give it back."""
    monkeypatch.setattr(job.log, "handlers", [])
    monkeypatch.setattr(job.log, "propagate", True)
    level = job.log.level
    yield
    job.log.setLevel(level)


def lines(path):
    return path.read_text().splitlines()


# Jobs


def test_bad_input_ends_a_job_with_one_line_in_its_log(tmp_path, capsys):
    path = tmp_path / "logs" / "stage" / "job.log"
    with pytest.raises(SystemExit) as ended, job.running(str(path), '{"k": 4}'):
        raise BadInput("a.png: cannot be read.")
    assert ended.value.code == 1
    recipe, error = lines(path)
    assert recipe.endswith('recipe: {"k": 4}')
    assert error.endswith(" ERROR: a.png: cannot be read.") and error[:2] == "20"  # a date
    assert "Traceback" not in path.read_text()
    shown = capsys.readouterr().err
    assert shown.count("ERROR: a.png: cannot be read.") == 1 and "Traceback" not in shown
    assert "recipe" not in shown  # long, and for the log alone


def test_an_unexpected_error_ends_a_job_with_its_traceback(tmp_path, capsys):
    path = tmp_path / "job.log"

    def breaks():
        return {}["missing"]

    with pytest.raises(SystemExit) as ended, job.running(str(path)):
        breaks()
    assert ended.value.code == 1
    for text in (path.read_text(), capsys.readouterr().err):
        assert "Traceback" in text and "in breaks" in text and "KeyError: 'missing'" in text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_job_stays_interrupted(tmp_path, error):
    with pytest.raises(error), job.running(str(tmp_path / "job.log")):
        raise error


def test_a_job_that_ends_well_logs_what_it_was_told_to(tmp_path, capsys):
    path = tmp_path / "job.log"
    path.write_text("of the last time\n")
    with job.running(str(path), "100%s {}"):
        job.log.info("epoch %d", 3)
        job.log.warning("WARNING: %s", "50% off")
        job.log.debug("for the log alone")
    found = [line[20:] for line in lines(path)]
    assert found == ["recipe: 100%s {}", "epoch 3", "WARNING: 50% off", "for the log alone", "finished"]
    shown = capsys.readouterr().err
    assert "epoch 3" in shown and "alone" not in shown


def test_a_job_without_a_log_file_logs_to_stderr(capsys):
    with job.running(None, "the recipe"):
        job.log.info("hello")
    shown = capsys.readouterr().err
    assert "hello" in shown and "the recipe" in shown


def test_jobs_one_after_the_other_keep_their_logs_apart(tmp_path):
    for name in ("one", "two"):
        with job.running(str(tmp_path / f"{name}.log")):
            job.log.info(name)
    assert [line[20:] for line in lines(tmp_path / "one.log")] == ["one", "finished"]
    assert [line[20:] for line in lines(tmp_path / "two.log")] == ["two", "finished"]


def test_a_job_leaves_the_root_logger_alone(tmp_path):
    before = list(logging.getLogger().handlers)
    with job.running(str(tmp_path / "job.log")):
        pass
    assert logging.getLogger().handlers == before


# Records


def test_json_is_readable_sorted_and_the_same_each_time(tmp_path):
    path = tmp_path / "folder" / "a.json"
    job.write_json(path, {"b": [1, 2.5, None], "a": {"d": "ü", "c": True}})
    assert json.loads(path.read_text()) == {"a": {"c": True, "d": "ü"}, "b": [1, 2.5, None]}
    text = path.read_text()
    assert text.endswith("}\n") and text.index('"a"') < text.index('"b"') and text.index('"c"') < text.index('"d"')
    job.write_json(path, {"a": {"c": True, "d": "ü"}, "b": [1, 2.5, None]})
    assert path.read_text() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), [1.0, float("nan")], {"a": float("nan")}])
def test_what_is_no_number_is_not_written(tmp_path, value):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        job.write_json(path, {"score": value})
    assert list(tmp_path.iterdir()) == []


def test_fingerprints():
    one = job.fingerprint("recipe", "sha", "id1", "id2")
    assert len(one) == 32 and set(one) <= set("0123456789abcdef")
    assert one == job.fingerprint("recipe", "sha", "id1", "id2")
    others = [("recipe", "sha", "id2", "id1"), ("recipe", "sha", "id1"), ("recipe", "sha", "id1id2"), ("r", "sha")]
    assert len({one, *(job.fingerprint(*parts) for parts in others)}) == 5


def test_circumstances_hold_what_changes(tmp_path, monkeypatch):
    import time

    found = job.provenance(time.time() - 12.5)
    assert set(found) == {"finished", "seconds", "host", "git"} and 12.4 < found["seconds"] < 20
    assert found["host"] == platform.node() and found["finished"].startswith("20")
    monkeypatch.chdir(tmp_path)  # of the code, wherever it runs
    assert job.provenance(0)["git"] == found["git"]
    json.dumps(found)


@pytest.mark.parametrize("git", [None, "exit 128", "exit 0"])
def test_a_machine_without_git_or_a_checkout_that_it_refuses_has_no_revision(tmp_path, monkeypatch, git):
    monkeypatch.setenv("PATH", str(tmp_path))
    if git:
        (tmp_path / "git").write_text(f"#!/bin/sh\necho 'fatal: dubious ownership' >&2\n{git}\n")
        (tmp_path / "git").chmod(0o755)
    assert job.provenance(0)["git"] is None


# Helpers


def test_as_many_processes_help_as_are_wanted():
    assert job.helpers(3, 1) == 3 and job.helpers(0, 2**62) == 0


def test_nobody_helps_where_shared_memory_is_too_small(caplog):
    assert job.helpers(3, 2**62) == 0
    assert "/dev/shm" in caplog.text and "0 processes help in the place of 3" in caplog.text


def test_as_many_help_as_shared_memory_has_room_for(monkeypatch, caplog):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    assert job.helpers(8, 20 * 2**20) == 3
    assert "67,108,864 bytes are free, and each needs 20,971,520; 3 processes help in the place of 8" in caplog.text
    assert job.helpers(3, 20 * 2**20) == 3 and job.helpers(8) == 8


def test_nobody_helps_where_there_are_no_semaphores(monkeypatch, caplog):
    def lacks(*arguments, **options):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", lacks)
    assert job.helpers(3) == 0
    assert "Function not implemented" in caplog.text


# SIGTERM


def test_sigterm_ends_a_job_at_once(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, job.running(str(path)):
        signal.raise_signal(signal.SIGTERM)
        job.log.info("went on")
    assert ended.value.code == 143
    assert [line[20:] for line in lines(path)] == ["ERROR: stopped by SIGTERM"]


def test_work_that_saves_itself_is_told_of_sigterm(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, job.running(str(path)):
        with job.stop_deferred() as stopping:
            assert not stopping()
            signal.raise_signal(signal.SIGTERM)
            assert stopping()
            job.log.info("went on")
        raise Stopped("epoch 3")
    assert ended.value.code == 143
    assert [line[20:] for line in lines(path)] == ["went on", "ERROR: stopped by SIGTERM, and saved: epoch 3"]


def test_after_work_that_saves_itself_sigterm_ends_a_job_again(tmp_path):
    with pytest.raises(SystemExit), job.running(str(tmp_path / "job.log")):
        with job.stop_deferred():
            pass
        signal.raise_signal(signal.SIGTERM)
