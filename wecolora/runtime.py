"""What every job does first: its log, its device, its threads; and what it records of itself."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from wecolora.errors import BadInput
from wecolora.files import atomic_write, unwritable

log = logging.getLogger("wecolora")
STAMP = "%Y-%m-%d %H:%M:%S"  # of a log's lines


@contextmanager
def job(path: str | None, recipe: str = "") -> Iterator[None]:
    """Send log lines and tracebacks to the job's log file and to stderr; bad input ends the job with one line there,
    and so does SIGTERM, which a scheduler sends before it kills."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(_LogFile(path, mode="w"))
        except OSError as error:
            print(f"ERROR: {unwritable(path, error)}", file=sys.stderr)
            sys.exit(1)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", STAMP))
    log.handlers, log.propagate = handlers, False
    log.setLevel(logging.INFO)
    if recipe:
        handlers[-1].emit(log.makeRecord("wecolora", logging.INFO, "", 0, f"recipe: {recipe}", (), None))
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except BadInput as error:
        log.error("ERROR: %s", error)
        sys.exit(1)
    except Exception:
        log.exception("ERROR: unexpected")
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
        for handler in handlers:
            handler.close()


class _LogFile(logging.FileHandler):
    """A log on a disk that is full ends, and nothing else does."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: stderr shows the line."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def _stop(number: int, frame: object) -> None:
    """As an error would: temporary files go, and what was saved stays."""
    log.error("ERROR: stopped by SIGTERM")
    sys.exit(128 + number)


def device(threads: int) -> str:
    """The device of this job, with its number of CPU threads and deterministic convolutions set. A GPU that was given
    to the job and cannot be used is told."""
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if torch.cuda.is_available():
        return "cuda"
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("WARNING: the job was given GPU %s, but torch finds none: it runs on the CPU.", given)
    return "cpu"


def environment(device_name: str) -> dict[str, Any]:
    """What a number may depend on besides its recipe; the same on every run of one installation."""
    packages = ("wecolora", "torch", "timm", "numpy", "pillow")
    kind = platform.machine()
    if device_name == "cuda":
        import torch

        kind = torch.cuda.get_device_name()
    return {"python": platform.python_version(), "device": kind, **{name: version(name) for name in packages}}


def circumstances(started: float) -> dict[str, Any]:
    """What changes from run to run: date, duration, host, git revision. Kept apart, so that results compare."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(time.time() - started, 2),
        "host": platform.node(),
        "git": git.stdout.strip() or None,
    }


def duration(seconds: float) -> str:
    """In seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def fingerprint(*parts: str) -> str:
    """32 hex digits that name a recipe on given inputs."""
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write readable JSON with sorted keys; a value that is no number is an error, not a NaN."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


class Progress:
    """Call with the number done: a bar on a terminal, a line in the log at each tenth."""

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.tenth = total, unit, 0
        self.bar = tqdm(total=total, unit=unit, disable=None, leave=False)

    def __call__(self, done: int) -> None:
        self.bar.update(done - self.bar.n)
        if done * 10 // max(self.total, 1) > self.tenth:
            self.tenth = done * 10 // self.total
            log.info("%d of %d %s", done, self.total, self.unit)
