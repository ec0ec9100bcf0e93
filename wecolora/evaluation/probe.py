"""Linear probing (section 4.2): BatchNorm without affine parameters and a linear layer on frozen features, by LARS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.recipes import ProbeRecipe
from wecolora.core.errors import BadInput
from wecolora.training.optim import LARS, epoch_generator, set_lr, warmup_cosine


@dataclass
class ProbeResult:
    """The metrics of a probe, in percent.

    ``history`` has one value for each epoch; ``best_epoch`` counts from 1. ``per_class`` holds the recall or the AUC of
    each class at the last epoch, or None if the test set has no image of it (or, for an AUC, no other image).
    """

    metric: str
    last: float
    best: float
    best_epoch: int
    per_class: list[float | None]
    history: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    n_train: int = 0
    n_test: int = 0


def probe_head(width: int, classes: int, seed: int) -> nn.Sequential:
    """Return BatchNorm1d(affine=False, eps=1e-6), then Linear with weights N(0, 0.01) and zero bias."""
    head = nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), nn.Linear(width, classes))
    linear = head[1]
    assert isinstance(linear, nn.Linear)
    nn.init.trunc_normal_(linear.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(linear.bias)
    return head


def targets(labels: list[tuple[int, ...]] | list[list[int]], classes: int, multilabel: bool) -> Tensor:
    """Return class numbers (n,) int64, or, for several labels an image, a 0/1 matrix (n, classes) float32."""
    if not multilabel:
        return torch.tensor([label[0] for label in labels])
    matrix = torch.zeros(len(labels), classes)
    for row, present in enumerate(labels):
        matrix[row, list(present)] = 1
    return matrix


def train_probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    recipe: ProbeRecipe,
    device: str = "cpu",
    log: Callable[[str], None] = lambda line: None,
) -> ProbeResult:
    """Train on (features (n, width), targets) and test after every epoch.

    Float targets (n, classes) mean several labels for each image: the loss is BCE and the metric is mean AUC. Whole
    numbers (n,) are classes: the loss is cross-entropy and the metric is top-1. Raise BadInput if there are too few
    images for a batch norm, if no class has an AUC, or if the loss is no number.
    """
    features, labels = (part.to(device) for part in train)
    test_features, test_labels = (part.to(device) for part in test)
    _refuse_untrainable(features, test_labels, recipe)
    head = probe_head(features.shape[1], classes, recipe.seed).to(device)
    optimiser = LARS(head.parameters(), momentum=recipe.momentum, trust=recipe.trust)
    metric = "mean AUC" if labels.is_floating_point() else "top-1"
    history, losses = [], []
    for epoch in range(recipe.epochs):
        started = time.monotonic()
        losses.append(_train_epoch(head, optimiser, features, labels, recipe, epoch))
        if not math.isfinite(losses[-1]):
            raise BadInput(f"the probe's loss is no number in epoch {epoch + 1}; lower probe.base_lr.")
        per_class, score = _score(_logits(head, test_features), test_labels, classes)
        history.append(score)
        rate = len(features) / (time.monotonic() - started)
        log(f"epoch {epoch + 1}/{recipe.epochs}: loss {losses[-1]:.5f}, {metric} {score:.2f}, {rate:.0f} images/s")
    best = int(np.nanargmax(history))
    return ProbeResult(
        metric=metric,
        last=history[-1],
        best=history[best],
        best_epoch=best + 1,
        per_class=[None if math.isnan(value) else value for value in per_class],
        history=history,
        train_loss=losses,
        n_train=len(features),
        n_test=len(test_features),
    )


def _refuse_untrainable(features: Tensor, test_labels: Tensor, recipe: ProbeRecipe) -> None:
    """Raise BadInput if a batch has a single image, or if no class of several-label images has an AUC."""
    if min(recipe.batch, len(features)) < 2:
        raise BadInput(
            f"probe.batch = {recipe.batch} with {len(features)} training images: batch norm needs two a step."
        )
    if test_labels.is_floating_point() and not (test_labels.amin(0) < test_labels.amax(0)).any():
        raise BadInput("probe: no class is on some test images and off others, so there is no AUC; take other images.")


def _train_epoch(
    head: nn.Module, optimiser: LARS, features: Tensor, labels: Tensor, recipe: ProbeRecipe, epoch: int
) -> float:
    """Train for one epoch (from 0) and return its mean loss."""
    loss_of = F.binary_cross_entropy_with_logits if labels.is_floating_point() else F.cross_entropy
    batch = min(recipe.batch, len(features))
    # Even without drop_last, a last batch of a single feature is left out: batch norm cannot train on one.
    starts = range(0, len(features) - (batch - 1 if recipe.drop_last else 1), batch)
    lr = recipe.base_lr * batch / 256
    head.train()
    order = torch.randperm(len(features), generator=epoch_generator(recipe.seed, epoch)).to(features.device)
    total = torch.zeros((), device=features.device)
    for number, start in enumerate(starts):
        progress = epoch + number / len(starts)
        set_lr(optimiser, lr * warmup_cosine(progress, recipe.warmup_epochs, recipe.epochs))
        rows = order[start : start + batch]
        loss = loss_of(head(features[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach()
    return float(total) / len(starts)


def largest_class(labels: Tensor) -> float:
    """Return the share of the largest class in percent, a constant answer's top-1 (0 for several labels an image)."""
    return 0.0 if labels.is_floating_point() else 100 * float(torch.bincount(labels).max()) / len(labels)


@torch.no_grad()
def _logits(head: nn.Module, features: Tensor) -> Tensor:
    head.eval()
    return torch.cat([head(part) for part in features.split(8192)])


def _score(logits: Tensor, labels: Tensor, classes: int) -> tuple[list[float], float]:
    """Return the score of each class (nan if it is undefined) and over all, in percent."""
    if labels.is_floating_point():
        areas = auc(logits, labels)
        return (100 * areas).tolist(), float(100 * np.nanmean(areas))
    correct = (logits.argmax(1) == labels).float()
    hits = torch.zeros(classes, device=labels.device).index_add_(0, labels, correct)
    counts = torch.bincount(labels, minlength=classes)
    return (100 * hits / counts).tolist(), float(100 * correct.mean())


def auc(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Return the area under the ROC curve of each column of logits (n, classes); nan if a class has one value only.

    This is the Mann-Whitney statistic with tied ranks averaged, for all columns at once. A test compares it with
    scikit-learn's value. (To import scikit-learn, or scipy's ranks, would take longer than a small probe.)
    """
    columns = logits.double().T.contiguous()
    ordered = columns.sort(dim=1).values
    # A value's rank, counted from 1, is the mean of the places that it and equal values take.
    ranks = (torch.searchsorted(ordered, columns) + torch.searchsorted(ordered, columns, right=True) + 1) / 2
    truth = (labels > 0.5).T
    positive = truth.sum(1).double()
    negative = truth.shape[1] - positive
    areas = ((ranks * truth).sum(1) - positive * (positive + 1) / 2) / (positive * negative)
    return areas.cpu().numpy()
