"""Score over the seconds that a student took: a panel for each data set, a point for each method and share of
images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.files import atomic_write, read_json
from wecolora.results.figures import save_figure, wrapped
from wecolora.results.scores import over_seeds

MARKERS = ["o", "s", "^", "D", "v", "P"]  # one for each share of the corpus, the smallest first
ACROSS = 3  # panels side by side
AXES = ["teacher", "method", "r", "k", "alpha", "dataset", "metric"]


def read_seconds(paths: Iterable[str | Path]) -> dict[tuple[str, str], float]:
    """Return the seconds of each run's distillation by (teacher, slug), from the circumstances beside the students.

    A job that was killed and went on counts what it took up to its last save, and from there on. Raise BadInput for a
    file that does not say.
    """
    found = {}
    for path in map(Path, paths):
        found[path.parts[-3], path.parts[-2]] = float(read_json(path, ("seconds",), "distil the run again")["seconds"])
    return found


def tidy_seconds(
    scores: pd.DataFrame, seconds: Mapping[tuple[str, str], float], recipe: ArtifactRecipe
) -> pd.DataFrame:
    """Return a row for each point: its axes, mean, std and number of seeds, and ``seconds``, the mean over its seeds.

    A teacher, which nothing distils, has no seconds.
    """
    runs = zip(scores["teacher"], scores["slug"], strict=True)
    timed = scores.assign(seconds=[seconds.get(run, math.nan) for run in runs])
    points = over_seeds(scores, AXES)
    points["seconds"] = timed.groupby(AXES, dropna=False, sort=False)["seconds"].mean().to_numpy()
    order = {"dataset": list(recipe.datasets), "method": recipe.methods}
    return points.sort_values(
        ["dataset", "method", "alpha"],
        key=lambda column: column.map(order[str(column.name)].index) if column.name in order else column,
        ignore_index=True,
    )


def draw(points: pd.DataFrame, recipe: ArtifactRecipe) -> Figure:
    """Draw the figure of these points."""
    across = min(ACROSS, len(recipe.datasets))
    down = math.ceil(len(recipe.datasets) / across)
    methods = [name for name in recipe.methods if name in set(points["method"])]
    alphas = sorted(points["alpha"].dropna().unique())
    markers = {alpha: MARKERS[number % len(MARKERS)] for number, alpha in enumerate(alphas)}
    rows = math.ceil((len(methods) + len(alphas)) / across)
    figure = Figure(figsize=(2.6 * across + 0.4, 2.4 * down + 0.19 * rows + 0.5), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for panel, (dataset, label) in zip(panels, recipe.datasets.items(), strict=False):
        of_set = points[points["dataset"] == dataset]
        for method, line in of_set.groupby("method", sort=False):
            _draw_method(panel, METHODS[str(method)], line, markers)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_title(wrapped(f"{label} ({of_set['metric'].iloc[0]}, %)", 2.3))
        panel.grid(alpha=0.3)
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("seconds of the distillation job")
    for panel in panels[len(recipe.datasets) :]:
        panel.set_axis_off()
    figure.suptitle(wrapped(recipe.title, 2.4 * across), fontsize=10)
    handles = [_key(METHODS[name]) for name in methods]
    handles += [
        Line2D([], [], color="0.4", marker=markers[alpha], linestyle="", label=f"α = {alpha:g}%") for alpha in alphas
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=8, frameon=False)
    return figure


def _draw_method(panel: Any, method: Any, line: pd.DataFrame, markers: Mapping[float, str]) -> None:
    """Draw a method's points, joined from the smallest share to the largest; a teacher is a level."""
    if method.is_teacher:
        panel.axhline(line["mean"].iloc[0], color=method.colour, linestyle="--", linewidth=1)
        return
    panel.plot(line["seconds"], line["mean"], color=method.colour, linewidth=1, alpha=0.6)
    for point in line.to_dict("records"):
        deviation = 0.0 if math.isnan(point["std"]) else point["std"]
        panel.errorbar(
            point["seconds"],
            point["mean"],
            yerr=deviation,
            marker=markers[point["alpha"]],
            color=method.colour,
            markersize=5,
            capsize=2,
            elinewidth=0.8,
        )


def _key(method: Any) -> Line2D:
    return Line2D([], [], color=method.colour, linestyle="--" if method.is_teacher else "-", label=method.label)


def write_seconds(
    scores: pd.DataFrame,
    seconds: Mapping[tuple[str, str], float],
    recipe: ArtifactRecipe,
    csv: str | Path,
    png: str | Path,
    pdf: str | Path,
) -> None:
    """Write the points as CSV, and the figure as PNG and PDF."""
    points = tidy_seconds(scores, seconds, recipe)
    with atomic_write(csv) as temporary:
        points.to_csv(temporary, index=False, float_format="%.6g")
    save_figure(lambda: draw(points, recipe), png, pdf)
