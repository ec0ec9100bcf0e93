"""Miniature copies of the official data sets, with their own file and column names: what people download."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WNIDS = ["n01440764", "n01443537", "n02007558"]
# The devkit numbers classes in another order than the sorted WNIDs.
DEVKIT_ORDER = ["n02007558", "n01440764", "n01443537"]
DISEASES = [
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
]  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What an index has to say: of each id the names of its classes, its split, and its pixels."""

    classes: list[str]
    images: dict[str, tuple[tuple[str, ...], str, np.ndarray]]


class _Pictures:
    """Different smooth pictures, as the bytes of a file."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(17)

    def __call__(self, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (40, 32)) -> bytes:
        coarse = Image.fromarray(self.rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, kind)
        return file.getvalue()


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def tar_of(files: Mapping[str, bytes], mode: str = "w:") -> bytes:
    """A tar file with these members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


# ImageNet-1K


def _imagenet() -> tuple[dict[str, dict[str, bytes]], dict[str, tuple[str, bytes]], Expected]:
    """({wnid: {file: bytes}}, {validation file: (wnid, bytes)}, what is expected)."""
    picture = _Pictures()
    train = {
        # The real files lie in their tars in no order, and one or the other is no RGB JPEG.
        wnid: {f"{wnid}_{number}.JPEG": picture(size=(40 + number % 7, 32)) for number in (10026, 18, 9981)}
        for wnid in WNIDS
    }
    train[WNIDS[0]][f"{WNIDS[0]}_4.JPEG"] = picture("JPEG", "CMYK")
    train[WNIDS[1]][f"{WNIDS[1]}_5.JPEG"] = picture("PNG")
    train[WNIDS[2]][f"{WNIDS[2]}_6.JPEG"] = picture("JPEG", "L")
    val = {f"ILSVRC2012_val_{number:08d}.JPEG": (WNIDS[number * 2 % 3], picture()) for number in range(1, 7)}
    images = {
        f"train/{wnid}/{file}": ((wnid,), "train", pixels_of(content))
        for wnid, files in train.items()
        for file, content in files.items()
    }
    images |= {f"val/{wnid}/{file}": ((wnid,), "test", pixels_of(content)) for file, (wnid, content) in val.items()}
    return train, val, Expected(WNIDS, images)


def imagenet_folders(root: Path) -> Expected:
    """train/<wnid>/ and val/<wnid>/."""
    train, val, expected = _imagenet()
    for wnid, files in train.items():
        for file, content in files.items():
            put(root / "train" / wnid / file, content)
    for file, (wnid, content) in val.items():
        put(root / "val" / wnid / file, content)
    return expected


def imagenet_tars(root: Path, packed_devkit: bool = True) -> Expected:
    """The two official tars, and the devkit as a tar.gz or as a folder."""
    train, val, expected = _imagenet()
    put(root / "ILSVRC2012_img_train.tar", tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in train.items()}))
    put(root / "ILSVRC2012_img_val.tar", tar_of({file: content for file, (_, content) in reversed(val.items())}))
    devkit(root, packed_devkit)
    return expected


def imagenet_inner_tars(root: Path) -> Expected:
    """The 1000 tars of the training images in train/, flat validation images."""
    train, val, expected = _imagenet()
    for wnid, files in train.items():
        put(root / "train" / f"{wnid}.tar", tar_of(files))
    for file, (_, content) in val.items():
        put(root / "val" / file, content)
    devkit(root, packed=False)
    return expected


def devkit(root: Path, packed: bool) -> None:
    """ILSVRC2012_devkit_t12: the synsets, the last of them with children, and the classes of the validation images."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O"),
             ("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")]  # fmt: skip
    synsets = np.empty((len(DEVKIT_ORDER) + 1, 1), dtype=kinds)
    for number, wnid in enumerate([*DEVKIT_ORDER, "n00001740"], start=1):
        children = 3 if wnid == "n00001740" else 0
        synsets[number - 1, 0] = (number, wnid, "words", "gloss", children, np.arange(children), 0, 1300)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    _, val, _ = _imagenet()
    truth = "".join(f"{DEVKIT_ORDER.index(wnid) + 1}\n" for _, (wnid, _) in sorted(val.items()))
    files = {
        "readme.txt": b"ILSVRC 2012",
        "data/meta.mat": meta.getvalue(),
        "data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }
    files = {f"ILSVRC2012_devkit_t12/{name}": content for name, content in files.items()}
    if packed:
        put(root / "ILSVRC2012_devkit_t12.tar.gz", tar_of(files, "w:gz"))
    for name, content in {} if packed else files.items():
        put(root / name, content)


# CIFAR-100


def cifar100(root: Path, packed: bool = False) -> Expected:
    """cifar-100-python/ or its tar.gz: five classes, two training images and a test image each."""
    rng = np.random.default_rng(3)
    names = ["apple", "aquarium_fish", "baby", "bear", "beaver"]
    images, files = {}, {}
    for split, labels in {"train": [3, 0, 1, 2, 4, 4, 2, 1, 0, 3], "test": [4, 1, 0, 2, 3]}.items():
        pixels = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        for number, label in enumerate(labels):
            images[f"{split}/{number:05d}"] = ((names[label],), split, pixels[number])
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(labels), 3072)
        files[split] = pickle_of_python2(
            {
                "filenames": [f"{names[label]}_s_{number:06d}.png" for number, label in enumerate(labels)],
                "batch_label": f"{split}ing batch 1 of 1",
                "fine_labels": labels,
                "coarse_labels": [label // 2 for label in labels],
                "data": planes,
            }
        )
    files["meta"] = pickle_of_python2({"fine_label_names": names, "coarse_label_names": ["a", "b", "c"]})
    files = {f"cifar-100-python/{name}": content for name, content in files.items()}
    if packed:
        put(root / "cifar-100-python.tar.gz", tar_of(files, "w:gz"))
    for name, content in {} if packed else files.items():
        put(root / name, content)
    return Expected(names, images)


def pickle_of_python2(value: object) -> bytes:
    """As Python 2's cPickle and the numpy of its time write it (protocol 2): texts are bytes, an array is made by
    numpy.core.multiarray._reconstruct and filled from a text of its bytes."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_python2(key) + _python2(entry) for key, entry in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode("latin1")  # SHORT_BINSTRING
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING
    if isinstance(value, (int, np.integer)):
        return b"J" + struct.pack("<i", value)
    assert isinstance(value, np.ndarray) and value.dtype == np.uint8
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    # Column by column, as the official files are.
    return empty + b"(K\x01" + shape + dtype + b"\x88" + _python2(value.tobytes("F")) + b"tb"


