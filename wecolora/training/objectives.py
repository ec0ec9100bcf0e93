"""What a method's loss compares: an objective holds a student, and what trains beside it and is thrown away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.core.process_group import ProcessGroup
from wecolora.models.lora import add_lora, merge
from wecolora.models.vit import block_outputs, build, tokens_before_norm
from wecolora.models.weight_copy import copy_weights, layers
from wecolora.training.diagnostics import mean_deviation


@dataclass
class Step:
    """What one micro-batch gives: the loss; an embedding an image, (batch, width), of student and teacher, whose
    effective ranks are compared; and the loss of a constant answer, where the loss is a distance (else None)."""

    loss: Tensor
    student: Tensor
    teacher: Tensor
    deviation: Tensor | None = None


class Objective(nn.Module):
    """A student in training. Its teacher is no submodule, so that no optimiser and no mode ever reaches it."""

    terms: tuple[str, ...]  # of the loss, by name, for the log
    group = ProcessGroup()  # the processes that train it together

    def __init__(self, teacher: VisionTransformer, recipe: DistillRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self._teacher = (teacher,)

    student: VisionTransformer

    @property
    def teacher(self) -> VisionTransformer:
        """Frozen, in eval mode."""
        return self._teacher[0]

    def start_epoch(self, epoch: int, done: int) -> None:
        """Called before an epoch's first batch, or, where ``done`` batches of it were made before, its next: what is
        drawn within an epoch must follow from (seed, epoch) alone."""

    def forward(self, images: Tensor, tokens: Tensor, labels: Tensor | None) -> Step:
        """Return the loss and the embeddings of this process's part of a micro-batch.

        ``images`` are (batch, 3, H, W), normalised. ``tokens`` are the teacher's last tokens before its final norm,
        (batch, tokens, width); they are empty for a method that runs its teacher itself. ``labels`` are (batch,), for a
        method that reads them.
        """
        raise NotImplementedError

    def exported(self) -> VisionTransformer:
        """Return the student alone, as it is saved: its adapters, if it has any, are merged."""
        return merge(self.student)


def start_student(teacher: VisionTransformer, recipe: DistillRecipe) -> VisionTransformer:
    """Return the student as its method's entry says, before its first step; only what trains requires a gradient."""
    method = METHODS[recipe.method]
    architecture = recipe.input.architecture.model_dump()
    depth = len(layers(len(teacher.blocks), recipe.student.r, recipe.layers))
    if method.start == "random":
        student = build(architecture, depth=depth)
    else:
        rule = list(range(depth)) if method.start == "first" else recipe.layers
        student = copy_weights(teacher, architecture, recipe.student.r, rule)
    return trainable(student, recipe)


def trainable(student: VisionTransformer, recipe: DistillRecipe) -> VisionTransformer:
    """Return a plain student as its method trains it: with adapters, whole, or not at all."""
    method = METHODS[recipe.method]
    if method.trains in ("enhanced", "qv"):
        assert recipe.student.k is not None
        return add_lora(student, recipe.student.k, method.trains, method.adapter)
    return student.requires_grad_(method.trains == "all")


def token_loss(student: Tensor, teacher: Tensor, form: str = "") -> Tensor:
    """Equation 5: mean |E_S - E_T| over batch x tokens x width.

    ``l1_kl``: half of that and half of KL(teacher || student) between the softmax of each token's channels, the mean
    over batch x tokens. (The term in the authors' code is no divergence; this one is.)
    """
    distance = F.l1_loss(student, teacher)
    if form != "l1_kl":
        return distance
    logs = student.log_softmax(-1), teacher.log_softmax(-1)
    divergence = F.kl_div(*logs, reduction="none", log_target=True).sum(-1).mean()
    return (distance + divergence) / 2


class TokenObjective(Objective):
    """Draws the student's tokens to the teacher's: of the last block, or, in the form ``blocks`` (an option of the
    authors' code), after every block; before the final norm or, of the last block, after the teacher's and the
    student's own. The form ``l1_kl``: see token_loss."""

    def __init__(self, teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> None:
        super().__init__(teacher, recipe)
        self.form = METHODS[recipe.method].form
        self.terms = ("L1", "KL of the channels") if self.form == "l1_kl" else ("L1",)
        self.student = start_student(teacher, recipe)
        # The 0-based teacher blocks that the student's are compared with, one each.
        self.blocks = layers(len(teacher.blocks), recipe.student.r, "paper") if self.form == "blocks" else []

    def forward(self, images: Tensor, tokens: Tensor, labels: Tensor | None = None) -> Step:
        """See Objective."""
        student = self.student
        with torch.no_grad():
            targets = block_outputs(self.teacher, images, self.blocks) if self.blocks else [tokens]
        if self.blocks:
            outs = block_outputs(student, images, range(len(student.blocks)))
        else:
            outs = [tokens_before_norm(student, images)]
        if self.recipe.loss_point == "after_norm":  # of the last block alone: between blocks there is no final norm
            with torch.no_grad():
                targets[-1] = self.teacher.norm(targets[-1])
            outs[-1] = student.norm(outs[-1])
        pairs = list(zip(outs, targets, strict=True))
        return Step(
            loss=torch.stack([token_loss(out, target, self.form) for out, target in pairs]).mean(),
            student=student.pool(outs[-1].detach()),
            teacher=student.pool(targets[-1]),
            # Half of the other loss is a divergence, which a constant answer's distance says nothing of.
            deviation=None
            if self.form == "l1_kl"
            else torch.stack([mean_deviation(target, self.group.all_mean) for target in targets]).mean(),
        )
