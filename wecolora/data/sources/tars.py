"""Tar files, read where they lie: nothing is unpacked."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wecolora.core.errors import BadInput
from wecolora.core.files import unreadable

LARGEST = 512 * 2**20  # of a file that is read whole; CIFAR-100's training images take 148 MiB


class Member(NamedTuple):
    """A file in a tar: its name, and where its bytes lie in the outermost file."""

    name: str
    offset: int
    size: int


def members(path: Path, within: Member | None = None) -> Iterator[Member]:
    """Yield the files of an uncompressed tar, or of a tar that is a member of it, in their order there.

    Raise BadInput if the tar is damaged, or if a member is neither file nor folder or its name leads out of the tar's
    folder.
    """
    start, end = (within.offset, within.offset + within.size) if within else (0, os.path.getsize(path))
    told = f"{path}: {within.name}" if within else f"{path}"
    try:
        with open(path, "rb") as file:
            file.seek(start)
            with tarfile.TarFile(fileobj=file, mode="r") as archive:
                for member in archive:
                    _refuse_unsafe(member, told)
                    if member.offset_data + member.size > end:
                        raise BadInput(f"{told}: ends within {member.name!r}; download it again.")
                    if member.isreg():
                        yield Member(member.name.removeprefix("./"), member.offset_data, member.size)
                # tarfile takes whatever is no header for the end, also where a download broke off.
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise BadInput(
                        f"{told}: breaks off, or is damaged, after {archive.offset} bytes; download it again."
                    )
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BadInput(f"{told}: cannot be read as a tar file ({error}); download it again.") from error


def file_in(path: Path, name: str) -> bytes:
    """Return the bytes of the file in a (compressed) tar whose path there ends so."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _refuse_unsafe(member, str(path))
                if member.isreg() and f"/{member.name}".endswith(f"/{name}"):
                    if member.size > LARGEST:
                        raise BadInput(f"{path}: {name} claims to have {member.size} bytes; download it again.")
                    opened = archive.extractfile(member)
                    assert opened is not None  # of a regular file
                    return opened.read()
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:  # gzip's are OSErrors
        raise unreadable(path, error, "cannot be read as a tar file", "download it again") from error
    raise BadInput(f"{path}: has no file {name}; download it again.")


def _refuse_unsafe(member: tarfile.TarInfo, told: str) -> None:
    """Nothing is unpacked, and names become ids; but a tar that would leave its folder is not the one published."""
    if os.path.isabs(member.name) or ".." in member.name.split("/"):
        raise BadInput(
            f"{told}: has a member {member.name!r} that leads out of its folder; it is not the official file."
        )
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise BadInput(f"{told}: has a member {member.name!r} that is no plain file; it is not the official file.")
