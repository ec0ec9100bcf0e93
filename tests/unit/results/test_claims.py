"""Claims: that they say what the paper says, and verdicts that statistics and arithmetic of other kinds confirm."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from tests.markup import NASTY, cells, head
from wecolora.config.recipes import ClaimsRecipe
from wecolora.results import published as published_module
from wecolora.results.claims import CLAIMS, Gain, judge, verdict, verdict_of_claim, write_claims

SUP, MAE = "vitb_sup", "vitb_mae"
FIVE = ["imagenet1k", "chestxray14", "inat19", "resisc45", "cifar100"]
NAMES = {
    "photos": "imagenet1k",
    "tags": "chestxray14",
    "glyphs": "inat19",
    "textures": "resisc45",
    "digits": "cifar100",
}
CONFIG = {role: name for name, role in NAMES.items()}


def recipe(**changes):
    values = {
        "title": "Claims",
        "caption": "What the paper says.",
        "teachers": {"sup": SUP, "mae": MAE},
        "datasets": NAMES,
        "widths": {"sup": 96, "mae": 768},
        "revision": 1,
    }
    return ClaimsRecipe(**{**values, **changes})


def score(teacher, method, r, alpha, seed, dataset, last, k=None, point=""):
    """A row as read_scores gives it; k: at the teacher's own width, a sixth of it unless given."""
    if k is None and method in ("wecolora", "weco_lora_qv", "wecolora_kl"):
        k = {"sup": 16, "mae": 128}[teacher]
    rank = "" if k is None else f"_k{k}"
    slug = "teacher" if method == "teacher" else f"{method}_r{r}{rank}_a{alpha:g}_s{seed}{point}"
    return {
        "teacher": teacher, "method": method, "r": r, "k": k, "alpha": alpha, "loss_point": "after_norm", "seed": seed,
        "dataset": dataset, "slug": slug, "metric": "top-1", "last": last,
    }  # fmt: skip


def frame(*rows):
    columns = list(score("sup", "teacher", 1, None, None, "photos", 1))
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64", "alpha": float, "seed": "Int64"})


