"""Warnings (failure signs) of a distillation: an unstable loss, a collapsed student, a good loss with a poor probe."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

RISING = 1.1  # warns of a loss above this many times the lowest so far
CLIMB = 0.05  # a probe's loss must also be above it by this share of the first loss: near zero, it doubles easily
COLLAPSED = 0.5  # warns of a student whose effective rank is below this share of its teacher's
GOOD_LOSS = 0.5  # a loss is good below this share of the teacher tokens' own mean absolute deviation
POOR_TOP1 = 1.5  # a top-1 is poor below this many times the largest class's share of the test images
POOR_AUC = 55.0  # a mean AUC, in percent, is poor below this


def effective_rank(embeddings: Tensor) -> float:
    """Return the effective rank of the rows (n, width) (Roy and Vetterli, 2007).

    It is exp of the entropy of the normalised singular values of the centred rows.
    """
    values = torch.linalg.svdvals((embeddings - embeddings.mean(0)).double())
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def mean_deviation(tokens: Tensor, average: Callable[[Tensor], Tensor] = lambda mean: mean) -> Tensor:
    """Return the mean of |x - mean over the batch| of tokens (n, tokens, width).

    This is about the L1 loss of a constant prediction. ``average`` averages over the parts of the batch if several
    processes have one each.
    """
    return (tokens - average(tokens.mean(0))).abs().mean().double()


def epoch_warnings(losses: list[float], student_rank: float, teacher_rank: float) -> list[str]:
    """Return the warnings after an epoch, as sentences; a healthy run has none."""
    warnings = []
    if not math.isfinite(losses[-1]):
        warnings.append(f"training unstable: the loss is {losses[-1]}")
    elif losses[-1] > RISING * min(losses):
        warnings.append(f"training unstable: the loss rose to {losses[-1]:.4g} from {min(losses):.4g}")
    if student_rank < COLLAPSED * teacher_rank:
        warnings.append(
            f"student collapse: the effective rank of its embeddings is {student_rank:.1f}, the teacher's "
            f"{teacher_rank:.1f}"
        )
    return warnings


def probe_warnings(
    history: list[dict[str, Any]], losses: list[float], metric: str, score: float, largest_class: float
) -> list[str]:
    """Return the warnings about a probe, as sentences: it diverged, or it is poor though the loss is good.

    ``losses`` are the probe's, one for each epoch. ``largest_class`` is the share of the test images in the largest
    class, in percent.
    """
    warnings = []
    rises = [
        (loss, low)
        for loss, low in zip(losses, accumulate(losses, min), strict=True)
        if loss > RISING * low and loss - low > CLIMB * losses[0]
    ]
    if rises:
        worst, low = max(rises)
        warnings.append(f"probe unstable: its loss rose to {worst:.4g} from {low:.4g}; lower probe.base_lr")
    poor = score < POOR_AUC if metric == "mean AUC" else score < POOR_TOP1 * largest_class
    relative = history[-1]["relative_loss"] if history else None
    if poor and relative is not None and relative < GOOD_LOSS:
        warnings.append(
            f"good loss, poor probe: the loss is {relative:.2f} of the teacher's deviation, but "
            f"the {metric} is {score:.1f}"
        )
    return warnings
