"""t-SNE: the points, the colours, the files."""

from __future__ import annotations

import csv
import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.spatial.distance import cdist

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.errors import BadInput
from wecolora.results import tsne
from wecolora.results.tsne import draw_tsne, embed, styles, write_tsne

RECIPE = ArtifactRecipe(
    name="figure2",
    title="Figure 2",
    caption="t-SNE.",
    rows=[],
    x=None,
    datasets={"textures": "Textures"},
    teachers={"sup": "ViT"},
    methods=["weco_kd", "wecolora"],
    revision=1,
)
CLASSES = ["brick", "grass", "gravel"]


@pytest.fixture
def labels():
    return np.arange(60) % 3


@pytest.fixture
def blobs(labels):
    """Three clouds of 20 points in ten dimensions, far apart."""
    rng = np.random.default_rng(4)
    return (30 * np.eye(10)[labels] + rng.normal(size=(60, 10))).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    return [tmp_path / f"figure.{suffix}" for suffix in ("csv", "png", "pdf")]


def offsets(axes):
    """The points of each class of a panel."""
    return [np.asarray(dots.get_offsets()) for dots in axes.collections]


# Points


def test_the_same_seed_gives_the_same_points():
    noise = np.random.default_rng(4).normal(size=(60, 510))  # so wide that its components are found by chance
    np.random.seed(1)
    first = embed(noise)
    np.random.seed(2)
    assert first.shape == (60, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(embed(noise), first)
    assert np.abs(embed(noise, seed=1) - first).max() > 0.01


def test_what_is_far_apart_stays_apart(blobs, labels):
    distances = cdist(*[embed(blobs)] * 2)
    same = labels[:, None] == labels
    assert distances[same].max() < distances[~same].min()


def test_few_points_are_embedded_too():
    assert embed(np.random.default_rng(0).normal(size=(4, 3))).shape == (4, 2)


# Figure


def test_panels_show_the_same_points_in_the_same_colours(labels):
    rng = np.random.default_rng(6)
    points = {"A": rng.normal(size=(60, 2)), "B": rng.normal(size=(60, 2))}
    figure = draw_tsne(points, labels, CLASSES, {"A": "good", "B": "poor"}, RECIPE)
    assert [axes.get_title() for axes in figure.axes] == ["A", "B"]
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["good", "poor"]
    for axes, of_label in zip(figure.axes, points.values(), strict=True):
        for number, of_class in enumerate(offsets(axes)):
            np.testing.assert_array_equal(of_class, of_label[labels == number])
        assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
    first, second = ([tuple(dots.get_facecolor()[0]) for dots in axes.collections] for axes in figure.axes)
    assert first == second and len(set(first)) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == CLASSES
    assert [tuple(dots.get_facecolor()[0]) for dots in legend.legend_handles] == first


def test_the_legend_has_every_name_within_the_picture(labels):
    """matplotlib itself leaves out what begins with an underscore; a long name takes lines, not the others' place."""
    classes = [
        "_background",
        "$5 to $10",
        *(f"a long name of a class of many, number {number}" for number in range(10)),
    ]
    points = {"A": np.random.default_rng(6).normal(size=(60, 2))}
    figure = draw_tsne(points, labels, classes, {"A": ""}, RECIPE.model_copy(update={"title": 9 * "Words and more "}))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text().replace("\n", " ") for text in legend.get_texts()] == classes
    for artist in (legend, figure.axes[0], figure._suptitle):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert figure.axes[0].get_window_extent().height > 1.5 * figure.dpi


def test_the_score_is_that_of_the_features(files, monkeypatch):
    figures = []
    monkeypatch.setattr(tsne, "save_figure", lambda draw, png, pdf: figures.append(draw()))
    near_and_far = np.array([[0, 0], [0, 1], [10, 0], [10, 1]], dtype=np.float32)
    write_tsne({"A": near_and_far}, np.array([0, 0, 1, 1]), CLASSES[:2], RECIPE, *files)
    own, other = 1, (10 + math.sqrt(101)) / 2  # mean distances of each point to its class and to the other
    assert figures[0].axes[0].texts[0].get_text() == f"silhouette of the features: {(other - own) / other:.3f}"