def paper_rows():
    with open(Path(published_module.__file__).with_name("paper_results.csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def paper_as_scores(seeds=3, noise=1e-4):
    """The paper's own scores, with seeds whose scores hardly differ; the first table's where tables differ."""
    rng = np.random.default_rng(0)
    rows, seen = [], set()
    for row in paper_rows():
        key = tuple(row[name] for name in ("teacher", "r", "method", "alpha_percent", "dataset"))
        if key in seen:
            continue
        seen.add(key)
        teacher, dataset = {SUP: "sup", MAE: "mae"}[row["teacher"]], CONFIG[row["dataset"]]
        if row["method"] == "teacher":
            rows.append(score(teacher, "teacher", 1, None, None, dataset, float(row["value_percent"])))
            continue
        alpha, value = float(row["alpha_percent"]), float(row["value_percent"])
        for seed in range(seeds):
            last = value + noise * rng.standard_normal()
            rows.append(score(teacher, row["method"], int(row["r"]), alpha, seed, dataset, last))
    return frame(*rows)


def judged(*rows, **changes):
    """The claims by name, and the comparisons that were run."""
    claims, comparisons = judge(frame(*rows), recipe(**changes))
    return claims.set_index("claim"), comparisons[comparisons["seeds"] > 0]


def seeds(teacher, method, values, r=2, alpha=1, dataset="photos", **more):
    return [score(teacher, method, r, alpha, seed, dataset, value, **more) for seed, value in enumerate(values)]


# What the claims say


def test_claims_have_their_own_names_and_no_comparison_twice():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert all(re.fullmatch(r"[a-z0-9_]+", claim.name) for claim in CLAIMS)
    for claim in CLAIMS:
        assert claim.comparisons and len(set(claim.comparisons)) == len(claim.comparisons)
        assert claim.statement.endswith(".") and "|" not in claim.statement


def test_claims_name_only_runs_that_the_paper_has():
    printed = {
        (row["table"], row["teacher"], row["r"], row["method"], row["alpha_percent"], row["dataset"])
        for row in paper_rows()
    }
    figure_4 = set()
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            for side in (comparison.better, comparison.worse):
                for run in (side.run, side.over) if isinstance(side, Gain) else (side,):
                    alpha = "" if run.alpha is None else f"{run.alpha:g}"
                    cell = (run.teacher, str(run.r), run.method, alpha, comparison.dataset)
                    if run.table is None:
                        figure_4.add((*cell, run.k))
                    else:
                        assert (str(run.table), *cell) in printed and run.k == 128
                        assert re.search(rf"Tables? (.*\b)?{run.table}\b|Figures 5 to 9", claim.where), claim.name
    assert figure_4 == {(SUP, "2", "wecolora", "10", "cifar100", k) for k in (64, 128, 256, 512)}


# How the paper's own numbers come out: counted by hand in its tables.
PUBLISHED = {
    "weight_copy_over_scratch": ("holds", 6, 6),
    "lora_qv_poor_at_10": ("holds", 3, 3),
    "wecolora_over_ablations": ("holds", 12, 12),
    "weco_kd_behind_at_10": ("holds", 1, 1),  # 56.0 - 53.7 = 2.3
    "weco_kd_over_dmae_deit": ("holds", 12, 12),
    "wecolora_over_dmae_deit": ("holds", 12, 12),
    "wecolora_over_dmae_deit_by_16": ("holds", 4, 4),  # 21.3, 20.3, 26.0, 16.1
    "teacher_is_upper_bound": ("holds", 24, 24),
    "wecolora_near_teacher": ("holds", 1, 1),  # 55.1 - 49.8 = 5.3
    "weco_kd_over_deit_minivit_dmae": ("holds", 16, 18),  # 34.8 below 39.0 and 37.3
    "wecolora_over_all_methods": ("holds", 24, 24),
    "wecolora_over_weco_kd_at_1": ("holds", 18, 20),  # not 66.6 below 66.7, nor 21.1 and 21.1
    "wecolora_over_weco_kd_at_1_supervised": ("holds", 5, 5),
    "wecolora_by_25_at_1": ("holds", 1, 1),
    "wecolora_over_weco_kd_at_10": ("holds", 17, 20),  # RESISC45 twice, ChestX-ray14 once
    "wecolora_over_weco_kd_at_2": ("fails", 19, 20),  # 58.8 below 62.9
    "wecolora_over_weco_kd_at_5": (
        "fails",
        16,
        20,
    ),  # RESISC45 three times, ChestX-ray14 once (bold at 66.5 below 66.6)
    "wecolora_by_2_on_imagenet": ("holds", 4, 4),  # 16.6, 2.6, 2.0, 3.1
    "same_trend_on_other_datasets": ("fails", 14, 16),
    "wecolora_over_weco_kd_at_1_and_2": ("holds", 20, 20),
    "wecolora_over_weco_kd_at_10_supervised": ("holds", 8, 10),
    "rank_64_too_small": ("not printed", 0, 0),
    "rank_512_too_large": ("not printed", 0, 0),
}


def versus(table, better, worse, alphas=("1", "10"), margin=0.0, **only):
    """The signs of one method against others in a table of the CSV: [better - worse > margin, ...]."""
    rows = [row for row in paper_rows() if row["table"] == table]
    signs = []
    for high in rows:
        for low in rows:
            if high["method"] != better or low["method"] not in worse or high["alpha_percent"] not in alphas:
                continue
            if any(high[name] not in values for name, values in only.items()):
                continue
            if all(high[name] == low[name] for name in ("teacher", "r", "alpha_percent", "dataset")):
                difference = float(high["value_percent"]) - float(low["value_percent"])
                signs.append(int(np.sign(round(difference - margin, 6))))
    return signs


def gains(larger, smaller):
    """The signs of WeCoLoRA's gain in the one table less that in the other."""
    value = {
        (row["table"], row["teacher"], row["r"], row["dataset"], row["method"]): float(row["value_percent"])
        for row in paper_rows()
    }
    signs = []
    for teacher in (SUP, MAE):
        for r in ("2", "3"):
            for dataset in FIVE:
                gain = [
                    value[table, teacher, r, dataset, "wecolora"] - value[table, teacher, r, dataset, "weco_kd"]
                    for table in (larger, smaller)
                ]
                signs.append(int(np.sign(round(gain[0] - gain[1], 6))))
    return signs


def ratios():
    value = {tuple(row.values())[:-1]: float(row["value_percent"]) for row in paper_rows()}
    return [
        int(np.sign(value[key] - value[(*key[:2], "3", *key[3:])]))
        for key in value
        if key[0] in ("3", "4", "6", "7") and key[2] == "2"
    ]


def teacher_above():
    rows = [row for row in paper_rows() if row["table"] == "2"]
    bound = {row["dataset"]: float(row["value_percent"]) for row in rows if row["method"] == "teacher"}
    return [
        int(np.sign(bound[row["dataset"]] - float(row["value_percent"]))) for row in rows if row["method"] != "teacher"
    ]


def loops():
    """The signs of each claim's comparisons in the CSV."""
    sup, baseline = {"teacher": [SUP]}, ("wecolora", ["weco_kd"])
    elsewhere = {**sup, "dataset": FIVE[1:]}
    photos = {"dataset": ["imagenet1k"]}
    return {
        "weight_copy_over_scratch": versus("1", "weco_kd", ["scratch_kd"]),
        "lora_qv_poor_at_10": versus("1", "weco_kd", ["weco_lora_qv"], alphas=["10"]),
        "wecolora_over_ablations": versus("1", "wecolora", ["weco_kd", "weco_lora_qv"]),
        "weco_kd_behind_at_10": versus("1", *baseline, ["10"], 2.25, **photos),
        "weco_kd_over_dmae_deit": versus("2", "weco_kd", ["dmae", "deit"]),
        "wecolora_over_dmae_deit": versus("2", "wecolora", ["dmae", "deit"]),
        "wecolora_over_dmae_deit_by_16": versus("2", "wecolora", ["dmae", "deit"], margin=15.5, **photos),
        "teacher_is_upper_bound": teacher_above(),
        "weco_kd_over_deit_minivit_dmae": versus("5", "weco_kd", ["dmae", "deit", "minivit"]),
        "wecolora_over_all_methods": versus("5", "wecolora", ["dmae", "deit", "minivit", "weco_kd"]),
        "wecolora_over_weco_kd_at_1": versus("3", *baseline),
        "wecolora_over_weco_kd_at_1_supervised": versus("3", *baseline, r=["2"], **sup),
        "wecolora_by_25_at_1": versus("3", *baseline, margin=24.5, r=["2"], **sup, **photos),
        "wecolora_over_weco_kd_at_10": versus("4", *baseline),
        "gain_at_1_over_10": gains("3", "4"),
        "wecolora_over_weco_kd_at_2": versus("6", *baseline, ["2"]),
        "wecolora_over_weco_kd_at_5": versus("7", *baseline, ["5"]),
        "gain_at_2_over_5": gains("6", "7"),
        "wecolora_by_2_on_imagenet": versus("6", *baseline, ["2"], 1.95, **sup, **photos)
        + versus("7", *baseline, ["5"], 1.95, **sup, **photos),
        "same_trend_on_other_datasets": versus("6", *baseline, ["2"], **elsewhere)
        + versus("7", *baseline, ["5"], **elsewhere),
        "wecolora_over_weco_kd_at_1_and_2": versus("3", *baseline, **sup) + versus("6", *baseline, ["2"], **sup),
        "wecolora_over_weco_kd_at_10_supervised": versus("4", *baseline, **sup),
        "r2_over_r3": ratios(),
    }


def test_the_papers_own_numbers():
    claims, comparisons = judge(frame(), recipe())
    claims = claims.set_index("claim")
    for name, counted in PUBLISHED.items():
        row = claims.loc[name]
        assert (row["published_verdict"], row["published_ahead"], row["published_comparisons"]) == counted, name
    assert set(claims["verdict"]) == {"not run"} and claims[["run", "held", "failed", "ahead"]].to_numpy().sum() == 0
    for name, signs in loops().items():
        row = claims.loc[name]
        assert (row["published_ahead"], row["published_comparisons"]) == (signs.count(1), len(signs)), name
    assert set(claims.index) == loops().keys() | PUBLISHED.keys()
    # On ImageNet, supervised, r = 2: 63.5 - 46.9 in Table 6, 67.3 - 65.3 in Table 7.
    scarce = comparisons[comparisons["claim"] == "gain_at_2_over_5"].iloc[0]
    assert [scarce["published_better"], scarce["published_worse"]] == pytest.approx([16.6, 2.0])


def test_the_papers_own_numbers_as_scores_of_three_seeds():
    claims, comparisons = judge(paper_as_scores(), recipe())
    claims = claims.set_index("claim")
    for name, signs in loops().items():
        row = claims.loc[name]
        level = signs.count(0)  # noise alone tells these apart
        assert row["comparisons"] == row["run"] == len(signs)
        assert row["held"] + row["failed"] + row["undecided"] == len(signs)
        assert 0 <= row["held"] - signs.count(1) <= level, name
        assert 0 <= row["failed"] - signs.count(-1) <= level, name
        assert row["verdict"] == row["published_verdict"], name
    assert claims.loc["wecolora_near_teacher", "verdict"] == "holds"
    assert set(claims.loc[["rank_64_too_small", "rank_512_too_large"], "verdict"]) == {"not run"}
    run = comparisons[comparisons["seeds"] > 0]
    # Scores are those of the paper, but for CIFAR-100's 33.4 in Table 3, which is 33.3 in the scores.
    assert np.abs(run["difference"] - run["published_difference"]).max() == pytest.approx(0.1, abs=0.01)
    assert ((run["difference"] - run["published_difference"]).abs() > 0.01).sum() == 3  # at 1%, in the gains, in r = 2
    assert set(run["seeds"]) == {3}


# Verdicts of comparisons


def test_verdicts_are_those_of_a_paired_t_test():
    rng = np.random.default_rng(1)
    found = []
    for n in (2, 3, 5, 8):
        for shift in (-2, -1, 0, 1, 2):
            for _ in range(40):
                worse = 50 + rng.standard_normal(n)
                better = worse + shift + rng.standard_normal(n)
                greater = stats.ttest_rel(better, worse, alternative="greater").pvalue < 0.05
                less = stats.ttest_rel(better, worse, alternative="less").pvalue < 0.05
                found.append("holds" if greater else "fails" if less else "undecided")
                assert verdict(better - worse, 0) == found[-1]
                assert verdict(better - worse + 3, 3) == found[-1]  # with a margin
    assert all(found.count(name) > 100 for name in ("holds", "fails", "undecided"))


@pytest.mark.parametrize(
    ("differences", "margin", "expected"),
    [
        # mean 2, deviation 1, standard error 0.577; the 95% quantile with 2 degrees of freedom is 2.920: 2 - 1.686
        ([1, 2, 3], 0, "holds"),
        ([1, 2, 3], 0.31, "holds"),
        ([1, 2, 3], 0.32, "undecided"),
        ([1, 2, 3], 3.68, "undecided"),
        ([1, 2, 3], 3.69, "fails"),
        ([-1, -2, -3], 0, "fails"),
        ([-1, 1, 3], 0, "undecided"),
        # mean 1, deviation 1.414, standard error 1; with 1 degree of freedom 6.314
        ([0, 2], 0, "undecided"),
        ([0, 2], -5.31, "undecided"),
        ([0, 2], -5.32, "holds"),
        ([9], 0, "undecided"),
        ([], 0, "not run"),
        ([0.1, 0.1], 0, "holds"),
        ([-0.1, -0.1, -0.1], 0, "fails"),
        ([0, 0, 0], 0, "undecided"),
        ([0.3 - 0.1] * 3, 0.2, "undecided"),  # 0.19999999999999998
    ],
)
def test_verdicts_by_hand(differences, margin, expected):
    assert verdict(np.array(differences, float), margin) == expected


def supervised_photos(better, worse):
    """The comparison of WeCoLoRA and WeCo+KD with 1%, r = 2 and the supervised teacher, and all claims."""
    claims, comparisons = judged(*seeds("sup", "wecolora", better), *seeds("sup", "weco_kd", worse))
    (row,) = comparisons[comparisons["claim"] == "wecolora_over_weco_kd_at_1_supervised"].to_dict("records")
    return row, claims.loc["wecolora_over_weco_kd_at_1_supervised"]


def test_seeds_are_paired():
    # Unpaired, the seeds' own spread of 10 points would hide the difference of 2.
    row, claim = supervised_photos([42, 53, 61], [40, 50, 60])
    assert (row["verdict"], claim["verdict"]) == ("holds", "holds")
    assert (row["better_mean"], row["worse_mean"], row["difference"]) == (52, 50, 2)
    assert (row["std"], row["seeds"], row["sign"]) == (1, 3, "ahead")
    assert (row["published_better"], row["published_worse"]) == (60.5, 35.5)
    assert (row["published_difference"], row["published_sign"]) == (25.0, "ahead")
    assert (row["dataset"], row["config_dataset"]) == ("imagenet1k", "photos")
    assert (row["better"], row["worse"]) == ("vitb_sup/wecolora_r2_k128_a1", "vitb_sup/weco_kd_r2_a1")
    assert (claim["comparisons"], claim["run"], claim["held"], claim["ahead"]) == (5, 1, 1, 1)


def test_only_seeds_that_both_have_count():
    row, _ = supervised_photos([42, 53, 61, 99, 98], [40, 50, 60])
    assert (row["seeds"], row["better_mean"], row["difference"]) == (3, 52, 2)
    claims, comparisons = judged(
        score("sup", "wecolora", 2, 1, 0, "photos", 60), score("sup", "weco_kd", 2, 1, 1, "photos", 50)
    )
    assert comparisons.empty and set(claims["verdict"]) == {"not run"}


@pytest.mark.parametrize(("value", "sign"), [(51, "ahead"), (50, "level"), (49, "behind")])
def test_one_seed_is_undecided(value, sign):
    row, claim = supervised_photos([value], [50])
    assert (row["verdict"], row["sign"], row["seeds"]) == ("undecided", sign, 1) and np.isnan(row["std"])
    assert (claim["verdict"], claim["ahead"], claim["undecided"]) == ("undecided", int(sign == "ahead"), 1)


def test_fails_and_undecided():
    row, claim = supervised_photos([38, 49, 57], [40, 50, 60])
    assert (row["verdict"], row["sign"], claim["verdict"], claim["failed"]) == ("fails", "behind", "fails", 1)
    row, claim = supervised_photos([45, 49, 62], [40, 50, 60])
    assert (row["verdict"], row["sign"], claim["verdict"], claim["ahead"]) == ("undecided", "ahead", "undecided", 1)


def test_the_teacher_is_paired_with_every_seed():
    rows = [score("mae", "teacher", 1, None, None, "digits", 55)]
    rows += seeds("mae", "wecolora", [49.6, 49.8, 50.0], alpha=10, dataset="digits")
    comparisons = judged(*rows)[1]
    bound = comparisons[comparisons["claim"] == "teacher_is_upper_bound"].iloc[0]
    # 5.4, 5.2, 5.0: within 5.35 in the mean, and the bound 5.2 + 2.920 x 0.2 / sqrt(3) = 5.54 is not
    assert (bound["seeds"], bound["verdict"], bound["better"]) == (3, "holds", "vitb_mae/teacher")
    assert bound["difference"] == pytest.approx(5.2) and bound["std"] == pytest.approx(0.2)
    near = comparisons[comparisons["claim"] == "wecolora_near_teacher"].iloc[0]
    assert (near["sign"], near["verdict"], near["worse_mean"], near["margin"]) == ("ahead", "undecided", 55, -5.35)
    assert near["difference"] == pytest.approx(-5.2)
    nearer = [{**row, "last": row["last"] + 0.4} if row["method"] == "wecolora" else row for row in rows]
    assert judged(*nearer)[0].loc["wecolora_near_teacher", "verdict"] == "holds"
    farther = [{**row, "last": row["last"] - 0.6} if row["method"] == "wecolora" else row for row in rows]
    assert judged(*farther)[0].loc["wecolora_near_teacher", "verdict"] == "fails"


def test_gains_are_paired_over_all_four_runs():
    rows = seeds("sup", "wecolora", [60, 61, 62]) + seeds("sup", "weco_kd", [40, 42, 44])  # 20, 19, 18
    rows += seeds("sup", "wecolora", [70, 71], alpha=10) + seeds("sup", "weco_kd", [69, 69, 69], alpha=10)  # 1, 2
    comparisons = judged(*rows)[1]
    (row,) = comparisons[comparisons["claim"] == "gain_at_1_over_10"].to_dict("records")
    assert (row["seeds"], row["better_mean"], row["worse_mean"], row["difference"]) == (2, 19.5, 1.5, 18)
    # 19 and 17: 18 - 6.314 x 1 > 0
    assert row["verdict"] == "holds" and row["std"] == pytest.approx(2**0.5)
    assert row["better"] == "vitb_sup/wecolora_r2_k128_a1 - vitb_sup/weco_kd_r2_a1"
    assert row["published_better"] == pytest.approx(25.0) and row["published_worse"] == pytest.approx(0.9)
    assert judged(*(row for row in rows if row["alpha"] == 1))[1]["claim"].isin(["gain_at_1_over_10"]).sum() == 0


# Which runs fill the roles


def test_ranks_are_relative_to_the_width():
    rows = [row for k in (8, 16, 32, 64) for row in seeds("sup", "wecolora", [k] * 2, alpha=10, dataset="digits", k=k)]
    claims, comparisons = judged(*rows)
    ranks = comparisons[comparisons["claim"].str.startswith("rank")]
    means = {
        (row.better.split("_k")[1], row.worse.split("_k")[1]): (row.better_mean, row.worse_mean)
        for row in ranks.itertuples()
    }
    assert means == {
        ("128_a10", "64_a10"): (16, 8),
        ("256_a10", "64_a10"): (32, 8),
        ("128_a10", "512_a10"): (16, 64),
        ("256_a10", "512_a10"): (32, 64),
    }
    assert ranks["published_better"].isna().all()
    assert (claims.loc["rank_64_too_small", "verdict"], claims.loc["rank_512_too_large", "verdict"]) == (
        "holds",
        "fails",
    )
    # At another width these are other ranks.
    claims, _ = judged(*rows, widths={"sup": 97, "mae": 768})
    assert set(claims.loc[["rank_64_too_small", "rank_512_too_large"], "verdict"]) == {"not run"}


def test_other_claims_take_a_sixth_of_the_width():
    rows = seeds("sup", "wecolora", [60, 61], k=16) + seeds("sup", "wecolora", [90, 91], k=64)
    rows += seeds("sup", "weco_kd", [50, 50])
    comparisons = judged(*rows)[1]
    assert set(comparisons["better_mean"]) == {60.5}
    assert judged(*rows[2:])[1].empty


def test_runs_with_a_loss_point_of_their_own_do_not_count():
    rows = seeds("sup", "wecolora", [60, 61]) + seeds("sup", "weco_kd", [50, 50])
    other = seeds("sup", "weco_kd", [90, 90], point="_before_norm") + seeds(
        "sup", "wecolora", [1, 1], point="_before_norm"
    )
    for scores in (rows + other, other + rows):
        assert set(judged(*scores)[1]["worse_mean"]) == {50}
    assert judged(*other)[1].empty


def test_other_teachers_data_sets_and_methods_do_not_count():
    rows = seeds("sup", "wecolora", [60, 61]) + seeds("sup", "weco_kd", [50, 50])
    others = [{**row, "teacher": "small"} for row in rows] + [{**row, "dataset": "faces"} for row in rows]
    others += seeds("sup", "wecolora_kl", [70, 70]) + seeds("sup", "weco_kd", [1, 1], alpha=3)
    assert judged(*others)[1].empty
    pd.testing.assert_frame_equal(judged(*rows, *others)[0], judged(*rows)[0])


def test_a_variant_stands_for_the_papers_method_where_that_was_not_run():
    rows = (
        seeds("sup", "wecolora", [60, 61]) + seeds("sup", "deit_soft", [30, 30]) + seeds("sup", "deit_hard", [20, 20])
    )
    comparisons = judged(*rows)[1]
    (row,) = comparisons.to_dict("records")
    assert (row["worse"], row["worse_mean"], row["published_worse"]) == ("vitb_sup/deit_hard_r2_a1", 20, 25.5)
    (row,) = judged(*rows, *seeds("sup", "deit", [25, 25]))[1].to_dict("records")
    assert (row["worse"], row["worse_mean"], row["published_worse"]) == ("vitb_sup/deit_r2_a1", 25, 25.5)
    (row,) = judged(*rows[:2], *seeds("sup", "minivit_depth", [40, 40]))[1].to_dict("records")
    assert (row["worse"], row["worse_mean"], row["published_worse"]) == ("vitb_sup/minivit_depth_r2_a1", 40, 26.7)


def test_the_variant_of_the_campaigns_own_table_stands_for_the_papers_method_first():
    """Else one table's method would be two methods, where a variant was run for some of its cells alone."""
    rows = seeds("sup", "wecolora", [60, 61]) + seeds("sup", "deit", [30, 30]) + seeds("sup", "deit_hard", [20, 20])
    (row,) = judged(*rows, methods={5: ["deit_hard", "wecolora"]})[1].to_dict("records")
    assert (row["worse"], row["worse_mean"]) == ("vitb_sup/deit_hard_r2_a1", 20)
    (row,) = judged(*rows, methods={2: ["deit_hard", "wecolora"]})[1].to_dict("records")
    assert (row["worse"], row["worse_mean"]) == ("vitb_sup/deit_r2_a1", 30)


@pytest.mark.parametrize(
    "changes",
    [
        {"teachers": {"sup": SUP, "other": SUP}, "widths": {"sup": 96, "other": 96}},
        {"datasets": {"photos": "cifar100", "digits": "cifar100"}},
        {"teachers": {"sup": "vitb"}},
        {"datasets": {"photos": "cifar10"}},
        {"widths": {"sup": 96}},
    ],
)
def test_roles_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValidationError):
        recipe(**changes)


# Verdicts of claims


@pytest.mark.parametrize(
    ("needs", "held", "failed", "undecided", "expected"),
    [
        ("all", 3, 0, 0, "holds"),
        ("all", 2, 0, 1, "undecided"),
        ("all", 2, 1, 0, "fails"),
        ("all", 0, 1, 5, "fails"),
        ("all", 0, 0, 1, "undecided"),
        ("all", 0, 0, 0, "not run"),
        ("most", 3, 2, 0, "holds"),
        ("most", 2, 2, 0, "fails"),
        ("most", 2, 1, 1, "undecided"),
        ("most", 1, 2, 1, "fails"),
        ("most", 3, 0, 2, "holds"),
        ("most", 0, 0, 2, "undecided"),
        ("most", 0, 0, 0, "not run"),
    ],
)
@pytest.mark.parametrize("missing", [0, 4])
def test_verdicts_of_claims(needs, held, failed, undecided, expected, missing):
    verdicts = ["holds"] * held + ["fails"] * failed + ["undecided"] * undecided + ["not run"] * missing
    assert verdict_of_claim(needs, verdicts) == verdict_of_claim(needs, verdicts[::-1]) == expected


# Files


def written(scores, folder):
    folder.mkdir()
    paths = [folder / name for name in ("claims.csv", "claims_comparisons.csv", "claims.md")]
    write_claims(scores, recipe(), *paths)
    return [path.read_text() for path in paths]


def test_files_are_the_same_each_time_whatever_the_order_of_the_scores(tmp_path):
    scores = paper_as_scores(noise=0.5)
    for shuffled, ordered in zip(
        judge(scores.sample(frac=1, random_state=9), recipe()), judge(scores, recipe()), strict=True
    ):
        pd.testing.assert_frame_equal(shuffled, ordered, check_exact=True)
    texts = [written(scores.sample(frac=1, random_state=n), tmp_path / str(n)) for n in range(3)]
    assert texts[0] == texts[1] == texts[2] == written(scores, tmp_path / "unshuffled")


def test_the_csv_files(tmp_path):
    written(paper_as_scores(), tmp_path / "out")
    claims = pd.read_csv(tmp_path / "out" / "claims.csv")
    comparisons = pd.read_csv(tmp_path / "out" / "claims_comparisons.csv")
    assert list(claims["claim"]) == [claim.name for claim in CLAIMS]
    assert list(claims["comparisons"]) == [(comparisons["claim"] == claim.name).sum() for claim in CLAIMS]
    row = comparisons[comparisons["claim"] == "weco_kd_behind_at_10"].iloc[0]
    assert (row["published_difference"], row["margin"], row["published_sign"]) == (2.3, 2.25, "ahead")
    assert row["config_dataset"] == "photos" and row["difference"] == pytest.approx(2.3, abs=1e-3)


def test_the_markdown_shows_title_and_caption_as_they_were_typed(tmp_path):
    paths = [tmp_path / name for name in ("claims.csv", "comparisons.csv", "claims.md")]
    write_claims(paper_as_scores(), recipe(title=NASTY, caption=f"{NASTY}\n\n# {NASTY}"), *paths)
    text = paths[2].read_text()
    assert head(text) == f"{NASTY}. {NASTY} # {NASTY}"
    assert [row[0] for row in cells(text)] == ["Claim", *(claim.statement for claim in CLAIMS)]


@pytest.mark.parametrize("rows", [0, 1])
def test_without_scores_and_with_one_there_are_verdicts_too(rows, tmp_path):
    """Of one score nothing is decided; it is found out when all students are trained."""
    _, _, text = written(frame(*paper_as_scores().to_dict("records")[:rows]), tmp_path / "out")
    assert {row[3] for row in cells(text)[1:]} == {"not run"}


def test_the_markdown(tmp_path):
    rows = [row for row in paper_as_scores().to_dict("records") if row["alpha"] != 10]
    text = written(frame(*rows), tmp_path / "out")[2]
    assert text.startswith("**Claims.** What the paper says.\n\n|")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    assert lines[0] == ["Claim", "Where", "Needs", "Verdict", "Regenerated", "Published"]
    table = {cells[0]: cells[1:] for cells in lines[2:]}
    assert len(table) == len(CLAIMS)
    of = {claim.name: table[claim.statement] for claim in CLAIMS}
    assert of["weight_copy_over_scratch"] == [
        "Table 1, sections 4.3 and 5", "all", "holds", "ahead in 3 of 3 (held 3); 3 of 6 were run", "6 of 6"
    ]  # fmt: skip
    assert of["wecolora_over_weco_kd_at_5"] == [
        "Table 7, section 7", "all", "fails", "ahead in 16 of 20 (held 16)", "16 of 20, not borne out"
    ]  # fmt: skip
    assert of["wecolora_over_weco_kd_at_10"][2:] == ["not run", "-", "17 of 20"]
    assert of["rank_64_too_small"][2:] == ["not run", "-", "not printed"]
    assert "one-sided 95% confidence bound" in text.splitlines()[-5] and text.endswith("\n")
