"""Figure 3: attention rollout, how much the class token draws on each patch through all blocks (section 4.3).

The method is that of Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020 (arXiv:2005.00928).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.functional import interpolate

from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write
from wecolora.data.images import Index
from wecolora.results.figures import save_figure, wrapped

CANDIDATES = 36  # the images of the figure are chosen among so many of the test split
COLOURS = mpl.colormaps["inferno"]  # perceptually uniform, readable for the colour-blind, and ordered in grey print


@torch.no_grad()
def attentions(model: VisionTransformer, images: Tensor) -> list[Tensor]:
    """Return the attention of each block, in order, after the softmax and before any dropout.

    The shapes are (batch, 3, H, W) normalised images -> (batch, heads, tokens, tokens) for each block, one row a query.
    """
    # timm's AttentionExtract gives the same tensors, but its hooks stay on the model, and it turns no kernel off.
    found: list[Tensor] = []
    with ExitStack() as restored:
        for block in model.blocks:
            attention: Any = block.attn
            # The fused kernel never holds the attention matrix, but timm's plain path passes it to attn_drop.
            restored.callback(setattr, attention, "fused_attn", attention.fused_attn)
            attention.fused_attn = False
            hook = attention.attn_drop.register_forward_hook(lambda module, inputs, output: found.append(inputs[0]))
            restored.callback(hook.remove)
        model(images)
    return found


def transition(attention: Tensor, keep: float) -> Tensor:
    """Return how one block mixes tokens: (batch, heads, tokens, tokens) attention -> (batch, tokens, tokens).

    Each entry is that of the highest head. Only the highest ``keep`` share of the matrix stays. Half of every token
    comes from the skip connection. The sum of each row is 1.
    """
    joined = attention.amax(dim=1)
    entries = joined.flatten(1)
    threshold = entries.topk(math.ceil(keep * entries.shape[1])).values[:, -1]
    kept = joined >= threshold[:, None, None]
    kept[:, 0, 0] = True  # the class token's attention to itself
    mixed = (joined * kept + torch.eye(joined.shape[1]).to(joined)) / 2
    return mixed / mixed.sum(dim=-1, keepdim=True)


def rollout(attentions: Sequence[Tensor], keep: float = 0.1, prefix: int = 1) -> Tensor:
    """Return the rollout of the class token over the patches, scaled by each image's maximum.

    The shapes are (batch, heads, tokens, tokens) for each block, first to last -> (batch, patches) in [0, 1]. The class
    token is the first of ``prefix`` tokens that are not patches. ``keep`` is the share of a block's matrix that is not
    set to zero.
    """
    flow = torch.eye(attentions[0].shape[-1]).to(attentions[0])
    for attention in attentions:
        flow = transition(attention, keep) @ flow
    patches = flow[:, 0, prefix:]
    highest = patches.amax(dim=1, keepdim=True)
    return patches / highest.clamp_min(torch.finfo(patches.dtype).tiny)  # zeros, if nothing is kept


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Return the grey levels of images by Rec. 601's luma: (n, H, W, 3) uint8 -> (n, H, W) in [0, 1]."""
    return (pixels / 255) @ np.array([0.299, 0.587, 0.114])


def clearest(pixels: np.ndarray, classes: Sequence[Hashable], count: int) -> list[int]:
    """Return the positions of ``count`` of the images (n, H, W, 3) uint8, those of the highest contrast first.

    The contrast is the standard deviation of the grey levels. The images are of different classes, as far as there are
    classes: in a uniform crop no model has anything to look at, and the crops of one picture that have the most
    contrast are alike.
    """
    order = np.argsort(-grey_levels(pixels).std(axis=(1, 2)), kind="stable").tolist()
    best = {classes[position]: position for position in reversed(order)}
    return sorted(order, key=lambda position: best[classes[position]] != position)[:count]


def examples(index: Index, count: int, size: int) -> tuple[np.ndarray, list[str]]:
    """Return the pixels (n, size, size, 3) uint8 and the names of ``count`` labelled test images, or of all.

    The images are the clearest ones (see clearest). Raise BadInput if no test image has a label.
    """
    candidates = index.examples("test", max(CANDIDATES, count))
    if not candidates:
        raise BadInput(f"data set {index.name}: no test image has a label, so that a rollout shows none; take another.")
    pixels = index.pixels(candidates, size)
    labels = [tuple(index.labels[position]) for position in candidates]
    chosen = clearest(pixels, labels, count)
    return pixels[chosen], [", ".join(index.classes[number] for number in labels[place]) for place in chosen]


def grid(maps: np.ndarray) -> np.ndarray:
    """Arrange the patches of maps in a square, row by row: (n, patches) -> (n, side, side)."""
    side = math.isqrt(maps.shape[1])
    return maps.reshape(len(maps), side, side)


def shade(grey: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Return colours (..., 3) for grey levels and attention, both (...) in [0, 1].

    The attention gives the colour. The grey level moves its lightness, by so little that the colours can be told apart.
    """
    return 0.3 * grey[..., None] + 0.1 + 0.6 * COLOURS(attention)[..., :3]


def overlay(pixels: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return the maps, enlarged bilinearly, in colours over the images in grey.

    The shapes are images (n, H, W, 3) uint8 and maps (n, patches) in [0, 1] -> (n, H, W, 3) in [0, 1].
    """
    enlarged = interpolate(torch.from_numpy(grid(maps))[:, None], pixels.shape[1:3], mode="bilinear")[:, 0]
    return shade(grey_levels(pixels), enlarged.numpy())


def draw_rollout(
    pixels: np.ndarray, names: Sequence[str], maps: dict[str, np.ndarray], recipe: ArtifactRecipe
) -> Figure:
    """Draw a row for each image (n, H, W, 3) uint8 with its name: the image, then each label's map (n, patches)."""
    columns = {"Image": pixels, **{label: overlay(pixels, of_label) for label, of_label in maps.items()}}
    figure = Figure(figsize=(1 + 1.4 * len(columns), 0.8 + 1.4 * len(pixels)), layout="compressed")
    axes = figure.subplots(len(pixels), len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(textwrap.fill(title, 18))
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture)
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].spines[:].set_visible(False)
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(textwrap.fill(name, 14), rotation=0, ha="right", va="center")
    over_mid_grey = ListedColormap(shade(np.full(256, 0.5), np.linspace(0, 1, 256)))
    bar = figure.colorbar(
        ScalarMappable(cmap=over_mid_grey), ax=axes, location="bottom", aspect=40, shrink=0.6, pad=0.02
    )
    bar.set_label("Attention rollout of the class token, over the image in grey\n(1: the image's highest)")
    figure.suptitle(wrapped(recipe.title, figure.get_figwidth()))
    return figure


def write_rollout(
    pixels: np.ndarray,
    names: Sequence[str],
    maps: dict[str, np.ndarray],
    recipe: ArtifactRecipe,
    csv: str | Path,
    png: str | Path,
    pdf: str | Path,
) -> None:
    """Write the maps as CSV, and the figure as PNG and PDF.

    The CSV has a row for each patch: image (from 0), name, label, row and column of the patch (from 0, from the top
    left), and attention.
    """
    rows = [
        {"image": image, "name": name, "label": label, "row": row, "column": column, "attention": attention}
        for label, of_label in maps.items()
        for image, (name, of_image) in enumerate(zip(names, grid(of_label), strict=True))
        for (row, column), attention in np.ndenumerate(of_image)
    ]
    with atomic_write(csv) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
    save_figure(lambda: draw_rollout(pixels, names, maps, recipe), png, pdf)
