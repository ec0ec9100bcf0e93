"""Two campaigns side by side: folders that are written by hand, and scipy for the statistics."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wecolora.core.errors import BadInput
from wecolora.results.comparison import compare, read_side, welch
from wecolora.results.scores import read_scores

ENVIRONMENT = {"torch": "2.12.1", "device": "x86_64"}


def write(folder, seed, last, *, dataset="digits", method="wecolora", changes=None, **distill):
    """Write the score of a seed as rule probe does, and what it keeps beside it; ``distill`` changes the recipe."""
    teacher = method == "teacher"
    slug = method if teacher else f"{method}_r2_k8_a10_s{seed}"
    axes = {"teacher": "one", "method": method, "r": 1 if teacher else 2, "k": None if teacher else 8}
    axes |= {"alpha": None if teacher else 10.0, "seed": seed, "loss_point": None if teacher else "after_norm"}
    recipe = None if teacher else {**axes, "epochs": 3, "layers": "paper", "architecture": {"depth": 4}, **distill}
    score = {
        "run": {**axes, "dataset": dataset, "slug": slug},
        "metric": "mean AUC" if dataset == "tags" else "top-1",
        "last": last,
        "best": 99.0,
        "best_epoch": 7,
        "n_train": 100,
        "n_test": 50,
        "signs": [],
        "recipe": {"distill": recipe, "probe": {"epochs": 5, "seed": seed or 0}},
        "student_sha256": f"{seed}" * 64,
        "environment": ENVIRONMENT,
        **(changes or {}),
    }
    path = folder / "runs" / "one" / slug / "scores" / f"{dataset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(score))
    (path.parent / "circumstances_all.json").write_text(json.dumps({"host": str(folder)}))
    return path


def write_student(folder, seed, loss, weights=b"weights", **recipe):
    """Write the student of a seed as rule distill does."""
    axes = {"teacher": "one", "method": "wecolora", "r": 2, "k": 8, "alpha": 10.0, "seed": seed}
    about = {
        "recipe": {**axes, "loss_point": "after_norm", "epochs": 3, **recipe},
        "history": [{"loss": 9.0}, {"loss": loss}],
        "environment": ENVIRONMENT,
    }
    path = folder / "runs" / "one" / f"wecolora_r2_k8_a10_s{seed}" / "student.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about))
    if weights:
        path.with_name("student.safetensors").write_bytes(weights)
    return path


def write_table(folder):
    """Write scores.csv as rule collect does."""
    found = [path for path in folder.glob("runs/*/*/scores/*.json") if "circumstances" not in path.name]
    read_scores(found).to_csv(folder / "scores.csv", index=False, float_format="%.6g")


@pytest.fixture
def sides(tmp_path):
    """The folders of two campaigns, with different names."""
    return tmp_path / "results" / "a", tmp_path / "elsewhere" / "b"


def compared(sides):
    return compare(*map(read_side, sides))


def only_cell(sides):
    (row,) = compared(sides).cells.to_dict("records")
    return row


# Classes


def test_a_campaign_is_the_same_as_itself_and_as_its_copy_in_another_folder(sides):
    a, b = sides
    for seed, last in enumerate([50.0, 51.5]):
        for dataset in ("digits", "tags"):
            write(a, seed, last, dataset=dataset)
    write(a, None, 80.0, method="teacher")
    shutil.copytree(a, b)
    for path in b.rglob("circumstances_all.json"):
        path.write_text('{"host": "another"}')
    for other in (a, b):
        found = compared((a, other))
        assert list(found.cells["class"]) == ["same"] * 3 and found.keys.empty
        assert (found.status, found.one_experiment, found.students) == (0, True, (2, 2))
        assert list(found.cells["run"]) == ["teacher", "wecolora_r2_k8_a10", "wecolora_r2_k8_a10"]
        assert list(found.cells["difference"]) == [0, 0, 0]


def test_the_same_number_from_another_version_is_told_from_the_same_bytes(sides):
    a, b = sides
    write(a, 0, 50.0)
    write(b, 0, 50.0, changes={"environment": {**ENVIRONMENT, "torch": "2.13.0"}, "best": 98.0})
    found = compared(sides)
    (row,) = found.cells.to_dict("records")
    assert (row["class"], row["outcomes"]) == ("same number", "best")
    assert row["keys"] == "environment.torch: 2.12.1 | 2.13.0"
    assert found.status == 0 and found.one_experiment


def test_a_changed_recipe_gives_a_difference_and_its_key(sides):
    a, b = sides
    write(a, 0, 50.0)
    write(b, 0, 53.5, epochs=4)
    found = compared(sides)
    (row,) = found.cells.to_dict("records")
    assert (row["class"], row["note"], row["difference"]) == ("different", "one seed: no spread", 3.5)
    assert math.isnan(row["interval"]) and row["outcomes"] == "last"
    assert row["keys"] == "recipe.distill.epochs: 3 | 4"
    assert found.status == 4 and not found.one_experiment


@pytest.mark.parametrize(
    ("lasts", "others", "found"),
    [
        ([50.0, 52.0, 51.0], [51.0, 53.0, 52.5], "within the spread"),
        ([50.0, 50.2, 50.1], [52.0, 52.2, 52.1], "different"),
        ([50.0, 50.0], [50.0, 50.0], "within the spread"),
        ([50.0, 50.0], [50.1, 50.1], "different"),
        ([50.0, 51.0], [50.5], "different"),
    ],
)
def test_other_seeds_are_judged_by_their_spread(sides, lasts, others, found):
    for folder, first, values in zip(sides, (0, 10), (lasts, others), strict=True):
        for seed, last in enumerate(values, first):
            write(folder, seed, last)
    row = only_cell(sides)
    assert row["class"] == found
    assert row["keys"] == ""  # the seeds alone differ
    assert (row["a_mean"], row["b_mean"]) == (np.mean(lasts), np.mean(others))
    assert row["difference"] == pytest.approx(np.mean(others) - np.mean(lasts))
    assert row["a_seeds"].split() == [str(seed) for seed in range(len(lasts))]
    if len(others) > 1:
        assert compared(sides).status == (3 if found == "within the spread" else 4)
        assert row["b_std"] == pytest.approx(np.std(others, ddof=1))


def test_the_interval_is_welchs():
    rng = np.random.default_rng(0)
    for sizes in ((2, 2), (3, 5), (8, 2)):
        a, b = (rng.normal(50, scale, size) for scale, size in zip((1, 3), sizes, strict=True))
        difference, half = welch(a, b)
        interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        assert (difference - half, difference + half) == pytest.approx((interval.low, interval.high))
    assert welch([1, 1], [2, 2]) == (1, 0)
    difference, half = welch([1, 1], [2, 4])  # one side has no spread, so that the other's alone counts
    assert (difference, half) == (2, pytest.approx(stats.t.ppf(0.975, 1) * 1))


def test_seeds_that_one_side_lacks_are_missing_where_the_others_are_the_same(sides):
    a, b = sides
    for seed in range(3):
        write(a, seed, 50.0 + seed)
    write(b, 0, 50.0)
    write(b, 7, 51.0)
    row = only_cell(sides)
    assert (row["class"], row["note"]) == ("seeds missing", "seed 1 2 only in A, seed 7 only in B")
    assert compared(sides).status == 4
    write(b, 0, 50.5)  # the seed in both is not the same: all seeds are judged
    assert only_cell(sides)["class"] == "within the spread"


def test_cells_that_one_side_lacks(sides):
    a, b = sides
    write(a, 0, 50.0)
    write(b, 0, 50.0)
    write(a, 0, 60.0, dataset="tags")
    write(b, None, 70.0, method="teacher")
    cells = compared(sides).cells
    assert dict(zip(cells["run"] + " " + cells["dataset"], cells["class"], strict=True)) == {
        "teacher digits": "only in B",
        "wecolora_r2_k8_a10 digits": "same",
        "wecolora_r2_k8_a10 tags": "only in A",
    }
    assert compared(sides).status == 4
    assert cells["difference"].isna().sum() == 2


def test_two_metrics_have_no_difference(sides):
    a, b = sides
    write(a, 0, 50.0)
    write(b, 0, 50.0, changes={"metric": "mean AUC"})
    row = only_cell(sides)
    assert (row["class"], row["note"]) == ("different", "top-1 in A, mean AUC in B")
    assert math.isnan(row["difference"])


def test_a_score_that_is_no_number(sides):
    a, b = sides
    nan = float("nan")
    for seed in (0, 1):
        write(a, seed, nan)
        write(b, seed, nan)
    assert only_cell(sides)["class"] == "same"
    for seed in (0, 1):
        write(b, seed, nan, epochs=4)
    assert only_cell(sides)["class"] == "same number"
    write(b, 1, 50.0)
    row = only_cell(sides)
    assert (row["class"], row["note"]) == ("different", "a score is no number")


def test_runs_at_the_configs_loss_point_are_paired_whatever_it_is(sides):
    """And one that names its point is another run."""
    a, b = sides
    write(a, 0, 50.0)
    path = write(b, 0, 51.0, loss_point="before_norm")
    score = json.loads(path.read_text())
    score["run"]["loss_point"] = "before_norm"
    path.write_text(json.dumps(score))
    assert only_cell(sides)["keys"] == "recipe.distill.loss_point: after_norm | before_norm"
    own = path.parents[1].with_name("wecolora_r2_k8_a10_s0_before_norm")
    path.parents[1].rename(own)
    score["run"]["slug"] = own.name
    (own / "scores" / "digits.json").write_text(json.dumps(score))
    cells = compared(sides).cells
    assert list(cells["class"]) == ["only in A", "only in B"]
    assert list(cells["loss_point"]) == ["", "before_norm"]
    assert list(cells["run"]) == ["wecolora_r2_k8_a10", "wecolora_r2_k8_a10_before_norm"]


# Keys


def test_a_key_stands_once_for_each_pair_of_values(sides):
    a, b = sides
    for folder, epochs in ((a, 3), (b, 4)):
        for seed in (0, 1):
            for dataset in ("digits", "tags"):
                write(folder, seed, 50.0 + epochs, dataset=dataset, epochs=epochs)
        write(folder, None, 80.0, method="teacher")
    write(b, 1, 54.0, dataset="tags", epochs=4, architecture={"depth": 5})
    keys = compared(sides).keys
    assert keys[["key", "a", "b", "cells", "of"]].to_numpy().tolist() == [
        ["recipe.distill.architecture.depth", "4", "5", 1, 2],
        ["recipe.distill.epochs", "3", "4", 2, 2],  # the teacher has no such key
    ]
    assert keys["where"][0] == "one/wecolora_r2_k8_a10 tags"


def test_a_key_that_one_side_lacks_is_absent(sides):
    a, b = sides
    write(a, 0, 50.0)
    write(b, 0, 50.0, tricks=["one", "two"])
    assert only_cell(sides)["keys"] == 'recipe.distill.tricks: (absent) | ["one", "two"]'


def test_other_pixels_and_another_corpus_are_told(sides, unlabelled_index):
    import dataclasses

    from wecolora.data.images import write_index

    for folder, digest, seed in zip(sides, ("ab", "cd"), (1, 2), strict=True):
        write(folder, 0, 50.0 + seed)
        index = dataclasses.replace(unlabelled_index, labels=[[] for _ in unlabelled_index.ids], pixels_digest=digest)
        write_index(index, folder / "data" / "digits" / "index.parquet")
        (folder / "config.yaml").write_text(f"corpus: {{dataset: digits, subset: {{seed: {seed}}}}}")
    found = compared(sides)
    assert found.keys[["key", "a", "b", "of"]].to_numpy().tolist() == [
        ["config.corpus.subset.seed", "1", "2", 0],
        ["pixels.digits", "ab", "cd", 0],
    ]
    assert not found.one_experiment
    (sides[1] / "config.yaml").write_text("[")
    with pytest.raises(BadInput, match=r"b/config\.yaml: is no resolved config"):
        compared(sides)


def test_students_are_compared_by_their_weights(sides):
    for folder, digest in zip(sides, ("ab", "cd"), strict=True):
        write(folder, 0, 50.0, changes={"student_sha256": digest})
        write(folder, 1, 50.0, changes={"student_sha256": "ab"})
        write(folder, 1, 50.0, dataset="tags", changes={"student_sha256": "ab"})
        write(folder, None, 80.0, method="teacher", changes={"student_sha256": digest})
    assert compared(sides).students == (2, 1)


# Where scores, or runs, are missing


def test_students_that_nobody_probed_are_compared_by_their_files(sides):
    a, b = sides
    for folder in sides:
        write_student(folder, 0, 0.5)
    row = only_cell(sides)
    assert (row["class"], row["dataset"], row["metric"], row["a_mean"]) == ("same", "", "loss", 0.5)
    write_student(b, 0, 0.5, weights=b"others")
    assert only_cell(sides)["class"] == "same number" and compared(sides).students == (1, 0)
    write_student(b, 0, 0.75, epochs=4)
    row = only_cell(sides)
    assert (row["class"], row["difference"]) == ("different", 0.25)
    assert row["keys"] == "recipe.distill.epochs: 3 | 4"
    write(a, 0, 50.0)
    assert list(compared(sides).cells["class"]) == ["only in A"]  # the student is no cell of its own any more


def test_students_without_weights_are_not_the_same_to_the_byte(sides):
    for folder in sides:
        write_student(folder, 0, 0.5, weights=None)
    assert only_cell(sides)["class"] == "same number" and compared(sides).students == (0, 0)


def test_scores_csv_is_read_where_the_runs_are_gone(sides):
    a, b = sides
    for folder in sides:
        for seed, last in enumerate([50.123456789, 51.0]):
            write(folder, seed, last)
        write(folder, None, 80.0, method="teacher")
        write_table(folder)
    shutil.rmtree(b / "runs")
    side = read_side(b)
    assert side.csv and not read_side(a).csv
    found = compared(sides)
    assert list(found.cells["class"]) == ["same number"] * 2 and found.keys.empty and found.status == 0
    assert found.students == (2, 2)
    assert list(compared((b, b)).cells["class"]) == ["same number"] * 2
    write(a, 1, 51.5)
    assert set(compared(sides).cells["class"]) == {"same number", "within the spread"}


def test_runs_of_other_blocks_are_other_cells(sides):
    """Whatever the config's own rule is, which their names leave out."""
    for folder, rule in zip(sides, ("paper", "first"), strict=True):
        path = write(folder, 0, 50.0, layers=rule)
        named = path.parents[2] / "wecolora_r2_k8_a10_s0_search" / "scores" / path.name
        named.parent.mkdir(parents=True)
        score = json.loads(path.read_text())
        score["run"]["slug"], score["last"], score["recipe"]["distill"]["layers"] = named.parts[-3], 40.0, "search"
        named.write_text(json.dumps(score))
        write_table(folder)
    found = {cell.layers: result[0].last for cell, result in read_side(sides[0]).cells.items()}
    assert found == {"": 50, "search": 40}
    assert list(compared(sides).keys["key"]) == ["recipe.distill.layers"] and len(compared(sides).cells) == 2
    shutil.rmtree(sides[0] / "runs")
    assert {cell.layers for cell in read_side(sides[0]).cells} == {"", "search"}


