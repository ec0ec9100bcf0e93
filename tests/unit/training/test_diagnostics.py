"""Failure signs: effective rank of known matrices, and each sign on both sides of its threshold."""

import math

import pytest
import torch

from wecolora.training.diagnostics import effective_rank, epoch_warnings, mean_deviation, probe_warnings


def with_singular_values(values, rows=12, width=8):
    """Rows with zero mean and exactly these singular values, in random directions."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(rows, len(values), generator=generator, dtype=torch.float64)
    left = torch.linalg.qr(columns - columns.mean(0)).Q
    right = torch.linalg.qr(torch.randn(width, len(values), generator=generator, dtype=torch.float64)).Q
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([5.0], 1),
        ([2.0, 2.0], 2),
        ([3.0] * 8, 8),
        ([3.0, 1.0], math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))),
        ([8.0, 4.0, 4.0], math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4))),
    ],
)
def test_the_effective_rank_is_that_of_the_singular_values(values, rank):
    assert effective_rank(with_singular_values(values)) == pytest.approx(rank, rel=1e-6)


def test_the_effective_rank_ignores_scale_and_a_common_offset():
    rows = with_singular_values([4.0, 2.0, 1.0])
    assert effective_rank(1000 * rows + 7) == pytest.approx(effective_rank(rows))


def test_embeddings_that_are_all_alike_have_rank_one():
    assert effective_rank(torch.tensor([[0.1, -3.0, 2.0]]).expand(6, -1)) == pytest.approx(1)


def test_the_mean_deviation_is_the_loss_of_the_batchs_mean():
    tokens = torch.tensor([[[0.0, 4.0]], [[2.0, 4.0]], [[4.0, 1.0]]])
    assert mean_deviation(tokens).item() == pytest.approx(((2 + 0 + 2) + (1 + 1 + 2)) / 6)


def test_a_falling_loss_and_a_full_rank_are_no_sign():
    assert epoch_warnings([1.0, 0.8, 0.5], 9.0, 10.0) == []
    assert epoch_warnings([1.0], 9.0, 10.0) == []


@pytest.mark.parametrize(("last", "signs"), [(0.54, 0), (0.56, 1)])
def test_a_loss_a_tenth_above_its_lowest_is_a_sign(last, signs):
    found = epoch_warnings([1.0, 0.5, last], 9.0, 10.0)
    assert len(found) == signs
    assert all(sign.startswith("training unstable: the loss rose to 0.56 from 0.5") for sign in found)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_sign(loss):
    assert epoch_warnings([1.0, loss], 9.0, 10.0) == [f"training unstable: the loss is {loss}"]


@pytest.mark.parametrize(("rank", "signs"), [(5.1, 0), (4.9, 1)])
def test_a_rank_below_half_the_teachers_is_a_sign(rank, signs):
    found = epoch_warnings([1.0], rank, 10.0)
    assert len(found) == signs
    assert all(sign.startswith("student collapse: the effective rank") and "4.9" in sign for sign in found)


def test_a_collapsed_student_shows_both_signs_when_its_loss_rises():
    assert [sign.split(":")[0] for sign in epoch_warnings([1.0, 2.0], 1.0, 10.0)] == [
        "training unstable",
        "student collapse",
    ]


GOOD, BAD = [{"relative_loss": 0.9}, {"relative_loss": 0.49}], [{"relative_loss": 0.1}, {"relative_loss": 0.51}]


@pytest.mark.parametrize(
    ("losses", "sign"), [([2.0, 1.0, 1.05], False), ([2.0, 1.0, 1.9, 0.9], True), ([1.0, 5e29], True)]
)
def test_a_probe_whose_loss_rises_on_the_way_is_a_sign(losses, sign):
    found = probe_warnings(GOOD, losses, "top-1", 80.0, 10.0)
    assert len(found) == sign
    assert all(text.startswith("probe unstable: its loss rose to") for text in found)


@pytest.mark.parametrize(
    ("history", "metric", "score", "largest_class", "sign"),
    [
        (GOOD, "top-1", 14.9, 10.0, True),
        (GOOD, "top-1", 15.1, 10.0, False),
        (BAD, "top-1", 14.9, 10.0, False),
        (GOOD, "mean AUC", 54.9, 0.0, True),
        (GOOD, "mean AUC", 55.1, 0.0, False),
        (BAD, "mean AUC", 54.9, 0.0, False),
        ([], "top-1", 0.0, 10.0, False),
        ([{"relative_loss": 0.1}, {"relative_loss": None}], "top-1", 0.0, 10.0, False),  # compares no tokens
        ([{"relative_loss": None}, {"relative_loss": 0.1}], "top-1", 0.0, 10.0, True),
    ],
)
def test_a_good_loss_with_a_poor_probe_is_a_sign(history, metric, score, largest_class, sign):
    found = probe_warnings(history, [2.0, 1.0], metric, score, largest_class)
    assert len(found) == sign
    assert all(text.startswith("good loss, poor probe") and metric in text for text in found)
