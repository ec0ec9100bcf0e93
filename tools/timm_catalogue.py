"""The maker of wecolora/config/timm_catalogue.json (``make models``).

The table says which models the installed timm builds as its plain VisionTransformer, in what shape, and with which
weights.
"""

from __future__ import annotations

import inspect
import json
import sys
from functools import partial
from typing import Any
from unittest.mock import patch

from wecolora.config.timm_catalogue import HALF, TABLE

# The arguments of timm's VisionTransformer that take code, and why a model that sets one is no plain one.
REFUSED = {
    "block_fn": "its blocks are {}, not timm's plain ones",
    "mlp_layer": "its feed-forward layers are gated ({}), and adapters are defined for two plain layers",
    "embed_layer": "its patches are embedded by a convolutional network ({})",
    "attn_layer": "its attention is not timm's plain one but {}",
}


class _Found(BaseException):
    """A way out of timm's factory for what it was about to build; the factory handles no such exception."""


def built(name: str) -> tuple[type, dict[str, Any]]:
    """Return the class that timm would build for a model, and the arguments if it is a plain VisionTransformer."""
    import timm
    from timm.models import _builder
    from timm.models.vision_transformer import VisionTransformer

    factory = _builder.build_model_with_cfg

    def build(model: type, *arguments: Any, **named: Any) -> Any:
        if model is not VisionTransformer:
            raise _Found(model, {})
        return factory(model, *arguments, **named)

    def init(self: Any, **arguments: Any) -> None:
        raise _Found(type(self), arguments)

    modules = [module for key, module in sys.modules.items() if key.startswith("timm.models.")]
    patched = [m for m in modules if getattr(m, "build_model_with_cfg", None) is factory]
    for module in patched:
        module.build_model_with_cfg = build  # type: ignore[attr-defined]
    try:
        with patch.object(VisionTransformer, "__init__", init):
            timm.create_model(name)
    except _Found as found:
        return found.args
    finally:
        for module in patched:
            module.build_model_with_cfg = factory  # type: ignore[attr-defined]
    raise AssertionError(f"timm built {name} by itself")


def refusal(arguments: dict[str, Any]) -> str | None:
    """Return why a VisionTransformer of these arguments is no plain one, or None if it is."""
    for key, why in REFUSED.items():
        if key in arguments:
            code = arguments[key].func if isinstance(arguments[key], partial) else arguments[key]
            return why.format(getattr(code, "__name__", code))
    return None


def described(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return timm's arguments as those of ``Architecture``, without its defaults."""
    from timm.layers import get_norm_layer

    from wecolora.config.teachers import Architecture

    found = {key: value for key, value in arguments.items() if key not in ("num_classes", "dynamic_img_size")}
    assert found.pop("in_chans") == 3
    size = found["img_size"]
    found["img_size"] = size if isinstance(size, int) else size[0]
    assert isinstance(size, int) or size[0] == size[1]
    if norm := found.pop("norm_layer", None):
        layer = get_norm_layer(norm)
        bare = layer.func if isinstance(layer, partial) else layer
        eps = layer.keywords["eps"] if isinstance(layer, partial) else inspect.signature(bare).parameters["eps"].default
        found |= {"norm_layer": bare.__name__.lower(), "norm_eps": eps}
    found.setdefault("fc_norm", found.get("global_pool") == "avg")
    shape = Architecture(**found)
    return {key: value for key, value in shape.model_dump().items() if value != Architecture.model_fields[key].default}


def weights_of(name: str) -> dict[str, dict[str, Any]]:
    """Return what timm says about each of a model's weights, by tag; timm's default is first.

    The commonest values are left out.
    """
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

    commonest = {"mean": HALF, "std": HALF, "num_classes": 1000, "elsewhere": None}
    tags = {}
    default = get_pretrained_cfg(name)
    assert default is not None
    configs = get_arch_pretrained_cfgs(name)
    for full in sorted(configs, key=lambda full: configs[full].tag != default.tag):
        config = configs[full]
        about = {
            "mean": list(config.mean),
            "std": list(config.std),
            "num_classes": config.num_classes,
            "elsewhere": None if config.hf_hub_id else config.url,
        }
        tags[config.tag or ""] = {key: value for key, value in about.items() if value != commonest[key]}
    return tags


def make_table() -> dict[str, Any]:
    """Return the table of the installed timm."""
    import timm

    found: dict[str, Any] = {"timm": timm.__version__, "models": {}, "refused": {}, "families": {}}
    for name in timm.list_models():
        kind, arguments = built(name)
        if not arguments:
            found["families"].setdefault(kind.__name__, []).append(name)
        elif why := refusal(arguments):
            found["refused"][name] = why
        else:
            found["models"][name] = {"architecture": described(arguments), "tags": weights_of(name)}
    return found


def dumped(found: dict[str, Any]) -> str:
    """Return the table as JSON, with a line for each model."""
    parts = [f'"timm": {json.dumps(found["timm"])}']
    for part in ("models", "refused", "families"):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(found[part].items()))
        parts.append(f'"{part}": {{\n{lines}\n}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(dumped(make_table()), encoding="utf-8")
