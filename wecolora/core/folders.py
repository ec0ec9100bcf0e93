"""What a folder holds: its files without what programs leave there, and a digest that follows them. No file is read."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import xxhash

# What servers, systems and Python leave in folders of pictures, in lower case: copies, thumbnails and what was deleted.
FOREIGN = {
    "@eadir", "@recently-snapshot", "@recycle", "#recycle", "#snapshot", "~snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__macosx", "__pycache__",
}  # fmt: skip


def files_below(root: str | Path, skipped: Counter[str] | None = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(path from the root, entry) of every file below a folder, through links, in the same order everywhere.

    Hidden files and folders are left out, and FOREIGN ones: programs leave their own there (``._1.jpg``, ``@eaDir``).
    ``skipped`` counts these folders by name, and as "hidden files", "broken links" and "pipes, sockets and devices"
    what else is no file to read.
    """
    for path, entry in _below(str(root), Counter() if skipped is None else skipped):
        if not path.endswith("/"):
            yield path, entry


def _below(root: str, skipped: Counter[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """As files_below, and the folders too, whose paths end in a slash."""
    # A stack, for folders may be nested deeper than Python's calls: each folder that is open, its path from the root,
    # and what is left of it.
    opened = [(root, "", iter(entries_of(root, skipped)))]
    while opened:
        _, prefix, entries = opened[-1]
        entry = next(entries, None)
        if entry is None:
            opened.pop()
        elif entry.is_dir():
            # Only a link can lead back to a folder above, and then for ever.
            real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if all(real != folder for folder, _, _ in opened):
                yield f"{prefix}{entry.name}/", entry
                opened.append((real, f"{prefix}{entry.name}/", iter(entries_of(real, skipped))))
        elif entry.is_file():
            yield f"{prefix}{entry.name}", entry
        elif os.path.exists(entry.path):
            skipped["pipes, sockets and devices"] += 1
        else:
            skipped["broken links"] += 1


def is_left_out(name: str) -> bool:
    """Whether files_below leaves out what has this name."""
    return name.startswith(".") or name.lower() in FOREIGN


def entries_of(folder: str | Path, skipped: Counter[str] | None = None) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name, without what files_below leaves out, which is never opened."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_left_out(entry.name):
                found.append(entry)
            elif skipped is not None:
                skipped[entry.name if entry.is_dir(follow_symlinks=False) else "hidden files"] += 1
    return sorted(found, key=lambda entry: entry.name)


@functools.cache
def folder_state(root: str, depth: int | None = None) -> str:
    """A digest that changes when a folder's files change; no file is read. The same for a folder that is missing, which
    is refused where its files are wanted.

    Of the names, sizes and modification times of all files below it, and of its folders' names. With ``depth``: of the
    files directly in it and of the folders down to that depth alone, so that a data set of a million files is looked at
    in a moment. A folder's time says that a file was added, removed or replaced, not that one was changed in place.
    """
    digest = xxhash.xxh3_64()
    try:
        lines = _all_files(root) if depth is None else _upper_folders(root, depth)
        for line in lines:
            digest.update(line.encode(errors="surrogateescape"))
    except OSError as error:
        digest.update(str(error.errno).encode())
    return digest.hexdigest()


def _all_files(root: str) -> Iterator[str]:
    for path, entry in _below(root, Counter()):
        if path.endswith("/"):  # an empty one may be a class; its time changes with what is skipped, too
            yield f"{path}\n"
            continue
        about = entry.stat()
        yield f"{path} {about.st_size} {about.st_mtime_ns}\n"


def _upper_folders(folder: str, depth: int, prefix: str = "") -> Iterator[str]:
    for entry in entries_of(folder):
        if entry.is_dir():
            yield f"{prefix}{entry.name}/ {entry.stat().st_mtime_ns}\n"
            if depth > 1:
                yield from _upper_folders(entry.path, depth - 1, f"{prefix}{entry.name}/")
        elif not prefix:
            about = entry.stat(follow_symlinks=os.path.exists(entry.path))
            yield f"{entry.name} {about.st_size} {about.st_mtime_ns}\n"


def file_state(path: str | Path) -> str:
    """The size and modification time of a file; empty where there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"
