"""Image files that a table of the user's own names: CSV, TSV or Parquet, a row an image."""

from __future__ import annotations

import difflib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wecolora.datasets.labels import is_unprintable, label_of
from wecolora.datasets.listing import HELD_OUT, Entry, Inside, Listing, drawn, root_of, some
from wecolora.datasets.rows import Row, refuse_swallowed, rows_of
from wecolora.errors import BadInput
from wecolora.recipes import Listed

log = logging.getLogger("wecolora")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
OTHERS = ",;\t|"  # what spreadsheets divide cells by, whatever the file's suffix
SPLITS = {"train": "train", **dict.fromkeys(HELD_OUT, "test")}


@dataclass
class Columns:
    """Columns of a table as texts, a missing value an empty one, and where in the table each row stands."""

    table: Path
    texts: dict[str, list[str]]
    unit: str  # "line" or "row"
    numbers: list[int]
    empty: int = 0  # rows of empty cells alone, which are left out

    def at(self, position: int) -> str:
        """Table and row, in words."""
        return f"{self.table}: {self.unit} {self.numbers[position]}"


def listing(name: str, data: Listed) -> Listing:
    """The paths, labels and splits that the table's columns give. Labels are texts or numbers, which are then sorted as
    numbers (see labels.label_of). ``test_share`` divides at random: the same share of each class where an image has one
    label."""
    root = root_of(name, data)
    table = root / data.table
    wanted = [column for column in (data.path, data.labels, data.split) if column is not None]
    columns = _columns(table, name, wanted)
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
    listed = Listing(root, classes, entries, multilabel=data.labels is not None and data.separator is not None)
    listed.splits = ("train",) if data.split is None and data.test_share is None else ("train", "test")
    if data.labels and data.separator and not any(data.separator in cell for cell in columns.texts[data.labels]):
        listed.remarks = [f"no cell of column {data.labels!r} holds {data.separator!r}, which divides its labels."]
    return listed


def _columns(table: Path, name: str, wanted: list[str]) -> Columns:
    if not table.is_file():
        raise BadInput(f"{table}: the table of data set {name} is no file; set datasets.{name}.table.")
    if table.suffix.lower() == ".parquet":
        return _parquet(table, wanted)
    if table.suffix.lower() not in DELIMITERS:
        raise BadInput(f"{table}: is no .csv, .tsv or .parquet file, which the table of data set {name} has to be.")
    return _text_table(table, wanted)


def _text_table(table: Path, wanted: list[str]) -> Columns:
    delimiter = _delimiter(table, wanted)
    rows = rows_of(table, delimiter)
    first = next(rows, Row(1, 1, []))
    header = [column.strip() for column in first.cells]
    _refuse_columns(table, wanted, header)
    refuse_swallowed(table, first, delimiter, len(header))
    places = tuple(header.index(column) for column in wanted)
    found = Columns(table, {column: [] for column in wanted}, "line", [])
    for row in rows:
        if not any(map(str.strip, row.cells)):
            found.empty += bool(row.cells)
            continue
        refuse_swallowed(table, row, delimiter, len(header), places)
        if len(row.cells) < len(header):
            raise BadInput(f"{table}: line {row.line} has {len(row.cells)} of {len(header)} columns; mend it.")
        if len(row.cells) > len(header):
            raise BadInput(
                f"{table}: line {row.line} has {len(row.cells)} columns, where the header has {len(header)}; put a "
                f"cell that holds {delimiter!r} in double quotes."
            )
        found.numbers.append(row.line)
        for column, place in zip(wanted, places, strict=True):
            found.texts[column].append(row.cells[place].strip())
    return found


def _delimiter(table: Path, wanted: list[str]) -> str:
    """What divides the header: the one of the file's suffix, or another that more of the wanted columns come by."""
    own = DELIMITERS[table.suffix.lower()]
    counts = {own: 0, **dict.fromkeys(OTHERS, 0)}
    for delimiter in counts:
        try:
            header = {column.strip() for column in next(rows_of(table, delimiter), Row(1, 1, [])).cells}
        except BadInput:
            if delimiter == own:
                raise
            continue
        counts[delimiter] = len(header & set(wanted))
    best = max(counts, key=lambda delimiter: counts[delimiter])
    if best != own and counts[best] == len(set(wanted)):
        log.info("%s: its columns are divided by %r, and are read so.", table, best)
    return best


