"""Files that appear whole or not at all, and the sentences for files that cannot be read or written."""

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
from tempfile import TemporaryDirectory
from typing import Any

from wecolora.core.errors import BadInput


def in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode if the machine's locale has another encoding.

    Otherwise file names would be read differently from node to node, and the views of an image depend on its name.
    Child processes inherit the mode. Raise BadInput if this Python was started with options that forbid the mode.
    """
    if sys.getfilesystemencoding() != "utf-8":
        if sys.flags.ignore_environment or "utf8" in sys._xoptions:
            raise BadInput("this Python is told not to read in UTF-8; start it without -I, -E and -X utf8=0.")
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


@contextmanager
def atomic_write(path: str | Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, and remove it otherwise.

    Raise BadInput if the disk or the folder takes no file. Raise it before the block if the disk has fewer than
    ``size`` bytes free, because HDF5 crashes when a disk fills up.
    """
    path = Path(path)
    # The name tells the process and the host, so two jobs may write one file: the last rename wins, each file is whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise BadInput(f"{path}: takes {size:,} bytes, and its disk has {free:,} left; free space and run again.")
        yield temporary
        os.replace(temporary, path)
    except FileNotFoundError:  # this is a mistake in the code
        raise
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "errno = " not in str(error):  # HDF5's errors have it
            raise
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # a read-only file system refuses even if there is no file
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8 on every machine; raise BadInput as atomic_write does."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(path: str | Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary folder; move its files to the folder ``path`` if the block ends well, and remove it otherwise.

    Raise BadInput before the block if ``path`` holds something, or if its disk has fewer than ``size`` bytes free.
    """
    path = Path(os.path.realpath(path))
    # On the same disk, so that a file that is moved appears whole.
    beside = next(place for place in (path, *path.parents) if place.exists())
    if not beside.is_dir():
        raise BadInput(f"{beside}: is no folder; name one that is empty or does not exist yet.")
    if beside == path and any(path.iterdir()):
        raise BadInput(f"{path}: holds something already; empty it, or name another folder.")
    free = shutil.disk_usage(beside).free
    if size > free:
        raise BadInput(f"{path}: takes {size:,} bytes, and its disk has {free:,} left; free space and run again.")
    try:
        with TemporaryDirectory(prefix=f".{path.name}.", dir=beside) as temporary:
            yield Path(temporary)
            path.mkdir(parents=True, exist_ok=True)
            for file in sorted(Path(temporary).iterdir()):
                os.replace(file, path / file.name)
    except FileNotFoundError:  # this is a mistake in the code
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: str | Path, error: Exception) -> BadInput:
    """Return the error that says why a file could not be written."""
    number = _system_error(error)
    if number and _is_lock(number, error):
        return BadInput(f"{path}: cannot be written ({os.strerror(number)}); {LOCKED}.")
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    return BadInput(f"{path}: cannot be written ({reason}); free disk space, or let it be written to.")


# What to do if HDF5 could not lock a file. The file itself may be whole.
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
    """Return the error that says why a file could not be read.

    If its content was read and is wrong, the sentence says ``what`` the file is not and gives the ``remedy``, such as
    to delete it. If the system gave no content, the file may be whole: the sentence then gives the system's reason and
    what helps against that. ``name`` replaces the path in the sentence.
    """
    name = name or str(path)
    number = _system_error(error)
    if number is None:
        return BadInput(f"{name}: {what} ({error if str(error) else repr(error)}); {remedy}.")
    return not_given(name, number, _is_lock(number, error))


def not_given(name: str, number: int, locked: bool = False) -> BadInput:
    """Return the error for a file that the system did not give.

    ``number`` is the system's error number (errno); ``locked`` says that HDF5 could not lock the file.
    """
    found = LOCKED if locked else REMEDIES.get(number, "it may be whole, so look after its disk and run again")
    return BadInput(f"{name}: cannot be read ({os.strerror(number)}); {found}.")


def _system_error(error: Exception) -> int | None:
    """Return the system's number of an error (errno), or None if the fault lies in the file's content.

    HDF5, Arrow and safetensors hide the number in their texts.
    """
    number = getattr(error, "errno", None)
    if told := re.search(r"\b(?:errno|os error)\W+(\d+)", str(error), re.IGNORECASE):
        number = int(told[1])
    return errno.ENOENT if isinstance(error, FileNotFoundError) else number


def _is_lock(number: int, error: Exception) -> bool:
    return number == errno.ENOLCK or "unable to lock file" in str(error)


def read_json(path: str | Path, keys: Iterable[str], purpose: str) -> Any:
    """Return the content of a JSON file that this project wrote.

    Raise BadInput if the file is not whole or lacks one of ``keys``; the sentence says to delete it to ``purpose``.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        for key in keys:
            content[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error, "cannot be read", f"delete it to {purpose}") from error
    return content


def sha256(path: str | Path) -> str:
    """Return the hex digest of a file, which identifies the weights of a teacher or a student."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: str | Path) -> None:
    """Remove the files that killed jobs left below a folder.

    These are temporary files of processes of this host that have ended, temporary files of other hosts to which nothing
    was written for an hour, and saved states that no job has used for a month.
    """
    for path in Path(folder).rglob(".*.part"):
        if _is_abandoned(path):
            path.unlink(missing_ok=True)
    for path in Path(folder).glob(".resume/*.pt"):
        with suppress(FileNotFoundError):  # its run has just ended and removed it
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
    except OSError:  # it has just been renamed, or the process is another user's
        pass
    return False
