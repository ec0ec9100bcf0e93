"""Two campaigns side by side: which scores are the same, which lie within the seeds' spread, and which keys differ.

A cell is a run without its seed, on a data set. A run that no campaign has probed is a cell of its own, without a data
set; its last loss stands in the place of the score, so that campaigns of students alone compare too.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from wecolora.config.layout import PROBE_PROVENANCE, RESULTS, Layout
from wecolora.config.reading import flat
from wecolora.config.runs import SLUG
from wecolora.core.errors import BadInput
from wecolora.core.files import read_json, sha256, unreadable
from wecolora.results.scores import AXES, COLUMNS, read_scores

# The classes of cells.
SAME, SAME_NUMBER, WITHIN = "same", "same number", "within the spread"
DIFFERENT, SEEDS_MISSING, ONLY_A, ONLY_B = "different", "seeds missing", "only in A", "only in B"
EQUAL = (SAME, SAME_NUMBER)
CONFIDENCE = 0.95
# What comes out of a job; every other key of its file says what went in.
OUTCOMES = {"last", "best", "best_epoch", "history", "per_class", "train_loss", "signs", "student_sha256"}
SEED_KEYS = {"recipe.distill.seed", "recipe.probe.seed"}
ABSENT = "(absent)"
KEY_COLUMNS = ["key", "a", "b", "cells", "of", "where"]
_LAYOUT = Layout("any")


class Cell(NamedTuple):
    """What pairs the scores of two campaigns.

    ``loss_point`` and ``layers`` are those that the run's name has, so that runs with the config's are paired even if
    the configs differ in them. ``dataset`` is empty for a student that nobody probed.
    """

    teacher: str
    method: str
    r: int
    k: int | None
    alpha: float | None
    loss_point: str
    layers: str
    dataset: str


@dataclass(frozen=True)
class Result:
    """What one seed's file says. ``content`` is the whole file, or None where scores.csv alone is left."""

    slug: str
    metric: str
    last: float
    student: str  # sha256 of its weights, or empty if they are gone
    content: bytes | None


BySeed = Mapping[int | None, Result]


@dataclass(frozen=True)
class Side:
    """A campaign's folder, and the results of each cell."""

    folder: Path
    cells: Mapping[Cell, BySeed]
    csv: bool  # whether they are from its scores.csv


@dataclass(frozen=True)
class Comparison:
    """Two campaigns' cells, a row each, and the keys that differ, a row for each key and pair of values.

    ``students`` counts the runs that both sides have, and those of them whose weights are the same.
    """

    cells: pd.DataFrame
    keys: pd.DataFrame
    students: tuple[int, int]

    @property
    def status(self) -> int:
        """The exit status: 0 if all numbers are the same, 3 if all lie within the seeds' spread, and 4 otherwise."""
        classes = set(self.cells["class"])
        return 0 if classes <= {*EQUAL} else 3 if classes <= {*EQUAL, WITHIN} else 4

    @property
    def one_experiment(self) -> bool:
        """True if nothing differs in what went in but machines and versions."""
        return bool(self.keys["key"].str.contains(r"^(?:student_)?environment\b").all())


# Reading a campaign


def read_side(path: str | Path) -> Side:
    """Read a campaign from its folder: its score files, or, where these are gone, its scores.csv.

    Raise BadInput if there is nothing to compare, or if a file is broken.
    """
    path = Path(path)
    if not path.is_dir():
        raise BadInput(f"{path}: there is no such folder; name a campaign's folder, such as {RESULTS}/demo.")
    scores = [file for file in _files(path, _LAYOUT.score) if not fnmatch(file.name, PROBE_PROVENANCE.format(job="*"))]
    table = path / _relative(_LAYOUT.scores)
    deleted = not scores and table.is_file()
    found = _of_frame(_read_csv(table), None) if deleted else _of_frame(read_scores(scores), path)
    probed = {(cell.teacher, result.slug) for cell, _, result in found}
    side = Side(path, _grouped([*found, *_students(path, probed)]), deleted)
    if not side.cells:
        raise BadInput(_nothing_in(path))
    return side


def _relative(pattern: str) -> str:
    return pattern.removeprefix(f"{_LAYOUT.root}/")


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(_relative(pattern).format(teacher="*", run="*", dataset="*")))


