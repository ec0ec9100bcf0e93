"""ImageNet-1K (ILSVRC 2012): class folders, or the official tar files and the devkit, in any mixture.

An image has the same id in every layout (``train/n01440764/n01440764_10026.JPEG``), so that the subsets are the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from wecolora.config.datasets import ImageNet
from wecolora.core.errors import BadInput
from wecolora.data.listing import Besides, Entry, Listing, folders_in, image_files, root_of, some
from wecolora.data.sources.tars import Member, file_in, members

WHERE = "get it at https://image-net.org/download-images (ILSVRC 2012; free account)"
TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12"
WNID = re.compile(r"n\d{8}")

Image = tuple[str, str, int, int]  # name, path from the root, offset, size
Found = dict[str, list[Image]]  # the images of each WNID


def listing(name: str, data: ImageNet) -> Listing:
    """Training images from ``train/<wnid>/`` and the tars of other classes there, or the official tar; test images from
    ``val/<wnid>/``, or, with the devkit, from the official tar or a flat ``val/``. Classes are the sorted WNIDs."""
    root, besides = root_of(name, data, WHERE), Besides()
    train, val = _train(root, besides), _val(root, besides)
    _refuse_halves(root, "train", TRAIN, train, val)
    _refuse_halves(root, "val", VAL, val, train)
    classes = sorted({*train, *val})
    entries = [
        Entry(f"{folder}/{wnid}/{file}", path, (number,), split, offset, size)
        for split, folder, found in (("train", "train", train), ("test", "val", val))
        for number, wnid in enumerate(classes)
        for file, path, offset, size in found.get(wnid, ())
    ]
    return Listing(root, classes, entries, class_folders="train/", besides=besides)


def _train(root: Path, besides: Besides) -> Found:
    wnids = _wnids(root / "train")
    found = _by_folder(root, "train", wnids, image_files(root / "train", besides)) if wnids else {}
    # Of a class that is there as both, the folder is what was unpacked, and perhaps changed.
    inner = [path for path in sorted(root.glob("train/n*.tar")) if WNID.fullmatch(path.stem)]
    read = {path.stem: _images(members(path), f"train/{path.name}") for path in inner if not found.get(path.stem)}
    besides.files -= Counter({".tar": len(read)})
    if found | read:
        return found | read
    if not (root / TRAIN).is_file():
        raise BadInput(f"{root}: has neither train/<wnid>/ with images (train/n01440764/...) nor {TRAIN}; {WHERE}.")
    for inner_tar in members(root / TRAIN):
        wnid = _base(inner_tar.name).removesuffix(".tar")
        if not WNID.fullmatch(wnid):
            raise BadInput(
                f"{root / TRAIN}: has a member {inner_tar.name!r}, and should have nXXXXXXXX.tar alone; {WHERE}."
            )
        found.setdefault(wnid, []).extend(_images(members(root / TRAIN, inner_tar), TRAIN))
    return found


def _refuse_halves(root: Path, part: str, tar: str, found: Found, others: Found) -> None:
    """BadInput where a part's folders lack classes that the other part has, and its official tar lies unread beside."""
    lacking = [wnid for wnid in sorted(others) if others[wnid] and not found.get(wnid)]
    if lacking and (root / tar).is_file() and all(path != tar for images in found.values() for _, path, _, _ in images):
        raise BadInput(
            f"{root}: {part}/ has images of {sum(map(bool, found.values()))} classes, and none of {len(lacking)} "
            f"others ({some(lacking)}); {tar} is not read beside it: unpack the others there, or move {part}/ away."
        )


def _val(root: Path, besides: Besides) -> Found:
    paths = image_files(root / "val", besides) if (root / "val").is_dir() else []
    found = _by_folder(root, "val", _wnids(root / "val"), paths)
    if found:
        return found
    if (root / VAL).is_file():
        images = _images(members(root / VAL), VAL)
    else:
        images = [(_base(path), f"val/{path}", 0, 0) for path in paths]
    if not images:
        raise BadInput(f"{root}: has neither val/ with images (val/n01440764/... or val/*.JPEG) nor {VAL}; {WHERE}.")
    wnids = _validation_wnids(root)
    for image in images:
        file, path, _, _ = image
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", file)
        if number is None or not 1 <= int(number[1]) <= len(wnids):
            raise BadInput(f"{root / path}: {file!r} is none of the {len(wnids)} images that {DEVKIT} labels; {WHERE}.")
        found.setdefault(wnids[int(number[1]) - 1], []).append(image)
    return found


def _wnids(folder: Path) -> list[str]:
    return [wnid for wnid in folders_in(folder) if WNID.fullmatch(wnid)]


def _by_folder(root: Path, part: str, wnids: list[str], paths: list[str]) -> Found:
    """Return the images of class folders, empty folders too; nothing if no image lies in one.

    Raise BadInput if some images lie in class folders and others do not, as after half of the sorting.
    """
    found: Found = {wnid: [] for wnid in wnids}
    stray = []
    for path in paths:
        wnid = path.split("/")[0]
        if wnid in found:
            found[wnid].append((_base(path), f"{part}/{path}", 0, 0))
        else:
            stray.append(path)
    if len(stray) == len(paths):
        return {}
    if stray:
        raise BadInput(
            f"{root / part / stray[0]}: lies in no class folder, and neither do {len(stray) - 1} other images, where "
            f"{len(paths) - len(stray)} do; move them into {part}/<wnid>/, or out of {root / part}."
        )
    return found


def _images(files: Iterator[Member], tar: str) -> list[Image]:
    return [(_base(member.name), tar, member.offset, member.size) for member in files]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _validation_wnids(root: Path) -> list[str]:
    """Return the WNID of each validation image in turn, as the devkit says."""
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
