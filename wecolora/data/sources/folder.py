"""Image files in folders of the user's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from wecolora.config.datasets import Folder
from wecolora.core.errors import BadInput
from wecolora.data.labels import is_unprintable
from wecolora.data.listing import (
    HELD_OUT,
    SUFFIXES,
    Besides,
    Entry,
    Listing,
    drawn,
    folders_in,
    image_files,
    nfc,
    printable,
    root_of,
)

# What people call the folders of a split, in lower case.
TRAIN_LIKE = {"train", "training", "trn"}
HELD_OUT_LIKE = {*HELD_OUT, "testing", "eval", "dev"}


def listing(name: str, data: Folder) -> Listing:
    """List ``train/<class>/...`` and, where one is there, ``test/<class>/...`` (or another of HELD_OUT).

    With ``test_share``, the images are those of ``<class>/...``, divided at random. In any other layout, every image
    below the root is an unlabelled training image. Raise BadInput for a root that can be read in two ways.
    """
    root = root_of(name, data)
    besides = Besides()
    paths = image_files(root, besides)
    if not paths:
        holds = f" (it has {besides.told()})" if besides.files else ""
        raise BadInput(
            f"{root}: no image files ({', '.join(sorted(SUFFIXES))}) below the root of data set {name}{holds}; put "
            f"some there, or set datasets.{name}.root."
        )
    _refuse_too_high(name, root, paths)
    if data.test_share is not None:
        listed = _divided(name, root, paths, data.test_share, data.split_seed)
    elif parts := _parts(name, root, paths):
        listed = _parted(name, root, paths, parts)
    else:
        listed = Listing(root, [], [Entry(path, path, (), "train") for path in paths], splits=("train",))
        if len(alike := _like_splits(folders_in(root))) > 1:
            listed.remarks = [f"{_folders(alike)} look like splits, and all their images are to be learned from."]
    listed.besides = besides
    return listed


def _parts(name: str, root: Path, paths: list[str]) -> tuple[str, ...]:
    """Return the folders of the two splits, or train/ alone; nothing if the images have no labels."""
    folders = folders_in(root)
    used = {path.split("/")[0] for path in paths}
    train = [folder for folder in folders if folder in used and folder.lower() in TRAIN_LIKE]
    held_out = [folder for folder in folders if folder in used and folder.lower() in HELD_OUT_LIKE]
    # A folder that is spelt as a split is one, also without an image, where no other is.
    train = train or [folder for folder in folders if folder == "train"]
    held_out = held_out or [folder for folder in folders if folder in HELD_OUT]
    if train and held_out:
        for alike in (train, held_out):
            if len(alike) > 1:
                raise BadInput(
                    f"{root}: has {_folders(alike)}, of which data set {name} can have one; move the "
                    f"{'others' if len(alike) > 2 else 'other'} out of {root}."
                )
        if train[0] != "train" or held_out[0] not in HELD_OUT:
            _refuse_spelling(name, root, [*train, *held_out])
        return "train", held_out[0]
    in_classes = {path.split("/")[0] for path in paths if path.count("/") > 1}
    if train and train[0] != "train" and used == in_classes == {train[0]}:
        _refuse_spelling(name, root, train)
    return ("train",) if "train" in in_classes else ()


def _refuse_spelling(name: str, root: Path, folders: list[str]) -> NoReturn:
    raise BadInput(
        f"{root}: {_folders(folders)} there may be meant as splits of data set {name}; rename them as train/ and "
        f"{', '.join(f'{part}/' for part in HELD_OUT[:-1])} or {HELD_OUT[-1]}/, or, if these images have no labels, "
        "give them other names."
    )


def _refuse_too_high(name: str, root: Path, paths: list[str]) -> None:
    """Raise BadInput for a root above the one that is meant.

    An archive often unpacks into a folder of its own, whose splits would be taken for plain folders.
    """
    (first, *others) = {path.split("/")[0] for path in paths}
    inner = {path.split("/")[1].lower() for path in paths if path.count("/") > 2}
    if not others and inner & TRAIN_LIKE and inner & HELD_OUT_LIKE:
        raise BadInput(
            f"{root}: has one folder, {first}/, and in it the splits of data set {name}; set datasets.{name}.root to "
            f"{root / first}."
        )


def _parted(name: str, root: Path, paths: list[str], parts: tuple[str, ...]) -> Listing:
    _refuse_stray(name, root, paths, parts)
    classes, label = _classes(name, root, [f"{part}/{folder}" for part in parts for folder in folders_in(root / part)])
    entries = []
    for path in paths:
        part, folder, _ = path.split("/", 2)
        entries.append(Entry(path, path, (label[f"{part}/{folder}"],), "train" if part == "train" else "test"))
    splits = ("train", "test") if len(parts) > 1 else ("train",)
    return Listing(root, classes, entries, splits=splits, class_folders="train/")


def _divided(name: str, root: Path, paths: list[str], share: float, seed: int) -> Listing:
    folders = folders_in(root)
    if like_splits := _like_splits(folders):
        raise BadInput(
            f"{root}: {_folders(like_splits)} there look like splits and not like classes, which "
            f"datasets.{name}.test_share divides; take that key out, or set datasets.{name}.root to the folder of the "
            "class folders."
        )
    _refuse_stray(name, root, paths)
    classes, label = _classes(name, root, folders)
    groups = [label[path.split("/")[0]] for path in paths]
    test = drawn(groups, share, seed)
    entries = [
        Entry(path, path, (group,), "test" if position in test else "train")
        for position, (path, group) in enumerate(zip(paths, groups, strict=True))
    ]
    listed = Listing(root, classes, entries, class_folders="")
    if alike := _alike_inside(paths):
        listed.remarks = [
            f"{_folders(alike[:3])} are taken for classes, and hold folders of the same names, as splits do: is its "
            "root a folder too high?"
        ]
    return listed


def _like_splits(folders: Sequence[str]) -> list[str]:
    """Return the folders that look like splits.

    These are the folders that are named as splits (``train``, ``val2017``), unless a single one stands among others. If
    there are none, they are those whose names differ in the word for the split alone (``cars_train`` and
    ``cars_test``).
    """
    named: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for folder in folders:
        words = tuple(re.findall(r"[^\W\d_]+", folder.lower()))
        for place, word in enumerate(words):
            if word in TRAIN_LIKE | HELD_OUT_LIKE:
                named.setdefault((*words[:place], "", *words[place + 1 :]), []).append((folder, word))
    plain = [folder for folder, _ in named.pop(("",), [])]
    if len(plain) > 1 or (plain and plain == list(folders)):
        return plain
    for alike in named.values():
        words_of = {word for _, word in alike}
        if words_of & TRAIN_LIKE and words_of & HELD_OUT_LIKE:
            return [folder for folder, _ in alike]
    return []


def _alike_inside(paths: list[str]) -> list[str]:
    """Return the folders that hold two or more folders whose names others have, too; nothing if that is a single
    one."""
    inside: dict[str, set[str]] = {}
    for path in paths:
        folder, *rest = path.split("/", 2)
        inside.setdefault(folder, set()).update(rest[:-1])
    counts = Counter(name for names in inside.values() for name in names)
    alike = [folder for folder, names in inside.items() if sum(counts[name] > 1 for name in names) > 1]
    return alike if len(alike) > 1 else []


def _classes(name: str, root: Path, folders: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Return the classes of class folders, empty ones too, and the number of each folder's class."""
    for folder in folders:
        if is_unprintable(folder):
            raise BadInput(
                f"{root}: the name of the class folder {printable(folder)!r} of data set {name} has a character that "
                "cannot be printed; rename it."
            )
    labels = {folder: nfc(folder.rpartition("/")[2]) for folder in folders}
    classes = sorted(set(labels.values()))
    number = {label: number for number, label in enumerate(classes)}
    return classes, {folder: number[label] for folder, label in labels.items()}


def _folders(names: Sequence[str]) -> str:
    """Return folders in words: train/, test/ and val/."""
    *first, last = [f"{name}/" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _refuse_stray(name: str, root: Path, paths: list[str], parts: tuple[str, ...] = ()) -> None:
    """Taking the folder for an unlabelled one in the place of this would drop every label without a word."""
    depth = 2 if parts else 1
    stray = [path for path in paths if path.count("/") < depth or (parts and path.split("/")[0] not in parts)]
    if stray:
        within = f" of {' or '.join(f'{part}/' for part in parts)}" if parts else ""
        targets = " or ".join(f"{part}/<class>/" for part in parts) or "<class>/"
        otherwise = f"; or rename {parts[0]}/, if these images have no labels" if len(parts) == 1 else ""
        raise BadInput(
            f"{root / stray[0]}: lies in no class folder{within}, and neither do {len(stray) - 1} other images of data "
            f"set {name}; move them into {targets}, or out of {root}{otherwise}."
        )