def test_a_table_of_scores_from_before_blocks_were_named_is_read(sides):
    write(sides[0], 0, 50.0)
    write_table(sides[0])
    shutil.rmtree(sides[0] / "runs")
    whole = read_side(sides[0])
    pd.read_csv(sides[0] / "scores.csv", dtype=str).drop(columns="layers").to_csv(sides[0] / "scores.csv", index=False)
    assert read_side(sides[0]) == whole


def test_names_in_scores_csv_are_texts(sides):
    a, _ = sides
    write(a, 0, 50.0)
    write_table(a)
    shutil.rmtree(a / "runs")
    frame = pd.read_csv(a / "scores.csv")
    frame["teacher"], frame["dataset"], frame["last"] = "NA", 7, float("nan")
    frame.to_csv(a / "scores.csv", index=False)
    ((cell, by_seed),) = read_side(a).cells.items()
    assert (cell.teacher, cell.dataset, cell.k, cell.alpha) == ("NA", "7", 8, 10)
    assert list(by_seed) == [0] and math.isnan(by_seed[0].last)


# Bad input


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": {}}'])
def test_a_broken_score_file_is_named(sides, content):
    write(sides[0], 0, 50.0)
    path = write(sides[0], 1, 50.0)
    path.write_text(content)
    with pytest.raises(BadInput, match=r"a10_s1/scores/digits\.json: is no score file"):
        read_side(sides[0])


