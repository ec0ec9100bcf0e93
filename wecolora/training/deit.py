"""DeiT (Touvron et al. 2021): a student with a distillation token, from random weights."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.models.vit import build, pool_tokens, tokens_before_norm
from wecolora.models.weight_copy import layers
from wecolora.training.diagnostics import mean_deviation
from wecolora.training.objectives import Objective, Step

# The shares of the distillation term, and the soft form's temperature, as in the DeiT paper (its section 5.2).
HARD_SHARE = 0.5
SOFT_SHARE, TEMPERATURE = 0.1, 3.0


def hard_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the cross-entropy of logits (batch, classes) with the teacher's decision (eq. 3, its second term)."""
    return F.cross_entropy(student, teacher.argmax(1))


def soft_loss(student: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return tau^2 KL(teacher || student) of softmax(logits / tau), averaged over the batch (eq. 2, its second
    term)."""
    own, wanted = ((logits / temperature).log_softmax(1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(own, wanted, reduction="batchmean", log_target=True)


class DeiT(Objective):
    """The three forms. Without a name, and without labels: what a probe reads of the student regresses what it would
    read of the teacher (L1), which needs no head. ``hard`` and ``soft``: the class token learns the corpus's labels,
    the distillation token the teacher's logits. The probe reads the mean of both tokens, as timm's model does."""

    def __init__(self, teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> None:
        super().__init__(teacher, recipe)
        self.form = METHODS[recipe.method].form
        depth = len(layers(len(teacher.blocks), recipe.student.r, recipe.layers))
        self.student = build(recipe.input.architecture.model_dump(), depth, "distilled")
        if not self.form:
            self.terms = ("L1 of the mean of both tokens",)
            return
        assert labels is not None and isinstance(teacher.head, nn.Linear)
        width = self.student.embed_dim
        self.head = nn.Linear(width, int(labels.max()) + 1)
        self.head_dist = nn.Linear(width, teacher.head.out_features)
        self.terms = ("cross-entropy with the labels", f"{self.form} logits of the teacher")

    def forward(self, images: Tensor, tokens: Tensor, labels: Tensor | None = None) -> Step:
        """Return the loss and the embeddings of a micro-batch; see Objective."""
        own = self.student.norm(tokens_before_norm(self.student, images))
        cls, dist = own[:, 0], own[:, 1]
        with torch.no_grad():
            wanted = pool_tokens(self.teacher, tokens)
        pooled = (cls + dist) / 2
        if not self.form:
            return Step(F.l1_loss(pooled, wanted), pooled.detach(), wanted, mean_deviation(wanted, self.group.all_mean))
        assert labels is not None
        share, distance = (HARD_SHARE, hard_loss) if self.form == "hard" else (SOFT_SHARE, soft_loss)
        base = F.cross_entropy(self.head(cls), labels)
        loss = (1 - share) * base + share * distance(self.head_dist(dist), self.teacher.head(wanted))
        return Step(loss, pooled.detach(), wanted)
