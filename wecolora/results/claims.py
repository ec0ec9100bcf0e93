"""What the paper claims in words, and whether a campaign confirms it; each claim consists of comparisons of scores.

All statements of the paper (arXiv 2404.09326; sections 4.3, 5 and 7) that one score lies above another are here. Its
statements about latent spaces, attention and cost (Figures 2 and 3, parameters, FLOPs, times) compare no scores.
Neither does "stable performance when k = 128 and k = 256": it does not say which difference would still be stable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from wecolora.config.methods import METHODS, variants
from wecolora.config.recipes import ClaimsRecipe
from wecolora.core.files import atomic_write, write_text
from wecolora.results.escape import markdown, markdown_table
from wecolora.results.published import published

PAPER_WIDTH = 768  # the width of ViT-B
PAPER_RANK = 128  # the rank of claims that are not about ranks; section 4.3 counts parameters for it


@dataclass(frozen=True)
class PaperRun:
    """A run of the paper, without a seed.

    ``k`` is its rank at the paper's width. ``table`` is the table that prints its scores, or None for Figure 4, which
    prints no numbers. The teacher itself has the method ``teacher``, r 1 and no alpha.
    """

    teacher: str
    method: str
    r: int
    alpha: float | None
    table: int | None
    k: int = PAPER_RANK

    @property
    def rank(self) -> Fraction | None:
        """The rank as a share of the width, which a campaign with a narrower teacher matches; None if the method has
        none."""
        return Fraction(self.k, PAPER_WIDTH) if "k" in METHODS[self.method].axes else None

    def __str__(self) -> str:
        if self.alpha is None:
            return f"{self.teacher}/{self.method}"
        rank = "" if self.rank is None else f"_k{self.k}"
        return f"{self.teacher}/{self.method}_r{self.r}{rank}_a{self.alpha:g}"


@dataclass(frozen=True)
class Gain:
    """The difference by which one run's score exceeds another's."""

    run: PaperRun
    over: PaperRun

    def __str__(self) -> str:
        return f"{self.run} - {self.over}"


@dataclass(frozen=True)
class Comparison:
    """The claim that on one data set ``better`` lies more than ``margin`` points above ``worse``."""

    dataset: str
    better: PaperRun | Gain
    worse: PaperRun | Gain
    margin: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, where it stands, and the comparisons of which all, or most, must hold."""

    name: str
    statement: str
    where: str
    needs: Literal["all", "most"]
    comparisons: tuple[Comparison, ...]


# The claims

SUP, MAE = "vitb_sup", "vitb_mae"
FIVE = ("imagenet1k", "chestxray14", "inat19", "resisc45", "cifar100")
THREE = ("imagenet1k", "inat19", "cifar100")
TABLE_OF_ALPHA = {1: 3, 2: 6, 5: 7, 10: 4}  # the table that prints WeCoLoRA beside WeCo+KD


def _over(
    better: str,
    worse: Sequence[str],
    table: int,
    teacher: str,
    alphas: Sequence[int] = (1, 10),
    datasets: Sequence[str] = THREE,
    margin: float = 0.0,
) -> tuple[Comparison, ...]:
    """Return the comparisons of one method with each of the others, in a table that has r = 2 alone (1, 2 and 5)."""
    return tuple(
        Comparison(
            dataset, PaperRun(teacher, better, 2, alpha, table), PaperRun(teacher, other, 2, alpha, table), margin
        )
        for alpha in alphas
        for other in worse
        for dataset in datasets
    )


def _gain(teacher: str, r: int, alpha: int) -> Gain:
    table = TABLE_OF_ALPHA[alpha]
    return Gain(PaperRun(teacher, "wecolora", r, alpha, table), PaperRun(teacher, "weco_kd", r, alpha, table))


