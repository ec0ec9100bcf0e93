"""NWPU-RESISC45: class folders, without an official split."""

from __future__ import annotations

import re

from wecolora.datasets.listing import Entry, Listing, drawn, folders_in, image_files, root_of
from wecolora.errors import BadInput
from wecolora.recipes import Resisc45

IMAGES, CLASSES = 700, 45  # images of a class
FOLDER = "NWPU-RESISC45"
WHERE = f"get {FOLDER}.rar at https://gcheng-nwpu.github.io/#Datasets and unpack it"


def listing(name: str, data: Resisc45) -> Listing:
    """Images <class>/<class>_NNN.jpg of the root, or of NWPU-RESISC45 in it. ``train_share`` of each class, drawn with
    ``split_seed``, are training images (see listing.drawn)."""
    root = root_of(name, data, WHERE)
    root = root / FOLDER if (root / FOLDER).is_dir() else root
    paths = [
        f"{folder}/{file}"
        for folder in folders_in(root)
        for file in image_files(root / folder)
        if re.fullmatch(rf"{re.escape(folder)}_\d+\.\w+", file)
    ]
    if not paths:
        raise BadInput(f"{root}: has no images such as airplane/airplane_001.jpg; {WHERE}.")
    classes = sorted({path.split("/")[0] for path in paths})
    groups = [classes.index(path.split("/")[0]) for path in paths]
    train = drawn(groups, data.train_share, data.split_seed)
    entries = [
        Entry(path, path, (group,), "train" if position in train else "test")
        for position, (path, group) in enumerate(zip(paths, groups, strict=True))
    ]
    return Listing(root, classes, entries, published={**published(data.train_share), "classes": CLASSES})


def published(train_share: float) -> dict[str, int]:
    """How many images of the whole data set such a division gives."""
    train = len(drawn([0] * IMAGES, train_share, 0)) * CLASSES
    return {"train": train, "test": IMAGES * CLASSES - train}
