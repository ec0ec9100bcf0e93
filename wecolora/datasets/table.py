"""Image files that a table of the user's own names: CSV, TSV or Parquet, a row an image."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from wecolora.datasets.listing import Entry, Inside, Listing, drawn, root_of, some
from wecolora.errors import BadInput
from wecolora.recipes import Listed

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
SPLITS = {"train": "train", "test": "test", "val": "test"}


def listing(name: str, data: Listed) -> Listing:
    """The paths, labels and splits that the table's columns give. Labels are texts or numbers, which are then sorted as
    numbers. ``test_share`` divides at random: the same share of each class where an image has one label."""
    root = root_of(name, data)
    table = root / data.table
    wanted = [column for column in (data.path, data.labels, data.split) if column is not None]
    columns = _columns(table, name, wanted)
    paths = _paths(root, table, columns[data.path])
    names = _labels(table, paths, columns[data.labels], data.separator) if data.labels else [()] * len(paths)
    classes = _sorted({label for labels in names for label in labels})
    number = {label: number for number, label in enumerate(classes)}
    labels = [tuple(sorted({number[label] for label in given})) for given in names]
    if data.split is not None:
        split = _splits(table, paths, columns[data.split], data.split)
    elif data.test_share is not None:
        single = data.labels is not None and data.separator is None
        test = drawn([label[0] if single else 0 for label in labels], data.test_share, data.split_seed)
        split = ["test" if position in test else "train" for position in range(len(paths))]
    else:
        split = ["train"] * len(paths)
    entries = [Entry(path, path, numbers, part) for path, numbers, part in zip(paths, labels, split, strict=True)]
    return Listing(
        root,
        classes,
        entries,
        multilabel=data.labels is not None and data.separator is not None,
        splits=("train",) if data.split is None and data.test_share is None else ("train", "test"),
    )


def _columns(table: Path, name: str, wanted: list[str]) -> dict[str, list[str]]:
    """Columns of the table as texts; a missing value is an empty one."""
    if not table.is_file():
        raise BadInput(f"{table}: the table of data set {name} is no file; set datasets.{name}.table.")
    if table.suffix.lower() == ".parquet":
        return _parquet(table, wanted)
    if table.suffix.lower() not in DELIMITERS:
        raise BadInput(f"{table}: is no .csv, .tsv or .parquet file, which the table of data set {name} has to be.")
    columns: dict[str, list[str]] = {column: [] for column in wanted}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=DELIMITERS[table.suffix.lower()])
            header = next(rows, [])
            _refuse_missing(table, wanted, header)
            places = [(columns[column], header.index(column)) for column in wanted]
            for row in rows:
                if row and len(row) < len(header):
                    raise BadInput(f"{table}: line {rows.line_num} has {len(row)} of {len(header)} columns; mend it.")
                for values, place in places if row else ():
                    values.append(row[place].strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{table}: cannot be read as a table in UTF-8 ({error}); save it as one.") from error
    return columns


def _parquet(table: Path, wanted: list[str]) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as file:
            _refuse_missing(table, wanted, file.schema_arrow.names)
            columns = file.read(columns=wanted)
            return {column: [_text(value) for value in columns.column(column).to_pylist()] for column in wanted}
    except (pa.ArrowException, TypeError) as error:
        raise BadInput(
            f"{table}: cannot be read as a Parquet table of texts and numbers ({error}); save it as one."
        ) from error


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{value!r} is neither")
    # A column of whole numbers with a missing one among them comes as floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _refuse_missing(table: Path, wanted: list[str], there: list[str]) -> None:
    for column in wanted:
        if column not in there:
            close = difflib.get_close_matches(column, there, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {some(there, 12) or 'none'}."
            raise BadInput(f"{table}: has no column {column!r}; {hint}")


def _paths(root: Path, table: Path, given: list[str]) -> list[str]:
    """The rows' paths from the root, each a file, and no two the same."""
    if not given:
        raise BadInput(f"{table}: has no rows; list the images there.")
    inside = Inside(root, str(table))
    paths = [inside.path(path) for path in given]
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise BadInput(f"{table}: names {len(twice)} images more than once ({some(twice)}); give each one row.")
    absent = [path for path in paths if not os.path.isfile(root / path)]
    if absent:
        raise BadInput(
            f"{table}: names {len(absent)} images that are no files below {root} ({some(absent)}); correct their "
            "paths, or take out their rows."
        )
    return paths


def _labels(table: Path, paths: list[str], given: list[str], separator: str | None) -> list[tuple[str, ...]]:
    if separator is not None:
        return [tuple(part for part in map(str.strip, labels.split(separator)) if part) for labels in given]
    without = [path for path, label in zip(paths, given, strict=True) if not label]
    if without:
        raise BadInput(
            f"{table}: has no label for {len(without)} images ({some(without)}); give them one, or take out "
            "their rows, or set `labels: null` for a data set without labels."
        )
    return [(label,) for label in given]


def _sorted(labels: set[str]) -> list[str]:
    numbers = all(re.fullmatch(r"-?\d+(\.\d+)?", label) for label in labels)
    return sorted(sorted(labels), key=float) if numbers else sorted(labels)


def _splits(table: Path, paths: list[str], given: list[str], column: str) -> list[str]:
    found = {value.lower() for value in given}
    wrong = [path for path, value in zip(paths, given, strict=True) if value.lower() not in SPLITS]
    if wrong:
        raise BadInput(
            f"{table}: column {column!r} has to say train or test (or val), and does not for {len(wrong)} images "
            f"({some(wrong)})."
        )
    if {"test", "val"} <= found:
        raise BadInput(f"{table}: column {column!r} says both test and val; keep the rows of one of them.")
    return [SPLITS[value.lower()] for value in given]
