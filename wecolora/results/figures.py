"""Figures 4 to 9: a metric over the rank or over alpha, with a line for each method and reduction ratio."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.files import atomic_write
from wecolora.results.scores import over_seeds

STYLES = {2: ("-", "o"), 3: ("--", "s")}
# What users type is text: two dollar signs make no formula, and a user's matplotlibrc cannot switch TeX on.
TEXT: Any = {"text.parse_math": False, "text.usetex": False}
X_LABELS = {"alpha": "Share of the corpus used for distillation, α (%)", "k": "Rank of the adapters, k"}


def wrapped(text: str, inches: float) -> str:
    """Return text in lines of about that many inches at the size of a title; a longer line would be cut at the edge."""
    return textwrap.fill(text, int(11 * inches))


def tidy_figure(scores: pd.DataFrame, recipe: ArtifactRecipe) -> pd.DataFrame:
    """Return a row for each point: teacher, method, r, k, alpha, data set, metric, mean, std and number of seeds."""
    axes = ["teacher", "method", "r", "k", "alpha", "dataset", "metric"]
    return over_seeds(scores, axes).sort_values(axes, ignore_index=True)


def draw(points: pd.DataFrame, recipe: ArtifactRecipe) -> Figure:
    """Draw the figure of these points."""
    assert recipe.x is not None
    x = recipe.x
    lines = points.groupby(["r", "method"], sort=True)
    # Each further row of the legend makes the figure higher. Otherwise a long legend would cover the axes.
    height = 3.6 + 0.16 * max(0, math.ceil(len(lines) / 2) - 2)
    figure = Figure(figsize=(4.6, height), layout="constrained")
    axes = figure.subplots()
    for (r, method), line in lines:
        dash, marker = STYLES.get(int(str(r)), (":", "^"))
        entry = METHODS[str(method)]
        colour, label = entry.colour, f"{entry.label}, r = {r}"
        axes.plot(line[x], line["mean"], dash, marker=marker, color=colour, label=label, markersize=5)
        if (line["seeds"] > 1).all():
            low, high = line["mean"] - line["std"], line["mean"] + line["std"]
            axes.fill_between(line[x].astype(float), low, high, color=colour, alpha=0.15, linewidth=0)
        elif (line["seeds"] > 1).any():  # a band needs the deviation of every point
            axes.errorbar(line[x], line["mean"], yerr=line["std"].fillna(0), fmt="none", ecolor=colour, capsize=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(points[x].unique())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    (label,) = recipe.datasets.values()
    (metric,) = points["metric"].unique()
    axes.set(xlabel=X_LABELS[x], ylabel=wrapped(f"{metric} on {label} (%)", 3.3), title=wrapped(recipe.title, 4))
    axes.grid(alpha=0.3)
    # The legend is below the axes, because it would hide points inside them.
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def write_figure(
    scores: pd.DataFrame, recipe: ArtifactRecipe, csv: str | Path, png: str | Path, pdf: str | Path
) -> None:
    """Write the points as CSV, and the figure as PNG and PDF."""
    points = tidy_figure(scores, recipe)
    with atomic_write(csv) as temporary:
        points.to_csv(temporary, index=False, float_format="%.6g")
    save_figure(lambda: draw(points, recipe), png, pdf)


def save_figure(draw: Callable[[], Figure], png: str | Path, pdf: str | Path) -> None:
    """Write what ``draw`` draws as PNG and as PDF.

    The PDF is in vectors, with embedded fonts and no date. Rasters in either have 200 dpi.
    """
    with mpl.rc_context({**TEXT, "font.size": 9, "axes.titlesize": 10, "pdf.fonttype": 42}):
        figure = draw()
        with atomic_write(png) as temporary:
            figure.savefig(temporary, format="png", dpi=200)
        with atomic_write(pdf) as temporary:
            figure.savefig(temporary, format="pdf", dpi=200, metadata={"CreationDate": None})
