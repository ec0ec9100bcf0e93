"""MiniViT (Zhang et al. 2022): consecutive applications share a block, each with its own norms and head transforms."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.models.vit import build, embedded, pool_tokens
from wecolora.models.weight_copy import layers
from wecolora.training.objectives import Objective, Step

BETA, GAMMA = 1.0, 0.1  # the weights of the attention and hidden relations; the logits' temperature is 1


def multiplexed(
    teacher: VisionTransformer, recipe: DistillRecipe, copied: list[int], repeats: int
) -> VisionTransformer:
    """Return a student of len(copied) blocks, each applied ``repeats`` times in a row.

    Application l r + i has the attention and feed-forward layers of the teacher's block copied[l], and norms of its
    own. These start as the norms of the teacher's block of the same position; where nothing repeats, or the teacher has
    no block there, as those of the copied block.
    """
    student = build(recipe.input.architecture.model_dump(), len(copied) * repeats, "transformed")
    original = teacher.state_dict()
    own = student.state_dict()
    for name in own:
        where = name
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            own_norm = rest.startswith("norm") and repeats > 1 and int(number) < len(teacher.blocks)
            where = f"blocks.{number if own_norm else copied[int(number) // repeats]}.{rest}"
        if where in original:  # all but the transforms, which start as the identity
            own[name] = original[where]
    student.load_state_dict(own)
    for position, block in enumerate(student.blocks):
        first = student.blocks[position - position % repeats]
        for name in ("attn.qkv", "attn.proj", "mlp"):
            block.set_submodule(name, first.get_submodule(name))
    return student


def last_relations(model: VisionTransformer, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the last block's (Q, K, V), heads side by side, and its output: (batch, tokens, width) each."""
    hidden = model.blocks[:-1](embedded(model, images))
    last: Any = model.blocks[-1]
    # Q, K and V are computed twice. This is cheap, and no hook must tell the applications of a shared layer apart.
    return last.attn.qkv(last.norm1(hidden)).chunk(3, dim=-1), last(hidden)


def soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Return -sum softmax(teacher) log softmax(student) over the last dimension, the mean over the others."""
    return -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()


def attention_loss(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
    """Return the mean over the nine pairs of {Q, K, V} of the soft cross-entropy of X_i X_j^T / sqrt(d), row by row."""
    scale = student[0].shape[-1] ** -0.5
    pairs = itertools.product(range(3), repeat=2)
    return torch.stack(
        [
            soft_cross_entropy(
                student[i] @ student[j].transpose(1, 2) * scale, teacher[i] @ teacher[j].transpose(1, 2) * scale
            )
            for i, j in pairs
        ]
    ).mean()


def hidden_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrices of L2-normalised tokens (batch, tokens, width)."""
    own, wanted = (F.normalize(tokens, dim=-1) for tokens in (student, teacher))
    return F.mse_loss(own @ own.transpose(1, 2), wanted @ wanted.transpose(1, 2))


class MiniViT(Objective):
    """MiniViT's student and its losses.

    The student has floor(L / r) blocks, and applies each r times: it has the size of the other students, and computes
    as much as the teacher. In the form ``once`` it applies each block once: it has the depth of the other students,
    shares nothing, and only its transforms and losses are MiniViT's. The relations are those of the last blocks, and
    labels have no weight. A teacher without a head has no logits: the soft term is left out.
    """

    def __init__(self, teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> None:
        super().__init__(teacher, recipe)
        copied = layers(len(teacher.blocks), recipe.student.r, recipe.layers)
        repeats = 1 if METHODS[recipe.method].form == "once" else recipe.student.r
        self.student = multiplexed(teacher, recipe, copied, repeats)
        self.head: nn.Linear | None = None
        self.terms = ("attention relations", "hidden relations")
        if isinstance(teacher.head, nn.Linear):
            self.head = nn.Linear(teacher.embed_dim, teacher.head.out_features)
            self.head.load_state_dict(teacher.head.state_dict())
            self.terms = ("soft logits", *self.terms)

    def forward(self, images: Tensor, tokens: Tensor, labels: Tensor | None = None) -> Step:
        """Return the loss and the embeddings of a micro-batch; see Objective."""
        with torch.no_grad():
            wanted_relations, wanted = last_relations(self.teacher, images)
            wanted_pooled = pool_tokens(self.teacher, wanted)
        relations, out = last_relations(self.student, images)
        pooled = pool_tokens(self.student, out)
        loss = BETA * attention_loss(relations, wanted_relations) + GAMMA * hidden_loss(out, wanted)
        if self.head is not None:
            loss = loss + soft_cross_entropy(self.head(pooled), self.teacher.head(wanted_pooled))
        return Step(loss, pooled.detach(), wanted_pooled)

    def exported(self) -> VisionTransformer:
        """Return the student with its shared layers written out, as a plain stack of blocks."""
        plain = build(self.recipe.input.architecture.model_dump(), len(self.student.blocks), "transformed")
        plain.load_state_dict(self.student.state_dict())
        return plain
