"""The columns of a table of the user's own (CSV, TSV or Parquet), as texts."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wecolora.core.errors import BadInput
from wecolora.data.listing import some
from wecolora.data.rows import Row, refuse_swallowed, rows_of

log = logging.getLogger("wecolora")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
OTHERS = ",;\t|"  # delimiters that spreadsheets use, whatever the file's suffix
TOLD = re.compile(r"\"?sep=([^\w\"\s]|\t)?\"?", re.IGNORECASE)


@dataclass
class Columns:
    """Columns of a table as texts with all their white space, and the place of each row in the table.

    A missing value is an empty text.
    """

    table: Path
    texts: dict[str, list[str]]
    unit: str  # "line" or "row"
    numbers: list[int]
    # A column of lists has several texts for each row.
    several: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    empty: int = 0  # the number of rows that are left out because all of their cells are empty

    def at(self, position: int) -> str:
        """Return the table and the row at this position, in words."""
        return f"{self.table}: {self.unit} {self.numbers[position]}"


def read_columns(table: Path, name: str, wanted: list[str], several: str | None = None) -> Columns:
    """Read the wanted columns of a data set's table.

    The column ``several`` may give several texts for a row, as a Parquet column of lists does. Raise BadInput if a
    column is missing or there twice, or if a row is not whole.
    """
    if not table.is_file():
        raise BadInput(f"{table}: the table of data set {name} is no file; set datasets.{name}.table.")
    if table.suffix.lower() == ".parquet":
        return _parquet(table, wanted, several)
    if table.suffix.lower() not in DELIMITERS:
        raise BadInput(f"{table}: is no .csv, .tsv or .parquet file, which the table of data set {name} has to be.")
    return _text_table(table, wanted)


def _text_table(table: Path, wanted: list[str]) -> Columns:
    delimiter = _delimiter(table, wanted)
    rows = rows_of(table, delimiter)
    first = _header(rows)
    header = [column.strip() for column in first.cells]
    if header and header[0].startswith("#") and not set(wanted) <= set(header):
        raise BadInput(
            f"{table}: line {first.line} begins with #, where the header has to stand; take out comments, and the # "
            "of a header."
        )
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
            unnamed = not found.numbers and len(row.cells) == len(header) + 1
            hint = "name the rows' names in the header, which R leaves out, or " if unnamed else ""
            raise BadInput(
                f"{table}: line {row.line} has {len(row.cells)} columns, where the header has {len(header)}; {hint}put "
                f"a cell that holds {delimiter!r} in double quotes."
            )
        found.numbers.append(row.line)
        for column, place in zip(wanted, places, strict=True):
            found.texts[column].append(row.cells[place])
    return found


def _header(rows: Iterator[Row]) -> Row:
    """Return the first row that is not empty, without the line that only Excel reads (see _told_delimiter)."""
    for row in rows:
        if any(map(str.strip, row.cells)) and not (row.line == 1 and TOLD.fullmatch(row.cells[0])):
            return row
    return Row(1, 1, [])


def _delimiter(table: Path, wanted: list[str]) -> str:
    """Return the delimiter of the header.

    It is the one that the table itself names. Otherwise it is that of the file's suffix, or another one if that gives
    more of the wanted columns.
    """
    if told := _told_delimiter(table):
        return told
    own = DELIMITERS[table.suffix.lower()]
    headers: dict[str, set[str]] = {}
    problem = None  # the error with the suffix's delimiter, which occurs if quotes end at another one
    for delimiter in (own, *OTHERS.replace(own, "")):
        try:
            headers[delimiter] = {column.strip() for column in _header(rows_of(table, delimiter)).cells}
        except BadInput as error:
            problem = error if delimiter == own else problem
    found = {one: len(header & set(wanted)) for one, header in headers.items()}
    if problem and not any(found.values()):
        # Another delimiter may give a header of other names, but no header if its cells hold the suffix's delimiter.
        headers = {one: cells for one, cells in headers.items() if len(cells) > 1 and own not in "".join(cells)}
        if not headers:
            raise problem
    best = max(headers, key=lambda one: found[one])
    if best != own and headers[best] >= set(wanted):
        log.info("%s: its columns are divided by %r, and are read so.", table, best)
    return best


def _told_delimiter(table: Path) -> str | None:
    """Return the delimiter that a first line for Excel, such as ``sep=;``, names, or None if there is no such line."""
    with open(table, encoding="utf-8-sig", errors="replace", newline="") as file:
        told = TOLD.fullmatch(file.readline(20).rstrip("\r\n"))
    return told[1] if told else None


def _parquet(table: Path, wanted: list[str], several: str | None) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as file:
            names = {name.strip(): name for name in file.schema_arrow.names}
            _refuse_columns(table, wanted, [name.strip() for name in file.schema_arrow.names])
            rows = file.read(columns=[names[column] for column in wanted])
            cells = {column: _cells(rows.column(names[column]), column == several) for column in wanted}
            empty = {place for place, row in enumerate(zip(*cells.values(), strict=True)) if not any(row)}
            if empty:  # these columns are empty there; others may not be
                whole = file.read().columns
                empty = {place for place in empty if all(_is_missing(column[place].as_py()) for column in whole)}
    except (pa.ArrowException, TypeError) as error:
        raise BadInput(
            f"{table}: cannot be read as a Parquet table of texts and numbers ({error}); save it as one."
        ) from error
    kept = [place for place in range(rows.num_rows) if place not in empty]
    found = Columns(table, {}, "row", [place + 1 for place in kept], empty=len(empty))
    for column, given in cells.items():
        listed = _is_list(rows.schema.field(names[column]).type)
        target: dict[str, Any] = found.several if listed else found.texts
        target[column] = [given[place] for place in kept] if empty else given
    return found


def _cells(column: Any, several: bool) -> list[Any]:
    """Return the texts of a Parquet column; for a column of lists, return a tuple of texts for each row.

    Raise TypeError for a column of lists unless ``several`` is true.
    """
    kind = column.type
    if not _is_list(kind):
        told = _teller(kind)
        return [told(value) for value in column.to_pylist()]
    if not several:
        raise TypeError("a column of lists needs to be that of the labels, and `separator` to be set")
    told = _teller(kind.value_type)
    return [tuple(filter(None, map(told, values or ()))) for values in column.to_pylist()]


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or value == [] or (isinstance(value, str) and not value.strip())


def _teller(kind: Any) -> Callable[[Any], str]:
    """Return the function that writes a value of a Parquet column of this type as CSV does."""
    import pyarrow as pa

    # The shortest text that its own type reads as this number: 0.1 and not 0.10000000149011612.
    narrow = {pa.float16(): np.float16, pa.float32(): np.float32}.get(
        kind.value_type if pa.types.is_dictionary(kind) else kind, float
    )

    def told(value: Any) -> str:
        if _is_missing(value):
            return ""
        if isinstance(value, (float, np.floating)):
            # A column of whole numbers arrives as floats if one of them is missing.
            return str(narrow(value)).removesuffix(".0")
        if not isinstance(value, (str, int)):
            raise TypeError(f"{value!r} is neither")
        return str(value)

    return told


def _refuse_columns(table: Path, wanted: list[str], there: list[str]) -> None:
    """Raise BadInput if a wanted column is missing or there twice."""
    for column in wanted:
        if column not in there:
            close = difflib.get_close_matches(column, there, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {some(there, 12) or 'none'}."
            raise BadInput(f"{table}: has no column {column!r}; {hint}")
        if there.count(column) > 1:
            raise BadInput(f"{table}: has {there.count(column)} columns {column!r}; rename all but one.")