# ChestX-ray14

_FINDINGS = {
    # image: (findings, split); the patient's number stands first
    "00000001_000.png": ("Cardiomegaly", "train"),
    "00000001_001.png": ("Cardiomegaly|Emphysema", "train"),
    "00000002_000.png": ("No Finding", "train"),
    "00000003_000.png": ("|".join(reversed(DISEASES)), "train"),
    "00000004_000.png": ("Mass|Nodule", "test"),
    "00000005_000.png": ("No Finding", "test"),
    "00000006_000.png": ("Hernia", "test"),
}


def chestxray14_nih(root: Path, classes: int = 14) -> Expected:
    """All images in images/, the first version of the table (whose header ends in a comma)."""
    head = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender",
            "View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", ""]  # fmt: skip
    return _chestxray14(root, classes, "Data_Entry_2017.csv", head, lambda number: "images")


def chestxray14_kaggle(root: Path, classes: int = 14) -> Expected:
    """Images in images_001/images/ and so on, the second version of the table."""
    head = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Sex",
            "View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"]  # fmt: skip
    return _chestxray14(
        root, classes, "Data_Entry_2017_v2020.csv", head, lambda number: f"images_{number // 3 + 1:03d}/images"
    )


def _chestxray14(root, classes, table, head, folder):
    picture = _Pictures()
    root.mkdir(parents=True, exist_ok=True)
    names = DISEASES if classes == 14 else [*DISEASES, "No Finding"]
    images, rows = {}, []
    for number, (name, (findings, split)) in enumerate(_FINDINGS.items()):
        content = picture("PNG", "RGBA" if number == 1 else "L")  # some of the real ones are RGBA
        put(root / folder(number) / name, content)
        labels = tuple(sorted(set(findings.split("|")) & set(names), key=names.index))
        images[name] = (labels, split, pixels_of(content))
        rows.append([name, findings, "0", name[:8], "58", "M", "PA", "2682", "2749", "0.143", "0.143"])
    with open(root / table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([*row, ""] if head[-1] == "" else row for row in rows)
    for file_name, part in {"train_val_list.txt": "train", "test_list.txt": "test"}.items():
        listed = [name for name, (_, split) in _FINDINGS.items() if split == part]
        put(root / file_name, "\n".join(listed))
    return Expected(names, images)


# iNaturalist 2019


def inat2019(root: Path) -> Expected:
    """train_val2019/<supercategory>/<category>/<hash>.jpg and the two lists. Category 10 sorts after 9."""
    picture = _Pictures()
    categories = {0: ("Frogs", "Amphibians"), 9: ("Ducks", "Birds"), 10: ("Gulls", "Birds")}
    images: dict = {}
    for split, file, per_category in (("train", "train2019.json", 3), ("test", "val2019.json", 1)):
        listed, annotations = [], []
        for category, (label, above) in categories.items():
            for number in range(per_category):
                identity = len(images)
                content = picture()
                name = f"train_val2019/{above}/{category}/{identity:04x}{number:028x}.jpg"
                put(root / name, content)
                images[name] = ((label,), split, pixels_of(content))
                about = {"license": 0, "rights_holder": "someone", "width": 40, "height": 32}
                listed.append({"file_name": name, "id": identity, **about})
                annotations.append({"id": identity, "image_id": identity, "category_id": category})
        content = {
            "info": {"year": 2019},
            "licenses": [],
            "images": listed,
            "annotations": annotations[::-1],
            "categories": [
                {"id": key, "name": name, "supercategory": above} for key, (name, above) in categories.items()
            ],
        }
        put(root / file, json.dumps(content))
    return Expected(["Frogs", "Ducks", "Gulls"], images)


# NWPU-RESISC45


def resisc45(root: Path, each: int = 10) -> Expected:
    """NWPU-RESISC45/<class>/<class>_NNN.jpg; the splits are drawn, and so stand here as ""."""
    picture = _Pictures()
    classes = ["airplane", "baseball_diamond", "circular_farmland"]
    images = {}
    for label in classes:
        for number in range(1, each + 1):
            content = picture(size=(32, 32))
            put(root / "NWPU-RESISC45" / label / f"{label}_{number:03d}.jpg", content)
            images[f"{label}/{label}_{number:03d}.jpg"] = ((label,), "", pixels_of(content))
    return Expected(classes, images)
