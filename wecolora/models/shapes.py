"""The architecture of a file of weights, from the shapes in it and from the JSON file that may lie beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import lookup
from wecolora.core.errors import BadInput
from wecolora.core.files import unreadable

Shapes = Mapping[str, tuple[int, ...]]
HEAD_WIDTH = 64  # of nearly every published VisionTransformer; shapes do not tell it


@dataclass(frozen=True)
class Described:
    """What is known of a file's model: its architecture, what its pixels are normalised with, and where that stands."""

    architecture: Architecture
    statistics: dict[str, list[float]]  # mean and std; empty where nothing tells them
    source: str


def describe(path: str | Path, heads: int | None = None) -> Described:
    """Return the architecture of a safetensors file with timm's parameter names.

    Sizes are read from its shapes. What shapes do not tell (the heads, the pooling, the activation) is read from the
    JSON file beside it: one of the same stem, or timm's config.json. Where there is none, the heads are ``heads``, or
    the width over 64, and all else is timm's default. Raise BadInput if the file cannot be read, holds no plain
    VisionTransformer, or has another shape than the JSON file says.
    """
    shapes = read_shapes(path)
    own = from_shapes(shapes, path)
    told, statistics, source = _beside(Path(path))
    if wrong := {key: (told[key], own[key]) for key in own.keys() & told.keys() if told[key] != own[key]}:
        key, (said, is_so) = next(iter(wrong.items()))
        raise BadInput(f"{source}: says {key} = {said}, and {path} has {is_so}; correct it, or move it away.")
    if heads is not None:
        told["num_heads"] = heads
    if "num_heads" not in told:
        if own["embed_dim"] % HEAD_WIDTH:
            raise BadInput(f"{path}: a width of {own['embed_dim']} has no heads of {HEAD_WIDTH}; give --heads.")
        told["num_heads"] = own["embed_dim"] // HEAD_WIDTH
    pooling = "avg" if own["fc_norm"] or not own["class_token"] else "token"
    try:
        return Described(Architecture(**{"global_pool": pooling, **told, **own}), statistics, source or "its shapes")
    except ValidationError as error:
        raise BadInput(f"{path}: {error.errors()[0]['msg']}; give --heads, or describe it in a config.") from error


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file; raise BadInput for any other file."""
    try:
        with safe_open(path, "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise unreadable(
            path, error, "cannot be read as safetensors weights", "give such a file, or a model by timm's name"
        ) from error


def from_shapes(shapes: Shapes, path: str | Path) -> dict[str, Any]:
    """Return what the shapes tell, by the names of Architecture; raise BadInput for no plain VisionTransformer."""
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    if missing := [name for name in needed if name not in shapes]:
        raise BadInput(
            f"{path}: has no {missing[0]}, so it is no plain VisionTransformer with timm's names; give one, or a "
            "model by timm's name with this file as --weights."
        )
    if "dist_token" in shapes or "blocks.0.attn.before.weight" in shapes:
        raise BadInput(f"{path}: is a student of DeiT or MiniViT, which cannot be a teacher; give another model.")
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    class_token, registers = "cls_token" in shapes, shapes.get("reg_token", (1, 0))[1]
    prefix, positions = int(class_token) + registers, shapes["pos_embed"][1]
    patches = next((n for n in (positions - prefix, positions) if n > 0 and math.isqrt(n) ** 2 == n), None)
    if patches is None:
        raise BadInput(f"{path}: its {positions} positions are no square of patches; describe it in a config.")
    return {
        "img_size": math.isqrt(patches) * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
        "mlp_ratio": shapes["blocks.0.mlp.fc1.weight"][0] / width,
        "fc_norm": "fc_norm.weight" in shapes,
        "final_norm": "norm.weight" in shapes or "fc_norm.weight" in shapes,
        "class_token": class_token,
        "reg_tokens": registers,
        "no_embed_class": prefix > 0 and patches == positions,
        "pre_norm": "norm_pre.weight" in shapes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "scale_attn_norm": "blocks.0.attn.norm.weight" in shapes,
        "scale_mlp_norm": "blocks.0.mlp.norm.weight" in shapes,
        "norm_layer": "layernorm" if "blocks.0.norm1.bias" in shapes else "rmsnorm",
        # Its value decides nothing once weights are loaded; whether there is one does.
        **({"init_values": 1e-5} if "blocks.0.ls1.gamma" in shapes else {}),
    }


def _beside(path: Path) -> tuple[dict[str, Any], dict[str, list[float]], str]:
    """Return what the JSON file beside a file of weights says of its architecture and its pixels, and its name.

    It is this project's record of a teacher or a student (whose recipe tells the teacher's depth), or timm's
    config.json. Files that tell no architecture are none.
    """
    for file in (path.with_suffix(".json"), path.parent / "config.json"):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = values.get("recipe", values) if isinstance(values, dict) else {}
        told = found.get("architecture")
        about: dict[str, Any] = found.get("pretrained_cfg") or found
        if isinstance(told, str):  # timm's
            try:
                told = {**lookup(told).architecture, **found.get("model_args", {})}
            except ValueError as error:
                raise BadInput(f"{file}: {error}.") from error
        if not isinstance(told, dict):
            continue
        known = {key: value for key, value in told.items() if key in Architecture.model_fields and key != "depth"}
        known.pop("init_values", None)
        statistics = {key: list(about[key]) for key in ("mean", "std")} if {"mean", "std"} <= about.keys() else {}
        return known, statistics, str(file)
    return {}, {}, ""
