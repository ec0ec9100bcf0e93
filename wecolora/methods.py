"""The methods: one entry each, saying how the student starts, what trains and where the loss compares.

Adding a method takes one entry here, and in wecolora/distill.py only what no entry so far has needed.
No torch here: the Snakefile reads the axes that a method uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["r", "k", "alpha", "seed"]
LossPoint = Literal["before_norm", "after_norm"]


@dataclass(frozen=True)
class Method:
    """start: copied teacher blocks or random; trains: all parameters or only adapters of that target set."""

    label: str
    start: Literal["copy", "random"]
    trains: Literal["all", "enhanced", "qv"]
    # What the authors' published code does; the paper does not say (see docs of `loss_point` in the config).
    authors_loss_point: LossPoint

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that change a student of this method; the others are dropped from a run before it is named."""
        return ("r", "alpha", "seed") if self.trains == "all" else ("r", "k", "alpha", "seed")


METHODS: dict[str, Method] = {
    "scratch_kd": Method("Scratch KD", "random", "all", "after_norm"),
    "weco_kd": Method("WeCo+KD", "copy", "all", "after_norm"),
    "weco_lora_qv": Method("WeCo+LoRA (Q, V)", "copy", "qv", "before_norm"),
    "wecolora": Method("WeCoLoRA", "copy", "enhanced", "before_norm"),
}
