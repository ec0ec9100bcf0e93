"""The methods: one entry each, saying how the student starts, what trains, what the loss compares and what it needs.

Adding a method to the library takes one entry here and one module in wecolora/training/ (none where an objective that
is there already has that loss); a user's own method comes from their config (own_methods.py, docs/own-method.md). What
the paper leaves open of the methods that it compares with, and what is chosen here, stands in docs/methods.md. No torch
here: the Snakefile reads what a method needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Axis = Literal["r", "k", "alpha", "seed", "loss_point", "layers"]
# Which blocks are copied: see models/weight_copy.py, and training/choose_blocks.py for those that images choose.
Layers = Literal["paper", "authors_code", "first", "influence", "search"]
CHOSEN: tuple[Layers, ...] = ("influence", "search")
LossPoint = Literal["before_norm", "after_norm"]
Start = Literal["copy", "first", "random"]
Trains = Literal["all", "enhanced", "qv", "nothing"]
Adapter = Literal["lora", "dora"]
Calibrates = Literal["", "full", "rank"]
Need = Literal["tokens", "teacher", "labels", "head", "class_token", "plain_attention", "loss_point"]


@dataclass(frozen=True)
class Method:
    """How a student starts: ``copy`` (every r-th block of the teacher), ``first`` (its first floor(L / r) blocks) or
    ``random``; whether it is calibrated then (training/calibrated.py), in ``full`` or with a ``rank``; and what trains:
    all parameters, only the adapters of that target set, or nothing.

    ``needs`` is what the loss takes beside the images:
    ``tokens``: the output of the teacher's last block, which the cache holds;
    ``teacher``: the teacher itself, which then runs in every step, since the cache holds no other tensors;
    ``labels``: the corpus's labels, one an image;
    ``head``: the teacher's head, whose logits are learned;
    ``class_token``: a class token, which is what the teacher's probe reads;
    ``plain_attention``: a teacher without a norm within its attention;
    ``loss_point``: to be told whether tokens are compared before or after the final norm, an axis of its runs.
    """

    label: str
    start: Start
    trains: Trains
    # The class of its loss: below wecolora, or in a file of the user's own.
    objective: str = "training.objectives:TokenObjective"
    form: str = ""  # of the loss, where one class has several; see there
    needs: frozenset[Need] = frozenset({"tokens", "loss_point"})
    # Where the authors' published code compares tokens; the paper does not say (see `loss_point` in the config).
    authors_loss_point: LossPoint = "after_norm"
    adapter: Adapter = "lora"
    calibration: Calibrates = ""
    layers: Layers | None = None  # the blocks that it copies; None: those of distill.layers
    venue: str = "-"
    colour: str = "#000000"  # of its lines in figures
    # The paper reports one DeiT and one MiniViT and does not say which form it ran: the name of the entry whose row of
    # the paper's this one shares.
    variant_of: str | None = None
    # What makes a student by this entry: see wecolora/training/fit.py. Empty: nothing does, the teacher is probed.
    fitted_by: str = "training.distill:distill"
    sha256: str = ""  # of the file's text, of a user's own method

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that change a student of this method; the others are dropped from a run before it is named."""
        if self.is_teacher:
            return ()
        rank: tuple[Axis, ...] = ("k",) if self.trains in ("enhanced", "qv") or self.calibration == "rank" else ()
        seed: tuple[Axis, ...] = () if self.trains == "nothing" else ("seed",)  # nothing in it is drawn
        point: tuple[Axis, ...] = ("loss_point",) if self.compares_tokens else ()
        copied: tuple[Axis, ...] = ("layers",) if self.start == "copy" else ()
        return ("r", *rank, "alpha", *seed, *point, *copied)

    @property
    def is_teacher(self) -> bool:
        """True for the teacher, which is probed as it is."""
        return not self.fitted_by

    @property
    def compares_tokens(self) -> bool:
        """True if its loss is a distance of the tokens, which can be taken before or after the final norm."""
        return "loss_point" in self.needs

    @property
    def reads_tokens(self) -> bool:
        """True if each step takes the tokens of the teacher's last block, from the cache or from the teacher."""
        return "tokens" in self.needs

    @property
    def online(self) -> bool:
        """True if its teacher must run in every step: a cache holds the last block's tokens of whole images alone."""
        return "teacher" in self.needs

    @property
    def reads_labels(self) -> bool:
        """True if it learns from the corpus's labels, too."""
        return "labels" in self.needs


DEIT, MINIVIT, DMAE = "training.deit:DeiT", "training.minivit:MiniViT", "training.dmae:DMAE"
DEIT_NEEDS: frozenset[Need] = frozenset({"tokens", "class_token"})
LOGITS: frozenset[Need] = frozenset({"labels", "head"})
MINIVIT_NEEDS: frozenset[Need] = frozenset({"teacher", "plain_attention"})
CALIBRATED = "training.calibrated:calibrate"
CALIBRATED_AND_TRAINED = "training.calibrated:calibrate_and_distill"

