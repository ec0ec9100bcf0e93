"""Figures: the points, the lines, and the files."""

from __future__ import annotations

import csv

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from tests.markup import NASTY
from wecolora.config.methods import METHODS
from wecolora.config.own_methods import COLOUR
from wecolora.config.recipes import ArtifactRecipe
from wecolora.results.figures import draw, save_figure, tidy_figure, write_figure
from wecolora.results.scores import read_scores

ALPHAS = (10, 1, 5, 2)


def recipe(**changes):
    values = {
        "name": "figure5",
        "title": "Figure 5",
        "caption": "Over alpha.",
        "rows": [],
        "x": "alpha",
        "datasets": {"photos": "Photos"},
        "teachers": {"sup": "ViT"},
        "methods": ["weco_kd", "wecolora"],
        "revision": 1,
    }
    return ArtifactRecipe(**{**values, **changes})


def value(method, r, alpha, seed=0):
    return 30 + 10 * (method == "wecolora") - 5 * r + 2 * alpha + seed * (1 + alpha)


def scores(seeds=1, methods=("wecolora", "weco_kd"), ratios=(3, 2)):
    return [
        ("sup", m, r, 16 if m == "wecolora" else None, a, s, "photos", value(m, r, a, s))
        for m in methods
        for r in ratios
        for a in ALPHAS
        for s in range(seeds)
    ]


@pytest.fixture
def files(tmp_path):
    return [tmp_path / f"figure.{suffix}" for suffix in ("csv", "png", "pdf")]


def test_the_csv_has_the_points(score_files, files):
    write_figure(read_scores(score_files(*scores())), recipe(), *files)
    with open(files[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["method"], int(row["r"]), float(row["alpha"])): float(row["mean"]) for row in rows}
    assert len(rows) == 16
    assert found == {(m, r, a): value(m, r, a) for m in ("weco_kd", "wecolora") for r in (2, 3) for a in ALPHAS}
    assert {(row["teacher"], row["dataset"], row["metric"], row["seeds"], row["std"]) for row in rows} == {
        ("sup", "photos", "top-1", "1", "")
    }
    keys = [(row["method"], int(row["r"]), float(row["alpha"])) for row in rows]
    assert keys == sorted(keys)


def test_the_pictures_are_pictures(score_files, files):
    write_figure(read_scores(score_files(*scores())), recipe(), *files)
    with Image.open(files[1]) as png:
        png.load()
        assert png.format == "PNG" and png.width > 800 and png.height > 500
        assert len(np.unique(np.asarray(png.convert("RGB")).reshape(-1, 3), axis=0)) > 4
        assert round(png.info["dpi"][0]) == 200
    pdf = files[2].read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert b"FontFile2" in pdf  # TrueType, embedded, as publishers want


def test_files_are_the_same_each_time(score_files, files, tmp_path, monkeypatch):
    frame = read_scores(score_files(*scores(seeds=2)))
    write_figure(frame, recipe(), *files)
    first = [path.read_bytes() for path in files]
    assert b"CreationDate" not in first[2]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    write_figure(frame.sample(frac=1, random_state=0), recipe(), *files)
    assert [path.read_bytes() for path in files] == first
    assert {path for path in tmp_path.iterdir() if path.is_file()} == set(files)


def test_a_line_is_a_method_and_a_ratio(score_files):
    points = tidy_figure(read_scores(score_files(*scores())), recipe())
    (axes,) = draw(points, recipe()).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == {f"{METHODS[m].label}, r = {r}" for m in ("weco_kd", "wecolora") for r in (2, 3)}
    for method in ("weco_kd", "wecolora"):
        for r in (2, 3):
            line = lines[f"{METHODS[method].label}, r = {r}"]
            np.testing.assert_array_equal(np.asarray(line.get_xdata(), float), [1, 2, 5, 10])
            np.testing.assert_allclose(line.get_ydata(), [value(method, r, a) for a in (1, 2, 5, 10)])
            assert to_hex(line.get_color()).upper() == METHODS[method].colour
    # Told apart in grey print too, and the same for a ratio in every figure.
    assert len({(line.get_linestyle(), line.get_marker(), line.get_color()) for line in lines.values()}) == 4
    for r in (2, 3):
        styles = {(line.get_linestyle(), line.get_marker()) for name, line in lines.items() if name.endswith(str(r))}
        assert len(styles) == 1
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == list(lines)


def test_the_axes_say_what_they_show(score_files):
    points = tidy_figure(read_scores(score_files(*scores())), recipe())
    figure = draw(points, recipe())
    (axes,) = figure.axes
    figure.canvas.draw()
    assert axes.get_title() == "Figure 5" and axes.get_ylabel() == "top-1 on Photos (%)"
    assert "α (%)" in axes.get_xlabel()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "5", "10"]
    assert axes.get_xscale() == "log" and len(axes.get_xticks(minor=True)) == 0


