"""What a source says of a data set before any image is read, and how it finds that in a folder."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wecolora.config.datasets import share_of
from wecolora.core.errors import BadInput
from wecolora.core.folders import entries_of, files_below

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
HELD_OUT = ("test", "val", "valid", "validation")  # what people call the images of a split that is not trained on


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
class Besides:
    """What lies in a data set's folders besides its images, counted."""

    # Files that are no images, by their suffix.
    files: Counter[str] = field(default_factory=Counter)
    # Folders of programs by their name, hidden files, broken links and what else is no file (files.files_below).
    skipped: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """The files in words: "40 .heic, 2 .txt"."""
        return some([f"{count:,} {suffix}" for suffix, count in self.files.most_common()])


@dataclass
class Listing:
    """The images of a data set, in any order."""

    root: Path
    classes: list[str]
    entries: list[Entry]
    # The splits that it says to have, none of which may be empty.
    splits: tuple[str, ...] = ("train", "test")
    # Images that the set's own lists name, and that are not there.
    absent: list[str] = field(default_factory=list)
    # Where the class folders of training images lie, from the root, if there are such: "train/" or "".
    class_folders: str | None = None
    besides: Besides = field(default_factory=Besides)
    # Sentences on what is odd, and may be meant so.
    remarks: list[str] = field(default_factory=list)
    # (n, height, width, 3) uint8: the images themselves, where they are not files; entry n is row n.
    pixels: np.ndarray | None = None


def root_of(name: str, data: Any, where: str = "") -> Path:
    """The data set's folder, absolute; ``where`` says where to get the data set."""
    root = Path(data.root).resolve()
    if not root.is_dir():
        remedy = f"set datasets.{name}.root" + (f", or {where}" if where else "")
        raise BadInput(f"{root}: the root of data set {name} is no folder; {remedy}.")
    return root


def image_files(folder: Path, besides: Besides) -> list[str]:
    """Paths from the folder of all files below it whose suffix is an image's; ``besides`` counts all else."""
    paths = []
    for path, _ in files_below(folder, besides.skipped):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SUFFIXES:
            paths.append(path)
        else:
            besides.files[printable(suffix) or "without suffix"] += 1
    return paths


def folders_in(folder: Path) -> list[str]:
    """The names of the folders directly in a folder, sorted; none where there is no such folder."""
    return [entry.name for entry in entries_of(folder) if entry.is_dir()] if folder.is_dir() else []


def printable(name: str) -> str:
    """The name of a file, with a question mark in the place of what is no UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def nfc(text: str) -> str:
    """The text with one spelling of each accented letter, of the two that Unicode has."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def some(names: Sequence[str], count: int = 3, of: int | None = None) -> str:
    """The first few of many names (of ``of``, where not all are given), and how many more there are."""
    more = (of or len(names)) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def drawn(groups: Sequence[int], share: float, seed: int, alone: bool = False) -> set[int]:
    """Positions of a random share of each group (datasets.share_of), and of a group of one, that one or none
    (``alone``). With the same seed, a smaller share lies in a larger one."""
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    chosen: set[int] = set()
    for group, positions in members.items():
        count = share_of(len(positions), share) if len(positions) > 1 else int(alone)
        order = np.random.default_rng([seed, group]).permutation(len(positions))
        chosen |= {positions[place] for place in order[:count].tolist()}
    return chosen


class Inside:
    """Paths that a data set's own lists give, and that must not lead out of its folder."""

    def __init__(self, root: Path, told_by: str) -> None:
        self.root, self.told_by = root, told_by
        self.folders: dict[str, bool] = {}
        self.names: dict[str, dict[str, str]] = {}

    def path(self, given: str) -> str:
        """The path from the root, in its plain form; BadInput where it is absolute, climbs, or follows a link out."""
        path = posixpath.normpath(given)
        if path.endswith(".npy"):
            raise BadInput(
                f"{self.told_by}: names the image {given!r}, whose suffix is that of arrays of images; rename it."
            )
        if not given or "\0" in given or path == "." or path.split("/")[0] == ".." or os.path.isabs(path):
            raise BadInput(
                f"{self.told_by}: names the image {given!r}, which is no path below {self.root}; correct it."
            )
        if ".." in given.split("/") and self._climbs_out_of_a_link(given):
            raise BadInput(
                f"{self.told_by}: names the image {given!r}, which climbs out of a link; give its path without `..`."
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

    def file(self, given: str) -> str | None:
        """The path of a file from the root, as its folders spell it (see nfc); None where there is no such file."""
        path = self.path(given)
        if not path.isascii() and not os.path.isfile(self.root / path):
            path = self.path(self._spelt(path))
        return path if os.path.isfile(self.root / path) else None

    def _spelt(self, path: str) -> str:
        folder = ""
        for part in path.split("/"):
            if folder not in self.names:
                there = os.listdir(self.root / folder) if os.path.isdir(self.root / folder) else []
                self.names[folder] = {nfc(name): name for name in there} | {name: name for name in there}
            names = self.names[folder]
            folder = os.path.join(folder, names.get(part) or names.get(nfc(part), part))
        return folder

    def _climbs_out_of_a_link(self, given: str) -> bool:
        """Whether a ``..`` follows a link, and so leads elsewhere than to the folder where the link lies."""
        above: list[str] = []
        for part in given.split("/"):
            if part != "..":
                above += [part] if part not in ("", ".") else []
            elif above:
                if os.path.islink(self.root.joinpath(*above)):
                    return True
                above.pop()
        return False

    def _holds(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.root)
