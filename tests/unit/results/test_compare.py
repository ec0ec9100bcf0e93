"""Two campaigns side by side."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wecolora.core.errors import BadInput
from wecolora.results.compare import compare, differing_keys, read_campaign, tidy, verdict
from wecolora.results.scores import read_scores

SCORE = {
    "metric": "top-1",
    "last": 50.0,
    "best": 51.0,
    "best_epoch": 3,
    "n_train": 100,
    "n_test": 50,
    "student_sha256": "s",
    "teacher_sha256": "t",
    "signs": [],
    "classes": ["a", "b"],
    "recipe": {"distill": {"epochs": 10, "architecture": {"depth": 4}}, "probe": {"base_lr": 0.1}},
    "revisions": {"distill": 2},
    "environment": {"torch": "2.0"},
}


def write(root, method="wecolora", seed=0, dataset="digits", **changes):
    """Write a score into a campaign's folder."""
    run = {"teacher": "one", "method": method, "r": 2, "k": 4, "alpha": 1.0, "loss_point": "after_norm", "seed": seed}
    run |= {"dataset": dataset, "slug": f"{method}_r2_k4_a1_s{seed}"}
    folder = root / "runs" / "one" / run["slug"] / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{dataset}.json").write_text(json.dumps({**copy.deepcopy(SCORE), "run": run, **changes}))
    (folder / "circumstances_all.json").write_text(json.dumps({"finished": str(root)}))


@pytest.fixture
def both(tmp_path):
    return tmp_path / "a", tmp_path / "b"


def verdicts(both):
    a, b = map(read_campaign, both)
    return {(one.cell[1], one.cell[-1]): one.verdict for one in compare(a, b)}


def test_a_campaign_is_itself(both):
    for root in both:
        for seed in (0, 1):
            write(root, seed=seed, last=50.0 + seed)
        write(root, dataset="tags", last=math.nan)
    assert set(verdicts(both).values()) == {"same bytes"}
    assert differing_keys(*map(read_campaign, both)) == {}


def test_other_versions_give_the_same_number_and_are_named(both):
    write(both[0])
    write(both[1], environment={"torch": "2.1"}, student_sha256="other")
    assert verdicts(both) == {("wecolora", "digits"): "same number"}
    assert differing_keys(*map(read_campaign, both)) == {"environment.torch": {('"2.0"', '"2.1"'): 1}}


def test_a_key_that_differs_everywhere_stands_once(both):
    recipe = copy.deepcopy(SCORE["recipe"])
    recipe["distill"]["epochs"] = 5
    del recipe["probe"]["base_lr"]
    for seed in (0, 1, 2):
        write(both[0], seed=seed)
        write(both[1], seed=seed, recipe=recipe, last=40.0)
    assert verdicts(both) == {("wecolora", "digits"): "different"}
    found = differing_keys(*map(read_campaign, both))
    assert found["recipe.distill.epochs"] == {("10", "5"): 3}
    assert found["recipe.probe.base_lr"] == {("0.1", "not given"): 3} and found["recipe.probe"] == {
        ("not given", "{}"): 3
    }


def test_what_only_one_has_is_told(both):
    write(both[0])
    write(both[0], method="weco_dora")
    write(both[1])
    write(both[1], dataset="tags")
    assert verdicts(both) == {
        ("wecolora", "digits"): "same bytes",
        ("weco_dora", "digits"): "only in A",
        ("wecolora", "tags"): "only in B",
    }


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({0: 50.0}, {0: 50.0}, "same number"),
        ({0: 50.0}, {0: 50.1}, "different"),  # one seed has no spread
        ({0: 50.0, 1: 52.0}, {0: 50.1, 1: 52.2}, "within the spread"),
        ({0: 50.0, 1: 50.1, 2: 50.2}, {0: 60.0, 1: 60.1, 2: 60.2}, "different"),
        ({0: 50.0, 1: 50.0}, {2: 50.0, 3: 50.0}, "within the spread"),  # no spread, the same mean
        ({0: 50.0, 1: 50.0}, {0: 50.1, 1: 50.1}, "different"),
        ({0: math.nan}, {0: math.nan}, "same number"),
        ({0: math.nan, 1: 1.0}, {0: 1.0, 1: 1.0}, "different"),
        ({}, {0: 1.0}, "only in B"),
        ({0: 1.0}, {}, "only in A"),
    ],
)
def test_a_verdict(a, b, said):
    assert verdict(a, b) == said


def test_within_the_spread_is_welchs_interval():
    """The interval of the difference, from the formula, holds 0 just where the verdict says so."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        a, b = rng.normal(50, 1, rng.integers(2, 6)), rng.normal(51.5, 2, rng.integers(2, 6))
        va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
        freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
        margin = stats.t.ppf(0.975, freedom) * (va + vb) ** 0.5
        wanted = "within the spread" if abs(a.mean() - b.mean()) < margin else "different"
        assert verdict(dict(enumerate(a)), dict(enumerate(b))) == wanted
        seen.add(wanted)
    assert len(seen) == 2


def test_without_runs_scores_csv_is_taken(both):
    for root in both:
        write(root)
        write(root, method="weco_kd", last=float("nan"))
    rows = read_scores(both[1].glob("runs/*/*/scores/digits.json"))
    for path in sorted(both[1].rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    rows.to_csv(both[1] / "scores.csv", index=False)
    assert set(verdicts(both).values()) == {"same number"}


def test_the_table_has_a_row_for_each_cell(both):
    write(both[0], last=50.0)
    write(both[1], last=51.5)
    table = tidy(compare(*map(read_campaign, both)))
    assert len(table) == 1 and table.loc[0, "difference"] == 1.5 and table.loc[0, "verdict"] == "different"
    assert isinstance(table, pd.DataFrame) and str(table.loc[0, "k"]) == "4"


def test_what_is_no_campaign_is_refused(tmp_path):
    with pytest.raises(BadInput, match="has no scores of a campaign; give a folder such as results/demo"):
        read_campaign(tmp_path)
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"scores\.csv: has no column"):
        read_campaign(tmp_path)


def test_a_broken_score_is_named(tmp_path):
    write(tmp_path)
    (path,) = tmp_path.glob("runs/*/*/scores/digits.json")
    path.write_text("{")
    with pytest.raises(BadInput, match=r"digits\.json: is no score file"):
        read_campaign(tmp_path)
