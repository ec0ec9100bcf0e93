"""Training of the demo's teachers: supervised classification, and masked autoencoding, on the photos' training crops.

Neither is a contribution of the paper, whose teachers are pre-trained models. The demo's teachers stand in for them
where nothing can be downloaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.config.recipes import PretrainRecipe
from wecolora.models.vit import build
from wecolora.training.optim import adamw, set_lr, warmup_cosine


class MaskedAutoencoder(nn.Module):
    """A masked autoencoder after He et al. 2022: it encodes the visible patches, decodes all, and regresses pixels.

    Two changes suit 16 patches and a probe that reads the class token, which He et al.'s loss hardly reaches: the
    decoder also restores the whole image from the class token alone, and pixels are not normalised by patch.
    """

    def __init__(
        self, encoder: VisionTransformer, mask: float, decoder_width: int = 96, decoder_depth: int = 2
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch = encoder.patch_embed.patch_size[0]
        patches = encoder.patch_embed.num_patches
        self.keep = min(patches - 1, max(1, round(patches * (1 - mask))))
        self.embed = nn.Linear(encoder.embed_dim, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.pos_embed = nn.Parameter(torch.randn(1, patches + 1, decoder_width) * 0.02)
        self.decoder = nn.Sequential(*[Block(decoder_width, 4, qkv_bias=True) for _ in range(decoder_depth)])
        self.norm = nn.LayerNorm(decoder_width)
        self.to_pixels = nn.Linear(decoder_width, 3 * self.patch**2)

    def decode(self, cls: Tensor, patches: Tensor) -> Tensor:
        """Return the pixels (batch, patches, 3 p^2) of tokens in the decoder's width.

        The tokens are (batch, 1, width) for the class token and (batch, patches, width) for the patches.
        """
        return self.to_pixels(self.norm(self.decoder(torch.cat([cls, patches], 1) + self.pos_embed)))[:, 1:]

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss, a scalar, of (batch, 3, H, W) normalised images."""
        encoder = self.encoder
        assert encoder.cls_token is not None and encoder.pos_embed is not None
        tokens = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
        batch, patches, width = tokens.shape
        order = torch.rand(batch, patches, device=images.device).argsort(1)
        shown = order[:, : self.keep]
        tokens = tokens.gather(1, shown.unsqueeze(-1).expand(-1, -1, width))
        cls = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(batch, -1, -1)
        latent = self.embed(encoder.norm(encoder.blocks(torch.cat([cls, tokens], 1))))
        hidden = self.mask_token.expand(batch, patches, -1)
        filled = torch.cat([latent[:, 1:], hidden[:, self.keep :]], 1)
        restored = filled.gather(1, order.argsort(1).unsqueeze(-1).expand(-1, -1, filled.shape[-1]))
        wanted = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        masked = torch.ones(batch, patches, device=images.device).scatter_(1, shown, 0)
        from_patches = ((self.decode(latent[:, :1], restored) - wanted) ** 2).mean(-1)
        from_cls = ((self.decode(latent[:, :1], hidden) - wanted) ** 2).mean()
        return (from_patches * masked).sum() / masked.sum() + from_cls


class Classifier(nn.Module):
    """A backbone and a linear layer on its pooled feature, trained with label smoothing."""

    def __init__(self, backbone: VisionTransformer, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of (batch, 3, H, W) normalised images and (batch,) labels."""
        features = self.backbone.forward_head(self.backbone.forward_features(images), pre_logits=True)
        return F.cross_entropy(self.head(features), labels, label_smoothing=0.1)


def augment(images: Tensor, kind: Literal["weak", "strong", "mixed"], generator: torch.Generator) -> Tensor:
    """Return images (batch, 3, H, W) in [0, 1], each after a random resized crop (area 0.25 to 1) and flip.

    With ``strong``, there are also rotated, jittered, grey, inverted and channel-shuffled images, so that shape counts.
    With ``mixed``, one half of the batch is weak and the other strong.
    """
    if kind == "mixed":
        half = len(images) // 2
        return torch.cat([augment(images[:half], "weak", generator), augment(images[half:], "strong", generator)])
    strong = kind == "strong"

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(images), *shape, generator=generator) * (high - low) + low

    side = uniform(0.25, 1.0).sqrt()
    stretch = uniform(-math.log(4 / 3) / 2, math.log(4 / 3) / 2).exp()
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    x, y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    width = width * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = uniform(-0.35, 0.35) if strong else torch.zeros(len(images))
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([width * cos, -height * sin, x, width * sin, height * cos, y], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if not strong:
        return images

    def chosen(probability: float) -> Tensor:
        return uniform(0, 1, 1, 1, 1) < probability

    grey = images.mean(1, keepdim=True)
    images = torch.where(chosen(0.3), grey, images)
    shuffled = images[:, torch.randperm(3, generator=generator)]
    images = torch.where(chosen(0.3), shuffled, images)
    mean = images.mean((2, 3), keepdim=True)
    images = (images - mean) * uniform(0.5, 1.6, 1, 1, 1) + mean + uniform(-0.3, 0.3, 1, 1, 1)
    images = images * uniform(0.7, 1.3, 3, 1, 1)
    images = torch.where(chosen(0.3), 1 - images, images)
    return images.clamp(0, 1)


def pretrain(images: Tensor, labels: Tensor, recipe: PretrainRecipe, log: Callable[[str], None]) -> VisionTransformer:
    """Train a backbone from scratch on images (n, H, W, 3) uint8 and return it in eval mode.

    Only ``supervised`` reads the labels (n,); it keeps the head.
    """
    training = recipe.training
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    supervised = training.objective == "supervised"
    architecture = recipe.input.architecture.model_dump()
    backbone = build({**architecture, "drop_path_rate": 0.1 if supervised else 0.0})
    model = Classifier(backbone, int(labels.max()) + 1) if supervised else MaskedAutoencoder(backbone, training.mask)
    optimiser = adamw(model.parameters(), training.weight_decay)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (recipe.input.mean, recipe.input.std))
    steps = len(images) // training.batch
    start = time.time()
    for epoch in range(training.epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for step in range(steps):
            set_lr(
                optimiser, training.lr * warmup_cosine(epoch + step / steps, training.warmup_epochs, training.epochs)
            )
            rows = order[step * training.batch : (step + 1) * training.batch]
            pixels = augment(images[rows].permute(0, 3, 1, 2).float() / 255, training.augmentation, generator)
            inputs = (pixels - mean) / std
            loss = model(inputs, labels[rows]) if supervised else model(inputs)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total += loss.item()
        log(f"epoch {epoch + 1}/{training.epochs}: loss {total / steps:.4f}, {time.time() - start:.0f} s")
    if isinstance(model, Classifier):
        backbone.head = model.head
    return backbone.eval()
