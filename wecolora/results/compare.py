"""Two campaigns side by side, cell by cell: did the second one reproduce the first?"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from scipy import stats

from wecolora.config.layout import PROBE_PROVENANCE
from wecolora.core.errors import BadInput
from wecolora.results.scores import COLUMNS, read_scores

AXES = ["teacher", "method", "r", "k", "alpha", "loss_point", "dataset"]
# What decides a score; the rest of a score file is the score.
CAUSES = (
    "recipe", "revisions", "metric", "classes", "n_train", "n_test", "teacher_sha256", "environment",
    "student_environment",
)  # fmt: skip
CONFIDENCE = 0.95
Verdict = Literal["same bytes", "same number", "within the spread", "different", "only in A", "only in B"]
VERDICTS: tuple[Verdict, ...] = (
    "same bytes", "same number", "within the spread", "different", "only in A", "only in B",
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """The scores of a campaign: a row for each run and data set, and each score file's content by (axes, seed)."""

    folder: Path
    rows: pd.DataFrame
    files: Mapping[tuple[Any, ...], bytes] = field(default_factory=dict)

    def cells(self) -> dict[tuple[Any, ...], dict[Any, float]]:
        """Return the scores of each cell, by seed."""
        found: dict[tuple[Any, ...], dict[Any, float]] = defaultdict(dict)
        for row in self.rows.to_dict("records"):
            found[cell_of(row)][_plain(row["seed"])] = row["last"]
        return found


@dataclass(frozen=True)
class Compared:
    """A cell of both campaigns: its axes, its verdict, and the scores of each by seed."""

    cell: tuple[Any, ...]
    verdict: Verdict
    a: Mapping[Any, float]
    b: Mapping[Any, float]

    @property
    def difference(self) -> float:
        """The mean of B less the mean of A, in points; nan where one has no score."""
        return _mean(self.b) - _mean(self.a)


def read_campaign(folder: str | Path) -> Scores:
    """Read the scores of a campaign's folder, such as results/demo: its score files or, without these, scores.csv.

    Raise BadInput for a folder that has neither, or for a file that is no score.
    """
    folder = Path(folder)
    provenance = PROBE_PROVENANCE.format(job="*")
    paths = [path for path in sorted(folder.glob("runs/*/*/scores/*.json")) if not path.match(provenance)]
    if paths:
        rows = read_scores(paths)
        files = {}
        for path in paths:
            content = path.read_bytes()
            run = json.loads(content)["run"]
            files[(*cell_of(run), _plain(run["seed"]))] = content
        return Scores(folder, rows, files)
    table = folder / "scores.csv"
    if not table.is_file():
        raise BadInput(f"{folder}: has no scores of a campaign; give a folder such as results/demo, after it has run.")
    try:
        rows = pd.read_csv(table, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise BadInput(f"{table}: cannot be read ({error}); have it written again.") from error
    if missing := [column for column in COLUMNS if column not in rows]:
        raise BadInput(f"{table}: has no column {missing[0]!r}; have it written again.")
    return Scores(folder, rows)


def cell_of(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return the axes that tell a cell from others: all of a run's but its seed, and the data set."""
    return tuple(_plain(row[axis]) for axis in AXES)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: None for what pandas calls missing, and one spelling of a number."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else float(value)


def compare(a: Scores, b: Scores) -> list[Compared]:
    """Return every cell of either campaign, in the order of A, then of B."""
    cells_a, cells_b = a.cells(), b.cells()
    found = []
    for cell in dict.fromkeys([*cells_a, *cells_b]):
        of_a, of_b = cells_a.get(cell, {}), cells_b.get(cell, {})
        same_bytes = of_a.keys() == of_b.keys() and all(
            (*cell, seed) in a.files and a.files[*cell, seed] == b.files.get((*cell, seed)) for seed in of_a
        )
        found.append(Compared(cell, "same bytes" if same_bytes else verdict(of_a, of_b), of_a, of_b))
    return found


def verdict(a: Mapping[Any, float], b: Mapping[Any, float]) -> Verdict:
    """Return how two cells' scores, by seed, compare.

    ``within the spread``: both have two seeds or more, and Welch's t test finds no difference of the means at 95%
    confidence. One seed has no spread: then only equal numbers are the same.
    """
    if not a or not b:
        return "only in A" if a else "only in B"
    if a.keys() == b.keys() and all(_equal(a[seed], b[seed]) for seed in a):
        return "same number"
    values = [list(part.values()) for part in (a, b)]
    if min(map(len, values)) < 2 or not all(math.isfinite(value) for part in values for value in part):
        return "different"
    if all(len(set(part)) == 1 for part in values):  # no spread at all
        return "within the spread" if values[0][0] == values[1][0] else "different"
    p = float(stats.ttest_ind(*values, equal_var=False).pvalue)
    return "within the spread" if p > 1 - CONFIDENCE else "different"


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _mean(scores: Mapping[Any, float]) -> float:
    return sum(scores.values()) / len(scores) if scores else math.nan


def differing_keys(a: Scores, b: Scores) -> dict[str, dict[tuple[str, str], int]]:
    """Return the keys behind the scores that differ: for each, the pairs of values and the number of files with them.

    Only score files that both campaigns have, of the same cell and seed, are compared.
    """
    found: dict[str, dict[tuple[str, str], int]] = {}
    for place in a.files.keys() & b.files.keys():
        if a.files[place] == b.files[place]:
            continue
        flat_a, flat_b = (_flat(_causes(part.files[place])) for part in (a, b))
        for key in sorted(flat_a.keys() | flat_b.keys()):
            pair = flat_a.get(key, "not given"), flat_b.get(key, "not given")
            if pair[0] != pair[1]:
                counts = found.setdefault(key, {})
                counts[pair] = counts.get(pair, 0) + 1
    return dict(sorted(found.items()))


def _causes(content: bytes) -> dict[str, Any]:
    score = json.loads(content)
    return {key: score.get(key) for key in CAUSES}


def _flat(values: Any, before: str = "") -> dict[str, str]:
    """Return nested keys as one level, joined with dots, and each value as JSON."""
    if not isinstance(values, dict) or not values:
        return {before: json.dumps(values)}
    return {
        place: text
        for key, value in values.items()
        for place, text in _flat(value, f"{before}.{key}" if before else key).items()
    }


def tidy(found: list[Compared]) -> pd.DataFrame:
    """Return the comparison as a table: a row for each cell."""
    rows = [
        {
            **dict(zip(AXES, one.cell, strict=True)),
            "verdict": one.verdict,
            "a": _mean(one.a),
            "b": _mean(one.b),
            "difference": one.difference,
            "seeds_a": len(one.a),
            "seeds_b": len(one.b),
        }
        for one in found
    ]
    columns = [*AXES, "verdict", "a", "b", "difference", "seeds_a", "seeds_b"]
    return pd.DataFrame(rows, columns=columns).astype({"r": "Int64", "k": "Int64"})
