"""ImageNet-1K (ILSVRC 2012): class folders, or the official tar files and the devkit, in any mixture.

An image has the same id in every layout (``train/n01440764/n01440764_10026.JPEG``), so that the subsets are the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from wecolora.datasets.listing import SUFFIXES, Entry, Listing, folders_in, root_of
from wecolora.datasets.tars import file_in, members
from wecolora.errors import BadInput
from wecolora.files import files_below
from wecolora.recipes import ImageNet

PUBLISHED = {"train": 1_281_167, "test": 50_000, "classes": 1000}
WHERE = "get it at https://image-net.org/download-images (ILSVRC 2012; free account)"
TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12"
WNID = re.compile(r"n\d{8}")

Found = tuple[str, str, str, int, int]  # WNID, name, path from the root, offset, size


def listing(name: str, data: ImageNet) -> Listing:
    """Training images from ``train/<wnid>/``, the official tar, or its 1000 tars in ``train/``; test images from
    ``val/<wnid>/``, or, with the devkit, from the official tar or a flat ``val/``. Classes are the sorted WNIDs."""
    root = root_of(name, data, WHERE)
    train, val = list(_train(root)), list(_val(root))
    classes = sorted({found[0] for found in (*train, *val)})
    labels = {wnid: (number,) for number, wnid in enumerate(classes)}
    entries = [
        Entry(f"{folder}/{wnid}/{file}", path, labels[wnid], split, offset, size)
        for split, folder, images in (("train", "train", train), ("test", "val", val))
        for wnid, file, path, offset, size in images
    ]
    return Listing(root, classes, entries, published=PUBLISHED)


def _train(root: Path) -> Iterator[Found]:
    if found := list(_class_folders(root, "train")):
        yield from found
    elif inner := sorted(path for path in root.glob("train/n*.tar") if WNID.fullmatch(path.stem)):
        for path in inner:
            for member in members(path):
                yield path.stem, _base(member.name), f"train/{path.name}", member.offset, member.size
    elif (root / TRAIN).is_file():
        for inner_tar in members(root / TRAIN):
            wnid = _base(inner_tar.name).removesuffix(".tar")
            if not WNID.fullmatch(wnid):
                raise BadInput(
                    f"{root / TRAIN}: has a member {inner_tar.name!r}, and should have nXXXXXXXX.tar alone; {WHERE}."
                )
            for member in members(root / TRAIN, inner_tar):
                yield wnid, _base(member.name), TRAIN, member.offset, member.size
    else:
        raise BadInput(f"{root}: has neither train/<wnid>/ with images (train/n01440764/...) nor {TRAIN}; {WHERE}.")


def _val(root: Path) -> Iterator[Found]:
    if found := list(_class_folders(root, "val")):
        yield from found
        return
    if (root / VAL).is_file():
        images = [(_base(member.name), VAL, member.offset, member.size) for member in members(root / VAL)]
    else:
        images = [(file, f"val/{file}", 0, 0) for file in _flat(root / "val")]
    if not images:
        raise BadInput(f"{root}: has neither val/ with images (val/n01440764/... or val/*.JPEG) nor {VAL}; {WHERE}.")
    wnids = _validation_wnids(root)
    for file, path, offset, size in images:
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", file)
        if number is None or not 1 <= int(number[1]) <= len(wnids):
            raise BadInput(f"{root / path}: {file!r} is none of the {len(wnids)} images that {DEVKIT} labels; {WHERE}.")
        yield wnids[int(number[1]) - 1], file, path, offset, size


def _class_folders(root: Path, part: str) -> Iterator[Found]:
    for wnid in folders_in(root / part):
        if WNID.fullmatch(wnid):
            for path, entry in files_below(root / part / wnid):
                if _is_image(path):
                    yield wnid, entry.name, f"{part}/{wnid}/{path}", 0, 0


def _flat(folder: Path) -> list[str]:
    return [file for file in os.listdir(folder) if _is_image(file)] if folder.is_dir() else []


def _is_image(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in SUFFIXES


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _validation_wnids(root: Path) -> list[str]:
    """The WNID of each validation image in turn, as the devkit says."""
    from scipy.io import loadmat  # takes half a second

    truth, meta = _devkit(root, "ILSVRC2012_validation_ground_truth.txt"), _devkit(root, "meta.mat")
    try:
        synsets = loadmat(BytesIO(meta), squeeze_me=True)["synsets"]
        wnid_of = {
            int(number): str(wnid)
            for number, wnid, children in zip(
                synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True
            )
            if int(children) == 0
        }
        wnids = [wnid_of[int(number)] for number in truth.split()]
    except Exception as error:  # whatever a damaged file is read as
        raise BadInput(f"{root}: the devkit {DEVKIT} there cannot be read ({error!r}); {WHERE}.") from error
    if wrong := [wnid for wnid in wnids if not WNID.fullmatch(wnid)]:
        raise BadInput(f"{root}: the devkit {DEVKIT} there names a class {wrong[0]!r}; {WHERE}.")
    return wnids


def _devkit(root: Path, file: str) -> bytes:
    if (path := root / DEVKIT / "data" / file).is_file():
        return path.read_bytes()
    if (archive := root / f"{DEVKIT}.tar.gz").is_file():
        return file_in(archive, f"data/{file}")
    raise BadInput(
        f"{root}: has no {DEVKIT}/data/{file}, nor {DEVKIT}.tar.gz, which say the classes of validation images "
        f"outside class folders; {WHERE}."
    )
