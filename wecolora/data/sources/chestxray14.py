"""ChestX-ray14: the layouts of NIH and Kaggle, split by the official patient-wise lists."""

from __future__ import annotations

import os
from pathlib import Path

from wecolora.config.datasets import ChestXray14
from wecolora.core.errors import BadInput
from wecolora.data.listing import Besides, Entry, Listing, folders_in, image_files, root_of, some
from wecolora.data.rows import Row, rows_of

WHERE = "get it at https://nihcc.app.box.com/v/ChestXray-NIHCC or https://www.kaggle.com/datasets/nih-chest-xrays/data"
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
COLUMNS = ("Image Index", "Finding Labels")
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
    besides = Besides()
    findings, files = _findings(root), _images(root, besides)
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
    listed = Listing(root, classes, entries, absent=absent, besides=besides)
    if unlisted := sorted(files.keys() - {entry.id for entry in entries}):
        listed.remarks = [f"{len(unlisted)} images are in none of its lists, and are left out: {some(unlisted)}."]
    return listed


def _findings(root: Path) -> dict[str, list[str]]:
    """Return the findings of each image.

    A row may be shorter than the header, which ends in a comma in some versions.
    """
    table = _file(root, *TABLES)
    rows = rows_of(table)
    header = [column.strip() for column in next(rows, Row(1, 1, [])).cells]
    if missing := [column for column in COLUMNS if header.count(column) != 1]:
        has = "has several columns" if missing[0] in header else "has no column"
        raise BadInput(f"{table}: {has} {missing[0]!r}; {WHERE}.")
    image_at, findings_at = (header.index(column) for column in COLUMNS)
    found: dict[str, str] = {}
    for line, end, row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if end > line or len(cells) <= max(image_at, findings_at) or not (cells[image_at] and cells[findings_at]):
            raise BadInput(f"{table}: line {line} does not tell the findings of one image; {WHERE}.")
        image, findings = cells[image_at], cells[findings_at]
        if found.setdefault(image, findings) != findings:
            raise BadInput(
                f"{table}: line {line} gives {image} the findings {findings!r}, and a line above it {found[image]!r}; "
                f"{WHERE}."
            )
    unknown = {label for findings in found.values() for label in findings.split("|")} - {*DISEASES, NONE}
    if unknown:
        raise BadInput(f"{table}: has findings that are none of the 14 ({some(sorted(unknown))}); {WHERE}.")
    return {image: findings.split("|") for image, findings in found.items()}


def _images(root: Path, besides: Besides) -> dict[str, str]:
    """Return the path of each image from the root."""
    files: dict[str, str] = {}
    for folder in folders_in(root):
        for path in image_files(root / folder, besides) if folder == "images" or folder.startswith("images_") else ():
            name, whole = path.rpartition("/")[2], f"{folder}/{path}"
            if os.path.splitext(name)[1].lower() != ".png":
                besides.files[os.path.splitext(name)[1].lower()] += 1
            elif files.setdefault(name, whole) != whole:
                raise BadInput(f"{root}: has {name} as {files[name]} and as {whole}; keep one of them.")
    if not files:
        raise BadInput(
            f"{root}: has no PNG files in images/ or images_0NN/images/ (unpack images_0NN.tar.gz there); {WHERE}."
        )
    return files


def _lists(root: Path) -> dict[str, list[str]]:
    """Return the images of each split."""
    lists = {split: _list(_file(root, name)) for split, name in LISTS.items()}
    if both := sorted(set(lists["train"]) & set(lists["test"])):
        raise BadInput(f"{root}: {' and '.join(LISTS.values())} both list {some(both)}; {WHERE}.")
    return {split: list(dict.fromkeys(names)) for split, names in lists.items()}


def _list(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: cannot be read as a list of names ({error}); {WHERE}.") from error


def _file(root: Path, *names: str) -> Path:
    """Return the first of these files that is there, in whatever case its name is written."""
    there = {file.lower(): file for file in os.listdir(root)}
    for name in names:
        if name.lower() in there:
            return root / there[name.lower()]
    raise BadInput(f"{root}: has no {' or '.join(names)}; {WHERE}.")
