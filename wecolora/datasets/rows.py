"""Tables of text (CSV and the like), read strictly: a quote that opens by mistake takes no rows with it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wecolora.errors import BadInput

# Characters of a cell. The csv module's own bound is 131,072, and the masks of images are longer; without any, a quote
# that does not close would take in all of a large file.
csv.field_size_limit(2**24)


class Row(NamedTuple):
    """A row: the lines of the file where it begins and ends, and its cells."""

    line: int
    end: int
    cells: list[str]


def rows_of(table: Path, delimiter: str = ",") -> Iterator[Row]:
    """The rows of a table, its header the first. BadInput where it is not in UTF-8, or where a quote does not close or
    closes within a cell."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    raise BadInput(_unreadable(table, line, reader.line_num, error)) from error
                if cells is None:
                    return
                yield Row(line, reader.line_num, cells)
    except UnicodeDecodeError as error:
        raise BadInput(f"{table}: cannot be read as a table in UTF-8 ({error}); save it as one.") from error


def _unreadable(table: Path, line: int, end: int, error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return f"{table}: line {line}: a quote opens there and does not close; take it out, or close it."
    return f"{table}: line {line}: cannot be read as a row up to line {end} ({error}); mend its quotes."


def refuse_swallowed(table: Path, row: Row, delimiter: str, width: int, plain: tuple[int, ...] = ()) -> None:
    """BadInput where a cell of these ``plain`` places has a line break, or where another's lines look like rows of
    ``width`` cells: a quote that opens by mistake takes all up to the next quote for one cell."""
    for place, cell in enumerate(row.cells if row.end > row.line else ()):
        first, *others = [line.count(delimiter) for line in re.split(r"\r\n|\r|\n", cell)]
        if others and (
            place in plain
            or len(row.cells) != width
            or max(others) >= width - 1
            # The rest of one row and the start of another.
            or (first, others[-1]) == (width - 1 - place, place)
        ):
            raise BadInput(
                f"{table}: line {row.line}: a quote opens there and closes at line {row.end}, so that rows would be "
                "lost in one cell; take out the quote, or the line breaks between, or save the table as Parquet."
            )
