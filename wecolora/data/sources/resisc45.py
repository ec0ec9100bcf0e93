"""NWPU-RESISC45: class folders, without an official split."""

from __future__ import annotations

import re

from wecolora.config.datasets import Resisc45
from wecolora.core.errors import BadInput
from wecolora.data.listing import Besides, Entry, Listing, drawn, folders_in, image_files, root_of, some

FOLDER = "NWPU-RESISC45"
WHERE = f"get {FOLDER}.rar at https://gcheng-nwpu.github.io/#Datasets and unpack it"


def listing(name: str, data: Resisc45) -> Listing:
    """Images <class>/<class>_NNN.jpg of the root, or of NWPU-RESISC45 in it. ``train_share`` of each class, drawn with
    ``split_seed``, are training images (see listing.drawn)."""
    root = root_of(name, data, WHERE)
    root = root / FOLDER if (root / FOLDER).is_dir() else root
    classes, besides = folders_in(root), Besides()
    paths, groups, others = [], [], []
    for number, folder in enumerate(classes):
        for file in image_files(root / folder, besides):
            if re.fullmatch(rf"{re.escape(folder)}_\d+\.\w+", file):
                paths.append(f"{folder}/{file}")
                groups.append(number)
            else:
                others.append(f"{folder}/{file}")
    if not paths:
        raise BadInput(f"{root}: has no images such as airplane/airplane_001.jpg; {WHERE}.")
    train = drawn(groups, data.train_share, data.split_seed, alone=True)
    entries = [
        Entry(path, path, (group,), "train" if position in train else "test")
        for position, (path, group) in enumerate(zip(paths, groups, strict=True))
    ]
    listed = Listing(root, classes, entries, class_folders="", besides=besides)
    if others:
        listed.remarks = [f"{len(others)} images are not named as their class, and are left out: {some(others)}."]
    return listed
