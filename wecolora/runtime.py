"""What every job does first: its log, its device, its threads; and what it records of itself."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash

from wecolora.errors import BadInput, Stopped
from wecolora.files import atomic_write, unwritable

log = logging.getLogger("wecolora")
STAMP = "%Y-%m-%d %H:%M:%S"  # of a log's lines
NOT_DETERMINISTIC = r"(?s).*(does not have a deterministic|non-deterministic|not deterministic)"  # torch's warnings
_not_deterministic: set[str] = set()  # the operations that they were about


@contextmanager
def job(path: str | None, recipe: str = "") -> Iterator[None]:
    """Send log lines and tracebacks to the job's log file and to stderr; bad input ends the job with one line there,
    and so does SIGTERM, which a scheduler sends before it kills. Of torchrun's processes only the first tells of more
    than errors."""
    first = not by_torchrun() or os.environ["RANK"] == "0"
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if first:
                Path(path).write_bytes(b"")
            handlers.append(_LogFile(path, mode="a"))
        except OSError as error:
            print(f"ERROR: {unwritable(path, error)}", file=sys.stderr)
            sys.exit(1)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", STAMP))
    handlers[0].setLevel(logging.INFO)  # what is told of each epoch of a probe is for the log alone
    log.handlers, log.propagate = handlers, False
    log.setLevel(logging.DEBUG if first else logging.ERROR)
    if recipe and first:
        handlers[-1].emit(log.makeRecord("wecolora", logging.INFO, "", 0, f"recipe: {recipe}", (), None))
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except BadInput as error:
        log.error("ERROR: %s", error)
        sys.exit(1)
    except Stopped as error:
        log.error("ERROR: stopped by SIGTERM, and saved: %s", error)
        sys.exit(128 + signal.SIGTERM)
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
    """Whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def device(threads: int) -> str:
    """The device of this job, with its number of CPU threads set; on a GPU, deterministic algorithms where torch has
    them. A GPU that was given to the job and cannot be used is told."""
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which makes matrix products deterministic
        deterministic()
        return "cuda"
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("WARNING: the job was given GPU %s, but torch finds none: it runs on the CPU.", given)
    return "cpu"


def deterministic() -> None:
    """Have torch take deterministic algorithms, and warn where it has none; `environment` tells of what it warned."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    warnings.filterwarnings("always", message=NOT_DETERMINISTIC)
    shown = warnings.showwarning

    def note(message: Any, *where: Any, **others: Any) -> None:
        if re.match(NOT_DETERMINISTIC, str(message)):
            _not_deterministic.add(re.split(r" does not | defaults to |[.\n]", str(message))[0])
        else:
            shown(message, *where, **others)

    warnings.showwarning = note


def environment(device_name: str, processes: int = 1) -> dict[str, Any]:
    """What a number may depend on besides its recipe; the same on every run of one installation. On a GPU, by the end
    of a job, also the operations that it used and that have no deterministic algorithm."""
    packages = ("wecolora", "torch", "timm", "numpy", "pillow")
    kind = platform.machine()
    if device_name == "cuda":
        import torch

        kind = torch.cuda.get_device_name()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "device": kind,
        **{name: version(name) for name in packages},
    }
    if processes > 1:
        found["processes"] = processes
    if _not_deterministic:
        found["not deterministic"] = ", ".join(sorted(_not_deterministic))
    return found


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