def _over_baseline(
    alphas: Sequence[int],
    teachers: Sequence[str] = (SUP, MAE),
    ratios: Sequence[int] = (2, 3),
    datasets: Sequence[str] = FIVE,
    margin: float = 0.0,
) -> tuple[Comparison, ...]:
    """Return the comparisons of WeCoLoRA with WeCo+KD (Tables 3, 4, 6 and 7; Figures 5 to 9)."""
    gains = [_gain(teacher, r, alpha) for alpha in alphas for teacher in teachers for r in ratios]
    return tuple(Comparison(dataset, gain.run, gain.over, margin) for gain in gains for dataset in datasets)


def _gains(larger: int, smaller: int) -> tuple[Comparison, ...]:
    """Return the comparisons of WeCoLoRA's gain over WeCo+KD at two alphas; the first should have the larger gain."""
    return tuple(
        Comparison(dataset, _gain(teacher, r, larger), _gain(teacher, r, smaller))
        for teacher in (SUP, MAE)
        for r in (2, 3)
        for dataset in FIVE
    )


def _over_rank(k: int) -> tuple[Comparison, ...]:
    """Return the comparisons of the ranks 128 and 256 with the rank k (Figure 4)."""
    run = PaperRun(SUP, "wecolora", 2, 10, table=None)
    return tuple(Comparison("cifar100", replace(run, k=good), replace(run, k=k)) for good in (128, 256))


