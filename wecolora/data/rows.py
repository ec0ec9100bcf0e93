"""The rows of text tables (CSV and the like), read strictly: a quote that opens by mistake does not swallow rows."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wecolora.core.errors import BadInput
from wecolora.data.listing import SUFFIXES

# The most characters that a cell may have. The csv module's own limit, 131,072, is too low for masks of images. Without
# a limit, a quote that does not close would take in all of a large file.
csv.field_size_limit(2**24)


class Row(NamedTuple):
    """A row of a table: the lines of the file where it begins and ends, and its cells."""

    line: int
    end: int
    cells: list[str]


def rows_of(table: Path, delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a table; the first is its header.

    Raise BadInput if the file is not UTF-8, or if a quote does not close or closes within a cell.
    """
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
    """Raise BadInput if a cell may hold other rows.

    A quote that opens by mistake takes all up to the next quote as one cell. This is likely if a cell at one of the
    ``plain`` places has a line break, or if the lines of another cell look like rows of ``width`` cells. The first of
    the plain places is that of the image's path.
    """
    names_image = bool(plain) and len(row.cells) == width and _is_image(row.cells[plain[0]])
    for place, cell in enumerate(row.cells if row.end > row.line else ()):
        lines = re.split(r"\r\n|\r|\n", cell)
        if len(lines) == 1:
            continue
        # A lost row would have the path of its image in it; a note with commas has none.
        brings_none = names_image and not any(_is_image(part) for line in lines for part in line.split(delimiter))
        looks_like_rows = not brings_none and _look_like_rows(lines, delimiter, width, place)
        if place in plain or len(row.cells) != width or looks_like_rows:
            raise BadInput(
                f"{table}: line {row.line}: a quote opens there and closes at line {row.end}, so that rows may be lost "
                "in one cell; take out the quote, or the line breaks between, or save the table as Parquet."
            )


def _look_like_rows(lines: list[str], delimiter: str, width: int, place: int) -> bool:
    """Return whether the lines of a cell look like rows.

    They do if one line is as long as a row, or if the first is the end of one row and the last the start of another.
    """
    first, *others = [line.count(delimiter) for line in lines]
    return max(others) >= width - 1 or (first, others[-1]) == (width - 1 - place, place)


def _is_image(cell: str) -> bool:
    return os.path.splitext(cell.strip().strip('"'))[1].lower() in SUFFIXES
