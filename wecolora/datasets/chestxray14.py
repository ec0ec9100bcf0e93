"""ChestX-ray14: the layouts of NIH and Kaggle, split by the official patient-wise lists."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from wecolora.datasets.listing import Entry, Listing, folders_in, root_of, some
from wecolora.errors import BadInput
from wecolora.files import files_below
from wecolora.recipes import ChestXray14

PUBLISHED = {"train": 86_524, "test": 25_596}
WHERE = "get it at https://nihcc.app.box.com/v/ChestXray-NIHCC or https://www.kaggle.com/datasets/nih-chest-xrays/data"
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
DISEASES = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]
NONE = "No Finding"


def listing(name: str, data: ChestXray14) -> Listing:
    """PNG files of ``images/`` or ``images_0NN/images/``; the newer of the two tables where both are there. With 14
    classes an image without finding has no label."""
    root = root_of(name, data, WHERE)
    classes = DISEASES if data.classes == 14 else [*DISEASES, NONE]
    findings, files = _findings(root), _images(root)
    entries, absent = [], []
    for split, names in _lists(root).items():
        for image in names:
            if image not in findings:
                raise BadInput(f"{root / LISTS[split]}: lists {image!r}, which the table does not have; {WHERE}.")
            labels = tuple(sorted(classes.index(label) for label in findings[image] if label in classes))
            if image in files:
                entries.append(Entry(image, files[image], labels, split))
            else:
                absent.append(image)
    published = {**PUBLISHED, "classes": len(classes)}
    return Listing(root, classes, entries, multilabel=True, published=published, absent=absent)


def _findings(root: Path) -> dict[str, list[str]]:
    """The findings of each image."""
    table = _file(root, *TABLES)
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := {"Image Index", "Finding Labels"} - set(rows.fieldnames or []):
                raise BadInput(f"{table}: has no column {sorted(missing)[0]!r}; {WHERE}.")
            findings = {row["Image Index"]: (row["Finding Labels"] or "").split("|") for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{table}: cannot be read as a table ({error}); {WHERE}.") from error
    unknown = {label for labels in findings.values() for label in labels} - {*DISEASES, NONE}
    if unknown:
        raise BadInput(f"{table}: has findings that are none of the 14 ({some(sorted(unknown))}); {WHERE}.")
    return findings


def _images(root: Path) -> dict[str, str]:
    """The path of each image from the root."""
    folders = [folder for folder in folders_in(root) if folder == "images" or folder.startswith("images_")]
    files = {
        entry.name: f"{folder}/{path}"
        for folder in folders
        for path, entry in files_below(root / folder)
        if os.path.splitext(path)[1].lower() == ".png"
    }
    if not files:
        raise BadInput(
            f"{root}: has no PNG files in images/ or images_0NN/images/ (unpack images_0NN.tar.gz there); {WHERE}."
        )
    return files


def _lists(root: Path) -> dict[str, list[str]]:
    """The images of each split."""
    lists = {split: _list(_file(root, name)) for split, name in LISTS.items()}
    if both := sorted(set(lists["train"]) & set(lists["test"])):
        raise BadInput(f"{root}: {' and '.join(LISTS.values())} both list {some(both)}; {WHERE}.")
    return {split: list(dict.fromkeys(names)) for split, names in lists.items()}


def _list(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: cannot be read as a list of names ({error}); {WHERE}.") from error


def _file(root: Path, *names: str) -> Path:
    """The first of these that is there, in whatever case it is written."""
    there = {file.lower(): file for file in os.listdir(root)}
    for name in names:
        if name.lower() in there:
            return root / there[name.lower()]
    raise BadInput(f"{root}: has no {' or '.join(names)}; {WHERE}.")
