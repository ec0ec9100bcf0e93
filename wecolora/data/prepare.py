"""Data sets, as they are downloaded: a module a source lists the images, and `prepare` makes one index of them."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from wecolora.config.datasets import Dataset
from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write
from wecolora.core.progress import Starting, silent
from wecolora.data.checking import NAMED, Seen, examine_all, odd_of, refuse_unknown, tell_odd, tell_values, values_of
from wecolora.data.images import ARRAY, Index, write_index
from wecolora.data.labels import doubtful
from wecolora.data.listing import Besides, Entry, Listing, folders_in, image_files, nfc, some
from wecolora.data.pixels import Range

log = logging.getLogger("wecolora")
SPLITS = {"train": "training", "test": "test"}


def listing_of(name: str, data: Dataset) -> Listing:
    """Return which images a data set has, as the module of its source tells (data/sources): its ``listing`` takes the
    data set's name and its entry in the config, and raises BadInput with what is missing and where to get it. Nothing
    is unpacked or written there."""
    found: Listing = importlib.import_module(f"wecolora.data.sources.{data.source}").listing(name, data)
    return found


def prepare(
    name: str,
    data: Dataset,
    index: str | Path,
    threads: int = 1,
    progress: Starting = silent,
    probed: bool = False,
) -> dict[str, Any]:
    """Write the index (Parquet) of a data set, sorted by the images' ids; returns a report on them, for JSON.

    Reads each image once, in ``threads`` processes. Raises BadInput where something is missing, where a split or a
    class has no images, where a data set that will be ``probed`` has no labels or no test images, where greys have no
    known range, and, without ``skip_unreadable``, where an image cannot be read. Counts other than the published ones
    and images of both splits are told in the log and the report.
    """
    index = Path(index)
    listed = _listed(name, data)
    if probed:
        _refuse_unprobeable(name, data, listed)
    if listed.pixels is None:
        seen = examine_all(listed.root, listed.entries, threads, progress)
    else:
        seen = [_row(listed.pixels[entry.offset]) for entry in listed.entries]
    seen, left_out = _readable(name, listed, seen, getattr(data, "skip_unreadable", False))
    _refuse_empty(name, data, listed, left_out)
    grey_range = getattr(data, "grey_range", None)
    refuse_unknown(name, listed.entries, seen, grey_range)
    found = _report(name, data, listed, seen, left_out) | values_of(seen, grey_range)
    found |= odd_of(listed.entries, seen)
    _tell(name, found)
    tell_values(name, found)
    tell_odd(name, found)
    if listed.pixels is not None:
        with atomic_write(index.with_name(ARRAY)) as temporary, open(temporary, "wb") as file:
            np.save(file, listed.pixels)
    write_index(
        Index(
            name=name,
            root=str(listed.root) if listed.pixels is None else ".",
            classes=listed.classes,
            multilabel=data.several_labels,
            ids=[entry.id for entry in listed.entries],
            paths=[entry.path for entry in listed.entries],
            offsets=[entry.offset for entry in listed.entries],
            labels=[list(entry.labels) for entry in listed.entries],
            split=[entry.split for entry in listed.entries],
            pixels_digest=_pixels_digest(listed.entries, seen, grey_range),
            sizes=[entry.size for entry in listed.entries],
            digests=[about.digest for about in seen],
            grey_range=grey_range,
        ),
        index,
    )
    return found


def _pixels_digest(entries: Sequence[Entry], seen: Sequence[Seen], grey_range: Range | None) -> str:
    """Hex xxh3_128 of what decides the images' pixels, in the order of the index."""
    digest = xxhash.xxh3_128(b"" if grey_range is None else f"{grey_range}\n".encode())
    for entry, about in zip(entries, seen, strict=True):
        # Some of these kinds were shown otherwise once. With the kind in it their index is another than then, so that
        # caches and students of those pixels are made again; the indexes of all others are what they were.
        kind = f" {about.kind}" if about.kind.startswith(("TIFF ", "BMP RGBA")) else ""
        digest.update(f"{entry.id} {about.digest}{kind}\n".encode())
    return digest.hexdigest()


