"""Compare the scores of two campaigns, cell by cell: did the second one reproduce the first?

A cell is "same bytes" (its score files are equal), "same number" (its scores are), "within the spread" (both have two
seeds or more, and Welch's t test finds no difference at 95% confidence), "different", or only in one of them.

exit status: 0 all the same; 3 all the same or within the spread; 4 some are different or missing; 1 bad input.

example:
  wecolora compare results/demo ../another_checkout/results/demo --csv compared.csv
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.commands.shared import PLAIN
from wecolora.core.files import atomic_write

MOST = 8  # pairs of values that are shown of a key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("a", metavar="RESULTS_A", help="a campaign's folder, such as results/demo")
    parser.add_argument("b", metavar="RESULTS_B", help="another one, of this or another checkout")
    parser.add_argument("--all", action="store_true", help="show the cells that are the same, too")
    parser.add_argument("--csv", metavar="FILE", help="write every cell as a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison, and return the exit status that says it; raise BadInput for a folder without scores."""
    from wecolora.results import compare  # scipy

    a, b = compare.read_campaign(arguments.a), compare.read_campaign(arguments.b)
    found = compare.compare(a, b)
    if arguments.csv:
        with atomic_write(arguments.csv) as temporary:
            compare.tidy(found).to_csv(temporary, index=False)
    console = Console(**PLAIN)
    counts = Counter(one.verdict for one in found)
    same = counts["same bytes"] + counts["same number"]
    shown = [one for one in found if arguments.all or not one.verdict.startswith("same")]
    if shown:
        console.print(_table(shown))
    for key, pairs in compare.differing_keys(a, b).items():
        for (of_a, of_b), count in list(pairs.items())[:MOST]:
            console.print(f"{key}: {of_a} in A, {of_b} in B ({count} scores)", soft_wrap=True)
        if len(pairs) > MOST:
            console.print(f"{key}: {len(pairs) - MOST} more pairs of values", soft_wrap=True)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in compare.VERDICTS if counts[verdict])
    console.print(f"{len(found)} cells: {words}.", soft_wrap=True)
    if same == len(found):
        return 0
    return 3 if same + counts["within the spread"] == len(found) else 4


def _table(found: list[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    table.add_column("data set", overflow="fold")
    for column in ("A", "B", "B - A"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in found:
        *axes, dataset = one.cell
        table.add_row(_run(*axes), dataset, _scores(one.a), _scores(one.b), _points(one.difference), one.verdict)
    return table


def _run(teacher: str, method: str, r: float, k: float | None, alpha: float | None, loss_point: str | None) -> str:
    """Return the name of a cell's runs: their folder's, without the seed."""
    if alpha is None:
        return f"{teacher}/{method}"
    rank = "" if k is None else f"_k{k:g}"
    point = "" if loss_point is None else f", {loss_point.replace('_', ' ')}"
    return f"{teacher}/{method}_r{r:g}{rank}_a{alpha:g}{point}"


def _scores(scores: Mapping[Any, float]) -> str:
    """Return the mean of the scores, and their number if they are several."""
    if not scores:
        return ""
    return f"{sum(scores.values()) / len(scores):.2f}" + (f" ({len(scores)} seeds)" if len(scores) > 1 else "")


def _points(difference: float) -> str:
    return "" if math.isnan(difference) else f"{difference:+.2f}"
