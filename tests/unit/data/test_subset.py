"""The few-shot subsets: nested, balanced, and exactly as many images as alpha says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wecolora.core.errors import BadInput
from wecolora.data.subset import order_images, prefix_length, read_subset, write_subset

LIMITS = settings(deadline=None, max_examples=100)

classes = st.lists(st.integers(0, 5), min_size=1, max_size=150)
# As a config writes them: with at most three decimals.
alphas = st.integers(1, 100_000).map(lambda thousandths: Decimal(thousandths) / 1000)
seeds = st.integers(0, 2**31)


def taken(groups, alpha, seed=0, strategy="balanced", count=None):
    """The positions in the subset of alpha percent."""
    order, share = order_images(groups, len(groups) if count is None else count, seed, strategy)
    # The shares travel through a file as floats.
    return order[: prefix_length([float(value) for value in share], float(alpha))].tolist()


def exactly(n, alpha):
    """floor(n * alpha / 100) in whole numbers; ``alpha`` as it is written, not as a float holds it."""
    return floor(n * Fraction(str(alpha)) / 100)


@LIMITS
@given(classes, alphas, seeds)
def test_each_class_gives_exactly_its_share(groups, alpha, seed):
    found = Counter(groups[position] for position in taken(groups, alpha, seed))
    assert {group: found[group] for group in set(groups)} == {
        group: exactly(n, alpha) for group, n in Counter(groups).items()
    }


@LIMITS
@given(classes, alphas, alphas, seeds)
def test_a_smaller_subset_lies_in_a_larger_one(groups, one, other, seed):
    small, large = (taken(groups, alpha, seed) for alpha in sorted((one, other)))
    assert large[: len(small)] == small
    assert len(set(large)) == len(large)


@LIMITS
@given(classes, seeds)
def test_the_order_has_every_image_once(groups, seed):
    order, share = order_images(groups, len(groups), seed)
    assert sorted(order.tolist()) == list(range(len(groups)))
    assert share.tolist() == sorted(share) and share[-1] == 1 and share[0] > 0
    assert taken(groups, 100, seed) == order.tolist()


@LIMITS
@given(classes, seeds)
def test_the_order_is_a_function_of_its_seed(groups, seed):
    assert order_images(groups, len(groups), seed)[0].tolist() == order_images(groups, len(groups), seed)[0].tolist()


def test_another_seed_takes_other_images():
    groups = [number % 4 for number in range(400)]
    subsets = [frozenset(taken(groups, 10, seed)) for seed in range(20)]
    assert len(set(subsets)) == 20
    # Two random tenths share a tenth of their images, 4 of 40.
    shared = [len(subsets[0] & other) for other in subsets[1:]]
    assert 1 < sum(shared) / len(shared) < 8


def test_classes_are_shuffled_apart():
    # Classes of one size do not all give the images at the same places.
    groups = [0] * 50 + [1] * 50
    found = taken(groups, 20)
    assert {p for p in found if p < 50} != {p - 50 for p in found if p >= 50}


def test_a_class_does_not_depend_on_the_other_classes():
    alone = [p for p in taken([3] * 40, 25)]
    beside = [p for p in taken([3] * 40 + [1] * 60, 25) if p < 40]
    assert sorted(alone) == sorted(beside)


@pytest.mark.parametrize("n", [7, 29, 100, 1000, 1300, 12345])
def test_alpha_is_exact_where_floats_are_not(n):
    alphas = [Decimal(tenths) / 10 for tenths in range(1, 1001)]
    share = [j / n for j in range(1, n + 1)]
    assert [prefix_length(share, float(alpha)) for alpha in alphas] == [exactly(n, alpha) for alpha in alphas]


@pytest.mark.parametrize(
    ("n", "alpha", "count"), [(100, 7, 7), (1000, 0.1, 1), (100, 29, 29), (100, 57, 57), (1000, 0.3, 3), (99, 1, 0)]
)
def test_alpha_in_known_cases(n, alpha, count):
    # 7 / 100 * 100 and 0.29 * 100 and their like are not whole in floats.
    assert len(taken([0] * n, alpha)) == count


def test_shares_are_exact_in_imagenets_size():
    n = 1_281_167
    share = [j / n for j in range(1, n + 1)]
    for alpha in ("0.1", "0.25", "1", "2", "5", "7", "10", "12.5", "29", "100"):
        assert prefix_length(share, float(alpha)) == exactly(n, alpha)


@LIMITS
@given(st.integers(1, 200), alphas, seeds)
@example(99, Decimal(1), 0)
def test_an_unlabelled_corpus_is_one_class(count, alpha, seed):
    found = taken(None, alpha, seed, count=count)
    assert len(found) == len(set(found)) == exactly(count, alpha)
    assert set(found) <= set(range(count))


@LIMITS
@given(classes, alphas, seeds)
def test_uniform_reads_no_labels(groups, alpha, seed):
    assert taken(groups, alpha, seed, "uniform") == taken(None, alpha, seed, count=len(groups))
    assert len(taken(groups, alpha, seed, "uniform")) == exactly(len(groups), alpha)


def test_uniform_is_not_balanced():
    groups = [0] * 190 + [1] * 10
    assert {Counter(groups[p] for p in taken(groups, 10, seed))[1] for seed in range(8)} == {1}
    assert len({Counter(groups[p] for p in taken(groups, 10, seed, "uniform"))[1] for seed in range(8)}) > 1


# Files


def test_a_subset_file_reads_back(array_index, tmp_path):
    path = tmp_path / "folder" / "subset.parquet"
    write_subset(array_index, 3, "balanced", path)
    positions, ids, share = read_subset(path)
    assert sorted(positions) == list(range(9))  # the training images; the last three are test images
    assert ids == [f"coarse/{position:02d}" for position in positions]
    order, exact = order_images([0, 1, 2] * 3, 9, 3)
    assert positions == order.tolist() and share == [float(value) for value in exact]
    assert [prefix_length(share, alpha) for alpha in (1, 33, 34, 66, 67, 100)] == [0, 0, 3, 3, 6, 9]
    assert [sorted(array_index.labels[p][0] for p in positions[at : at + 3]) for at in (0, 3, 6)] == [[0, 1, 2]] * 3
    write_subset(array_index, 3, "balanced", tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_positions_are_those_of_the_index_not_of_the_training_images(array_index, tmp_path):
    index = dataclasses.replace(array_index, split=["test"] * 3 + ["train"] * 9)
    write_subset(index, 0, "balanced", tmp_path / "subset.parquet")
    positions, ids, _ = read_subset(tmp_path / "subset.parquet")
    assert sorted(positions) == list(range(3, 12))
    assert ids == [index.ids[position] for position in positions]


def test_several_labels_balance_by_the_first_and_missing_labels_by_none(array_index, tmp_path):
    several = dataclasses.replace(array_index, labels=[[n % 3, 2] for n in range(12)])
    write_subset(several, 0, "balanced", tmp_path / "several.parquet")
    write_subset(array_index, 0, "balanced", tmp_path / "one.parquet")
    assert read_subset(tmp_path / "several.parquet") == read_subset(tmp_path / "one.parquet")
    unlabelled = dataclasses.replace(array_index, labels=[[]] * 12)
    write_subset(unlabelled, 0, "balanced", tmp_path / "none.parquet")
    assert read_subset(tmp_path / "none.parquet")[2] == [j / 9 for j in range(1, 10)]


def test_a_corpus_without_training_images_is_refused(array_index, tmp_path):
    empty = dataclasses.replace(array_index, split=["test"] * 12)
    with pytest.raises(BadInput, match="coarse: has no training images"):
        write_subset(empty, 0, "balanced", tmp_path / "subset.parquet")
    assert not (tmp_path / "subset.parquet").exists()


def test_a_broken_subset_file_is_named(array_index, tmp_path):
    path = tmp_path / "subset.parquet"
    write_subset(array_index, 0, "balanced", path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-20], b"no parquet at all"):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match=r"subset\.parquet: is no subset file"):
            read_subset(path)
    with pytest.raises(BadInput, match=r"missing\.parquet: cannot be read \(No such file or directory\); restore it"):
        read_subset(tmp_path / "missing.parquet")