# "By n points" is read as at least n after rounding: 2.3 begins at 2.25, 16 at 15.5. "Significantly" is read as better,
# because the paper makes no test. A statement without "most" or "generally" is about all cases.
CLAIMS = (
    Claim(
        "weight_copy_over_scratch",
        "Copying the teacher's weights brings significant boosts over distilling a student from scratch.",
        "Table 1, sections 4.3 and 5",
        "all",
        _over("weco_kd", ["scratch_kd"], 1, MAE),
    ),
    Claim(
        "lora_qv_poor_at_10",
        "LoRA on Q and V alone performs poorly with 10% of the images (here: below WeCo+KD).",
        "Table 1, section 4.3",
        "all",
        _over("weco_kd", ["weco_lora_qv"], 1, MAE, alphas=[10]),
    ),
    Claim(
        "wecolora_over_ablations",
        "WeCoLoRA outperforms both LoRA on Q and V and WeCo+KD on all data sets.",
        "Table 1, section 4.3",
        "all",
        _over("wecolora", ["weco_lora_qv", "weco_kd"], 1, MAE),
    ),
    Claim(
        "weco_kd_behind_at_10",
        "With 10% of the images, WeCo+KD is 2.3 points behind WeCoLoRA on ImageNet.",
        "Table 1, section 4.3",
        "all",
        _over("wecolora", ["weco_kd"], 1, MAE, alphas=[10], datasets=["imagenet1k"], margin=2.25),
    ),
    Claim(
        "weco_kd_over_dmae_deit",
        "WeCo+KD surpasses both DMAE and DeiT (self-supervised teacher).",
        "Table 2, section 4.3",
        "all",
        _over("weco_kd", ["dmae", "deit"], 2, MAE),
    ),
    Claim(
        "wecolora_over_dmae_deit",
        "WeCoLoRA surpasses DMAE and DeiT by significant margins (self-supervised teacher).",
        "Table 2, section 4.3",
        "all",
        _over("wecolora", ["dmae", "deit"], 2, MAE),
    ),
    Claim(
        "wecolora_over_dmae_deit_by_16",
        "On ImageNet, WeCoLoRA surpasses DMAE and DeiT by 16 points or more (self-supervised teacher).",
        "Table 2, section 4.3",
        "all",
        _over("wecolora", ["dmae", "deit"], 2, MAE, datasets=["imagenet1k"], margin=15.5),
    ),
    Claim(
        "teacher_is_upper_bound",
        "The teacher is an upper bound for the few-shot methods.",
        "Table 2, section 4.3",
        "all",
        tuple(
            Comparison(dataset, PaperRun(MAE, "teacher", 1, None, 2), PaperRun(MAE, method, 2, alpha, 2))
            for alpha in (1, 10)
            for method in ("dmae", "deit", "weco_kd", "wecolora")
            for dataset in THREE
        ),
    ),
    Claim(
        "wecolora_near_teacher",
        "With 10% of the images, WeCoLoRA is only 5.3 points below the teacher on CIFAR-100.",
        "Table 2, section 4.3",
        "all",
        # The margin is negative: the student may be below the teacher by 5.3 points, or by anything that rounds to it.
        (
            Comparison(
                "cifar100", PaperRun(MAE, "wecolora", 2, 10, 2), PaperRun(MAE, "teacher", 1, None, 2), margin=-5.35
            ),
        ),
    ),
    Claim(
        "weco_kd_over_deit_minivit_dmae",
        "WeCo+KD surpasses DeiT, MiniViT and DMAE in most cases, except on CIFAR-100 at 1% (supervised teacher).",
        "Table 5, section 7",
        "most",
        _over("weco_kd", ["deit", "minivit", "dmae"], 5, SUP),
    ),
    Claim(
        "wecolora_over_all_methods",
        "WeCoLoRA outperforms DeiT, MiniViT, DMAE and WeCo+KD, regardless of the data set (supervised teacher).",
        "Table 5, section 7",
        "all",
        _over("wecolora", ["deit", "minivit", "dmae", "weco_kd"], 5, SUP),
    ),
    Claim(
        "wecolora_over_weco_kd_at_1",
        "With 1% of the images, WeCoLoRA outperforms WeCo+KD in most cases.",
        "Table 3, section 4.3",
        "most",
        _over_baseline([1]),
    ),
    Claim(
        "wecolora_over_weco_kd_at_1_supervised",
        "With 1%, r = 2 and the supervised teacher, WeCoLoRA outperforms WeCo+KD on all five data sets.",
        "Table 3 (bold type)",
        "all",
        _over_baseline([1], [SUP], [2]),
    ),
    Claim(
        "wecolora_by_25_at_1",
        "With 1%, r = 2 and the supervised teacher, WeCoLoRA surpasses WeCo+KD by 25 points on ImageNet.",
        "Table 3, section 4.3",
        "all",
        _over_baseline([1], [SUP], [2], ["imagenet1k"], margin=24.5),
    ),
    Claim(
        "wecolora_over_weco_kd_at_10",
        "With 10% of the images, WeCoLoRA outperforms WeCo+KD in most settings.",
        "Table 4, section 4.3",
        "most",
        _over_baseline([10]),
    ),
    Claim(
        "gain_at_1_over_10",
        "WeCoLoRA's gains over WeCo+KD are generally lower with 10% of the images than with 1%.",
        "Tables 3 and 4, section 4.3",
        "most",
        _gains(1, 10),
    ),
    Claim(
        "wecolora_over_weco_kd_at_2",
        "With 2% of the images, WeCoLoRA attains higher performance than WeCo+KD.",
        "Table 6, section 7",
        "all",
        _over_baseline([2]),
    ),
    Claim(
        "wecolora_over_weco_kd_at_5",
        "With 5% of the images, WeCoLoRA attains higher performance than WeCo+KD.",
        "Table 7, section 7",
        "all",
        _over_baseline([5]),
    ),
    Claim(
        "gain_at_2_over_5",
        "WeCoLoRA's gains over WeCo+KD are higher where data is scarce (here: at 2% mostly higher than at 5%).",
        "Tables 6 and 7, section 7",
        "most",
        _gains(2, 5),
    ),
    Claim(
        "wecolora_by_2_on_imagenet",
        "With 2% and 5%, WeCoLoRA is at least 2 points above WeCo+KD on ImageNet, whatever r (supervised teacher).",
        "Tables 6 and 7, section 7",
        "all",
        _over_baseline([2, 5], [SUP], datasets=["imagenet1k"], margin=1.95),
    ),
    Claim(
        "same_trend_on_other_datasets",
        "The improvement with 2% and 5% shows on the other data sets, too (supervised teacher).",
        "Tables 6 and 7, section 7",
        "all",
        _over_baseline([2, 5], [SUP], datasets=FIVE[1:]),
    ),
    Claim(
        "wecolora_over_weco_kd_at_1_and_2",
        "With 1% and 2%, WeCoLoRA obtains significantly higher performance than WeCo+KD (supervised teacher).",
        "Figures 5 to 9, section 7",
        "all",
        _over_baseline([1, 2], [SUP]),
    ),
    Claim(
        "wecolora_over_weco_kd_at_10_supervised",
        "With 10%, too, WeCoLoRA outperforms WeCo+KD in most cases (supervised teacher).",
        "Figures 5 to 9, section 7",
        "most",
        _over_baseline([10], [SUP]),
    ),
    Claim(
        "rank_64_too_small",
        "The performance drops if the rank is too small: k = 64 is below 128 and 256.",
        "Figure 4, section 4.3",
        "all",
        _over_rank(64),
    ),
    Claim(
        "rank_512_too_large",
        "The performance drops if the rank is too large: k = 512 is below 128 and 256.",
        "Figure 4, section 4.3",
        "all",
        _over_rank(512),
    ),
    Claim(
        "r2_over_r3",
        "Students with half of the teacher's blocks (r = 2) are better than those with a third (r = 3).",
        "Tables 3, 4, 6 and 7 (not in words)",
        "most",
        tuple(
            Comparison(dataset, PaperRun(teacher, method, 2, alpha, table), PaperRun(teacher, method, 3, alpha, table))
            for alpha, table in TABLE_OF_ALPHA.items()
            for teacher in (SUP, MAE)
            for method in ("weco_kd", "wecolora")
            for dataset in FIVE
        ),
    ),
)

