"""Every image of a data set, read once: the digest of its bytes, what it is, and whether it can be read whole."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import xxhash
from PIL import Image

from wecolora.datasets.listing import Entry
from wecolora.errors import BadInput
from wecolora.images import MAX_PIXELS, decode
from wecolora.progress import Starting, silent

CHUNK = 64  # images that a worker takes at once


class Seen(NamedTuple):
    """Of an image: hex xxh3_128 of its bytes, format and mode in Pillow's words, and why it cannot be read ("" where it
    can; the kind is then known)."""

    digest: str
    kind: str
    problem: str


def examine(content: bytes, name: str) -> Seen:
    """What these bytes are. An image is decoded to its end, so that a truncated one is found."""
    digest = xxhash.xxh3_128_hexdigest(content)
    if not content:
        return Seen(digest, "", f"{name}: is empty.")
    try:
        return Seen(digest, _kind(content) or _decoded(content, name), "")
    except BadInput as error:
        return Seen(digest, "", str(error))


def _kind(content: bytes) -> str:
    """Of an ordinary JPEG that is whole; "" of all else, which takes a closer look."""
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            kind = f"{image.format} {image.mode}"
            if image.format != "JPEG" or image.width * image.height > MAX_PIXELS:
                return ""
            # At an eighth of its size, in grey: all of the file is read, at a third of the time.
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            return kind
    except Exception:  # no JPEG, or a damaged one: decode() says which
        return ""


def _decoded(content: bytes, name: str) -> str:
    decode(content, name)
    with Image.open(BytesIO(content)) as image:
        return f"{image.format} {image.mode}"


def examine_all(root: Path, entries: Sequence[Entry], threads: int = 1, progress: Starting = silent) -> list[Seen]:
    """What each of these images is, by that many processes."""
    # In the order in which they lie in a tar file: a disk then reads on, and does not jump.
    order = sorted(range(len(entries)), key=lambda position: (entries[position].path, entries[position].offset))
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    seen: dict[int, Seen] = {}
    told = progress(len(order), "images")
    for chunk, found in zip(chunks, _chunks(root, entries, chunks, threads), strict=True):
        seen.update(zip(chunk, found, strict=True))
        told(len(seen))
    return [seen[position] for position in range(len(entries))]


def _chunks(root: Path, entries: Sequence[Entry], chunks: list[list[int]], threads: int) -> Iterator[list[Seen]]:
    _hold(root, entries)
    if threads == 1 or len(chunks) == 1:
        yield from map(_examine, chunks)
        return
    # Forked processes share the list of a million images.
    with ProcessPoolExecutor(threads, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_examine, chunks)


_HELD: tuple[Path, Sequence[Entry]] = (Path(), ())


def _hold(root: Path, entries: Sequence[Entry]) -> None:
    global _HELD
    _HELD = root, entries


def _examine(positions: list[int]) -> list[Seen]:
    root, entries = _HELD
    return [_seen(root, entries[position]) for position in positions]


def _seen(root: Path, entry: Entry) -> Seen:
    whole = entry.offset == entry.size == 0  # and no empty member of a tar, whose offset is more
    try:
        with open(root / entry.path, "rb") as file:
            file.seek(entry.offset)
            content = file.read(-1 if whole else entry.size)
    except OSError as error:
        return Seen("", "", f"{entry.id}: cannot be read ({error.strerror}).")
    return examine(content, entry.id)
