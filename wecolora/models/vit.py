"""Vision Transformers as timm builds them: construction, loading, saving, and the tokens that distillation compares."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from timm.layers import LayerNorm, RmsNorm
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write, unreadable, write_text
from wecolora.models.attention import TransformedAttention

Form = Literal["plain", "distilled", "transformed"]


WHOLE = "give a whole file, or delete it, if it is a student, to distil it again"
NORMS = {"layernorm": LayerNorm, "rmsnorm": RmsNorm}


def timm_arguments(architecture: dict[str, Any]) -> dict[str, Any]:
    """Return timm's keyword arguments of a VisionTransformer from the values of ``Architecture``.

    The norm becomes the function that timm wants.
    """
    arguments = {"num_classes": 0, **architecture}
    kind, eps = arguments.pop("norm_layer", "layernorm"), arguments.pop("norm_eps", 1e-6)
    return {**arguments, "norm_layer": partial(NORMS[kind], eps=eps)}


def build(architecture: dict[str, Any], depth: int | None = None, form: Form = "plain") -> VisionTransformer:
    """Build a VisionTransformer without a head from the values of ``Architecture``; ``depth`` replaces its depth.

    The form ``distilled`` is timm's own with a distillation token (DeiT), which has no registers and no norm after
    pooling. The form ``transformed`` has transforms over the heads of its attention (MiniViT), which no model of timm
    has.
    """
    arguments = timm_arguments(architecture)
    if depth is not None:
        arguments["depth"] = depth
    if form == "distilled":
        return VisionTransformerDistilled(**{**arguments, "fc_norm": False, "reg_tokens": 0, "no_embed_class": False})
    model = VisionTransformer(**arguments)
    if form == "transformed":
        for block in model.blocks:
            plain: Any = block.attn
            block.attn = TransformedAttention(model.embed_dim, plain.num_heads, plain.qkv.bias is not None)
    return model


def load(
    architecture: dict[str, Any],
    weights: str | Path,
    depth: int | None = None,
    form: Form = "plain",
    head: bool = False,
) -> VisionTransformer:
    """Load a model with the weights of a safetensors file: in fp32, frozen, in eval mode.

    A stored head is left out unless ``head`` is true. Raise BadInput if the file is missing or is no safetensors file,
    if a value is not a number or not a floating-point one, or if the weights do not fit the architecture.
    """
    model = build(architecture, depth, form)
    try:
        stored = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise _unreadable(weights, error) from error
    refuse_whole_numbers(stored, weights)
    stored = {name: tensor.float() for name, tensor in stored.items()}
    if broken := [name for name, tensor in stored.items() if not tensor.isfinite().all()]:
        raise BadInput(f"{weights}: {min(broken)} holds values that are no numbers; {WHOLE}.")
    if head and "head.weight" in stored:
        model.reset_classifier(len(stored["head.weight"]))
    else:
        stored = {name: tensor for name, tensor in stored.items() if not name.startswith("head.")}
    try:
        model.load_state_dict(stored)
    except RuntimeError as error:
        raise BadInput(
            f"{weights}: does not fit the architecture that the config gives it: {mismatch(error)}; correct its "
            "`architecture`, or give the weights of such a model."
        ) from error
    return model.requires_grad_(False).eval()


def refuse_whole_numbers(state: dict[str, Tensor], path: str | Path) -> None:
    """Raise BadInput for weights that are whole numbers or the like, as quantised ones are.

    Without their scales such weights mean nothing. No VisionTransformer has buffers of whole numbers.
    """
    if others := [name for name, tensor in state.items() if not tensor.is_floating_point()]:
        name = min(others)
        raise BadInput(
            f"{path}: {name} is of {str(state[name].dtype).removeprefix('torch.')}, not of floating-point numbers; "
            "give the weights as they were before they were quantised or converted."
        )


def stand_in(path: str | Path) -> BadInput | None:
    """Return the error for a file that came in place of weights (a Git LFS pointer, or a web page), or None."""
    try:
        with open(path, "rb") as file:
            head = file.read(512).lstrip().lower()
    except OSError:
        return None
    if head.startswith(b"version https://git-lfs"):
        return BadInput(f"{path}: is a Git LFS pointer in the place of the weights; run `git lfs pull` in its folder.")
    if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return BadInput(f"{path}: is an HTML page in the place of the weights: their download failed; load them again.")
    return None


def _unreadable(weights: str | Path, error: Exception) -> BadInput:
    return stand_in(weights) or unreadable(weights, error, "cannot be read as safetensors weights", WHOLE)


def mismatch(error: Exception) -> str:
    """Return the first complaint of load_state_dict, or of what comes before it.

    If the complaint is about missing names, it comes with the names that are there in their place.
    """
    complaints = [re.sub('", ".*', '" and more', line.strip(" .")) for line in str(error).split("\n\t")]
    first, *others = complaints[1:] or [complaints[0].split("\n")[0]]
    unexpected = [line for line in others if line.startswith("Unexpected") and first.startswith("Missing")]
    return "; ".join([first, *unexpected])


def stored_form(weights: str | Path) -> tuple[int, Form]:
    """Return the depth and the form of the student in a file; raise BadInput if it cannot be read."""
    try:
        with safe_open(weights, "pt") as file:
            names = set(file.keys())
    except (OSError, SafetensorError) as error:
        raise _unreadable(weights, error) from error
    depth = len({name.split(".")[1] for name in names if name.startswith("blocks.")})
    form: Form = "distilled" if "dist_token" in names else "plain"
    if any(name.endswith("attn.before.weight") for name in names):
        form = "transformed"
    return depth, form


def load_student(architecture: dict[str, Any], weights: str | Path) -> VisionTransformer:
    """Load a student of that teacher's architecture, in the depth and the form that its file has (see load)."""
    return load(architecture, weights, *stored_form(weights))


