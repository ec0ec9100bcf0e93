"""Vision Transformers as timm builds them: construction, loading, saving, and the tokens that distillation compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wecolora.errors import BadInput
from wecolora.files import atomic_write


def build(architecture: dict[str, Any], depth: int | None = None) -> VisionTransformer:
    """A VisionTransformer without a head, from timm's own keyword arguments; ``depth`` replaces the given depth."""
    arguments = {"num_classes": 0, **architecture}
    if depth is not None:
        arguments["depth"] = depth
    return VisionTransformer(**arguments)


def load(architecture: dict[str, Any], weights: str | Path, depth: int | None = None) -> VisionTransformer:
    """The model with the weights of a safetensors file, in fp32, frozen, in eval mode; a stored head is left out.

    Raises BadInput when the file is missing, is no safetensors file, or does not fit the architecture.
    """
    model = build(architecture, depth)
    try:
        state = {name: tensor.float() for name, tensor in load_file(weights).items() if not name.startswith("head.")}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{weights}: cannot be read as safetensors weights ({error}); give a whole file.") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).split("\n\t", 1)[-1].split("\n")[0]
        raise BadInput(f"{weights}: does not fit the architecture {architecture}: {reason}") from error
    return model.requires_grad_(False).eval()


def save_weights(
    model: nn.Module, path: str | Path, metadata: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write the weights as safetensors, under timm's names, and ``metadata`` as a JSON sidecar beside them."""
    path = Path(path)
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(state))
    with atomic_write(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(metadata, indent=2, sort_keys=True) + "\n")


def sha256(path: str | Path) -> str:
    """Hex digest of a file: the identity of a teacher's or a student's weights."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_depth(path: str | Path) -> int:
    """How many blocks the weights of a safetensors file have; their bytes are not read."""
    with safe_open(path, "pt") as file:
        return len({name.split(".")[1] for name in file.keys() if name.startswith("blocks.")})  # noqa: SIM118


def _embedded(model: VisionTransformer, images: Tensor) -> Tensor:
    """What enters the first block."""
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def tokens_before_norm(model: VisionTransformer, images: Tensor) -> Tensor:
    """(batch, 3, H, W) normalised images -> (batch, tokens, width): the last block's output, before the final norm."""
    return model.blocks(_embedded(model, images))


def block_outputs(model: VisionTransformer, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """(batch, 3, H, W) normalised images -> (batch, tokens, width) after each of these 0-based blocks, in order."""
    hidden = _embedded(model, images)
    found = []
    for number, block in enumerate(model.blocks):
        hidden = block(hidden)
        if number in blocks:
            found.append(hidden)
    return found


def pooled(model: VisionTransformer, images: Tensor) -> Tensor:
    """(batch, 3, H, W) normalised images -> (batch, width): what the probe reads (final norm, then timm's pooling)."""
    return model.forward_head(model.norm(tokens_before_norm(model, images)), pre_logits=True)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(batch, H, W, 3) uint8 -> (batch, 3, H, W) float, (x / 255 - mean) / std."""
    scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
    shape = (1, 3, 1, 1)
    return (scaled - scaled.new_tensor(mean).view(shape)) / scaled.new_tensor(std).view(shape)
