"""What a source says of a data set before any image is read, and how it finds that in a folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wecolora.errors import BadInput
from wecolora.files import files_below

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


class Entry(NamedTuple):
    """An image: its name in the data set, its file from the root, and its place in that file where it is not all of it
    (``size`` bytes from ``offset``)."""

    id: str
    path: str
    labels: tuple[int, ...]
    split: str
    offset: int = 0
    size: int = 0


@dataclass
class Listing:
    """The images of a data set, in any order."""

    root: Path
    classes: list[str]
    entries: list[Entry]
    multilabel: bool = False
    # The splits that it says to have, none of which may be empty.
    splits: tuple[str, ...] = ("train", "test")
    # As published, by "train", "test" and "classes"; empty for a set of the user's own.
    published: dict[str, int] = field(default_factory=dict)
    # Images that the set's own lists name, and that are not there.
    absent: list[str] = field(default_factory=list)
    # (n, height, width, 3) uint8: the images themselves, where they are not files; entry n is row n.
    pixels: np.ndarray | None = None


def root_of(name: str, data: Any, where: str = "") -> Path:
    """The data set's folder, absolute; ``where`` says where to get the data set."""
    root = Path(data.root).resolve()
    if not root.is_dir():
        remedy = f"set datasets.{name}.root" + (f", or {where}" if where else "")
        raise BadInput(f"{root}: the root of data set {name} is no folder; {remedy}.")
    return root


def image_files(folder: Path) -> list[str]:
    """Paths from the folder of all files below it whose suffix is an image's."""
    return [path for path, _ in files_below(folder) if os.path.splitext(path)[1].lower() in SUFFIXES]


def folders_in(folder: Path) -> list[str]:
    """The names of the folders directly in a folder, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def some(names: Sequence[str], count: int = 3, of: int | None = None) -> str:
    """The first few of many names (of ``of``, where not all are given), and how many more there are."""
    more = (of or len(names)) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def drawn(groups: Sequence[int], share: float, seed: int) -> set[int]:
    """Positions of a random share of each group: to the nearest whole number, halves up, at least one and not all where
    a group has two. With the same seed, a smaller share lies in a larger one."""
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    chosen: set[int] = set()
    for group, positions in members.items():
        count = int(len(positions) * share + 0.5)
        if len(positions) > 1:
            count = min(max(count, 1), len(positions) - 1)
        order = np.random.default_rng([seed, group]).permutation(len(positions))
        chosen |= {positions[place] for place in order[:count].tolist()}
    return chosen


class Inside:
    """Paths that a data set's own lists give, and that must not lead out of its folder."""

    def __init__(self, root: Path, told_by: str) -> None:
        self.root, self.told_by = root, told_by
        self.folders: dict[str, bool] = {}

    def path(self, given: str) -> str:
        """The path from the root, in its plain form; BadInput where it is absolute, climbs, or follows a link out."""
        path = posixpath.normpath(given)
        if not given or "\0" in given or path == "." or path.split("/")[0] == ".." or os.path.isabs(path):
            raise BadInput(
                f"{self.told_by}: names the image {given!r}, which is no path below {self.root}; correct it."
            )
        whole = os.path.join(self.root, path)
        folder = os.path.dirname(whole)
        if folder not in self.folders:
            self.folders[folder] = self._holds(folder)
        if not self.folders[folder] or (os.path.islink(whole) and not self._holds(whole)):
            raise BadInput(
                f"{self.told_by}: names the image {given!r}, which a link leads out of {self.root}; put it there."
            )
        return path

    def _holds(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.root)
