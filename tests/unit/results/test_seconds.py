"""Score over seconds: the points, what is drawn of them, and the files."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.errors import BadInput
from wecolora.results.scores import read_scores
from wecolora.results.seconds import draw, read_seconds, tidy_seconds, write_seconds


def recipe(**changes):
    values = {
        "name": "speed",
        "title": "Score over seconds",
        "caption": "One machine.",
        "rows": [],
        "x": None,
        "datasets": {"photos": "Photos", "tags": "Tags"},
        "teachers": {"sup": "ViT"},
        "methods": ["wecolora", "calibrated", "teacher"],
        "revision": 1,
    }
    return ArtifactRecipe(**{**values, **changes})


@pytest.fixture
def scores(score_files):
    """WeCoLoRA with two seeds and two shares, a calibrated student, and the teacher; each run with a name."""
    files = []
    for alpha in (10, 1):
        for seed in (0, 1):
            for dataset in ("photos", "tags"):
                files += score_files(("sup", "wecolora", 2, 8, alpha, seed, dataset, 50 + alpha + 2 * seed))
    for dataset in ("photos", "tags"):
        files += score_files(("sup", "calibrated", 2, None, 1, None, dataset, 60))
        files += score_files(("sup", "teacher", 1, None, None, None, dataset, 80), loss_point=None)
    for path in files:
        score = json.loads(path.read_text())
        run = score["run"]
        run["slug"] = f"{run['method']}_{run['alpha']}_{run['seed']}"
        path.write_text(json.dumps(score))
    return read_scores(files)


SECONDS = {
    ("sup", "wecolora_10_0"): 100.0,
    ("sup", "wecolora_10_1"): 300.0,
    ("sup", "wecolora_1_0"): 10.0,
    ("sup", "wecolora_1_1"): 30.0,
    ("sup", "calibrated_1_None"): 2.0,
}


def test_a_point_has_the_mean_of_its_seeds_in_both_directions(scores):
    points = tidy_seconds(scores, SECONDS, recipe())
    assert len(points) == 2 * 4
    found = {(row.dataset, row.method, row.alpha): row for row in points.itertuples() if row.method != "teacher"}
    one = found["photos", "wecolora", 10]
    assert (one.seconds, one.mean, one.seeds) == (200, 61, 2) and one.std == pytest.approx(math.sqrt(2))
    assert (found["tags", "wecolora", 1].seconds, found["tags", "calibrated", 1].seconds) == (20, 2)
    assert points[points["method"] == "teacher"]["seconds"].isna().all()
    assert list(points["dataset"]) == ["photos"] * 4 + ["tags"] * 4
    assert list(points["method"][:4]) == ["wecolora", "wecolora", "calibrated", "teacher"]
    assert list(points["alpha"][:2]) == [1, 10]


def test_each_set_has_a_panel_with_its_points_and_the_teachers_level(scores):
    points = tidy_seconds(scores, SECONDS, recipe())
    figure = draw(points, recipe())
    assert [panel.get_title() for panel in figure.axes] == ["Photos (top-1, %)", "Tags (mean AUC, %)"]
    for panel in figure.axes:
        assert panel.get_xscale() == "log"
        lines = panel.get_lines()
        colour = METHODS["wecolora"].colour.lower()
        (joined,) = [line for line in lines if len(line.get_xdata()) == 2 and to_hex(line.get_color()) == colour]
        assert list(joined.get_xdata()) == [20, 200] and list(joined.get_ydata()) == [52, 61]
        (level,) = [line for line in lines if line.get_linestyle() == "--"]
        assert list(level.get_ydata()) == [80, 80]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["WeCoLoRA", "Calibrated", "Teacher", "α = 1%", "α = 10%"]


def test_many_sets_and_methods_hide_nothing(scores):
    """Five panels of three columns leave one place empty; the legend lies below the panels."""
    datasets = {name: name for name in ("photos", "tags", "a", "b", "c")}
    points = tidy_seconds(scores, SECONDS, recipe())
    rows = [points] + [points[points["dataset"] == "photos"].assign(dataset=name) for name in ("a", "b", "c")]
    figure = draw(pd.concat(rows), recipe(datasets=datasets))
    figure.canvas.draw()
    assert [panel.axison for panel in figure.axes] == [True] * 5 + [False]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"10", "100"} <= set(ticks) and not any("$" in tick for tick in ticks)  # text is not parsed as mathematics
    legend = figure.legends[0].get_window_extent()
    assert all(panel.get_window_extent().y0 > legend.y1 for panel in figure.axes[:5])
    assert figure.axes[0].get_window_extent().height > 100


def test_the_files_hold_the_points(scores, tmp_path):
    files = [tmp_path / f"speed.{suffix}" for suffix in ("csv", "png", "pdf")]
    write_seconds(scores, SECONDS, recipe(), *files)
    with open(files[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["seconds"] for row in rows} == {"20", "200", "2", ""}
    with Image.open(files[1]) as png:
        assert png.width > 800 and len(np.unique(np.asarray(png.convert("RGB")).reshape(-1, 3), axis=0)) > 4
    assert files[2].read_bytes().startswith(b"%PDF-")


def test_seconds_are_read_from_beside_the_students(tmp_path):
    path = tmp_path / "sup" / "wecolora_r2_k8_a1_s0" / "circumstances.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"seconds": 12.5, "host": "there"}))
    assert read_seconds([path]) == {("sup", "wecolora_r2_k8_a1_s0"): 12.5}
    path.write_text(json.dumps({"host": "there"}))
    with pytest.raises(BadInput, match=r"circumstances.json.*distil the run again"):
        read_seconds([path])
