"""Optimisers and the learning-rate schedule of the paper's two recipes (section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def warmup_cosine(step: float, warmup: float, total: float) -> float:
    """Return the factor on the learning rate: it rises from 0 over ``warmup``, and falls to 0 at ``total``.

    The rise is linear, the fall is half a cosine.
    """
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1e-12)))


def adamw(parameters: Iterable[nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW with betas (0.9, 0.95) and a learning rate that starts at 0.

    Weight decay spares vectors (biases, norms), but not LoRA's A and B.
    """
    trainable = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=(0.9, 0.95))


class LARS:
    """LARS as linear probing uses it: momentum on the scaled gradient, no trust ratio for vectors.

    timm's Lars gives the same steps (a test compares them). Neither timm nor torch.optim.Optimizer is used here: the
    import of timm would double the start-up of a probe job, and so would an Optimizer, which imports torch's compiler.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 0.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr}]
        self.momentum, self.weight_decay, self.trust = momentum, weight_decay, trust
        self.buffers: dict[nn.Parameter, Tensor] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient once."""
        (group,) = self.param_groups
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            update: Tensor = parameter.grad
            if parameter.ndim > 1:
                update = update.add(parameter, alpha=self.weight_decay)
                weight_norm, update_norm = parameter.norm(), update.norm()
                ratio = torch.where((weight_norm > 0) & (update_norm > 0), self.trust * weight_norm / update_norm, 1.0)
                update = update * ratio
            if parameter not in self.buffers:
                self.buffers[parameter] = torch.zeros_like(parameter)
            buffer = self.buffers[parameter].mul_(self.momentum).add_(update)
            parameter.add_(buffer, alpha=-group["lr"])


def epoch_generator(seed: int, epoch: int, salt: int = 0) -> torch.Generator:
    """Return the generator of an epoch's random numbers.

    They follow from (seed, epoch) alone, so that a resumed run repeats an uninterrupted one. Another salt gives other
    numbers.
    """
    return torch.Generator().manual_seed(salt + seed * 1_000_003 + epoch)


def set_lr(optimiser: torch.optim.Optimizer | LARS, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimiser.param_groups:
        group["lr"] = lr