# Colours are Okabe and Ito's, told apart by the colour-blind, for the method and its ablations; more than eight cannot
# all be told apart by everyone: a hue a family, for the methods of others.
METHODS: dict[str, Method] = {
    "teacher": Method("Teacher", "copy", "nothing", fitted_by=""),  # probed as it is: the upper bound of Table 2
    # What copying alone gives: the reference of all that is done to the copied blocks.
    "weight_copy": Method(
        "Weight copy alone",
        "copy",
        "nothing",
        needs=frozenset({"teacher"}),
        colour="#CCBB99",
        fitted_by="training.untrained:untrained",
    ),
    "scratch_kd": Method("Scratch KD", "random", "all", colour="#CC79A7"),
    # The reference of depth pruning: what copying every r-th block adds to copying the first ones.
    "top_kd": Method("Top pruning + KD", "first", "all", colour="#E69F00"),
    "dmae": Method("DMAE", "random", "all", DMAE, needs=frozenset({"teacher"}), venue="CVPR 2023", colour="#882255"),
    "deit": Method("DeiT, no labels", "random", "all", DEIT, needs=DEIT_NEEDS, venue="ICML 2021", colour="#332288"),
    "deit_hard": Method(
        "DeiT, hard",
        "random",
        "all",
        DEIT,
        form="hard",
        needs=DEIT_NEEDS | LOGITS,
        venue="ICML 2021",
        colour="#7E5BC8",
        variant_of="deit",
    ),
    "deit_soft": Method(
        "DeiT, soft",
        "random",
        "all",
        DEIT,
        form="soft",
        needs=DEIT_NEEDS | LOGITS,
        venue="ICML 2021",
        colour="#B9A9E0",
        variant_of="deit",
    ),
    # The paper's r = 2 may mean the size of the other students, or their depth.
    "minivit": Method(
        "MiniViT, r applications",
        "copy",
        "all",
        MINIVIT,
        needs=MINIVIT_NEEDS,
        venue="CVPR 2022",
        colour="#6B4423",
    ),
    "minivit_depth": Method(
        "MiniViT, one application",
        "copy",
        "all",
        MINIVIT,
        form="once",
        needs=MINIVIT_NEEDS,
        venue="CVPR 2022",
        colour="#999933",
        variant_of="minivit",
    ),
    "weco_kd": Method("WeCo+KD", "copy", "all", colour="#D55E00"),
    "weco_lora_qv": Method("WeCo+LoRA (Q, V)", "copy", "qv", authors_loss_point="before_norm", colour="#009E73"),
    # A method of the paper's later versions; the magnitudes train too.
    "weco_dora": Method("WeCo+DoRA", "copy", "enhanced", adapter="dora", colour="#56B4E9"),
    "wecolora": Method("WeCoLoRA", "copy", "enhanced", authors_loss_point="before_norm", colour="#0072B2"),
    # Options of the authors' code: half of equation 5 and half the divergence of the channels; equation 5 after every
    # block.
    "wecolora_kl": Method(
        "WeCoLoRA, L1 + KL", "copy", "enhanced", form="l1_kl", authors_loss_point="before_norm", colour="#F0E442"
    ),
    "wecolora_blocks": Method(
        "WeCoLoRA, every block",
        "copy",
        "enhanced",
        form="blocks",
        needs=frozenset({"teacher", "loss_point"}),
        authors_loss_point="before_norm",
        colour="#000000",
    ),
    # A block that stands for those that follow it must know the stream before them: the first block is always kept.
    "calibrated": Method(
        "Calibrated",
        "copy",
        "nothing",
        needs=frozenset({"teacher"}),
        calibration="full",
        layers="authors_code",
        colour="#44AA99",
        fitted_by=CALIBRATED,
    ),
    "calibrated_k": Method(
        "Calibrated, rank k",
        "copy",
        "nothing",
        needs=frozenset({"teacher"}),
        calibration="rank",
        layers="authors_code",
        colour="#888888",
        fitted_by=CALIBRATED,
    ),
    "calibrated_kd": Method(
        "Calibrated + KD",
        "copy",
        "all",
        calibration="full",
        layers="authors_code",
        colour="#BB0000",
        fitted_by=CALIBRATED_AND_TRAINED,
    ),
    "calibrated_lora": Method(
        "Calibrated + LoRA",
        "copy",
        "enhanced",
        calibration="full",
        layers="authors_code",
        colour="#7FC97F",
        fitted_by=CALIBRATED_AND_TRAINED,
    ),
}
LIBRARY = frozenset(METHODS)  # their names: no user's own method takes one of them


def use_own(own: Mapping[str, Method]) -> None:
    """Let METHODS hold these of the user's own beside the library's, and no others."""
    for name in METHODS.keys() - LIBRARY:
        del METHODS[name]
    METHODS.update(own)


# Of the paper's teachers; Table 2 prints the second's.
TEACHER_VENUES = {"vitb_sup": "ICLR 2021", "vitb_mae": "CVPR 2022"}


def papers_name(name: str) -> str:
    """Return the name that paper_results.csv has for a method."""
    return METHODS[name].variant_of or name


def variants(papers: str) -> list[str]:
    """Return the methods that may stand for the paper's method of that name.

    If one has to, it is the first that was run.
    """
    return [name for name in METHODS if papers_name(name) == papers]


# What Table 1 ticks in the place of a method's name.
COMPONENTS: dict[str, Callable[[str], bool]] = {
    "Weight copy": lambda name: METHODS[name].start == "copy",
    "LoRA": lambda name: METHODS[name].trains == "qv",
    "Enhanced LoRA": lambda name: METHODS[name].trains == "enhanced",
}


def components(name: str) -> tuple[bool, ...]:
    """Return what Table 1 ticks for a method: a value for each of COMPONENTS."""
    return tuple(has(name) for has in COMPONENTS.values())
