"""WeCoLoRA Bench. The calls of a notebook are imported when they are first asked for (docs/python.md)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wecolora.api import Distilled, add_lora, copy_weights, distill, linear_probe, merge

__all__ = ["Distilled", "add_lora", "copy_weights", "distill", "linear_probe", "merge"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch takes seconds, and most of this project's commands need none of it."""
    if name in __all__:
        return getattr(importlib.import_module("wecolora.api"), name)
    raise AttributeError(f"module 'wecolora' has no attribute {name!r}")
