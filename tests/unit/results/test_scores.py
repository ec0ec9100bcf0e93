"""Scores as one tidy table."""

from __future__ import annotations

import statistics

import pandas as pd
import pytest

from wecolora.core.errors import BadInput
from wecolora.results.scores import AXES, COLUMNS, copied_layers, over_seeds, read_scores

SCORES = [
    ("t2", "wecolora", 2, 8, 10, 0, "photos", 71.5),
    ("t1", "wecolora", 2, 8, 10, 1, "photos", 62.0),
    ("t1", "weco_kd", 2, None, 1, 0, "tags", 55.25),
    ("t1", "wecolora", 2, 8, 2, 0, "photos", 50.0),
    ("t1", "wecolora", 2, 16, 2, 0, "photos", 52.0),
    ("t1", "wecolora", 3, 8, 10, 0, "photos", 40.0),
    ("t1", "wecolora", 2, 8, 10, 0, "photos", 60.0),
]


def test_a_row_is_a_run_on_a_data_set(score_files):
    frame = read_scores(score_files(*SCORES))
    assert list(frame.columns) == COLUMNS and len(frame) == len(SCORES)
    assert COLUMNS[:9] == AXES == ["teacher", "method", "r", "k", "alpha", "loss_point", "layers", "seed", "dataset"]
    found = [
        (row.teacher, row.method, row.r, None if pd.isna(row.k) else row.k, row.alpha, row.seed, row.dataset, row.last)
        for row in frame.itertuples()
    ]
    assert sorted(found, key=str) == sorted(SCORES, key=str)
    assert set(frame["slug"]) == {"whatever"}  # as the score says
    tags = frame[frame.dataset == "tags"].iloc[0]
    assert (tags.metric, tags.best, tags.best_epoch, tags.n_train, tags.n_test) == ("mean AUC", 56.25, 7, 100, 50)


def test_rows_are_ordered_by_their_axes_whatever_the_files_order(score_files):
    paths = score_files(*SCORES)
    frame = read_scores(paths)
    assert list(frame["last"]) == [55.25, 50.0, 60.0, 62.0, 52.0, 40.0, 71.5]
    pd.testing.assert_frame_equal(read_scores(reversed(paths)), frame)


def test_a_rank_is_a_whole_number_or_missing(score_files):
    frame = read_scores(score_files(*SCORES))
    assert str(frame["k"].dtype) == "Int64" and frame["k"].isna().sum() == 1
    only = read_scores(score_files(SCORES[2]))
    assert str(only["k"].dtype) == "Int64" and only["k"].isna().all()
    assert "8," in frame.to_csv(index=False) and "8.0," not in frame.to_csv(index=False)


TEACHER = ("t1", "teacher", 1, None, None, None, "photos", 80.0)


def test_a_teacher_has_neither_alpha_nor_seed(score_files):
    paths = score_files(*SCORES) + score_files(TEACHER, loss_point=None)
    for frame in (read_scores(paths), read_scores(paths[-1:])):
        assert [str(frame[axis].dtype) for axis in ("k", "alpha", "seed")] == ["Int64", "float64", "Int64"]
        (teacher,) = frame[frame.method == "teacher"].to_dict("records")
        assert all(pd.isna(teacher[axis]) for axis in ("k", "alpha", "seed", "loss_point", "layers"))
        assert (teacher["r"], teacher["last"]) == (1, 80)
    frame = read_scores(paths)
    assert list(frame["seed"].dropna()) == [0, 0, 0, 1, 0, 0, 0] and len(frame) == 8
    pd.testing.assert_frame_equal(read_scores(reversed(paths)), frame)
    assert "t1,teacher,1,,,,,,photos,whatever,top-1,80.0" in frame.to_csv(index=False)


def test_a_teacher_is_not_lost_among_the_means(score_files):
    frame = read_scores(score_files(*SCORES) + score_files(TEACHER, loss_point=None))
    table = over_seeds(frame, ["teacher", "method", "r", "k", "alpha", "loss_point", "dataset"])
    assert table["seeds"].sum() == 8 and len(table) == 7
    (teacher,) = table[table.method == "teacher"].itertuples()
    assert (teacher.mean, teacher.seeds) == (80, 1) and pd.isna(teacher.alpha)


