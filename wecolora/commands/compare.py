"""Compare the results of two campaigns, cell by cell: did I reproduce it?

A cell is a run without its seed, on a data set. It is
  same               if the score file of every seed is equal to the byte (dates and hosts stand in files of their own);
  same number        if every score is equal, and something else in the files is not, such as a version;
  within the spread  if Welch's 95% interval for the difference of the means holds 0. Each side needs two seeds or more,
                     and few seeds make a wide interval, which is printed;
  different          otherwise;
  seeds missing      if the seeds that both sides have are the same, and one side has others too;
  only in A, B       if one side has no score of it.
Where runs/ is gone, scores.csv is read: numbers with six digits, and no recipes. A student that neither side probed is
compared by its files, and by its last loss in the place of a score.

exit status:
  0  every cell is the same, to the byte or as a number
  3  every cell is the same or within the seeds' spread
  4  some cells are different or missing
  1  bad input, 2 wrong usage

example:
  wecolora compare results/demo ../their-checkout/results/demo --csv differences.csv
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.commands.shared import PLAIN
from wecolora.core.files import atomic_write

if TYPE_CHECKING:  # they import pandas and scipy
    import pandas as pd

    from wecolora.results.compare import Comparison

COUNTED = {
    "same": "same to the byte",
    "same number": "the same number",
    "within the spread": "within the seeds' spread",
    "different": "different",
    "seeds missing": "with seeds missing",
}
ANSWERS = {
    0: "every number is the same",
    3: "every cell is the same or within the seeds' spread",
    4: "some cells are different or missing",
}
SHOWN_SIGNS = 40  # of a key's value
SHOWN_CELLS = 2  # names of the cells in which a key differs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="RESULTS_A", help="a campaign's folder, such as results/demo")
    parser.add_argument("b", metavar="RESULTS_B", help="another one, of this checkout or of another")
    parser.add_argument("--csv", metavar="FILE", help="write all cells, and the keys that differ in each, to this file")
    parser.add_argument("--all", action="store_true", help="show the cells that are the same, too")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison, and return the exit status; raise BadInput where a folder holds no campaign."""
    from wecolora.results.compare import EQUAL, compare, read_side

    a, b = read_side(arguments.a), read_side(arguments.b)
    found = compare(a, b)
    if arguments.csv:
        with atomic_write(arguments.csv) as temporary:
            found.cells.to_csv(temporary, index=False, float_format="%.6g")
    console = Console(**PLAIN)
    for name, side in (("A", a), ("B", b)):
        rest = "" if side.files else ": no score file is left"
        console.print(f"{name}: {side.folder}{rest}", soft_wrap=True)
    shown = found.cells if arguments.all else found.cells[~found.cells["class"].isin(EQUAL)]
    if len(shown):
        console.print(_cells(shown))
    if len(found.keys):
        console.print(_keys(found.keys))
    for line in [*_remarks(found), _summary(found), _answer(found)]:
        console.print(line, soft_wrap=True)
    return found.status


def _cells(cells: pd.DataFrame) -> Table:
    """Return the table of these cells."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("run", "data set", "A", "B", "B - A", "class"):
        number = column in ("A", "B", "B - A")
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for cell in cells.to_dict("records"):
        note = f": {cell['note']}" if cell["note"] else ""
        table.add_row(
            f"{cell['teacher']}/{cell['run']}",
            cell["dataset"] or f"({cell['metric']})",
            *(_mean(cell, side) for side in ("a", "b")),
            _number(cell["difference"], "+.3g") + _number(cell["interval"], ".2g", " ± "),
            cell["class"] + note,
        )
    return table


def _mean(cell: dict[Any, Any], side: str) -> str:
    seeds = len(cell[f"{side}_seeds"].split())
    of = f" ({seeds})" if seeds > 1 else ""
    return _number(cell[f"{side}_mean"], ".4g") + _number(cell[f"{side}_std"], ".2g", " ± ") + of


def _number(value: float, form: str, before: str = "") -> str:
    return "" if value != value else f"{before}{value:{form}}"


def _keys(keys: pd.DataFrame) -> Table:
    """Return the table of the keys that differ."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("key that differs", "in A", "in B", "where"):
        table.add_column(column, overflow="fold")
    for row in keys.to_dict("records"):
        names = row["where"].split("; ")
        where = f"all {row['of']} cells that have it"
        if not row["of"]:
            where = "the campaign"
        elif row["cells"] < row["of"]:
            more = "; ..." if len(names) > SHOWN_CELLS else ""
            where = f"{row['cells']} of {row['of']} cells: {'; '.join(names[:SHOWN_CELLS])}{more}"
        table.add_row(row["key"], _short(row["a"]), _short(row["b"]), where)
    return table


def _short(value: str) -> str:
    return value if len(value) <= SHOWN_SIGNS else f"{value[: SHOWN_SIGNS - 3]}..."


def _remarks(found: Comparison) -> list[str]:
    """Return what a reader must know beside the tables."""
    cells, remarks = found.cells, []
    if cells["a_std"].notna().any() or cells["b_std"].notna().any():
        remarks.append("A, B: mean ± standard deviation (seeds); B - A ± half of its 95% interval.")
    same_number = cells[(cells["class"] == "same number") & (cells["outcomes"] != "")]
    outcomes = same_number["outcomes"].str.split(", ").explode().value_counts()
    if len(outcomes):
        others = ", ".join(f"{key} (in {count})" for key, count in outcomes.items())
        remarks.append(f"In the {len(same_number)} cells with the same number, these are others: {others}.")
    judged = cells[cells["interval"].notna()]
    outside = (judged["class"] == "different").sum()
    if outside:
        remarks.append(
            f"Of the {len(judged)} cells that the seeds' spread decides, {outside} lie outside their 95% interval; "
            f"chance alone puts {0.05 * len(judged):.1f} there."
        )
    both, same = found.students
    if both:
        remarks.append(f"Of the {both} students that both have, {same} have the same weights (sha256).")
    return remarks


def _summary(found: Comparison) -> str:
    counts = found.cells["class"].value_counts()
    both = sum(counts.get(name, 0) for name in COUNTED)
    parts = [f"{counts[name]} {words}" for name, words in COUNTED.items() if name in counts]
    only = [f"{counts[name]} {name}" for name in ("only in A", "only in B") if name in counts]
    compared = f"{both} cells: {', '.join(parts)}" if both else "No cell is in both"
    return "; ".join([compared, ", ".join(only)] if only else [compared]) + "."


def _answer(found: Comparison) -> str:
    """Return the last line, which tells a reproduction from a comparison of two experiments."""
    if not found.one_experiment:
        return f"Two experiments, by the keys that differ: {ANSWERS[found.status]}."
    return f"{'Not reproduced in full' if found.status == 4 else 'Reproduced'}: {ANSWERS[found.status]}."