def test_a_figure_over_ranks(score_files, files):
    values = {8: 50.0, 64: 58.0, 16: 53.0, 32: 56.0}
    frame = read_scores(score_files(*(("sup", "wecolora", 2, k, 10, 0, "photos", v) for k, v in values.items())))
    one = recipe(x="k", methods=["wecolora"])
    write_figure(frame, one, *files)
    figure = draw(tidy_figure(frame, one), one)
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    assert list(zip(map(int, line.get_xdata()), line.get_ydata(), strict=True)) == sorted(values.items())
    figure.canvas.draw()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8", "16", "32", "64"]
    assert "k" in axes.get_xlabel()


def test_several_seeds_draw_their_mean_and_a_band(score_files):
    one = recipe(methods=["weco_kd"])
    frame = read_scores(score_files(*scores(seeds=3, methods=["weco_kd"], ratios=[2])))
    points = tidy_figure(frame, one)
    # Seeds 0, 1, 2 lie 1 + alpha apart: the mean is the middle one, the deviation the distance.
    np.testing.assert_allclose(points["mean"], [value("weco_kd", 2, a, 1) for a in (1, 2, 5, 10)])
    np.testing.assert_allclose(points["std"], [2, 3, 6, 11])
    assert list(points["seeds"]) == [3] * 4
    (axes,) = draw(points, one).axes
    (line,), (band,) = axes.get_lines(), axes.collections
    np.testing.assert_allclose(line.get_ydata(), points["mean"])
    corners = band.get_paths()[0].vertices
    for x, mean, std in zip((1, 2, 5, 10), points["mean"], points["std"], strict=True):
        heights = corners[np.isclose(corners[:, 0], x), 1]
        assert heights.min() == pytest.approx(mean - std) and heights.max() == pytest.approx(mean + std)


def test_one_seed_draws_no_band(score_files):
    points = tidy_figure(read_scores(score_files(*scores())), recipe())
    assert len(draw(points, recipe()).axes[0].collections) == 0


def test_another_ratio_still_gets_a_line(score_files):
    points = tidy_figure(read_scores(score_files(*scores(ratios=(2, 3, 4)))), recipe())
    labels = {line.get_label() for line in draw(points, recipe()).axes[0].get_lines()}
    assert len(labels) == 6 and "WeCoLoRA, r = 4" in labels


def test_every_method_that_trains_has_a_colour_of_its_own():
    """And a user's own, which has another by default."""
    drawn = {name: method.colour for name, method in METHODS.items() if name != "teacher"}
    colours = np.array([to_rgb(colour) for colour in (*drawn.values(), COLOUR)])
    distances = np.linalg.norm(colours[:, None] - colours, axis=2) + 9 * np.eye(len(colours))
    assert distances.min() > 0.25
    # Okabe and Ito's, of the methods that the paper's figures compare.
    assert (drawn["wecolora"], drawn["weco_kd"]) == ("#0072B2", "#D55E00")


# What users type


def within(figure):
    """The texts, each of which lies within the picture as it is saved."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    for text in found:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    return [text.get_text() for text in found]


@pytest.mark.parametrize("words", [NASTY, r"$\foo$", "from $5 to $10", "_hidden", "$" * 9])
def test_labels_are_drawn_as_they_are_typed(score_files, files, words):
    one = recipe(title=words, datasets={"photos": words})
    points = tidy_figure(read_scores(score_files(*scores())), one)
    drawn = []
    with mpl.rc_context({"text.usetex": True}):  # of the user's own matplotlibrc
        save_figure(lambda: drawn.append(draw(points, one)) or drawn[0], *files[1:])
    assert not any(text.get_parse_math() or text.get_usetex() for text in drawn[0].findobj(Text))
    (axes,) = drawn[0].axes
    assert axes.get_title().split() == words.split() and axes.get_ylabel().split()[2:-1] == words.split()
    shown = [tick.get_text() for tick in axes.get_xticklabels()]
    assert shown == ["1", "2", "5", "10"] and not any("$" in tick.get_text() for tick in axes.get_yticklabels())
    assert files[1].read_bytes().startswith(b"\x89PNG") and files[2].read_bytes().startswith(b"%PDF-")


def test_long_words_and_many_lines_lie_within_the_picture(score_files, files):
    methods = [name for name in METHODS if name != "teacher"]
    rows = [("sup", m, r, None, a, 0, "photos", 50 + r * a) for m in methods for r in (2, 3) for a in (1, 10)]
    one = recipe(title=9 * "many words ", datasets={"photos": 3 * "a set of photographs "}, methods=methods)
    points, drawn = tidy_figure(read_scores(score_files(*rows)), one), []
    save_figure(lambda: drawn.append(draw(points, one)) or drawn[0], *files[1:])
    (figure,) = drawn
    assert {f"{METHODS[m].label}, r = {r}" for m in methods for r in (2, 3)} <= set(within(figure))
    (axes,) = figure.axes
    box, legend = axes.get_window_extent(), figure.legends[0].get_window_extent()
    assert box.y0 > legend.y1 and box.height > 1.2 * figure.dpi


def test_a_single_point_is_a_figure(score_files, files):
    one = recipe(methods=["weco_kd"])
    write_figure(read_scores(score_files(("sup", "weco_kd", 2, None, 1, 0, "photos", 50.0))), one, *files)
    assert files[1].read_bytes().startswith(b"\x89PNG")
