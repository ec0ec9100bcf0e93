"""The check of every image of a data set, by reading it once: its digest, its kind, and whether it is whole."""

from __future__ import annotations

import errno
import logging
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
from PIL import Image

from wecolora.core.errors import BadInput
from wecolora.core.files import not_given
from wecolora.core.job import helpers
from wecolora.core.progress import Starting, silent
from wecolora.data.images import MAX_PIXELS, NoMemory, look
from wecolora.data.listing import Entry, some
from wecolora.data.pixels import Range, deep_kind, range_of

log = logging.getLogger("wecolora")
NAMED = 100  # a report names at most so many images, and so many pairs of duplicates
CHUNK = 64  # images that a worker takes at a time
# The system's errors for a file that is itself at fault. Any other error may be over in a minute, so skip_unreadable
# leaves no image out for it: the data set would depend on the minute.
OF_THE_FILE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}


class Seen(NamedTuple):
    """What a check found out about an image.

    ``digest`` is the hex xxh3_128 of its bytes. ``kind`` is its kind (see pixels). ``problem`` says why it cannot be
    read; it is "" if it can, and then the kind is known. ``values`` are its lowest and its highest value, or None for
    an ordinary JPEG and for a row of an array. ``odd`` says what is odd about it (see pixels.oddities).
    """

    digest: str
    kind: str
    problem: str
    values: Range | None = None
    odd: tuple[str, ...] = ()


def examine(content: bytes, name: str) -> Seen:
    """Return what these bytes are; an image is decoded to its end, so that a truncated one is found.

    Raise NoMemory if there is too little memory for the image.
    """
    digest = xxhash.xxh3_128_hexdigest(content)
    if not content:
        return Seen(digest, "", f"{name}: is empty.")
    try:
        if kind := _kind(content):
            return Seen(digest, kind, "")
        kind, values, odd = look(content, name)
        return Seen(digest, kind, "", values, odd)
    except NoMemory:
        raise
    except BadInput as error:
        return Seen(digest, "", str(error))


def _kind(content: bytes) -> str:
    """Return the kind of an ordinary JPEG that is whole, or "" for everything else, which needs a closer look."""
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            kind = f"{image.format} {image.mode}"
            if image.format != "JPEG" or image.width * image.height > MAX_PIXELS:
                return ""
            # At an eighth of its size and in grey, all of the file is read in a third of the time.
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            return kind
    except Exception:  # it is no JPEG, or a damaged one; look() says which
        return ""


def examine_all(root: Path, entries: Sequence[Entry], threads: int = 1, progress: Starting = silent) -> list[Seen]:
    """Return what each of these images is, in their order; ``threads`` processes read them.

    Raise BadInput if the system does not give a file for a reason that may soon be over.
    """
    # They are read in the order in which they lie in a tar file, so that a disk need not jump.
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
    if len(chunks) == 1 or helpers(threads - 1) == 0:
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
    whole = entry.offset == entry.size == 0  # an empty part of a tar file has an offset
    try:
        with open(root / entry.path, "rb") as file:
            file.seek(entry.offset)
            content = file.read(-1 if whole else entry.size)
    except OSError as error:
        if error.errno not in OF_THE_FILE:
            raise not_given(entry.id, error.errno or 0) from error
        return Seen("", "", f"{entry.id}: cannot be read ({error.strerror}).")
    except MemoryError as error:
        raise NoMemory(f"{entry.id}: takes more memory than there is; give the job more.") from error
    return examine(content, entry.id)


def values_of(seen: Sequence[Seen], grey_range: Range | None) -> dict[str, Any]:
    """Return what a report says about the values in a data set's images, by kind.

    For deep greys it is their range, for other kinds the brightest value.
    """
    by_kind: dict[str, list[Range]] = {}
    for about in seen:
        if about.values is not None:
            by_kind.setdefault(about.kind, []).append(about.values)
    deep = {kind: found for kind, found in sorted(by_kind.items()) if deep_kind(kind)}
    lowest, highest = grey_range or (-math.inf, math.inf)
    return {
        "grey_range": grey_range,
        "greys": {
            kind: dict(zip(("images", "lowest", "highest"), (len(found), *_hull(found)), strict=True))
            for kind, found in deep.items()
        },
        "clipped": sum(low < lowest or high > highest for found in deep.values() for low, high in found),
        "brightest": {kind: _hull(found)[1] for kind, found in sorted(by_kind.items()) if kind not in deep},
    }