def _listed(name: str, data: Dataset) -> Listing:
    """Return the images of a data set, sorted by id."""
    try:
        listed = listing_of(name, data)
    except OSError as error:
        where = error.filename or data.folder or name
        raise BadInput(
            f"{where}: cannot be read for data set {name} ({error.strerror}); let it be read, or take it out."
        ) from error
    listed.entries.sort()
    ids = [entry.id for entry in listed.entries]
    for one in ids:
        try:
            one.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{listed.root}: the name {one!r} of data set {name} is not in UTF-8; rename it.") from error
    if twice := [one for one, count in Counter(ids).items() if count > 1]:
        raise BadInput(f"{listed.root}: has {some(twice)} of data set {name} more than once; keep one of each.")
    return listed


def _row(pixels: np.ndarray) -> Seen:
    return Seen(xxhash.xxh3_128_hexdigest(np.ascontiguousarray(pixels).data), "array RGB", "")


def _readable(name: str, listed: Listing, seen: list[Seen], skip: bool) -> tuple[list[Seen], dict[Entry, str]]:
    """Return what the readable images are, and what is wrong with each of the others, which leave the listing.

    Raise BadInput if there are unreadable ones and ``skip`` is false.
    """
    left_out = {entry: about.problem for entry, about in zip(listed.entries, seen, strict=True) if about.problem}
    if not left_out:
        return seen, left_out
    for problem in list(left_out.values())[:10]:
        log.warning("WARNING: %s", problem)
    if not skip:
        raise BadInput(
            f"data set {name}: {len(left_out)} of {len(seen)} images cannot be read: "
            f"{some([entry.id for entry in left_out], 10)}; replace them, or leave them out "
            f"(datasets.{name}.skip_unreadable: true)."
        )
    listed.entries = [entry for entry in listed.entries if entry not in left_out]
    return [about for about in seen if not about.problem], left_out


def _refuse_unprobeable(name: str, data: Dataset, listed: Listing) -> None:
    """Before any image is read: a probe would find out after all students are trained."""
    lacks = ""
    tested = [frozenset(entry.labels) for entry in listed.entries if entry.split == "test"]
    if not listed.classes:
        lacks = "no labels: class folders need `test_share`, or to lie in train/ and test/; a table needs `labels`"
    elif not tested:
        lacks = "no test images: add test/, or give `test_share`, or a table's `split`"
    elif len(listed.classes) == 1 and not data.several_labels:
        lacks = f"one class only, {listed.classes[0]!r}: is its root a folder too high or too low"
    elif data.several_labels and len(set(tested)) == 1:
        lacks = "the same labels on all test images, so that no class has an AUC: take other test images"
    if lacks:
        raise BadInput(f"data set {name}: is to be probed, and has {lacks} ({listed.root}).")


def _refuse_empty(name: str, data: Dataset, listed: Listing, left_out: Iterable[Entry]) -> None:
    """BadInput where a split or a class has no images, once those are ``left_out`` that cannot be read."""
    splits, unreadable = {entry.split for entry in listed.entries}, Counter(entry.split for entry in left_out)
    test_share = getattr(data, "test_share", None)
    for split in listed.splits:
        if split not in splits:
            remedy = "put some there"
            if count := unreadable[split]:
                remedy = f"all {count} of them cannot be read: the log says why; replace them"
            elif test_share is not None:
                remedy = f"it has too few for datasets.{name}.test_share to leave one; add some, or take that key out"
            raise BadInput(f"data set {name}: has no {SPLITS[split]} images in {listed.root}; {remedy}.")
    trained = {label for entry in listed.entries if entry.split == "train" for label in entry.labels}
    if without := [number for number in range(len(listed.classes)) if number not in trained]:
        lost = Counter(label for entry in left_out if entry.split == "train" for label in entry.labels)
        told = [_with_files(listed, listed.classes[number], lost[number]) for number in without[:3]]
        remedy = "add some, or take these classes out"
        if test_share is not None and data.several_labels:
            remedy += f", or take another datasets.{name}.split_seed or a smaller test_share"
        raise BadInput(
            f"data set {name}: has no training images of {len(without)} of its {len(listed.classes)} classes "
            f"({some(told, of=len(without))}) in {listed.root}; {remedy}."
        )


def _with_files(listed: Listing, label: str, unreadable: int) -> str:
    """Return a class without training images, in words, and which files its folder has instead."""
    if unreadable:
        return f"{label}: {unreadable} that cannot be read"
    besides = Besides()
    above = listed.root / (listed.class_folders or "")
    for name in folders_in(above) if listed.class_folders is not None else ():
        if nfc(name) == label:
            image_files(above / name, besides)
    return f"{label}: {besides.told()}" if besides.files else label