def _parquet(table: Path, wanted: list[str]) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as file:
            names = {name.strip(): name for name in file.schema_arrow.names}
            _refuse_columns(table, wanted, [name.strip() for name in file.schema_arrow.names])
            rows = file.read(columns=[names[column] for column in wanted])
            texts = {column: [_text(value) for value in rows.column(names[column]).to_pylist()] for column in wanted}
            empty = {place for place, cells in enumerate(zip(*texts.values(), strict=True)) if not any(cells)}
            if empty:  # as far as can be seen from these columns
                others = file.read()
                empty = {
                    place for place in empty if all(_is_missing(column[place].as_py()) for column in others.columns)
                }
    except (pa.ArrowException, TypeError) as error:
        raise BadInput(
            f"{table}: cannot be read as a Parquet table of texts and numbers ({error}); save it as one."
        ) from error
    kept = [place for place in range(rows.num_rows) if place not in empty]
    texts = {column: [given[place] for place in kept] for column, given in texts.items()} if empty else texts
    return Columns(table, texts, "row", [place + 1 for place in kept], len(empty))


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    if _is_missing(value):
        return ""
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{value!r} is neither")
    # A column of whole numbers with a missing one among them comes as floats.
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value).strip()


def _refuse_columns(table: Path, wanted: list[str], there: list[str]) -> None:
    """BadInput where a wanted column is missing, or there twice."""
    for column in wanted:
        if column not in there:
            close = difflib.get_close_matches(column, there, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {some(there, 12) or 'none'}."
            raise BadInput(f"{table}: has no column {column!r}; {hint}")
        if there.count(column) > 1:
            raise BadInput(f"{table}: has {there.count(column)} columns {column!r}; rename all but one.")


def _paths(root: Path, as_told: Path, columns: Columns, column: str) -> list[str]:
    """The rows' paths from the root, each a file, and no two the same; ``as_told`` is the root with its links."""
    table, given = columns.table, columns.texts[column]
    if not given:
        raise BadInput(f"{table}: has no rows; list the images there.")
    inside = Inside(root, str(table))
    paths, absent = [], []
    rows: dict[str, list[int]] = {}
    for position, text in enumerate(given):
        if not text:
            raise BadInput(f"{columns.at(position)} has no path in column {column!r}; add it, or take out the row.")
        path = inside.file(_below(text, root, as_told))
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
    return paths


def _below(path: str, *roots: Path) -> str:
    """An absolute path below the root as the path from there; any other as it is."""
    if os.path.isabs(path):
        for root in roots:
            if (plain := Path(os.path.normpath(path))).is_relative_to(root):
                return str(plain.relative_to(root))
    return path


def _labels(columns: Columns, paths: list[str], column: str, separator: str | None) -> list[tuple[str, ...]]:
    given = columns.texts[column]
    cells: list[tuple[str, ...]]
    if separator is None:
        if without := [path for path, cell in zip(paths, given, strict=True) if not cell]:
            raise BadInput(
                f"{columns.table}: has no label for {len(without)} images ({some(without)}); give them one, or take "
                "out their rows, or set `labels: null` for a data set without labels."
            )
        cells = [(cell,) for cell in given]
    else:
        cells = [tuple(part for part in map(str.strip, cell.split(separator)) if part) for cell in given]
    label = {part: label_of(part) for part in {part for parts in cells for part in parts}}
    if bad := {part for part in label if is_unprintable(part)}:
        position = next(position for position, parts in enumerate(cells) if bad & set(parts))
        raise BadInput(
            f"{columns.at(position)} has the label {min(bad & set(cells[position]))!r}, with a character that cannot "
            "be printed; take it out."
        )
    return [tuple(label[part] for part in parts) for parts in cells]


def _sorted(labels: set[str]) -> list[str]:
    numbers = all(re.fullmatch(r"-?\d+(\.\d+)?", label) for label in labels)
    return sorted(sorted(labels), key=float) if numbers else sorted(labels)


def _splits(table: Path, paths: list[str], given: list[str], column: str) -> list[str]:
    wrong = [path for path, value in zip(paths, given, strict=True) if value.lower() not in SPLITS]
    if wrong:
        raise BadInput(
            f"{table}: column {column!r} has to say train or test (or {', '.join(HELD_OUT[1:])}), and does not for "
            f"{len(wrong)} images ({some(wrong)})."
        )
    found = {value.lower() for value in given}
    held_out = [value for value in HELD_OUT if value in found]
    if len(held_out) > 1:
        raise BadInput(
            f"{table}: column {column!r} says both {' and '.join(held_out)}; keep the rows of train and one of them."
        )
    return [SPLITS[value.lower()] for value in given]
