"""DMAE (Bai et al. 2023): masked reconstruction, and features aligned with a teacher that sees the same patches."""

from __future__ import annotations

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.recipes import DistillRecipe
from wecolora.models.vit import build, embedded
from wecolora.models.weight_copy import layers
from wecolora.training.objectives import Objective, Step
from wecolora.training.optim import epoch_generator

MASK = 0.75  # the share of the patches that neither student nor teacher sees
HEAD_WIDTH = 32  # the width of a head of the decoder


def random_shown(batch: int, patches: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a random order of each image's patches, (batch, patches), and its first share, the patches to be seen."""
    order = torch.rand(batch, patches, generator=generator).argsort(1)
    return order, order[:, : max(1, round(patches * (1 - MASK)))]


def visible_tokens(model: VisionTransformer, images: Tensor, shown: Tensor) -> Tensor:
    """Return what enters the first block if only some patches are shown: (batch, prefix + shown, width)."""
    tokens = embedded(model, images)
    prefix = model.num_prefix_tokens
    patches = tokens[:, prefix:].gather(1, shown.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :prefix], patches], 1)


def aligned_block(depth: int) -> int:
    """Return the 0-based block at three quarters of the depth, whose output is aligned: 8 of 12, 3 of 6."""
    return max(1, depth * 3 // 4) - 1


def pixel_loss(restored: Tensor, images: Tensor, patch: int, shown: Tensor) -> Tensor:
    """Return the mean squared error of (batch, patches, 3 p^2) on the patches that were not shown.

    Each patch of the target has mean 0 and deviation 1 (He et al. 2022).
    """
    wanted = F.unfold(images, patch, stride=patch).transpose(1, 2)
    wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
    masked = torch.ones_like(wanted[:, :, 0]).scatter_(1, shown, 0)
    return (((restored - wanted) ** 2).mean(-1) * masked).sum() / masked.sum()


def alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean absolute difference of L2-normalised tokens (batch, tokens, width)."""
    return F.l1_loss(F.normalize(student, dim=-1), F.normalize(teacher, dim=-1))


class DMAE(Objective):
    """A student from random weights, with a decoder and a projection that are thrown away after training.

    The decoder's size is in proportion to that of He et al.: 2/3 of the teacher's width and depth, which is 512 and 8
    for ViT-B. Its positions are fixed.
    """

    terms = ("masked pixels", "aligned features")

    def __init__(self, teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> None:
        super().__init__(teacher, recipe)
        depth = len(layers(len(teacher.blocks), recipe.student.r, recipe.layers))
        self.student = student = build(recipe.input.architecture.model_dump(), depth)
        self.patch = recipe.input.architecture.patch_size
        width = max(1, round(student.embed_dim * 2 / 3 / HEAD_WIDTH)) * HEAD_WIDTH
        self.align = nn.Linear(student.embed_dim, student.embed_dim)
        self.embed = nn.Linear(student.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = build_sincos2d_pos_embed(list(student.patch_embed.grid_size), width).unsqueeze(0)
        self.register_buffer("positions", positions)
        heads, blocks = width // HEAD_WIDTH, max(1, round(len(teacher.blocks) * 2 / 3))
        self.decoder = nn.Sequential(*[Block(width, heads, qkv_bias=True) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, 3 * self.patch**2)
        nn.init.normal_(self.mask_token, std=0.02)

    def start_epoch(self, epoch: int, done: int) -> None:
        """Start the masks of an epoch, which follow from (seed, epoch), and pass over those of ``done`` batches."""
        assert self.recipe.student.seed is not None
        # The salt gives other numbers than those of the epoch's order.
        self.generator = epoch_generator(self.recipe.student.seed, epoch, salt=1 << 40)
        for _ in range(done):
            random_shown(self.recipe.optimisation.batch, self.student.patch_embed.num_patches, self.generator)

    def decode(self, latent: Tensor, order: Tensor) -> Tensor:
        """Return the pixels of all patches from the latent tokens of the shown ones.

        The shapes are (batch, prefix + shown, width), in the order shown -> (batch, patches, 3 p^2).
        """
        prefix = self.student.num_prefix_tokens
        seen = self.embed(latent)
        hidden = self.mask_token.expand(len(seen), order.shape[1] - (seen.shape[1] - prefix), -1)
        patches = torch.cat([seen[:, prefix:], hidden], 1)
        patches = patches.gather(1, order.argsort(1).unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        assert isinstance(self.positions, Tensor)
        tokens = torch.cat([seen[:, :prefix], patches + self.positions], 1)
        return self.to_pixels(self.norm(self.decoder(tokens)))[:, prefix:]

    def forward(self, images: Tensor, tokens: Tensor, labels: Tensor | None = None) -> Step:
        """Return the loss and the embeddings of a micro-batch; see Objective."""
        patches = self.student.patch_embed.num_patches
        drawn = random_shown(len(images) * self.group.size, patches, self.generator)  # for all processes
        order, shown = (self.group.part(masks).to(images.device) for masks in drawn)
        with torch.no_grad():
            wanted = visible_tokens(self.teacher, images, shown)
            wanted = self.teacher.blocks[: aligned_block(len(self.teacher.blocks)) + 1](wanted)
        hidden = visible_tokens(self.student, images, shown)
        depth = aligned_block(len(self.student.blocks)) + 1
        middle = self.student.blocks[:depth](hidden)
        latent = self.student.norm(self.student.blocks[depth:](middle))
        aligned = self.align(middle)
        loss = pixel_loss(self.decode(latent, order), images, self.patch, shown) + alignment_loss(aligned, wanted)
        return Step(loss, self.student.pool(latent.detach()), self.student.pool(wanted))
