"""Runs: names that round-trip, one name a run, each run once."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wecolora.config.methods import METHODS
from wecolora.config.runs import RunSpec, expand, union
from wecolora.core.errors import BadInput

ADAPTERS = ["wecolora", "weco_lora_qv"]
PLAIN = ["weco_kd", "scratch_kd"]
SEEDLESS = ["weight_copy", "calibrated", "calibrated_k"]  # nothing in them is drawn
TOKENLESS = ["dmae", "deit", "deit_hard", "deit_soft", "minivit", "minivit_depth", *SEEDLESS]  # no loss compares tokens
LIMITS = settings(deadline=None, max_examples=200)

alphas = st.one_of(
    st.integers(1, 100),
    st.integers(1, 100_000).map(lambda thousandths: float(Decimal(thousandths) / 1000)),
    st.sampled_from([0.25, 12.5, 0.1, 100.0, 1e-05, 33.333333333333336]),
    st.floats(1e-6, 100, exclude_min=True),
)
runs = st.builds(
    RunSpec,
    teacher=st.just("demo_sup"),
    method=st.sampled_from(list(METHODS)),
    r=st.integers(1, 24),
    k=st.integers(1, 1024),
    alpha=alphas,
    seed=st.integers(0, 10**6),
    loss_point=st.sampled_from([None, "before_norm", "after_norm"]),
    layers=st.sampled_from([None, "paper", "authors_code", "first", "influence", "search"]),
)


@LIMITS
@given(runs)
def test_a_slug_reads_back_as_its_run(run):
    again = RunSpec.parse(run.teacher, run.slug())
    assert again == run
    assert again.slug() == run.slug()


@LIMITS
@given(runs, runs)
@example(RunSpec("t", "wecolora", 2, 11, 1, 0), RunSpec("t", "wecolora", 21, 1, 1, 0))
@example(RunSpec("t", "wecolora", 2, 1, 12.5, 0), RunSpec("t", "wecolora", 2, 1, 1.25, 0))
def test_different_runs_have_different_slugs(one, other):
    assert (one.slug() == other.slug()) == (one == other)


@LIMITS
@given(runs)
def test_slugs_are_plain_file_names(run):
    slug = run.slug()
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.")
    if run.method != "teacher":
        assert re.search(r"_a[0-9.]+(_s\d+)?(_before_norm|_after_norm)?(_[a-z_]+)?$", slug)  # no exponent


@pytest.mark.parametrize(
    ("run", "slug"),
    [
        (RunSpec("t", "wecolora", 2, 128, 1, 0), "wecolora_r2_k128_a1_s0"),
        (RunSpec("t", "wecolora", 2, 128, 1.0, 0), "wecolora_r2_k128_a1_s0"),
        (RunSpec("t", "weco_lora_qv", 3, 64, 0.25, 7), "weco_lora_qv_r3_k64_a0.25_s7"),
        (RunSpec("t", "weco_lora_qv", 3, 64, 12.5, 7), "weco_lora_qv_r3_k64_a12.5_s7"),
        (RunSpec("t", "weco_kd", 2, 128, 10, 0), "weco_kd_r2_a10_s0"),
        (RunSpec("t", "scratch_kd", 2, None, 100, 0), "scratch_kd_r2_a100_s0"),
        (RunSpec("t", "scratch_kd", 2, None, 0.00001, 0), "scratch_kd_r2_a0.00001_s0"),
        (RunSpec("t", "weco_kd", 2, None, 1, 0, "before_norm"), "weco_kd_r2_a1_s0_before_norm"),
        (RunSpec("t", "wecolora_kl", 2, 8, 1, 0, "after_norm"), "wecolora_kl_r2_k8_a1_s0_after_norm"),
        (RunSpec("t", "deit", 2, None, 1, 0), "deit_r2_a1_s0"),
        (RunSpec("t", "deit_hard", 2, None, 1, 0), "deit_hard_r2_a1_s0"),
        (RunSpec("t", "teacher"), "teacher"),
    ],
)
def test_slugs_as_they_are_written(run, slug):
    assert run.slug() == slug
    assert RunSpec.parse("t", slug) == run


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "wecolora",
        "wecolora_r2_k128_a1",  # an axis is missing
        "wecolora_r2_k128_a1.0_s0",  # other spellings of what has one
        "wecolora_r2_k128_a01_s0",
        "wecolora_r2_k128_a1e1_s0",
        "wecolora_r02_k128_a1_s0",
        "wecolora_r2_k0128_a1_s0",
        "wecolora_r2_k128_a1_s00",
        "wecolora_r2_k128_a1._s0",
        "wecolora_r2_k128_a0.250_s0",
        "wecolora_r2_a1_s0",  # needs a rank
        "weco_kd_r2_k128_a1_s0",  # has none
        "nothing_r2_a1_s0",
        "wecolora_k128_r2_a1_s0",
        "wecolora_r2_k128_a-1_s0",
        "wecolora_r٢_k128_a1_s0",  # another script's 2
        "wecolora_r2_k128_a1_s0\n",
        " wecolora_r2_k128_a1_s0",
        "../wecolora_r2_k128_a1_s0",
        "wecolora_r2_k128_a1_s0.json",
        "wecolora_r2_k128_a1_s0_middle",
        "dmae_r2_a1_s0_after_norm",  # compares no tokens
        "deit",  # all but a teacher have axes
        "teacher_r1",
        "teacher_r2_a1_s0",
        "teacher_s0",
        "teacher\n",
    ],
)
def test_other_names_are_refused(slug):
    with pytest.raises(BadInput) as caught:
        RunSpec.parse("t", slug)
    assert "wecolora" in str(caught.value) or "needs" in str(caught.value)  # the known methods, or an example


@LIMITS
@given(
    st.from_regex(
        r"(wecolora|weco_kd|weco|deit|deit_hard|teacher)_r\d{1,2}(_k\d{1,3})?_a\d{1,3}(\.\d{1,3})?_s\d{1,2}",
        fullmatch=True,
    )
)
def test_parse_accepts_nothing_that_slug_does_not_write(slug):
    try:
        run = RunSpec.parse("t", slug)
    except BadInput:
        return
    assert run.slug() == slug


@pytest.mark.parametrize("method", PLAIN)
def test_a_rank_is_dropped_where_nothing_has_one(method):
    with_k, without = RunSpec("t", method, 2, 64, 1, 0), RunSpec("t", method, 2, None, 1, 0)
    assert with_k == without and hash(with_k) == hash(without) and with_k.k is None
    assert expand({"teacher": ["t"], "method": [method], "r": [2], "k": [8, 16, 64], "alpha": [1]}, [0]) == [without]


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_rank_is_wanted_where_there_are_adapters(method):
    with pytest.raises(BadInput, match="needs a rank k"):
        RunSpec("t", method, 2, None, 1, 0)


@pytest.mark.parametrize("loss_point", [None, "before_norm"])
@pytest.mark.parametrize("seed", [None, 0, 3])
@pytest.mark.parametrize(("r", "k", "alpha"), [(1, None, None), (2, None, None), (3, 16, 1), (2, 8, 10)])
def test_a_teacher_is_one_run_whatever_the_axes(r, k, alpha, seed, loss_point):
    run = RunSpec("t", "teacher", r, k, alpha, seed, loss_point)
    assert run == RunSpec("t", "teacher") and hash(run) == hash(RunSpec("t", "teacher"))
    assert (run.r, run.k, run.alpha, run.seed, run.loss_point) == (1, None, None, None, None)
    assert run.slug() == "teacher" and run != RunSpec("other", "teacher")


def test_a_product_has_each_teacher_once():
    axes = {"teacher": ["a", "b"], "method": ["weco_kd", "teacher"], "r": [2, 3], "k": [4, 8], "alpha": [1, 10]}
    found = expand({**axes, "loss_point": ["before_norm", "after_norm"]}, [0, 1, 2])
    assert [run for run in found if run.method == "teacher"] == [RunSpec("a", "teacher"), RunSpec("b", "teacher")]
    assert len(found) == 2 * 2 * 2 * 2 * 3 + 2


@pytest.mark.parametrize("method", TOKENLESS)
def test_a_loss_point_is_dropped_where_no_tokens_are_compared(method):
    k = 4 if "k" in METHODS[method].axes else None
    plain = RunSpec("t", method, 2, k, 1, 0)
    assert RunSpec("t", method, 2, k or 64, 1, 0, "before_norm") == plain and plain.loss_point is None
    axes = {"teacher": ["t"], "method": [method], "r": [2], "k": [4], "alpha": [1]}
    assert expand({**axes, "loss_point": ["before_norm", "after_norm"]}, [0]) == [plain]


@pytest.mark.parametrize("method", sorted({*METHODS} - {"teacher", *TOKENLESS}))
def test_a_loss_point_is_kept_where_tokens_are_compared(method):
    before, after, unsaid = (RunSpec("t", method, 2, 4, 1, 0, point) for point in ("before_norm", "after_norm", None))
    assert len({before, after, unsaid}) == 3 and len({run.slug() for run in (before, after, unsaid)}) == 3


@pytest.mark.parametrize("method", sorted({*METHODS} - {"teacher"}))
def test_a_rule_for_the_copied_blocks_is_kept_where_a_student_starts_from_them(method):
    unsaid, first, search = (RunSpec("t", method, 2, 4, 1, 0, layers=rule) for rule in (None, "first", "search"))
    copies = METHODS[method].start == "copy"
    assert len({unsaid, first, search}) == len({run.slug() for run in (unsaid, first, search)}) == (3 if copies else 1)
    assert first.layers == ("first" if copies else None)
    assert not copies or first.slug() == f"{unsaid.slug()}_first"


@pytest.mark.parametrize("method", sorted({*METHODS} - {"teacher"}))
@pytest.mark.parametrize("axis", ["alpha", "seed"])
def test_what_names_a_student_is_wanted(method, axis):
    axes = {"r": 2, "k": 4, "alpha": 1, "seed": 0}
    if axis not in METHODS[method].axes:  # nothing in it is drawn
        assert RunSpec("t", method, **axes) == RunSpec("t", method, **{**axes, axis: None})
        assert method in SEEDLESS
        return
    with pytest.raises(BadInput, match=f"method {method}: needs {axis}"):
        RunSpec("t", method, **{**axes, axis: None})


def test_an_unknown_method_is_refused():
    with pytest.raises(BadInput, match=r"'dora'.*wecolora"):
        RunSpec("t", "dora", 2, 4, 1, 0)


def test_expand_is_the_product_of_the_axes_each_run_once():
    axes = {"teacher": ["a", "b"], "method": [*ADAPTERS, *PLAIN], "r": [2, 3], "k": [4, 8], "alpha": [1, 10, 10.0]}
    found = expand(axes, [0, 1])
    wanted = {
        (t, m, r, k if m in ADAPTERS else None, a, s)
        for t, m, r, k, a, s in itertools.product("ab", axes["method"], (2, 3), (4, 8), (1, 10), (0, 1))
    }
    assert len(found) == len(wanted) == 2 * (2 * 2 * 2 * 2 + 2 * 2 * 2) * 2
    assert {(run.teacher, run.method, run.r, run.k, run.alpha, run.seed) for run in found} == wanted
    assert [run.teacher for run in found] == sorted(run.teacher for run in found)  # in the block's order
    assert len({(run.teacher, run.slug()) for run in found}) == len(found)


def test_expand_without_ranks():
    axes = {"teacher": ["a"], "method": PLAIN, "r": [2], "k": [], "alpha": [1]}
    assert [run.method for run in expand(axes, [0])] == PLAIN


@LIMITS
@given(st.lists(st.lists(runs, max_size=6), max_size=6))
def test_union_has_each_run_once_in_order_of_appearance(groups):
    found = union(groups)
    seen = []
    for run in itertools.chain(*groups):
        if run not in seen:
            seen.append(run)
    assert found == seen
