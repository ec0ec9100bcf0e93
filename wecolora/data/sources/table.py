"""Image files that a table of the user's own names: CSV, TSV or Parquet, a row an image."""

from __future__ import annotations

import itertools
import logging
import os
import re
from pathlib import Path

from wecolora.config.datasets import Listed
from wecolora.core.errors import BadInput
from wecolora.core.folders import is_left_out
from wecolora.data.columns import Columns, read_columns
from wecolora.data.labels import is_list, is_unprintable, label_of
from wecolora.data.listing import HELD_OUT, Entry, Inside, Listing, drawn, root_of, some

log = logging.getLogger("wecolora")
SPLITS = {"train": "train", **dict.fromkeys(HELD_OUT, "test")}


def listing(name: str, data: Listed) -> Listing:
    """List the paths, labels and splits that the table's columns give.

    Labels are texts or numbers; numbers are sorted as numbers (see labels.label_of). ``test_share`` divides at random,
    and takes the same share of each class where an image has one label.
    """
    root = root_of(name, data)
    table = root / data.table
    wanted = list(dict.fromkeys(column for column in (data.path, data.labels, data.split) if column is not None))
    several = data.labels if data.separator is not None else None
    columns = read_columns(table, name, wanted, several)
    if columns.empty:
        log.info("%s: %d rows of empty cells are left out.", name, columns.empty)
    paths = _paths(root, Path(os.path.abspath(data.root)), columns, data.path)
    names = _labels(columns, paths, data.labels, data.separator) if data.labels else [()] * len(paths)
    classes = _sorted({label for labels in names for label in labels})
    number = {label: number for number, label in enumerate(classes)}
    labels = [tuple(sorted({number[label] for label in given})) for given in names]
    if data.split is not None:
        split = _splits(table, paths, columns.texts[data.split], data.split)
    elif data.test_share is not None:
        single = data.labels is not None and data.separator is None
        test = drawn([label[0] if single else 0 for label in labels], data.test_share, data.split_seed)
        split = ["test" if position in test else "train" for position in range(len(paths))]
    else:
        split = ["train"] * len(paths)
    entries = [Entry(path, path, numbers, part) for path, numbers, part in zip(paths, labels, split, strict=True)]
    listed = Listing(root, classes, entries)
    listed.splits = ("train",) if data.split is None and data.test_share is None else ("train", "test")
    cells = columns.texts.get(data.labels or "", [])
    if data.separator and cells and not any(data.separator in cell for cell in cells):
        listed.remarks = [f"no cell of column {data.labels!r} holds {data.separator!r}, which divides its labels."]
    if several is None and (lists := [label for label in classes if is_list(label)]):
        listed.remarks = [f"classes look like lists: {some(lists)}; `separator` divides several labels of an image."]
    return listed


def _paths(root: Path, as_told: Path, columns: Columns, column: str) -> list[str]:
    """Return the rows' paths from the root, each a file, and no two the same; ``as_told`` is the root with its
    links."""
    table, given = columns.table, columns.texts[column]
    if not given:
        raise BadInput(f"{table}: has no rows; list the images there.")
    inside = Inside(root, str(table))
    paths, absent = [], []
    rows: dict[str, list[int]] = {}
    for position, text in enumerate(given):
        if not (stripped := text.strip()):
            raise BadInput(f"{columns.at(position)} has no path in column {column!r}; add it, or take out the row.")
        # A name may begin or end with a space.
        path = inside.file(_below(text, root, as_told)) if text != stripped else None
        path = path or inside.file(_below(stripped, root, as_told))
        if path is None:
            absent.append(text)
            continue
        rows.setdefault(path, []).append(columns.numbers[position])
        paths.append(path)
    if len(rows) < len(paths):
        twice = [f"{path}: {columns.unit}s {some(list(map(str, at)))}" for path, at in rows.items() if len(at) > 1]
        raise BadInput(f"{table}: names {len(twice)} images more than once ({some(twice)}); give each one row.")
    if absent:
        raise BadInput(
            f"{table}: names {len(absent)} images that are no files below {root} ({some(absent)}); correct their "
            "paths, or take out their rows."
        )
    if hidden := [path for path in paths if any(map(is_left_out, path.split("/")))]:
        raise BadInput(
            f"{table}: names {len(hidden)} images that are hidden or lie in folders of programs ({some(hidden)}), "
            "where no change would be noticed; give their files and folders other names."
        )
    return paths


def _below(path: str, *roots: Path) -> str:
    """Return an absolute path below the root as the path from there, and any other path as it is."""
    if os.path.isabs(path):
        readings = [Path(path)]
        if ".." in readings[0].parts and "\0" not in path:  # as the system reads it
            readings.append(Path(os.path.realpath(readings[0].parent), readings[0].name))
        for plain, root in itertools.product(readings, roots):
            if plain.is_relative_to(root):
                return str(plain.relative_to(root))
    return path


def _labels(columns: Columns, paths: list[str], column: str, separator: str | None) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]]
    given = [cell.strip() for cell in columns.texts.get(column, [])]
    if column in columns.several:
        cells = [tuple(map(str.strip, parts)) for parts in columns.several[column]]
    elif separator is None:
        if without := [path for path, cell in zip(paths, given, strict=True) if not cell]:
            raise BadInput(
                f"{columns.table}: has no label for {len(without)} images ({some(without)}); give them one, or take "
                "out their rows, or set `labels: null` for a data set without labels."
            )
        cells = [(cell,) for cell in given]
    else:
        if lists := [position for position, cell in enumerate(given) if is_list(cell)]:
            raise BadInput(
                f"{columns.at(lists[0])} gives labels as a list of Python or JSON, {_short(given[lists[0]])!r}, as do "
                f"{len(lists) - 1} other rows; divide them by {separator!r} alone, or save the table as Parquet."
            )
        cells = [tuple(part for part in map(str.strip, cell.split(separator)) if part) for cell in given]
    label = {part: label_of(part) for part in {part for parts in cells for part in parts}}
    if bad := {part for part in label if is_unprintable(part)}:
        position = next(position for position, parts in enumerate(cells) if bad & set(parts))
        raise BadInput(
            f"{columns.at(position)} has the label {min(bad & set(cells[position]))!r}, with a character that cannot "
            "be printed; take it out."
        )
    return [tuple(label[part] for part in parts) for parts in cells]


def _short(cell: str) -> str:
    return cell if len(cell) < 40 else f"{cell[:36]}..."


def _sorted(labels: set[str]) -> list[str]:
    numbers = all(re.fullmatch(r"-?\d+(\.\d+)?", label) for label in labels)
    return sorted(sorted(labels), key=float) if numbers else sorted(labels)


def _splits(table: Path, paths: list[str], given: list[str], column: str) -> list[str]:
    given = [value.strip().lower() for value in given]
    wrong = [path for path, value in zip(paths, given, strict=True) if value not in SPLITS]
    if wrong:
        raise BadInput(
            f"{table}: column {column!r} has to say train or test (or {', '.join(HELD_OUT[1:])}), and does not for "
            f"{len(wrong)} images ({some(wrong)})."
        )
    found = set(given)
    held_out = [value for value in HELD_OUT if value in found]
    if len(held_out) > 1:
        raise BadInput(
            f"{table}: column {column!r} says both {' and '.join(held_out)}; keep the rows of train and one of them."
        )
    return [SPLITS[value] for value in given]
