"""The methods: one entry each, saying how the student starts, what trains and where the loss compares.

Adding a method takes one entry here, and in wecolora/distill.py only what no entry so far has needed.
No torch here: the Snakefile reads the axes that a method uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Axis = Literal["r", "k", "alpha", "seed"]
LossPoint = Literal["before_norm", "after_norm"]


@dataclass(frozen=True)
class Method:
    """How a student starts: ``copy`` (every r-th block of the teacher), ``first`` (its first floor(L / r) blocks) or
    ``random``; what trains: all parameters, or only the adapters of that target set."""

    label: str
    start: Literal["copy", "first", "random"]
    trains: Literal["all", "enhanced", "qv"]
    # What the authors' published code does; the paper does not say (see docs of `loss_point` in the config).
    authors_loss_point: LossPoint
    adapter: Literal["lora", "dora"] = "lora"
    # l1: equation 5; l1_kl: half of it and half the divergence of the channels, an option of the authors' code.
    loss: Literal["l1", "l1_kl"] = "l1"
    # The last block's tokens, or those of every block against the teacher's block r * l: such a teacher runs online.
    compares: Literal["last", "blocks"] = "last"

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that change a student of this method; the others are dropped from a run before it is named."""
        return ("r", "alpha", "seed") if self.trains == "all" else ("r", "k", "alpha", "seed")


METHODS: dict[str, Method] = {
    "scratch_kd": Method("Scratch KD", "random", "all", "after_norm"),
    # The reference of depth pruning: what copying every r-th block adds to copying the first ones.
    "top_kd": Method("Top pruning + KD", "first", "all", "after_norm"),
    "weco_kd": Method("WeCo+KD", "copy", "all", "after_norm"),
    "weco_lora_qv": Method("WeCo+LoRA (Q, V)", "copy", "qv", "before_norm"),
    # A method of the paper's later versions; the magnitudes train too.
    "weco_dora": Method("WeCo+DoRA", "copy", "enhanced", "after_norm", adapter="dora"),
    "wecolora": Method("WeCoLoRA", "copy", "enhanced", "before_norm"),
    "wecolora_kl": Method("WeCoLoRA, L1 + KL", "copy", "enhanced", "before_norm", loss="l1_kl"),
    "wecolora_blocks": Method("WeCoLoRA, every block", "copy", "enhanced", "before_norm", compares="blocks"),
}

# What Table 1 ticks in the place of a method's name.
COMPONENTS: dict[str, Callable[[str], bool]] = {
    "Weight copy": lambda name: METHODS[name].start == "copy",
    "LoRA": lambda name: METHODS[name].trains == "qv",
    "Enhanced LoRA": lambda name: METHODS[name].trains == "enhanced",
}


def components(name: str) -> tuple[bool, ...]:
    """What Table 1 ticks for a method."""
    return tuple(has(name) for has in COMPONENTS.values())
