"""Image files in folders of the user's own."""

from __future__ import annotations

from pathlib import Path

from wecolora.datasets.listing import SUFFIXES, Entry, Listing, drawn, image_files, root_of
from wecolora.errors import BadInput
from wecolora.recipes import Folder


def listing(name: str, data: Folder) -> Listing:
    """``train/<class>/...`` and, where they are there, ``test/<class>/...`` (or ``val/``); with ``test_share``,
    ``<class>/...``, divided at random; in any other layout every image below the root, as unlabelled training
    images."""
    root = root_of(name, data)
    paths = image_files(root)
    if not paths:
        raise BadInput(
            f"{root}: no image files ({', '.join(sorted(SUFFIXES))}) below the root of data set {name}; put some "
            f"there, or set datasets.{name}.root."
        )
    if data.test_share is not None:
        return _divided(name, root, paths, data.test_share, data.split_seed)
    held_out = next((part for part in ("test", "val") if (root / part).is_dir()), None)
    in_classes = all(path.startswith("train/") and path.count("/") > 1 for path in paths)
    if not (root / "train").is_dir() or not (held_out or in_classes):
        return Listing(root, [], [Entry(path, path, (), "train") for path in paths], splits=("train",))
    _refuse_stray(name, root, paths, ("train", held_out or "test"))
    classes = sorted({path.split("/")[1] for path in paths})
    labels = {label: (number,) for number, label in enumerate(classes)}
    entries = [
        Entry(path, path, labels[path.split("/")[1]], "train" if path.startswith("train/") else "test")
        for path in paths
    ]
    return Listing(root, classes, entries, splits=("train", "test") if held_out else ("train",))


def _divided(name: str, root: Path, paths: list[str], share: float, seed: int) -> Listing:
    _refuse_stray(name, root, paths)
    classes = sorted({path.split("/")[0] for path in paths})
    number = {label: number for number, label in enumerate(classes)}
    groups = [number[path.split("/")[0]] for path in paths]
    test = drawn(groups, share, seed)
    entries = [
        Entry(path, path, (group,), "test" if position in test else "train")
        for position, (path, group) in enumerate(zip(paths, groups, strict=True))
    ]
    return Listing(root, classes, entries)


def _refuse_stray(name: str, root: Path, paths: list[str], parts: tuple[str, ...] = ()) -> None:
    """Taking the folder for an unlabelled one in the place of this would drop every label without a word."""
    depth = 2 if parts else 1
    stray = [path for path in paths if path.count("/") < depth or (parts and path.split("/")[0] not in parts)]
    if stray:
        within = f" of {parts[0]}/ or {parts[1]}/" if parts else ""
        targets = " or ".join(f"{part}/<class>/" for part in parts) or "<class>/"
        raise BadInput(
            f"{root / stray[0]}: lies in no class folder{within}, and neither do {len(stray) - 1} other images of data "
            f"set {name}; move them into {targets}, or out of {root}."
        )