def test_scores_name_their_runs(score_files):
    import json

    paths = score_files(SCORES[0])
    score = json.loads(paths[0].read_text())
    score["run"]["slug"] = "wecolora_r2_k8_a10_s0"
    paths[0].write_text(json.dumps(score))
    assert list(read_scores(paths)["slug"]) == ["wecolora_r2_k8_a10_s0"]
    del score["run"]["slug"]
    paths[0].write_text(json.dumps(score))
    with pytest.raises(BadInput, match="slug"):
        read_scores(paths)


def test_signs_are_joined(score_files):
    assert read_scores(score_files(SCORES[0], signs=[]))["signs"][0] == ""
    assert read_scores(score_files(SCORES[0], signs=["loss rising", "collapse"]))["signs"][0] == "loss rising; collapse"


def test_no_scores_make_an_empty_table():
    frame = read_scores([])
    assert list(frame.columns) == COLUMNS and frame.empty


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"', "{}", '{"run": {}}', '{"run": null}'])
def test_what_is_no_score_is_named(score_files, content):
    paths = score_files(*SCORES[:2])
    paths[1].write_text(content)
    with pytest.raises(BadInput, match=r"written/1\.json: is no score file.*probe again"):
        read_scores(paths)


def test_a_missing_score_is_named(score_files):
    paths = score_files(SCORES[0])
    paths[0].unlink()
    with pytest.raises(BadInput, match=r"written/0\.json"):
        read_scores(paths)


def test_mean_deviation_and_number_of_seeds(score_files):
    lasts = [60.0, 62.5, 61.0]
    one = [("t", "wecolora", 2, 8, 1, seed, "photos", last) for seed, last in enumerate(lasts)]
    other = [("t", "weco_kd", 2, None, 1, 0, "photos", 40.0)]
    table = over_seeds(read_scores(score_files(*one, *other)), ["method", "k", "dataset"])
    rows = {row.method: row for row in table.itertuples()}
    assert len(table) == 2  # the method without a rank is not lost
    assert rows["wecolora"].mean == pytest.approx(statistics.mean(lasts))
    assert rows["wecolora"].std == pytest.approx(statistics.stdev(lasts))
    assert rows["wecolora"].seeds == 3
    assert (rows["weco_kd"].mean, rows["weco_kd"].seeds) == (40.0, 1) and pd.isna(rows["weco_kd"].std)


def test_a_score_in_the_place_of_another_is_named(score_files, tmp_path):
    (written,) = score_files(("one", "weco_kd", 2, None, 1, 0, "photos", 50))
    own = tmp_path / "one" / "whatever" / "scores" / "photos.json"
    for place in (own, own.with_name("digits.json"), tmp_path / "one" / "other" / "scores" / "photos.json"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(written.read_text())
        if place == own:
            assert len(read_scores([place])) == 1
        else:
            with pytest.raises(BadInput, match=r"it is of one/whatever/scores/photos\.json.*delete it to probe again"):
                read_scores([place])


@pytest.mark.parametrize(
    ("method", "layers", "expected"),
    [
        ("wecolora", "paper", "paper"),
        ("calibrated", "search", "search"),
        ("weco_kd", [0, 2, 11], "0 2 11"),
        ("top_kd", "paper", None),
        ("scratch_kd", "first", None),
    ],
)
def test_the_blocks_that_were_copied_are_those_of_the_recipe(method, layers, expected):
    assert copied_layers({"method": method, "layers": layers}) == expected


def test_a_users_own_method_says_itself_what_it_starts_from():
    for start, expected in {"copy": "first", "random": None}.items():
        recipe = {"method": "mine", "layers": "first", "own_methods": {"mine": {"start": start}}}
        assert copied_layers(recipe) == expected
    assert copied_layers(None) is None
