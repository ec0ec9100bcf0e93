"""Intermittent weight copy: a shallower student from every r-th block of its teacher (section 3.1, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.methods import Layers
from wecolora.core.errors import BadInput
from wecolora.models.vit import build


def layers(depth: int, r: int, rule: Layers | Sequence[int] = "paper") -> list[int]:
    """Return the 0-based teacher blocks that the student's floor(depth / r) blocks copy, in order.

    With ``paper``, these are the 1-based blocks r * l, so the last block is among them if r divides depth (steps 2-4 of
    Algorithm 1). With ``authors_code``, these are the 0-based blocks 0, r, 2r, ...; the last block is never among them
    for r > 1. With ``first``, these are the first floor(depth / r) blocks. A sequence of 0-based numbers is taken as it
    is. Raise BadInput if r or a number does not fit the depth, or if the rule is one by which images choose.
    """
    if not isinstance(rule, str):
        chosen = list(rule)
        if not chosen or any(not 0 <= layer < depth for layer in chosen):
            raise BadInput(f"layers {chosen}: name blocks from 0 to {depth - 1}, at least one.")
        return chosen
    if not 1 <= r <= depth:
        raise BadInput(f"r = {r}: the reduction ratio must lie in 1..{depth}, the teacher's number of blocks.")
    count = depth // r
    if rule == "paper":
        return [r * position - 1 for position in range(1, count + 1)]
    if rule == "first":
        return list(range(count))
    if rule == "authors_code":
        return [r * position for position in range(count)]
    raise BadInput(f"layers {rule!r}: images choose these blocks, and there are none here; list the blocks.")


def copy_weights(
    teacher: VisionTransformer, architecture: dict[str, Any], r: int, rule: Layers | Sequence[int] = "paper"
) -> VisionTransformer:
    """Return a student of floor(L / r) blocks with the teacher's weights.

    It copies the chosen blocks, the patch embedding, the class token, the position embedding and the final norm.
    ``architecture`` holds the timm keyword arguments that built the teacher. The student owns its weights.
    """
    chosen = layers(len(teacher.blocks), r, rule)
    student = build(architecture, depth=len(chosen))
    state: dict[str, torch.Tensor] = {}
    source = teacher.state_dict()
    for name in student.state_dict():
        if name.startswith("blocks."):
            _, position, rest = name.split(".", 2)
            state[name] = source[f"blocks.{chosen[int(position)]}.{rest}"]
        else:
            state[name] = source[name]
    student.load_state_dict(state)
    return student
