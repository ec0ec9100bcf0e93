"""What a job says of its state: a JSON file beside its log, which tells others how far it is."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel

from wecolora.core.errors import BadInput
from wecolora.core.files import write_text

ERROR = "ERROR: "  # what begins the line of a job's error
SECONDS = 1.0  # between two writes of a job that goes on
End = Literal["done", "failed", "stopped"]  # stopped: from outside


class JobState(BaseModel):
    """A job's state, when it began, when it said its last words, its error, and the seconds from its begin to this."""

    state: Literal["running"] | End = "running"
    started: AwareDatetime
    told: AwareDatetime
    words: str = ""
    error: str | None = None
    seconds: float = 0


def state_file(log: str | Path) -> Path:
    """Return the path of the state file beside a log."""
    return Path(log).with_suffix(".json")


def read_state(log: str | Path) -> JobState | None:
    """Return the state of the job of a log; None where no file tells it, or none that is whole."""
    try:
        return JobState.model_validate_json(state_file(log).read_bytes())
    except (OSError, ValueError):
        return None


class StateHandler(logging.Handler):
    """Keep a job's state file up to date with what it logs: at once at its first line, then once a second at most, and
    at its end. A file that cannot be written ends nothing."""

    def __init__(self, log: str | Path) -> None:
        super().__init__()
        self.path, self.process = state_file(log), os.getpid()
        self.began, self.due = time.monotonic(), 0.0
        now = datetime.now(UTC).astimezone()
        self.state = JobState(started=now, told=now)
        self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line's words; of an error, those of the first. What a forked helper says is not the job's."""
        if os.getpid() != self.process:
            return
        words = record.getMessage().partition("\n")[0]
        words = words.encode(errors="backslashreplace").decode()  # a file's name may be no text
        self.state.told, self.state.words = datetime.now(UTC).astimezone(), words
        if words.startswith(ERROR) and self.state.error is None:
            self.state.error = words.removeprefix(ERROR)
        if time.monotonic() >= self.due:
            self._write()
            self.due = time.monotonic() + SECONDS

    def end(self, state: End) -> None:
        """Say how the job ended."""
        self.state.state = state
        self._write()

    def _write(self) -> None:
        self.state.seconds = round(time.monotonic() - self.began, 2)
        with suppress(OSError, BadInput):
            write_text(self.path, self.state.model_dump_json(indent=1) + "\n")
