"""Files that appear whole or not at all."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place when the block ends well, remove it otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process number keeps two jobs that write the same file apart; the last rename wins, each file is whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def folder_state(root: str) -> str:
    """A digest of the names, sizes and modification times of all files below a folder; no file is read. The same for a
    folder that is missing, which is refused where its files are wanted."""
    digest = xxhash.xxh3_64()
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            about = os.stat(os.path.join(folder, name))
            digest.update(f"{os.path.relpath(folder, root)}/{name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
