"""What a source says about a data set before any image is read, and how it finds that in a folder."""

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
HELD_OUT = ("test", "val", "valid", "validation")  # usual names of a split that is not for training


class Entry(NamedTuple):
    """An image: its name in the data set, and its file, as a path from the root.

    If the image is only a part of the file, it is the ``size`` bytes from ``offset``.
    """

    id: str
    path: str
    labels: tuple[int, ...]
    split: str
    offset: int = 0
    size: int = 0


@dataclass
class Besides:
    """The counts of what lies in a data set's folders besides its images."""

    # Files that are not images, by their suffix.
    files: Counter[str] = field(default_factory=Counter)
    # What folders.files_below counts as skipped: folders of programs, hidden files, broken links and the like.
    skipped: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """Return the counts of the files in words, such as "40 .heic, 2 .txt"."""
        return some([f"{count:,} {suffix}" for suffix, count in self.files.most_common()])


@dataclass
class Listing:
    """The images of a data set, in any order."""

    root: Path
    classes: list[str]
    entries: list[Entry]
    # The splits that the data set says it has; none of them may be empty.
    splits: tuple[str, ...] = ("train", "test")
    # Images that the data set's own lists name and that are not there.
    absent: list[str] = field(default_factory=list)
    # The path from the root to the class folders of training images ("train/" or ""), or None if there are none.
    class_folders: str | None = None
    besides: Besides = field(default_factory=Besides)
    # Sentences on what is odd, but may be as the user wants it.
    remarks: list[str] = field(default_factory=list)
    # The images themselves if they are not files: (n, height, width, 3) uint8, entry n in row n.
    pixels: np.ndarray | None = None


def root_of(name: str, data: Any, where: str = "") -> Path:
    """Return the absolute path of a data set's folder.

    Raise BadInput if there is no such folder; ``where`` tells the user where to get the data set.
    """
    root = Path(data.root).resolve()
    if not root.is_dir():
        remedy = f"set datasets.{name}.root" + (f", or {where}" if where else "")
        raise BadInput(f"{root}: the root of data set {name} is no folder; {remedy}.")
    return root


def image_files(folder: Path, besides: Besides) -> list[str]:
    """Return the paths, from the folder, of all files below it that have an image's suffix; ``besides`` counts the
    others."""
    paths = []
    for path, _ in files_below(folder, besides.skipped):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SUFFIXES:
            paths.append(path)
        else:
            besides.files[printable(suffix) or "without suffix"] += 1
    return paths


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders directly in a folder, sorted, or none if there is no such folder."""
    return [entry.name for entry in entries_of(folder) if entry.is_dir()] if folder.is_dir() else []


def printable(name: str) -> str:
    """Return the name of a file with a replacement character for each byte that is not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def nfc(text: str) -> str:
    """Return the text with one spelling for each accented letter; Unicode has two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def some(names: Sequence[str], count: int = 3, of: int | None = None) -> str:
    """Return the first ``count`` names in words, and how many more there are; ``of`` is their number if some are not
    given."""
    more = (of or len(names)) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def drawn(groups: Sequence[int], share: float, seed: int, alone: bool = False) -> set[int]:
    """Return the positions of a random share of each group (datasets.share_of).

    A group of one gives that one if ``alone`` is true, and none otherwise. With the same seed, a smaller share lies in
    a larger one.
    """
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
    """A check of the paths that a data set's own lists give, and that must not lead out of its folder."""

    def __init__(self, root: Path, told_by: str) -> None:
        self.root, self.told_by = root, told_by
        self.folders: dict[str, bool] = {}
        self.names: dict[str, dict[str, str]] = {}

    def path(self, given: str) -> str:
        """Return a given path from the root in its plain form.

        Raise BadInput if it is absolute, climbs above the root, follows a link out of it, or ends in .npy (an array).
        """
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
        """Return the path of a file from the root, as its folders spell it (see nfc), or None if there is no file."""
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
        """Return whether a ``..`` follows a link, and so does not lead to the folder where the link lies."""
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