# Scores of runs

BySeed = dict[int | None, float]  # scores in percent; the seed is None for a teacher and for a published score
Lookup = Callable[[PaperRun, str], BySeed]
Found = dict[tuple[object, ...], BySeed]


def _key(run: PaperRun, dataset: str) -> tuple[object, ...]:
    return (run.teacher, run.method, run.r, run.alpha, run.rank, dataset)


def _scores_of_campaign(scores: pd.DataFrame, recipe: ClaimsRecipe) -> tuple[Found, dict[tuple[object, ...], str]]:
    """Return the campaign's scores under the paper's names, and the campaign's names of the runs behind them.

    The names are in the order of the seeds, joined by spaces. Runs with a loss point of their own are left out: they
    belong to another question.
    """
    usual = scores["slug"].str.fullmatch(r"teacher|.*_s\d+")
    known = scores["teacher"].isin(recipe.teachers) & scores["dataset"].isin(recipe.datasets)
    found: Found = {}
    names: dict[tuple[object, ...], str] = {}
    for row in scores[usual & known].sort_values("seed", kind="stable").to_dict("records"):
        key = (
            recipe.teachers[row["teacher"]],
            row["method"],
            row["r"],
            None if pd.isna(row["alpha"]) else row["alpha"],
            None if pd.isna(row["k"]) else Fraction(int(row["k"]), recipe.widths[row["teacher"]]),
            recipe.datasets[row["dataset"]],
        )
        found.setdefault(key, {})[None if pd.isna(row["seed"]) else int(row["seed"])] = row["last"]
        names[key] = f"{names.get(key, '')} {row['teacher']}/{row['slug']}".strip()
    return found, names


def _published(run: PaperRun, dataset: str) -> BySeed:
    if run.table is None:
        return {}
    score = published(run.teacher, run.r, run.method, run.alpha, dataset, run.table)
    return {} if score is None else {None: score}


def _pairs(better: BySeed, worse: BySeed) -> dict[int | None, tuple[float, float]]:
    """Return the pairs of scores that both sides have, by seed.

    A score without a seed is paired with every seed of the other side.
    """
    if None in better:
        better = dict.fromkeys(worse, better[None])
    elif None in worse:
        worse = dict.fromkeys(better, worse[None])
    return {seed: (better[seed], worse[seed]) for seed in better if seed in worse}


def _by_seed(side: PaperRun | Gain, dataset: str, lookup: Lookup) -> BySeed:
    if isinstance(side, PaperRun):
        return lookup(side, dataset)
    pairs = _pairs(lookup(side.run, dataset), lookup(side.over, dataset))
    return {seed: score - other for seed, (score, other) in pairs.items()}