ONE_CLASS, ONE_IMAGE = "no silhouette: one class", "no silhouette: one image a class"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1] * 9, ONE_CLASS),
        ([0], ONE_CLASS),
        ([2, 2], ONE_CLASS),
        ([0, 1], ONE_IMAGE),
        ([2, 0, 1], ONE_IMAGE),
    ],
)
def test_what_has_no_score_is_drawn_and_says_why(labels, said, files, monkeypatch):
    """It is found out when all students are trained: a picture without its score is better than none."""
    drawn = []
    monkeypatch.setattr(tsne, "draw_tsne", lambda *given: drawn.append(draw_tsne(*given)) or drawn[-1])
    features = np.random.default_rng(3).normal(size=(len(labels), 8)).astype(np.float32)
    write_tsne({"A": features}, np.array(labels), CLASSES, RECIPE, *files)
    (axes,) = drawn[0].axes
    assert axes.texts[0].get_text() == said
    found = np.concatenate(offsets(axes))
    assert len(found) == len(labels) == len(np.unique(found, axis=0)) and np.isfinite(found).all()
    assert files[1].read_bytes().startswith(b"\x89PNG") and files[2].read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_a_collapsed_students_features_lie_in_one_place(noise, labels, blobs, files, monkeypatch):
    """Components of nothing are no numbers, at which t-SNE crashes the process."""
    drawn = []
    monkeypatch.setattr(tsne, "draw_tsne", lambda *given: drawn.append(draw_tsne(*given)) or drawn[-1])
    collapsed = (np.float32(0.7) * (1 + noise * np.sign(blobs))).astype(np.float32)
    write_tsne({"A": collapsed, "B": blobs}, labels, CLASSES, RECIPE, *files)
    first, second = drawn[0].axes
    assert first.texts[0].get_text() == "no silhouette: all features are the same"
    assert second.texts[0].get_text().startswith("silhouette of the features: 0.8")
    assert not np.concatenate(offsets(first)).any() and np.ptp(np.concatenate(offsets(second)), axis=0).min() > 0


@pytest.mark.parametrize("classes", [2, 10, 11, 45])
def test_classes_are_told_apart(classes):
    found = styles(classes)
    assert len(found) == classes
    colours = np.array([to_rgb(colour) for colour, _ in found])
    distances = cdist(colours, colours) + 9 * np.eye(classes)
    alike = np.array([[one == other for _, other in found] for _, one in found])
    assert distances.min() > 0.05 and distances[alike].min() > 0.2
    if classes > 10:  # a second cue between those of like hue
        assert all(one[1] != other[1] for one, other in pairwise(found))
        lightness = colours.max(axis=1) + colours.min(axis=1)
        assert (np.abs(np.diff(lightness)) > 0.2).all()


def test_many_classes_have_no_legend():
    labels = np.arange(130) % 13
    points = {"A": np.random.default_rng(0).normal(size=(130, 2))}
    figure = draw_tsne(points, labels, [str(number) for number in range(13)], {"A": ""}, RECIPE)
    assert not figure.legends and len(figure.axes[0].collections) == 13


@pytest.mark.parametrize("n, rasterised", [(5000, False), (5001, True)])
def test_only_many_points_are_rasterised(n, rasterised):
    points = {"A": np.random.default_rng(0).normal(size=(n, 2))}
    figure = draw_tsne(points, np.arange(n) % 2, CLASSES[:2], {"A": ""}, RECIPE)
    assert {dots.get_rasterized() for dots in figure.axes[0].collections} == {rasterised}


# What cannot be drawn


def test_several_labels_an_image_are_refused(blobs, files, tmp_path):
    """As read_features gives them: a float matrix."""
    labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    with pytest.raises(BadInput) as caught:
        write_tsne({"A": blobs}, labels, CLASSES, RECIPE, *files)
    assert str(caught.value).startswith("artifacts.figure2.datasets: textures has several labels an image")
    assert not list(tmp_path.iterdir())


# Files


def test_the_csv_has_the_points(blobs, labels, files):
    features = {"A": blobs, "B": blobs[:, ::-1] + blobs**2}
    write_tsne(features, labels, CLASSES, RECIPE, *files)
    with open(files[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for label in features:
        of_label = [row for row in rows if row["label"] == label]
        assert [int(row["point"]) for row in of_label] == list(range(60))
        assert [row["class"] for row in of_label] == [CLASSES[number] for number in labels]
        found = [[float(row["x"]), float(row["y"])] for row in of_label]
        np.testing.assert_allclose(found, embed(features[label]), rtol=1e-5)
    assert len(rows) == 120


def test_files_are_the_same_each_time(blobs, labels, files, tmp_path, monkeypatch):
    write_tsne({"A": blobs, "B": -blobs}, labels, CLASSES, RECIPE, *files)
    first = [path.read_bytes() for path in files]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    write_tsne({"A": blobs, "B": -blobs}, labels, CLASSES, RECIPE, *files)
    assert [path.read_bytes() for path in files] == first
    assert set(tmp_path.iterdir()) == set(files)
    with Image.open(files[1]) as png:
        assert png.format == "PNG" and png.width > 800 and round(png.info["dpi"][0]) == 200


def test_the_pdf_is_vector(blobs, labels, files):
    write_tsne({"A": blobs}, labels, CLASSES, RECIPE, *files)
    pdf = files[2].read_bytes()
    assert pdf.startswith(b"%PDF-") and b"FontFile2" in pdf and b"CreationDate" not in pdf
    assert b"/Subtype /Image" not in pdf
