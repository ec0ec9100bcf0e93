"""Columns of a table of the user's own, CSV, TSV or Parquet, as texts."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wecolora.datasets.listing import some
from wecolora.datasets.rows import Row, refuse_swallowed, rows_of
from wecolora.errors import BadInput

log = logging.getLogger("wecolora")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
OTHERS = ",;\t|"  # what spreadsheets divide cells by, whatever the file's suffix


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


def read_columns(table: Path, name: str, wanted: list[str]) -> Columns:
    """The wanted columns of a data set's table. BadInput where one is missing or twice, or where a row is not whole."""
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
            if empty:  # as far as these columns tell
                whole = file.read().columns
                empty = {place for place in empty if all(_is_missing(column[place].as_py()) for column in whole)}
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