def _nothing_in(folder: Path) -> str:
    """Return the sentence for a folder without scores; it names the campaigns that lie below the folder."""
    marks = _relative(_LAYOUT.scores), Path(_relative(_LAYOUT.score)).parts[0]
    below = sorted({file.parent for depth in ("*", "*/*") for mark in marks for file in folder.glob(f"{depth}/{mark}")})
    such = ", ".join(map(str, below[:3])) or f"{RESULTS}/demo"
    return (
        f"{folder}: is no folder of a campaign that has run, since it holds neither runs/ with scores or students nor "
        f"{marks[0]} with scores; name one, such as {such}."
    )


# A name such as "NA" or "7" is a text.
_NUMBERS: dict[Any, Any] = {"r": "Int64", "k": "Int64", "alpha": "float64", "seed": "Int64", "last": "float64"}
_TYPES: dict[Any, Any] = {**dict.fromkeys(COLUMNS, "str"), **_NUMBERS}


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=_TYPES, keep_default_na=False, na_values=dict.fromkeys(_NUMBERS, ""))
        frame = (frame if "layers" in frame else frame.assign(layers=""))[COLUMNS]  # which older ones lack
        if frame.duplicated([*AXES, "slug"]).any():
            raise ValueError("it gives a run twice")
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(path, error, "is no table of scores", "restore it, or run the campaign again") from error
    return frame


Found = tuple[Cell, int | None, Result]


def _of_frame(frame: pd.DataFrame, folder: Path | None) -> list[Found]:
    """Return the results of scores as read_scores gives them; their files lie below ``folder``, if any."""
    found = []
    for row in frame.to_dict("records"):
        content = None
        if folder:
            names = {"teacher": row["teacher"], "run": row["slug"], "dataset": row["dataset"]}
            content = (folder / _relative(_LAYOUT.score).format(**names)).read_bytes()
        result = Result(row["slug"], row["metric"], row["last"], row["student_sha256"], content)
        found.append((_cell(row, row["slug"], row["dataset"]), _or_none(row["seed"]), result))
    return found


def _students(folder: Path, probed: set[tuple[str, str]]) -> Iterator[Found]:
    """Yield the students of runs that are not among ``probed`` (teacher, slug)."""
    for path in _files(folder, _LAYOUT.about):
        if path.parts[-3:-1] in probed:
            continue
        about = read_json(path, ("recipe", "history"), "distil the student again")
        weights = folder / _relative(_LAYOUT.student).format(teacher=path.parts[-3], run=path.parts[-2])
        try:
            last = float(about["history"][-1]["loss"])
            cell, seed = _cell(about["recipe"], path.parts[-2], ""), about["recipe"]["seed"]
            digest = sha256(weights) if weights.is_file() else ""
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise unreadable(path, error, "is of no student", "delete it to distil the student again") from error
        yield cell, seed, Result(path.parts[-2], "loss", last, digest, path.read_bytes())


def _cell(axes: Mapping[Any, Any], slug: str, dataset: str) -> Cell:
    name = SLUG.fullmatch(slug)  # which a teacher's is not
    point, layers = name.groups(default="")[-2:] if name else ("", "")
    of_student = axes["r"], _or_none(axes["k"]), _or_none(axes["alpha"])
    return Cell(axes["teacher"], axes["method"], *of_student, point, layers, dataset)


def _or_none(value: Any) -> Any:
    return None if pd.isna(value) else value


def _grouped(found: Sequence[Found]) -> dict[Cell, dict[int | None, Result]]:
    cells: dict[Cell, dict[int | None, Result]] = defaultdict(dict)
    for cell, seed, result in sorted(found, key=lambda one: one[1] or 0):
        cells[cell][seed] = result
    return dict(cells)


