"""The methods: one entry each, saying how the student starts, what trains and what its loss compares.

Adding a method takes one entry here, and an objective of its own (wecolora/training/objectives.py and its neighbours)
only where no entry so far has that loss. What the paper leaves open of the methods that it compares with, and what is
chosen here, stands in docs/methods.md. No torch here: the Snakefile reads the axes that a method uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Axis = Literal["r", "k", "alpha", "seed", "loss_point"]
LossPoint = Literal["before_norm", "after_norm"]


@dataclass(frozen=True)
class Method:
    """How a student starts: ``copy`` (every r-th block of the teacher), ``first`` (its first floor(L / r) blocks) or
    ``random``; what trains: all parameters, only the adapters of that target set, or nothing (the teacher itself)."""

    label: str
    start: Literal["copy", "first", "random"]
    trains: Literal["all", "enhanced", "qv", "nothing"]
    # l1: equation 5 on the last block's tokens; l1_kl: half of it and half the divergence of the channels, an option of
    # the authors' code; blocks: equation 5 after every block. The others are those methods' own.
    objective: Literal[
        "l1", "l1_kl", "blocks", "deit", "deit_hard", "deit_soft", "minivit", "minivit_depth", "dmae"
    ] = "l1"
    # Where the authors' published code compares tokens; the paper does not say (see `loss_point` in the config).
    authors_loss_point: LossPoint = "after_norm"
    adapter: Literal["lora", "dora"] = "lora"
    venue: str = "-"
    # The paper reports one DeiT and one MiniViT and does not say which form it ran: the name of the entry whose row of
    # the paper's this one shares.
    variant_of: str | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that change a student of this method; the others are dropped from a run before it is named."""
        if self.trains == "nothing":
            return ()
        rank: tuple[Axis, ...] = () if self.trains == "all" else ("k",)
        point: tuple[Axis, ...] = ("loss_point",) if self.compares_tokens else ()
        return ("r", *rank, "alpha", "seed", *point)

    @property
    def compares_tokens(self) -> bool:
        """Whether its loss is a distance of the tokens, which can be taken before or after the final norm."""
        return self.objective in ("l1", "l1_kl", "blocks")

    @property
    def online(self) -> bool:
        """Whether its teacher must run in every step: a cache holds the last block's tokens of whole images alone."""
        return self.objective in ("blocks", "minivit", "minivit_depth", "dmae")

    @property
    def reads_labels(self) -> bool:
        """Whether it learns from the corpus's labels, too."""
        return self.objective in ("deit_hard", "deit_soft")


METHODS: dict[str, Method] = {
    "teacher": Method("Teacher", "copy", "nothing"),  # probed as it is: the upper bound of Table 2
    "scratch_kd": Method("Scratch KD", "random", "all"),
    # The reference of depth pruning: what copying every r-th block adds to copying the first ones.
    "top_kd": Method("Top pruning + KD", "first", "all"),
    "dmae": Method("DMAE", "random", "all", "dmae", venue="CVPR 2023"),
    "deit": Method("DeiT, no labels", "random", "all", "deit", venue="ICML 2021"),
    "deit_hard": Method("DeiT, hard", "random", "all", "deit_hard", venue="ICML 2021", variant_of="deit"),
    "deit_soft": Method("DeiT, soft", "random", "all", "deit_soft", venue="ICML 2021", variant_of="deit"),
    # The paper's r = 2 may mean the size of the other students, or their depth.
    "minivit": Method("MiniViT, r applications", "copy", "all", "minivit", venue="CVPR 2022"),
    "minivit_depth": Method(
        "MiniViT, one application", "copy", "all", "minivit_depth", venue="CVPR 2022", variant_of="minivit"
    ),
    "weco_kd": Method("WeCo+KD", "copy", "all"),
    "weco_lora_qv": Method("WeCo+LoRA (Q, V)", "copy", "qv", authors_loss_point="before_norm"),
    # A method of the paper's later versions; the magnitudes train too.
    "weco_dora": Method("WeCo+DoRA", "copy", "enhanced", adapter="dora"),
    "wecolora": Method("WeCoLoRA", "copy", "enhanced", authors_loss_point="before_norm"),
    "wecolora_kl": Method("WeCoLoRA, L1 + KL", "copy", "enhanced", "l1_kl", "before_norm"),
    "wecolora_blocks": Method("WeCoLoRA, every block", "copy", "enhanced", "blocks", "before_norm"),
}
# Of the paper's teachers; Table 2 prints the second's.
TEACHER_VENUES = {"vitb_sup": "ICLR 2021", "vitb_mae": "CVPR 2022"}


def papers_name(name: str) -> str:
    """The method as paper_results.csv calls it."""
    return METHODS[name].variant_of or name


def variants(papers: str) -> list[str]:
    """The methods that may stand for the paper's of that name; where one has to, the first that was run does."""
    return [name for name in METHODS if papers_name(name) == papers]


# What Table 1 ticks in the place of a method's name.
COMPONENTS: dict[str, Callable[[str], bool]] = {
    "Weight copy": lambda name: METHODS[name].start == "copy",
    "LoRA": lambda name: METHODS[name].trains == "qv",
    "Enhanced LoRA": lambda name: METHODS[name].trains == "enhanced",
}


def components(name: str) -> tuple[bool, ...]:
    """What Table 1 ticks for a method."""
    return tuple(has(name) for has in COMPONENTS.values())
