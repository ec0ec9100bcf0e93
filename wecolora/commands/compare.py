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
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.commands.shared import PLAIN
from wecolora.config.layout import RESULTS
from wecolora.core.files import atomic_write

if TYPE_CHECKING:  # they import pandas and scipy
    import pandas as pd

    from wecolora.results.comparison import Comparison

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
    parser.add_argument("a", metavar="RESULTS_A", help=f"a campaign's folder, such as {RESULTS}/demo")
    parser.add_argument("b", metavar="RESULTS_B", help="another one, of this checkout or of another")
    parser.add_argument("--csv", metavar="FILE", help="write all cells, and the keys that differ in each, to this file")
    parser.add_argument("--all", action="store_true", help="show the cells that are the same, too")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison, and return the exit status; raise BadInput where a folder holds no campaign."""
    from wecolora.results.comparison import EQUAL, compare, read_side

    a, b = read_side(arguments.a), read_side(arguments.b)
    found = compare(a, b)
    if arguments.csv:
        with atomic_write(arguments.csv) as temporary:
            found.cells.to_csv(temporary, index=False, float_format="%.6g")
    console = Console(**PLAIN)
    for name, side in (("A", a), ("B", b)):
        rest = ": its scores.csv alone, since runs/ holds no score" if side.csv else ""
        console.print(f"{name}: {side.folder}{rest}", soft_wrap=True)
    shown = found.cells if arguments.all else found.cells[~found.cells["class"].isin(EQUAL)]
    if shown[["a_std", "b_std"]].notna().any(axis=None):
        console.print("\nA, B: mean ± standard deviation over seeds; B - A ± half of its 95% interval.", soft_wrap=True)
    for title, cells in shown.groupby("class", sort=False):
        console.print(_cells(str(title), cells))
    if len(found.keys):
        console.print(_keys(found.keys))
    for line in [*_remarks(found), _summary(found), _answer(found)]:
        console.print(line, soft_wrap=True)
    return found.status


def _cells(title: str, cells: pd.DataFrame) -> Table:
    """Return the table of the cells of a class; a column that would be empty is left out."""
    rows = []
    for cell in cells.to_dict("records"):
        row = {"run": f"{cell['teacher']}/{cell['run']}", "data set": cell["dataset"] or f"({cell['metric']})"}
        for side in ("a", "b"):
            row[side.upper()] = _number(cell[f"{side}_mean"], ".4g") + _number(cell[f"{side}_std"], ".2g", " ± ")
        row["B - A"] = _number(cell["difference"], "+.3g") + _number(cell["interval"], ".2g", " ± ")
        counts = [len(cell[f"{side}_seeds"].split()) for side in ("a", "b")]
        row["seeds"] = ", ".join(str(count) for count in dict.fromkeys(counts) if count)
        rows.append({**row, "note": cell["note"]})
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    for column in columns:
        table.add_column(column, justify="left" if column in ("run", "note") else "right", overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    return table


def _number(value: float, form: str, before: str = "") -> str:
    return "" if value != value else f"{before}{value:{form}}"


def _keys(keys: pd.DataFrame) -> Table:
    """Return the table of the keys that differ."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("key that differs", "in A", "in B", "where"):
        table.add_column(column, overflow="fold")
    for row in keys.to_dict("records"):
        names = row["where"].split("; ")
        where = f"all {row['of']} cells that have it" if row["of"] > 1 else "the one cell that has it"
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
    same_number = cells[(cells["class"] == "same number") & (cells["outcomes"] != "")]
    outcomes = same_number["outcomes"].str.split(", ").explode().value_counts()
    if len(outcomes):
        others = ", ".join(f"{key} (in {count})" for key, count in outcomes.items())
        remarks.append(f"Where the number is the same ({len(same_number)}), these are not: {others}.")
    judged = cells[cells["interval"].notna()]
    outside = (judged["class"] == "different").sum()
    if outside:
        remarks.append(
            f"The seeds' spread decides {len(judged)}, of which {outside} are different; where nothing differs, chance "
            f"alone makes {0.05 * len(judged):.1f} of them so."
        )
    both, same = found.students
    if both:
        remarks.append(f"Students that both have: {both}; with the same weights (sha256): {same}.")
    return remarks


def _summary(found: Comparison) -> str:
    counts = found.cells["class"].value_counts()
    both = sum(counts.get(name, 0) for name in COUNTED)
    parts = [f"{counts[name]} {words}" for name, words in COUNTED.items() if name in counts]
    only = [f"{counts[name]} {name}" for name in ("only in A", "only in B") if name in counts]
    compared = f"{both} cell{'s' if both > 1 else ''}: {', '.join(parts)}" if both else "No cell is in both"
    return "; ".join([compared, ", ".join(only)] if only else [compared]) + "."


def _answer(found: Comparison) -> str:
    """Return the last line, which tells a reproduction from a comparison of two experiments."""
    if not found.one_experiment:
        return f"Two experiments, by the keys that differ: {ANSWERS[found.status]}."
    return f"{'Not reproduced in full' if found.status == 4 else 'Reproduced'}: {ANSWERS[found.status]}."
