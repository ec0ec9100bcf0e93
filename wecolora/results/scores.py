"""Scores as one tidy table with a row for each run and data set, from which tables, figures and scores.csv are made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wecolora.config.methods import METHODS
from wecolora.core.files import unreadable

AXES = ["teacher", "method", "r", "k", "alpha", "loss_point", "layers", "seed", "dataset"]
COLUMNS = [*AXES, "slug", "metric", "last", "best", "best_epoch", "n_train", "n_test", "student_sha256", "signs"]


def read_scores(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read score files; ``last`` and ``best`` are percentages, ``signs`` are the warnings, joined by '; '.

    Raise BadInput for a file that is no score, or that is not the score of its path.
    """
    rows = []
    for path in paths:
        try:
            score = json.loads(Path(path).read_text(encoding="utf-8"))
            row = {**score["run"], "layers": copied_layers(score["recipe"]["distill"])}
            row |= {name: score[name] for name in COLUMNS if name not in row}
            row |= {"signs": "; ".join(row["signs"]), "last": float(row["last"]), "best": float(row["best"])}
            own = (row["teacher"], row["slug"], "scores", f"{row['dataset']}.json")
            if Path(path).parent.name == "scores" and Path(path).parts[-4:] != own:
                raise ValueError(f"it is of {'/'.join(own)}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise unreadable(path, error, "is no score file", "delete it to probe again") from error
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"k": "Int64", "alpha": "float64", "seed": "Int64"})
    return frame.sort_values(AXES, kind="stable", ignore_index=True)


def copied_layers(recipe: Mapping[str, Any] | None) -> str | None:
    """Return which blocks a run's student copied, by its recipe; None for one that starts otherwise, and a teacher.

    Blocks that are listed are numbers joined by spaces. A run's name has them only where they are not the config's.
    """
    if recipe is None:
        return None
    own = recipe.get("own_methods", {}).get(recipe["method"])
    if (own["start"] if own else METHODS[recipe["method"]].start) != "copy":
        return None
    layers = recipe["layers"]
    return layers if isinstance(layers, str) else " ".join(map(str, layers))


def over_seeds(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Return the mean, the standard deviation and the number of seeds of ``last``, for each combination of the axes.

    The deviation is that of a sample (n - 1), and nan for one seed.
    """
    grouped = frame.groupby(axes, dropna=False, sort=False)["last"]
    return grouped.agg(mean="mean", std="std", seeds="count").reset_index()
