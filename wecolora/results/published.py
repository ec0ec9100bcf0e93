"""The scores that the paper prints (arXiv 2404.09326, Tables 1 to 7), from paper_results.csv."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

from wecolora.config.methods import papers_name

Row = tuple[str, int, str, float | None, str]


@functools.cache
def _scores() -> dict[Row, dict[int | None, float]]:
    """Return, for each run and data set, the value in each table that prints it, in the file's order."""
    scores: dict[Row, dict[int | None, float]] = {}
    with open(Path(__file__).with_name("paper_results.csv"), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            alpha = float(row["alpha_percent"]) if row["alpha_percent"] else None
            key = (row["teacher"], int(row["r"]), row["method"], alpha, row["dataset"])
            scores.setdefault(key, {})[int(row["table"])] = float(row["value_percent"])
    return scores


def published(
    teacher: str, r: int, method: str, alpha: float | None, dataset: str, table: int | None = None
) -> float | None:
    """Return the paper's score in percent (top-1 accuracy; mean AUC on chestxray14), or None if it prints none.

    ``teacher`` and ``dataset`` are names of paper_results.csv, ``method`` is one of METHODS. The teacher's own score
    has the method ``teacher``, r 1 and alpha None. The tables differ once (CIFAR-100: 33.3 in Table 1, 33.4 in Table
    3): the value of the given table is taken, otherwise the first one in the file.
    """
    values = _scores().get((teacher, r, papers_name(method), alpha, dataset))
    return None if values is None else values.get(table, next(iter(values.values())))
