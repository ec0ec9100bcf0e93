"""Figure 2: the features of a data set in two dimensions, by t-SNE, and how well they separate the classes.

The method is that of van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008. The paper gives no settings.
"""

from __future__ import annotations

import colorsys
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write
from wecolora.results.figures import save_figure, wrapped

# From Petroff, Accessible Color Sequences for Data Visualization (arXiv:2107.02270). Colour-blind readers can tell
# these colours apart.
TEN_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = ("o", "^", "s", "X")
LIGHTNESS = (0.35, 0.52, 0.7)


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return features (n, d) in two dimensions, (n, 2), by t-SNE from their first two principal components.

    The perplexity is 30, or less for few points. Features that are all the same, of a collapsed student or of one
    image, have no components; they lie in one place.
    """
    if _alike(features):
        return np.zeros((len(features), 2), np.float32)
    tsne = TSNE(init="pca", perplexity=min(30, (len(features) - 1) / 3), random_state=seed)
    with threadpool_limits(1):  # more threads add in another order, which visibly changes the picture
        return tsne.fit_transform(features)


def _alike(features: np.ndarray) -> bool:
    """Return whether all features are the same, up to rounding."""
    return np.allclose(features, features[:1], rtol=1e-6, atol=1e-12)


def remark(features: np.ndarray, labels: np.ndarray) -> str:
    """Return how well features (n, d) separate the classes (n,), or why nothing can be said about it."""
    classes = len(np.unique(labels))
    if classes == 1:
        return "no silhouette: one class"
    if classes == len(labels):
        return "no silhouette: one image a class"
    if _alike(features):
        return "no silhouette: all features are the same"
    return f"silhouette of the features: {silhouette_score(features, labels):.3f}"


def styles(classes: int) -> list[tuple[str | tuple[float, float, float], str]]:
    """Return the colour and the marker of each class.

    Beyond ten classes, hues are even, and neighbours differ in lightness and shape, too; the same pair of these two
    comes back only after twelve hues.
    """
    if classes <= len(TEN_COLOURS):
        return [(colour, "o") for colour in TEN_COLOURS[:classes]]
    return [
        (
            colorsys.hls_to_rgb(number / classes, LIGHTNESS[number % len(LIGHTNESS)], 0.8),
            MARKERS[number % len(MARKERS)],
        )
        for number in range(classes)
    ]


def draw_tsne(
    points: dict[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    remarks: dict[str, str],
    recipe: ArtifactRecipe,
) -> Figure:
    """Draw a panel for each label: its points (n, 2), coloured by class number (n,), below its remark."""
    with_legend = len(classes) <= 12
    width = 3.4 * len(points)
    figure = Figure(figsize=(width, 4.2 if with_legend else 3.8), layout="constrained")
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    # Points are smaller if there are many, so that dense places stay open, but never too small for a printer.
    area = min(16, max(3, 8000 / len(labels)))
    for axes, (label, of_label) in zip(panels, points.items(), strict=True):
        for number, (colour, marker) in enumerate(styles(len(classes))):
            x, y = of_label[labels == number].T
            axes.scatter(
                x,
                y,
                s=area,
                color=colour,
                marker=marker,
                linewidths=0,
                rasterized=len(labels) > 5000,  # a vector file of more points opens slowly
            )
        axes.set_title(label, pad=18)
        axes.text(
            0.5,
            1.02,
            remarks[label],
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize="small",
        )
        # t-SNE's axes have no meaning; only the neighbourhood of points has.
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
    if with_legend:
        _add_legend(figure, panels[0].collections, classes)
    figure.suptitle(wrapped(recipe.title, width))
    return figure


def _add_legend(figure: Figure, dots: Sequence[Artist], classes: Sequence[str]) -> None:
    """Add a legend below the panels, and make room for it.

    It has two rows if the names are short, and otherwise as many as they need.
    """
    names = [textwrap.fill(name, 30) for name in classes]
    longest = max(len(line) for name in names for line in name.split("\n"))
    columns = math.ceil(len(classes) / 2) if len(classes) > 4 else len(classes)
    columns = max(1, min(columns, int(16 * figure.get_figwidth() / (longest + 5))))  # an inch holds about 16 letters
    lines = math.ceil(len(classes) / columns) * max(1 + name.count("\n") for name in names)
    figure.set_figheight(figure.get_figheight() + 0.15 * max(0, lines - 2))
    # The names are given here, because matplotlib hides labels of dots that begin with an underscore.
    figure.legend(
        dots, names, loc="outside lower center", ncols=columns, fontsize="small", frameon=False, markerscale=2
    )


def write_tsne(
    features: dict[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    recipe: ArtifactRecipe,
    csv: str | Path,
    png: str | Path,
    pdf: str | Path,
) -> None:
    """Write the points as CSV (label, point from 0, class, x, y), and the figure as PNG and PDF.

    ``features`` holds features (n, d) of the same images for each label; ``labels`` are their class numbers (n,). Raise
    BadInput if an image has several labels.
    """
    if labels.ndim > 1:
        raise BadInput(
            f"artifacts.{recipe.name}.datasets: {', '.join(recipe.datasets)} has several labels an image, and classes "
            "are what a latent figure colours; take a data set with one label an image."
        )
    points = {label: embed(of_label) for label, of_label in features.items()}
    remarks = {label: remark(of_label, labels) for label, of_label in features.items()}
    names = [classes[number] for number in labels]
    frames = [
        pd.DataFrame({"label": label, "point": range(len(labels)), "class": names, "x": x, "y": y})
        for label, (x, y) in ((label, of_label.T) for label, of_label in points.items())
    ]
    with atomic_write(csv) as temporary:
        pd.concat(frames).to_csv(temporary, index=False, float_format="%.6g")
    save_figure(lambda: draw_tsne(points, labels, classes, remarks, recipe), png, pdf)