@pytest.mark.parametrize("content", ["{", '{"recipe": {}, "history": [{"loss": 1}]}', '{"recipe": {}, "history": []}'])
def test_a_broken_student_file_is_named(sides, content):
    write_student(sides[0], 0, 0.5).write_text(content)
    with pytest.raises(BadInput, match=r"a10_s0/student\.json: .*distil the student again"):
        read_side(sides[0])


@pytest.mark.parametrize("content", ["", "teacher,method\none,two\n", b"\xff\xfe\x00"])
def test_a_broken_table_is_named(sides, content):
    sides[0].mkdir(parents=True)
    (sides[0] / "scores.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=r"scores\.csv: is no table of scores .*run the campaign again"):
        read_side(sides[0])


def test_a_table_that_gives_a_run_twice_is_refused(sides):
    write(sides[0], 0, 50.0)
    write_table(sides[0])
    shutil.rmtree(sides[0] / "runs")
    path = sides[0] / "scores.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(BadInput, match="it gives a run twice"):
        read_side(sides[0])


def test_a_folder_that_is_no_campaign_names_those_below_it(sides, tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: there is no such folder; .* results/demo\."):
        read_side(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"is no folder of a campaign .* such as results/demo\."):
        read_side(tmp_path)
    write(sides[0], 0, 50.0)
    for folder in (tmp_path, sides[0].parent):
        with pytest.raises(BadInput, match=r"is no folder of a campaign .* such as \S+/results/a\."):
            read_side(folder)
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    (tmp_path / "profiles" / "default" / "config.yaml").write_text("")
    with pytest.raises(BadInput) as refused:
        read_side(tmp_path)
    assert "profiles" not in str(refused.value)


def test_a_campaign_without_results_is_refused(sides):
    write(sides[0], 0, 50.0)
    write_table(sides[0])
    shutil.rmtree(sides[0] / "runs")
    path = sides[0] / "scores.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(BadInput, match="is no folder of a campaign that has run"):
        read_side(sides[0])