def save_weights(
    model: nn.Module, path: str | Path, metadata: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write the weights as safetensors, under timm's names, and ``metadata`` as a JSON file beside them."""
    path = Path(path)
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(state))
    write_text(path.with_suffix(".json"), json.dumps(metadata, indent=2, sort_keys=True) + "\n")


def embedded(model: VisionTransformer, images: Tensor) -> Tensor:
    """Return what enters the first block: (batch, 3, H, W) normalised images -> (batch, tokens, width)."""
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def tokens_before_norm(model: VisionTransformer, images: Tensor) -> Tensor:
    """Return the last block's output before the final norm.

    The shapes are (batch, 3, H, W) normalised images -> (batch, tokens, width).
    """
    return model.blocks(embedded(model, images))


def block_outputs(model: VisionTransformer, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Return the output of each of these 0-based blocks, in order.

    The shapes are (batch, 3, H, W) normalised images -> (batch, tokens, width) for each block.
    """
    # timm's forward_intermediates gives the same values, but apart for class token and patches, to be joined again.
    hidden = embedded(model, images)
    found = []
    for number, block in enumerate(model.blocks):
        hidden = block(hidden)
        if number in blocks:
            found.append(hidden)
    return found


def pooled(model: VisionTransformer, images: Tensor) -> Tensor:
    """Return what the probe reads: the final norm, then timm's pooling.

    The shapes are (batch, 3, H, W) normalised images -> (batch, width).
    """
    return pool_tokens(model, tokens_before_norm(model, images))


def pool_tokens(model: VisionTransformer, tokens: Tensor) -> Tensor:
    """Pool the last block's output, (batch, tokens, width) -> (batch, width), as ``pooled`` does."""
    return model.forward_head(model.norm(tokens), pre_logits=True)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x / 255 - mean) / std: (batch, H, W, 3) uint8 -> (batch, 3, H, W) float."""
    scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
    shape = (1, 3, 1, 1)
    return (scaled - scaled.new_tensor(mean).view(shape)) / scaled.new_tensor(std).view(shape)
