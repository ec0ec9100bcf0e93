"""Files that appear whole or not at all, and what a folder holds."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wecolora.core.errors import BadInput


def in_utf8() -> None:
    """Start this process anew in Python's UTF-8 mode where the machine's locale would have it read file names and print
    in another encoding: an image's name, and so its views, would depend on the node. Its children inherit the mode."""
    if sys.getfilesystemencoding() != "utf-8":
        if sys.flags.ignore_environment or "utf8" in sys._xoptions:
            raise BadInput("this Python is told not to read in UTF-8; start it without -I, -E and -X utf8=0.")
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


@contextmanager
def atomic_write(path: str | Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place when the block ends well, remove it otherwise.

    BadInput where disk or folder take no file, or, before the block, not ``size`` bytes (HDF5 crashes where a disk
    fills up).
    """
    path = Path(path)
    # Process and host keep two jobs that write the same file apart; the last rename wins, each file is whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise BadInput(f"{path}: takes {size:,} bytes, and its disk has {free:,} left; free space and run again.")
        yield temporary
        os.replace(temporary, path)
    except FileNotFoundError:  # a mistake in the code
        raise
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "errno = " not in str(error):  # HDF5's have it
            raise
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # a read-only file system refuses even where there is nothing
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8 whatever the machine's locale is; BadInput as in atomic_write."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def unwritable(path: str | Path, error: Exception) -> BadInput:
    """Return what to say of a file that could not be written."""
    number = _system_error(error)
    if number and _is_lock(number, error):
        return BadInput(f"{path}: cannot be written ({os.strerror(number)}); {LOCKED}.")
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    return BadInput(f"{path}: cannot be written ({reason}); free disk space, or let it be written to.")


# What to do where HDF5 could not lock a file, which says nothing of the file.
LOCKED = (
    "HDF5 could not lock it: wait for the program that holds it open, or set HDF5_USE_FILE_LOCKING=FALSE where its "
    "file system has no locks"
)
REMEDIES = {
    errno.ENOENT: "restore it; if the workflow makes it, run snakemake again",
    errno.EACCES: "let it be read",
    errno.EPERM: "let it be read",
    errno.EMFILE: "let more files be open at once (ulimit -n)",
    errno.ENFILE: "let more files be open at once",
}


def unreadable(path: str | Path, error: Exception, what: str, remedy: str, name: str = "") -> BadInput:
    """Return what to say of a file that could not be read.

    Where its content was read and is wrong, that is ``what`` it is not, and the ``remedy``, which may be to delete it.
    Where the system gave no content, the file may be whole: then it is the system's reason, and what helps against
    that. ``name``: how to call the file, if not by its path.
    """
    name = name or str(path)
    number = _system_error(error)
    if number is None:
        return BadInput(f"{name}: {what} ({error if str(error) else repr(error)}); {remedy}.")
    return not_given(name, number, _is_lock(number, error))


def not_given(name: str, number: int, locked: bool = False) -> BadInput:
    """Return what to say of a file that the system did not give, with its reason by number."""
    found = LOCKED if locked else REMEDIES.get(number, "it may be whole, so look after its disk and run again")
    return BadInput(f"{name}: cannot be read ({os.strerror(number)}); {found}.")


def _system_error(error: Exception) -> int | None:
    """Return the system's number of an error, which HDF5, Arrow and safetensors hide in their texts; None where it is
    none of the system's, and so of the file's content."""
    number = getattr(error, "errno", None)
    if told := re.search(r"\b(?:errno|os error)\W+(\d+)", str(error), re.IGNORECASE):
        number = int(told[1])
    return errno.ENOENT if isinstance(error, FileNotFoundError) else number


def _is_lock(number: int, error: Exception) -> bool:
    return number == errno.ENOLCK or "unable to lock file" in str(error)


def read_json(path: str | Path, keys: Iterable[str], purpose: str) -> Any:
    """Return what a JSON file of this project's says. Raise BadInput, which says what deleting it is good for, where it
    is not whole."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        for key in keys:
            content[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error, "cannot be read", f"delete it to {purpose}") from error
    return content


def sha256(path: str | Path) -> str:
    """Return the hex digest of a file: the identity of a teacher's or a student's weights."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files that killed writers left below a folder: those of processes of this host that are
    gone, and those of other hosts to which nothing was written for an hour; and of what killed jobs saved to go on
    with, what nobody has come back for in a month."""
    for path in Path(folder).rglob(".*.part"):
        if _is_abandoned(path):
            path.unlink(missing_ok=True)
    for path in Path(folder).glob(".resume/*.pt"):
        with suppress(FileNotFoundError):  # its run ends just now
            if time.time() - path.stat().st_mtime > 30 * 86400:
                path.unlink()


def _is_abandoned(temporary: Path) -> bool:
    writer, _, host = temporary.name.removesuffix(".part").rpartition("@")
    try:
        if host != socket.gethostname():
            return time.time() - temporary.stat().st_mtime > 3600
        os.kill(int(writer.rpartition(".")[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it was renamed just now; or the process is another user's
        pass
    return False
