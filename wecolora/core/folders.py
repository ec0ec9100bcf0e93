"""What a folder holds: its files, without those that programs leave there, and a digest of them. No file is read."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import xxhash

# What servers, systems and Python leave in folders of pictures (copies, thumbnails, deleted files), in lower case.
FOREIGN = {
    "@eadir", "@recently-snapshot", "@recycle", "#recycle", "#snapshot", "~snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__macosx", "__pycache__",
}  # fmt: skip


def files_below(root: str | Path, skipped: Counter[str] | None = None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (path from the root, entry) for every file below a folder, in the same order on every machine.

    Links are followed. Hidden files, hidden folders and FOREIGN folders are left out, because programs leave files of
    their own there (``._1.jpg``, ``@eaDir``). ``skipped`` counts these folders by name, and everything else that is
    left out as "hidden files", "broken links" or "pipes, sockets and devices".
    """
    for path, entry in _below(str(root), Counter() if skipped is None else skipped):
        if not path.endswith("/"):
            yield path, entry


def _below(root: str, skipped: Counter[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what files_below yields, and the folders too; the path of a folder ends in a slash."""
    # A stack, because folders may be nested deeper than Python's calls. It holds each open folder, its path from the
    # root, and the entries that are left.
    opened = [(root, "", iter(entries_of(root, skipped)))]
    while opened:
        _, prefix, entries = opened[-1]
        entry = next(entries, None)
        if entry is None:
            opened.pop()
        elif entry.is_dir():
            # Only a link can lead back to a folder above, and it would do so for ever.
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
    """Return whether files_below leaves out a file or a folder of this name."""
    return name.startswith(".") or name.lower() in FOREIGN


def entries_of(folder: str | Path, skipped: Counter[str] | None = None) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name, without those that files_below leaves out.

    Folders that are left out are never opened. ``skipped`` counts what is left out.
    """
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
    """Return a digest that changes when the files of a folder change; no file is read.

    The digest covers the names, sizes and modification times of all files below the folder, and the names of its
    folders. With ``depth`` it covers only the files directly in the folder and the folders down to that depth, so that
    a data set of a million files takes a moment. The time of a folder shows that a file was added, removed or replaced,
    but not that one was changed in place. A missing folder has a digest too; the code that wants its files refuses it.
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
        if path.endswith("/"):  # an empty folder may be a class; its time says nothing, because skipped files change it
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
    """Return the size and the modification time of a file, or an empty text if there is no file."""
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"