# Comparing


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return the difference of the means of two samples, b - a, and half the width of Welch's 95% interval for it.

    Each sample has two values or more. The width is 0 if all values of each sample are equal.
    """
    difference = float(np.mean(b) - np.mean(a))
    parts = [float(np.var(sample, ddof=1)) / len(sample) for sample in (a, b)]
    if sum(parts) == 0:
        return difference, 0.0
    squares = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (a, b), strict=True))
    freedom = sum(parts) ** 2 / squares
    return difference, float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(sum(parts))


def compare(a: Side, b: Side) -> Comparison:
    """Compare two campaigns cell by cell."""
    # A student is a cell only where neither side probed it.
    probed = {cell._replace(dataset="") for side in (a, b) for cell in side.cells if cell.dataset}
    cells = sorted((a.cells.keys() | b.cells.keys()) - probed, key=_order)
    rows, keys = [], _Keys()
    for cell in cells:
        pair = a.cells.get(cell, {}), b.cells.get(cell, {})
        row = {**cell._asdict(), **_judged(*pair)}
        rows.append(row | keys.add(f"{row['teacher']}/{row['run']} {row['dataset']}".strip(), *pair))
    if any(row["class"] != SAME for row in rows):  # a large index takes seconds to read
        keys.add_shared(a.folder, b.folder)
    return Comparison(pd.DataFrame(rows), keys.frame(), _same_students(a, b))


def _order(cell: Cell) -> list[tuple[bool, Any]]:
    return [(part is None, 0 if part is None else part) for part in cell]


def _judged(a: BySeed, b: BySeed) -> dict[str, Any]:
    """Return a cell's row: its run's name, its metric, both sides' means, its class and a note on it."""
    seed, result = next(iter((a or b).items()))
    before, _, after = result.slug.rpartition(f"_s{seed}")
    row: dict[str, Any] = {"run": before + after, "metric": result.metric}
    for name, side in (("a", a), ("b", b)):
        lasts = [result.last for result in side.values()]
        row[f"{name}_mean"] = float(np.mean(lasts)) if lasts else math.nan
        row[f"{name}_std"] = float(np.std(lasts, ddof=1)) if len(lasts) > 1 else math.nan
        row[f"{name}_seeds"] = _seeds(side)
    row["difference"], row["interval"] = row["b_mean"] - row["a_mean"], math.nan
    if not a or not b:
        return {**row, "class": ONLY_A if a else ONLY_B, "note": ""}
    metrics = [" and ".join(sorted({result.metric for result in side.values()})) for side in (a, b)]
    if metrics[0] != metrics[1]:
        note = f"{metrics[0]} in A, {metrics[1]} in B"
        return {**row, "difference": math.nan, "class": DIFFERENT, "note": note}
    return {**row, **_class_of(a, b)}


def _seeds(seeds: Iterable[int | None]) -> str:
    return " ".join(str(seed) for seed in seeds if seed is not None)


def _class_of(a: BySeed, b: BySeed) -> dict[str, Any]:
    """Return the class of a cell that both sides have, a note on it and, where the seeds' spread decided, the interval
    of the difference."""
    common = [(a[seed], b[seed]) for seed in a if seed in b]
    if common and all(_same_number(*pair) for pair in common):
        if a.keys() != b.keys():
            lacking = (
                (_seeds(seed for seed in a if seed not in b), "A"),
                (_seeds(seed for seed in b if seed not in a), "B"),
            )
            note = ", ".join(f"seed {seeds} only in {side}" for seeds, side in lacking if seeds)
            return {"class": SEEDS_MISSING, "note": note}
        return {"class": SAME if all(_same_bytes(*pair) for pair in common) else SAME_NUMBER, "note": ""}
    lasts = [[result.last for result in side.values()] for side in (a, b)]
    if not np.isfinite(lasts[0] + lasts[1]).all():
        return {"class": DIFFERENT, "note": "a score is no number"}
    if min(map(len, lasts)) < 2:
        return {"class": DIFFERENT, "note": "one seed: no spread"}
    difference, interval = welch(*lasts)
    within = round(abs(difference) - interval, 9) <= 0
    return {"interval": interval, "class": WITHIN if within else DIFFERENT, "note": ""}


def _same_number(a: Result, b: Result) -> bool:
    if a.content is None or b.content is None:  # scores.csv has six digits
        return f"{a.last:.6g}" == f"{b.last:.6g}"
    return a.last == b.last or (math.isnan(a.last) and math.isnan(b.last))


def _same_bytes(a: Result, b: Result) -> bool:
    return a.content is not None and a.content == b.content and a.student == b.student != ""