def _remarks(listed: Listing) -> list[str]:
    """Return what is odd about a listing, and may be meant so."""
    found = [*listed.remarks, *doubtful(listed.classes)]
    if links := listed.besides.skipped["broken links"]:
        found.append(f"{links} links in its folders lead to nothing, and are left out.")
    tested = {label for entry in listed.entries if entry.split == "test" for label in entry.labels}
    without = [label for number, label in enumerate(listed.classes) if number not in tested]
    if "test" in listed.splits and without:
        found.append(f"{len(without)} of {len(listed.classes)} classes have no test images: {some(without)}.")
    return found


def _report(
    name: str, data: Dataset, listed: Listing, seen: Sequence[Seen], left_out: dict[Entry, str]
) -> dict[str, Any]:
    counts = Counter(entry.split for entry in listed.entries)
    images = {"train": counts["train"], "test": counts["test"], "classes": len(listed.classes)}
    published = data.published_counts()
    pairs = _in_both(listed.entries, seen)
    problems = {entry.id: problem for entry, problem in left_out.items()}
    by_split: dict[str, list[str]] = {split: [] for split in SPLITS}
    for entry, about in zip(listed.entries, seen, strict=True):
        by_split[entry.split].append(about.digest)
    return {
        "dataset": name,
        "source": data.source,
        "counts": images,
        "published": published,
        "agrees": None if published is None else images == published,
        "kinds": dict(Counter(about.kind for about in seen)),
        "absent": {"count": len(listed.absent), "images": listed.absent[:NAMED]},
        "unreadable": {"count": len(problems), "images": problems},
        "repeated": {split: len(digests) - len(set(digests)) for split, digests in by_split.items()},
        "in_train_and_test": {"count": len(pairs), "pairs": pairs[:NAMED]},
        "left_out": dict(listed.besides.files.most_common(NAMED)),
        "skipped": dict(listed.besides.skipped.most_common(NAMED)),
        "remarks": _remarks(listed),
    }


def _in_both(entries: Sequence[Entry], seen: Sequence[Seen]) -> list[tuple[str, str]]:
    """Return (training image, test image) for each test image whose bytes are a training image's too."""
    train = {about.digest: entry.id for entry, about in zip(entries, seen, strict=True) if entry.split == "train"}
    return [
        (train[about.digest], entry.id)
        for entry, about in zip(entries, seen, strict=True)
        if entry.split == "test" and about.digest in train
    ]


def _tell(name: str, found: dict[str, Any]) -> None:
    """Log the report in words."""
    counts, published = found["counts"], found["published"] or {}
    log.info(
        "%s: %s training and %s test images, %s.",
        name,
        f"{counts['train']:,}",
        f"{counts['test']:,}",
        f"{counts['classes']:,} classes" if counts["classes"] else "unlabelled",
    )
    for key, count in published.items():
        if counts[key] != count:
            what = f"{SPLITS[key]} images" if key in SPLITS else key
            log.warning("WARNING: %s: %s %s, where %s are published.", name, f"{counts[key]:,}", what, f"{count:,}")
    for key, what in {"left_out": "files left out, by suffix", "skipped": "skipped in its folders"}.items():
        if found[key]:
            parts = [f"{count:,} {kind}" for kind, count in found[key].items()]
            log.info("%s: %s: %s.", name, what, some(parts, 10))
    for remark in found["remarks"]:
        log.warning("WARNING: %s: %s", name, remark)
    if found["agrees"]:
        log.info("%s: as many as published.", name)
    if count := found["absent"]["count"]:
        text = "WARNING: %s: %d images that its lists name are not there: %s."
        log.warning(text, name, count, some(found["absent"]["images"], of=count))
    if count := found["unreadable"]["count"]:
        log.warning("WARNING: %s: %d unreadable images are left out; the report names them.", name, count)
    for split, count in found["repeated"].items():
        if count:
            text = "WARNING: %s: %d %s images are repeated, byte for byte. They stay."
            log.warning(text, name, count, SPLITS[split])
    if count := found["in_train_and_test"]["count"]:
        pairs = [f"{one} = {other}" for one, other in found["in_train_and_test"]["pairs"]]
        text = "WARNING: %s: %d test images are training images too, byte for byte: %s. They stay."
        log.warning(text, name, count, some(pairs, of=count))
