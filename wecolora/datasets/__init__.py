"""Data sets, as they are downloaded: a module a source lists the images, and `prepare` makes one index of them.

A source's ``listing(name, data)`` takes the data set's name and its entry in the config and says which images there are
(a Listing), or raises BadInput with what is missing and where to get it. Nothing is unpacked or written there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from wecolora.datasets import bundled, chestxray14, cifar100, folder, imagenet, inat2019, resisc45, table
from wecolora.datasets.checking import (
    NAMED,
    Seen,
    examine_all,
    odd_of,
    refuse_unknown,
    tell_odd,
    tell_values,
    values_of,
)
from wecolora.datasets.labels import doubtful
from wecolora.datasets.listing import Besides, Entry, Listing, folders_in, image_files, nfc, some
from wecolora.errors import BadInput
from wecolora.files import atomic_write
from wecolora.images import ARRAY, Index, write_index
from wecolora.pixels import deep_kind
from wecolora.progress import Starting, silent
from wecolora.recipes import Dataset

log = logging.getLogger("wecolora")
SOURCES: dict[str, Callable[[str, Any], Listing]] = {
    "bundled": bundled.listing,
    "folder": folder.listing,
    "table": table.listing,
    "imagenet": imagenet.listing,
    "cifar100": cifar100.listing,
    "chestxray14": chestxray14.listing,
    "inat2019": inat2019.listing,
    "resisc45": resisc45.listing,
}
SPLITS = {"train": "training", "test": "test"}


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
        _refuse_unprobeable(name, listed)
    if listed.pixels is None:
        seen = examine_all(listed.root, listed.entries, threads, progress)
    else:
        seen = [_row(listed.pixels[entry.offset]) for entry in listed.entries]
    unreadable = {entry.id: about.problem for entry, about in zip(listed.entries, seen, strict=True) if about.problem}
    if unreadable:
        for problem in list(unreadable.values())[:10]:
            log.warning("WARNING: %s", problem)
        if not getattr(data, "skip_unreadable", False):
            raise BadInput(
                f"data set {name}: {len(unreadable)} of {len(seen)} images cannot be read: "
                f"{some(list(unreadable), 10)}; replace them, or leave them out "
                f"(datasets.{name}.skip_unreadable: true)."
            )
        kept = [(entry, about) for entry, about in zip(listed.entries, seen, strict=True) if not about.problem]
        listed.entries, seen = [entry for entry, _ in kept], [about for _, about in kept]
    _refuse_empty(name, listed)
    grey_range = getattr(data, "grey_range", None)
    refuse_unknown(name, listed.entries, seen, grey_range)
    found = _report(name, data.source, listed, seen, unreadable) | values_of(seen, grey_range)
    found |= odd_of(listed.entries, seen)
    _tell(name, found)
    tell_values(name, found)
    tell_odd(name, found)
    digest = xxhash.xxh3_128(b"" if grey_range is None else f"{grey_range}\n".encode())
    for entry, about in zip(listed.entries, seen, strict=True):
        # How deep greys are shown depends on more than their bytes, and has changed: their kind makes another index.
        kind = f" {about.kind}" if deep_kind(about.kind) else ""
        digest.update(f"{entry.id} {about.digest}{kind}\n".encode())
    if listed.pixels is not None:
        with atomic_write(index.with_name(ARRAY)) as temporary, open(temporary, "wb") as file:
            np.save(file, listed.pixels)
    write_index(
        Index(
            name=name,
            root=str(listed.root) if listed.pixels is None else ".",
            classes=listed.classes,
            multilabel=listed.multilabel,
            ids=[entry.id for entry in listed.entries],
            paths=[entry.path for entry in listed.entries],
            offsets=[entry.offset for entry in listed.entries],
            labels=[list(entry.labels) for entry in listed.entries],
            split=[entry.split for entry in listed.entries],
            pixels_digest=digest.hexdigest(),
            sizes=[entry.size for entry in listed.entries],
            digests=[about.digest for about in seen],
            grey_range=grey_range,
        ),
        index,
    )
    return found


def _listed(name: str, data: Dataset) -> Listing:
    """The images of a data set, sorted by id."""
    try:
        listed = SOURCES[data.source](name, data)
    except OSError as error:
        where = error.filename or getattr(data, "root", name)
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


def _refuse_unprobeable(name: str, listed: Listing) -> None:
    """Before any image is read: a probe would find out after all students are trained."""
    lacks = ""
    if not listed.classes:
        lacks = "no labels: class folders need `test_share`, or to lie in train/ and test/; a table needs `labels`"
    elif not any(entry.split == "test" for entry in listed.entries):
        lacks = "no test images: add test/, or give `test_share`, or a table's `split`"
    elif len(listed.classes) == 1 and not listed.multilabel:
        lacks = f"one class only, {listed.classes[0]!r}: is its root a folder too high or too low"
    elif listed.multilabel and len({frozenset(entry.labels) for entry in listed.entries if entry.split == "test"}) == 1:
        lacks = "the same labels on all test images, so that no class has an AUC: take other test images"
    if lacks:
        raise BadInput(f"data set {name}: is to be probed, and has {lacks} ({listed.root}).")


def _refuse_empty(name: str, listed: Listing) -> None:
    splits = {entry.split for entry in listed.entries}
    for split in listed.splits:
        if split not in splits:
            raise BadInput(f"data set {name}: has no {SPLITS[split]} images in {listed.root}; put some there.")
    trained = {label for entry in listed.entries if entry.split == "train" for label in entry.labels}
    if without := [label for number, label in enumerate(listed.classes) if number not in trained]:
        raise BadInput(
            f"data set {name}: has no training images of {len(without)} of its {len(listed.classes)} classes "
            f"({some([_with_files(listed, label) for label in without[:3]], of=len(without))}) in {listed.root}; add "
            "some, or take these classes out."
        )


def _with_files(listed: Listing, label: str) -> str:
    """A class without training images, and which files its folder has instead."""
    besides = Besides()
    above = listed.root / (listed.class_folders or "")
    for name in folders_in(above) if listed.class_folders is not None else ():
        if nfc(name) == label:
            image_files(above / name, besides)
    return f"{label}: {besides.told()}" if besides.files else label


def _remarks(listed: Listing) -> list[str]:
    """What is odd about it, and may be meant so."""
    found = [*listed.remarks, *doubtful(listed.classes)]
    if links := listed.besides.skipped["broken links"]:
        found.append(f"{links} links in its folders lead to nothing, and are left out.")
    tested = {label for entry in listed.entries if entry.split == "test" for label in entry.labels}
    without = [label for number, label in enumerate(listed.classes) if number not in tested]
    if "test" in listed.splits and without:
        found.append(f"{len(without)} of {len(listed.classes)} classes have no test images: {some(without)}.")
    return found


def _report(
    name: str, source: str, listed: Listing, seen: Sequence[Seen], unreadable: dict[str, str]
) -> dict[str, Any]:
    counts = Counter(entry.split for entry in listed.entries)
    images = {"train": counts["train"], "test": counts["test"], "classes": len(listed.classes)}
    pairs = _in_both(listed.entries, seen)
    by_split: dict[str, list[str]] = {split: [] for split in SPLITS}
    for entry, about in zip(listed.entries, seen, strict=True):
        by_split[entry.split].append(about.digest)
    return {
        "dataset": name,
        "source": source,
        "counts": images,
        "published": listed.published or None,
        "agrees": images == listed.published if listed.published else None,
        "kinds": dict(Counter(about.kind for about in seen)),
        "absent": {"count": len(listed.absent), "images": listed.absent[:NAMED]},
        "unreadable": {"count": len(unreadable), "images": unreadable},
        "repeated": {split: len(digests) - len(set(digests)) for split, digests in by_split.items()},
        "in_train_and_test": {"count": len(pairs), "pairs": pairs[:NAMED]},
        "left_out": dict(listed.besides.files.most_common(NAMED)),
        "skipped": dict(listed.besides.skipped.most_common(NAMED)),
        "remarks": _remarks(listed),
    }


def _in_both(entries: Sequence[Entry], seen: Sequence[Seen]) -> list[tuple[str, str]]:
    """(training image, test image) for each test image whose bytes are a training image's too."""
    train = {about.digest: entry.id for entry, about in zip(entries, seen, strict=True) if entry.split == "train"}
    return [
        (train[about.digest], entry.id)
        for entry, about in zip(entries, seen, strict=True)
        if entry.split == "test" and about.digest in train
    ]


def _tell(name: str, found: dict[str, Any]) -> None:
    """The report in words."""
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
