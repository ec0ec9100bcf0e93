"""A student in training, by its method's name: the objective of a run, before its first step."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.training.deit import DeiT
from wecolora.training.dmae import DMAE
from wecolora.training.minivit import MiniViT
from wecolora.training.objectives import Objective, TokenObjective

OBJECTIVES: dict[str, type[TokenObjective] | type[DeiT] | type[MiniViT] | type[DMAE]] = {
    **dict.fromkeys(("l1", "l1_kl", "blocks"), TokenObjective),
    **dict.fromkeys(("deit", "deit_hard", "deit_soft"), DeiT),
    **dict.fromkeys(("minivit", "minivit_depth"), MiniViT),
    "dmae": DMAE,
}


def start(teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> Objective:
    """The objective of a run; ``labels`` of its images, (images,), for a method that reads them."""
    assert recipe.student.seed is not None
    torch.manual_seed(recipe.student.seed)
    return OBJECTIVES[METHODS[recipe.method].objective](teacher, recipe, labels)