def _same_students(a: Side, b: Side) -> tuple[int, int]:
    """Return how many runs both sides have whose students' digests are known, and how many of them are the same."""
    found = [
        {
            (cell._replace(dataset=""), seed): result.student
            for cell, results in side.cells.items()
            for seed, result in results.items()
            if result.student and seed is not None  # a teacher has none
        }
        for side in (a, b)
    ]
    both = found[0].keys() & found[1].keys()
    return len(both), sum(found[0][run] == found[1][run] for run in both)


# Which keys differ

Facts = dict[str, str]  # flat keys, and their values as text


class _Keys:
    """The keys that say what went in, and where they differ."""

    def __init__(self) -> None:
        self.having: Counter[str] = Counter()  # the cells that have a key
        self.differing: dict[tuple[str, str, str], list[str]] = defaultdict(list)  # (key, in A, in B): the cells
        self.shared: list[tuple[str, str, str]] = []  # of the campaigns as a whole

    def add(self, name: str, a: BySeed, b: BySeed) -> dict[str, str]:
        """Add a cell; return which of its keys differ, as two columns of its row: what went in, and what came out.

        Where no seed is in both, the seeds are paired in their order, and the keys that are seeds are left out.
        """
        common = [(a[seed], b[seed]) for seed in a if seed in b]
        pairs = common or list(zip(a.values(), b.values(), strict=False))
        ignored = set() if common else SEED_KEYS
        all_keys: set[str] = set()
        found = []
        for one, other in pairs:
            if one.content and other.content:
                facts = _facts(one.content), _facts(other.content)
                all_keys |= facts[0].keys() | facts[1].keys()
                found += [difference for difference in _differences(*facts) if difference[0] not in ignored]
        self.having.update(all_keys)
        causes = [difference for difference in dict.fromkeys(found) if difference[0] not in OUTCOMES]
        for difference in causes:
            self.differing[difference].append(name)
        outcomes = sorted({key for key, _, _ in found if key in OUTCOMES})
        return {"keys": "; ".join(f"{key}: {x} | {y}" for key, x, y in causes), "outcomes": ", ".join(outcomes)}

    def add_shared(self, a: Path, b: Path) -> None:
        """Add what the campaigns know beside their scores: the digest of each data set's pixels, and the corpus of the
        config, which says how its subset is drawn."""
        from wecolora.data.images import read_index  # torch

        indexes = [{path.parent.name: path for path in _files(folder, _LAYOUT.index)} for folder in (a, b)]
        for name in sorted(indexes[0].keys() & indexes[1].keys()):
            digests = [{f"pixels.{name}": read_index(index[name]).pixels_digest} for index in indexes]
            self.shared += _differences(*digests)
        configs = [folder / _relative(_LAYOUT.config) for folder in (a, b)]
        if all(config.is_file() for config in configs):
            self.shared += _differences(*(_flat({"config.corpus": _corpus(config)}) for config in configs))

    def frame(self) -> pd.DataFrame:
        """Return a row for each key and pair of values, in the keys' order."""
        rows = [
            (*found, len(cells), self.having[found[0]], "; ".join(cells)) for found, cells in self.differing.items()
        ]
        return pd.DataFrame(sorted(rows + [(*found, 0, 0, "") for found in self.shared]), columns=KEY_COLUMNS)


def _facts(content: bytes) -> Facts:
    """Return what a score file, or a student's, says; a student's keys are named as in its score."""
    says = json.loads(content)
    says.pop("run", None)  # it names the cell, and the recipe repeats it
    if "last" not in says:
        says["recipe"] = {"distill": says["recipe"]}
        says["student_environment"] = says.pop("environment", None)
    return _flat(says)


def _flat(values: Mapping[str, Any]) -> Facts:
    return {
        place: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for place, value in flat(values).items()
    }


def _differences(a: Facts, b: Facts) -> list[tuple[str, str, str]]:
    both = [(key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in sorted(a.keys() | b.keys())]
    return [(key, x, y) for key, x, y in both if x != y]


def _corpus(config: Path) -> dict[str, Any]:
    try:
        corpus = yaml.safe_load(config.read_text(encoding="utf-8"))["corpus"]
        return dict(corpus)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise unreadable(config, error, "is no resolved config", "delete it and run snakemake again") from error