# Verdicts


def _sign(difference: float, margin: float) -> str:
    """Return where a difference of scores lies: "ahead" of the margin, "behind" it or "level" with it, or "" for nan.

    A difference that only rounding separates from the margin is level.
    """
    if np.isnan(difference):
        return ""
    above = round(difference - margin, 9)
    return "ahead" if above > 0 else "behind" if above < 0 else "level"


def verdict(differences: np.ndarray, margin: float) -> str:
    """Return whether paired differences (n seeds, in points) lie above the margin.

    The verdict is ``holds`` or ``fails`` if the one-sided 95% confidence bound of their mean, by Student's t with n - 1
    degrees of freedom, excludes the opposite. Otherwise it is ``undecided``, as it always is for one seed. Without
    seeds it is ``not run``.
    """
    n = len(differences)
    if n < 2:
        return "undecided" if n else "not run"
    bound = stats.t.ppf(0.95, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    if _sign(differences.mean() - bound, margin) == "ahead":
        return "holds"
    return "fails" if _sign(differences.mean() + bound, margin) == "behind" else "undecided"


def verdict_of_claim(needs: Literal["all", "most"], verdicts: Iterable[str]) -> str:
    """Return the verdict of a claim from the verdicts of its comparisons; only those that were run count."""
    run = [verdict for verdict in verdicts if verdict != "not run"]
    held, failed = run.count("holds"), run.count("fails")
    if not run:
        return "not run"
    if held == len(run) or (needs == "most" and 2 * held > len(run)):
        return "holds"
    return "fails" if failed and (needs == "all" or 2 * failed >= len(run)) else "undecided"


def judge(scores: pd.DataFrame, recipe: ClaimsRecipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the claims and their comparisons, two tables with a row each, from scores as read_scores gives them.

    Scores and differences are in percentage points. ``ahead`` counts the comparisons whose mean difference lies above
    the margin, decided or not. The paper prints one score for each run, so its own verdict rests on the signs of the
    differences alone.
    """
    found, names = _scores_of_campaign(scores, recipe)
    comparisons = pd.DataFrame(
        {"claim": claim.name, **_compare(comparison, found, names, recipe)}
        for claim in CLAIMS
        for comparison in claim.comparisons
    )
    claims = pd.DataFrame(_judge_claim(claim, comparisons[comparisons["claim"] == claim.name]) for claim in CLAIMS)
    return claims, comparisons


def _compare(
    comparison: Comparison, found: Found, names: dict[tuple[object, ...], str], recipe: ClaimsRecipe
) -> dict[str, object]:
    dataset, margin = comparison.dataset, comparison.margin

    def variant_that_was_run(side: PaperRun | Gain) -> PaperRun | Gain:
        if isinstance(side, Gain):  # its methods have no variants
            return side
        # A variant in the campaign's version of the paper's table comes first, so that one serves a whole table.
        forms = variants(side.method)
        in_table = [name for name in forms if name in recipe.methods.get(side.table or 0, [])]
        runs = [replace(side, method=name) for name in (*in_table, *forms)]
        return next((run for run in runs if _key(run, dataset) in found), side)

    def runs_behind(side: PaperRun | Gain) -> str:
        if isinstance(side, Gain):
            return f"{runs_behind(side.run)} {runs_behind(side.over)}".strip()
        return names.get(_key(side, dataset), "")

    def regenerated(run: PaperRun, dataset: str) -> BySeed:
        return found.get(_key(run, dataset), {})

    sides = [variant_that_was_run(side) for side in (comparison.better, comparison.worse)]
    pairs = np.array(list(_pairs(*(_by_seed(side, dataset, regenerated) for side in sides)).values())).reshape(-1, 2)
    differences = pairs[:, 0] - pairs[:, 1]
    seeds = len(pairs)
    better_mean, worse_mean = pairs.mean(axis=0) if seeds else (np.nan, np.nan)
    in_paper = [_by_seed(side, dataset, _published).get(None, np.nan) for side in sides]
    return {
        "dataset": dataset,
        "config_dataset": next((name for name, role in recipe.datasets.items() if role == dataset), None),
        "better": str(sides[0]),
        "worse": str(sides[1]),
        "better_runs": runs_behind(sides[0]),
        "worse_runs": runs_behind(sides[1]),
        "margin": margin,
        "better_mean": better_mean,
        "worse_mean": worse_mean,
        "difference": better_mean - worse_mean,
        "std": differences.std(ddof=1) if seeds > 1 else np.nan,
        "seeds": seeds,
        "sign": _sign(better_mean - worse_mean, margin),
        "verdict": verdict(differences, margin),
        "published_better": in_paper[0],
        "published_worse": in_paper[1],
        "published_difference": in_paper[0] - in_paper[1],
        "published_sign": _sign(in_paper[0] - in_paper[1], margin),
    }


def _judge_claim(claim: Claim, comparisons: pd.DataFrame) -> dict[str, Any]:
    verdicts = list(comparisons["verdict"])
    in_paper = [sign for sign in comparisons["published_sign"] if sign]
    in_paper_verdict = verdict_of_claim(claim.needs, ("holds" if sign == "ahead" else "fails" for sign in in_paper))
    return {
        "claim": claim.name,
        "statement": claim.statement,
        "where": claim.where,
        "needs": claim.needs,
        "verdict": verdict_of_claim(claim.needs, verdicts),
        "comparisons": len(verdicts),
        "run": len(verdicts) - verdicts.count("not run"),
        "held": verdicts.count("holds"),
        "failed": verdicts.count("fails"),
        "undecided": verdicts.count("undecided"),
        "ahead": list(comparisons["sign"]).count("ahead"),
        "published_verdict": in_paper_verdict if in_paper else "not printed",
        "published_ahead": in_paper.count("ahead"),
        "published_comparisons": len(in_paper),
    }


METHOD = """\
A comparison is paired over the seeds that both runs have: it holds (fails) where the one-sided 95% confidence bound of
the mean difference, by Student's t, lies above (below) what is claimed, and is undecided otherwise, always so with one
seed; `ahead` counts the means alone. Seeds vary initialisation, order and probes, and not the subset. A claim holds
where all of its comparisons that were run hold, or `most` (more than half) where the paper says so; the published
scores, one a run, are judged by their signs.
"""


def printed_claim(claim: dict[Any, Any]) -> dict[str, str]:
    """Return a claim's row as a reader sees it."""
    regenerated, in_paper = "-", "not printed"
    if claim["run"]:
        regenerated = f"ahead in {claim['ahead']} of {claim['run']} (held {claim['held']})"
        if claim["run"] < claim["comparisons"]:
            regenerated += f"; {claim['run']} of {claim['comparisons']} were run"
    if claim["published_comparisons"]:
        in_paper = f"{claim['published_ahead']} of {claim['published_comparisons']}"
        if claim["published_verdict"] == "fails":
            in_paper += ", not borne out"
    return {
        "Claim": claim["statement"],
        "Where": claim["where"],
        "Needs": claim["needs"],
        "Verdict": claim["verdict"],
        "Regenerated": regenerated,
        "Published": in_paper,
    }


def write_claims(
    scores: pd.DataFrame, recipe: ClaimsRecipe, csv: str | Path, comparisons_csv: str | Path, md: str | Path
) -> None:
    """Write the claims and their comparisons as CSV, and the claims as a Markdown table that says how it judges."""
    claims, comparisons = judge(scores, recipe)
    for frame, path in ((claims, csv), (comparisons, comparisons_csv)):
        with atomic_write(path) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
    printed = pd.DataFrame([printed_claim(claim) for claim in claims.to_dict("records")]).map(markdown)
    table = markdown_table(printed, len(printed.columns))
    write_text(md, f"**{markdown(recipe.title)}.** {markdown(recipe.caption)}\n\n{table}\n\n{METHOD}")
