"""What every job does first, its log and its state; how SIGTERM ends it; and what it records of itself."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from wecolora.core.errors import BadInput, Stopped
from wecolora.core.files import unwritable, write_text
from wecolora.core.state import End, StateHandler, state_file

log = logging.getLogger("wecolora")
SHARED_MEMORY = "/dev/shm"


@contextmanager
def running(path: str | None, recipe: str = "") -> Iterator[None]:
    """Send log lines and tracebacks to the job's log file and to stderr, and keep the state file beside the log; bad
    input ends the job with one line there, and so does SIGTERM, which a scheduler sends before it kills. Of torchrun's
    processes only the first tells of more than errors, and of the state."""
    first = not by_torchrun() or os.environ["RANK"] == "0"
    shown: logging.Handler = logging.StreamHandler(sys.stderr)
    lines = shown
    if path:
        try:
            if not by_torchrun():  # else it was emptied before its processes started
                empty_log(path)
            lines = _LogFile(path, mode="a", encoding="utf-8")
        except OSError as error:
            print(f"ERROR: {unwritable(path, error)}", file=sys.stderr)
            sys.exit(1)
    for handler in (shown, lines):
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    shown.setLevel(logging.INFO)  # what is told of each epoch of a probe is for the log alone
    state = StateHandler(path) if path and first else None
    log.handlers = [handler for handler in dict.fromkeys((shown, lines, state)) if handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if first else logging.ERROR)
    if recipe and first:
        lines.emit(log.makeRecord("wecolora", logging.INFO, "", 0, f"recipe: {recipe}", (), None))
    ended: End = "stopped"
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
        ended = "done"
        log.debug("finished")
    except BadInput as error:
        ended = "failed"
        log.error("ERROR: %s", error)
        sys.exit(1)
    except Stopped as error:
        if first:
            log.error("ERROR: stopped by SIGTERM, and saved: %s", error)
        sys.exit(128 + signal.SIGTERM)
    except Exception:
        ended = "failed"
        log.exception("ERROR: unexpected")
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
        if state:
            state.end(ended)
        for each in log.handlers:
            each.close()


def empty_log(path: str) -> None:
    """Leave a log that says nothing yet, and no state, whatever an earlier attempt wrote."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"")
    with suppress(OSError):
        state_file(path).unlink()


class _LogFile(logging.FileHandler):
    """A log on a disk that is full ends, and nothing else does."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: stderr shows the line."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def _stop(number: int, frame: object) -> None:
    """Stop as an error would: temporary files go, and what was saved stays."""
    log.error("ERROR: stopped by SIGTERM")
    sys.exit(128 + number)


@contextmanager
def stop_deferred() -> Iterator[Callable[[], bool]]:
    """SIGTERM within ends nothing: the function that this gives tells whether it came."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def by_torchrun() -> bool:
    """Tell whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def provenance(started: float) -> dict[str, Any]:
    """Return what changes from run to run: date, duration, host, git revision.

    It is kept apart, so that results can be compared.
    """
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(time.time() - started, 2),
        "host": platform.node(),
        "git": _git_revision(),
    }


def helpers(wanted: int, memory: int = 0) -> int:
    """Return how many processes may help this one: fewer than wanted, with a warning, where the machine lacks what they
    need: semaphores, and for each of them that many bytes of shared memory (containers often have 64 MB of it)."""
    if wanted == 0:
        return 0
    found, trouble = wanted, ""
    try:
        multiprocessing.get_context("fork").Lock()
        # Where there is no such folder and yet a lock, as on macOS, shared memory lies elsewhere.
        if memory and os.path.isdir(SHARED_MEMORY):
            free = shutil.disk_usage(SHARED_MEMORY).free
            found, trouble = min(wanted, free // memory), f"{free:,} bytes are free, and each needs {memory:,}"
    except OSError as error:
        found, trouble = 0, error.strerror or str(error)
    if found < wanted:
        text = "WARNING: %s: %s; %d processes help in the place of %d."
        log.warning(text, SHARED_MEMORY, trouble, found, wanted)
    return found


def _git_revision() -> str | None:
    """Return the commit of this code's checkout; None where there is no git, or it tells of none (no checkout, or
    another user's)."""
    try:
        git = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return git.stdout.strip() or None


def duration(seconds: float) -> str:
    """Return a duration in words, in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def fingerprint(*parts: str) -> str:
    """Return 32 hex digits that name a recipe on given inputs."""
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write readable JSON with sorted keys; a value that is no number is an error, not a NaN."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