def _hull(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def refuse_unknown(name: str, entries: Sequence[Entry], seen: Sequence[Seen], grey_range: Range | None) -> None:
    """Raise BadInput for greys if neither their format nor ``grey_range`` says which values are black and white."""
    unknown = [
        (entry.id, about.kind, about.values)
        for entry, about in zip(entries, seen, strict=True)
        if about.values is not None and range_of(about.kind) is None
    ]
    if unknown and grey_range is None:
        (first, kind, (low, high)), (lowest, highest) = unknown[0], _hull([values for _, _, values in unknown])
        raise BadInput(
            f"data set {name}: {len(unknown)} images have greys of no known range, such as {first} ({kind}, {low:g} "
            f"to {high:g}), and {lowest:g} to {highest:g} in all; say which values are black and white "
            f"(datasets.{name}.grey_range: [lowest, highest])."
        )


def tell_values(name: str, found: dict[str, Any]) -> None:
    """Log what values_of found; warn if images use only the lower half of the range from black to white."""
    given, greys = found["grey_range"], found["greys"]
    # The highest value of the fewest bits that hold all deep greys: one range has to fit all kinds.
    top = max((2 ** int(about["highest"]).bit_length() - 1 for about in greys.values()), default=0)
    for kind, about in greys.items():
        text = "%s: %s images are of deep greys (%s), from %g to %g."
        log.info(text, name, f"{about['images']:,}", kind, about["lowest"], about["highest"])
        black, white = given or range_of(kind) or (0, 0)
        if about["highest"] < (black + white) / 2:
            fits = not given and top < white
            remedy = f"datasets.{name}.grey_range: [0, {max(1, top)}]" if fits else "convert them, or change grey_range"
            text = "WARNING: %s: the brightest value of its %s images is %g, and %g is white; if they are too dark: %s."
            log.warning(text, name, kind, about["highest"], white, remedy)
    for kind, highest in found["brightest"].items():
        if highest < 128:
            text = (
                "WARNING: %s: the brightest value of its %s images is %d, and 255 is white; convert them if they are "
                "too dark (grey_range acts on greys deeper than 8 bits alone)."
            )
            log.warning(text, name, kind, highest)
    if given and not greys:
        log.warning("WARNING: %s: grey_range has no effect: no image has greys deeper than 8 bits.", name)
    elif given:
        log.info("%s: grey_range clips greys of %s images.", name, f"{found['clipped']:,}")


# What may be odd about an image (pixels.oddities), in words.
ODD = {
    "transparent": "are nearly white everywhere, as their alpha says; if it is none, store the colours alone",
    "several_pictures": "hold several pictures each, of which the first is taken",
}


def odd_of(entries: Sequence[Entry], seen: Sequence[Seen]) -> dict[str, Any]:
    """Return what a report says about odd images: how many there are of each sort, and the names of the first."""
    found: dict[str, Any] = {}
    for odd in ODD:
        names = [entry.id for entry, about in zip(entries, seen, strict=True) if odd in about.odd]
        found[odd] = {"count": len(names), "images": names[:NAMED]}
    return found


def tell_odd(name: str, found: dict[str, Any]) -> None:
    """Log what odd_of found, and warn of TIFF files that say that their fourth band is alpha."""
    for odd, words in ODD.items():
        if count := found[odd]["count"]:
            log.warning("WARNING: %s: %d images %s: %s.", name, count, words, some(found[odd]["images"], of=count))
    for kind, count in found["kinds"].items():
        if kind.startswith("TIFF RGBA"):
            text = "WARNING: %s: %d images (%s) say that their fourth band is alpha; if it is none, take it out."
            log.warning(text, name, count, kind)
