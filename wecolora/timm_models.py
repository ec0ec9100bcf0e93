"""Which models timm builds as its plain VisionTransformer, and in what shape. No torch: the Snakefile asks.

``python -m wecolora.timm_models`` writes the table (timm_models.json) from the installed timm; a test compares the two.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from wecolora.errors import BadInput

TABLE = Path(__file__).with_name("timm_models.json")
HALF: list[float] = [0.5, 0.5, 0.5]
# Of weights, as the hub names them; the first that is there is taken.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt")
SHARD = re.compile(r"-\d+-of-(?!0*1\.)\d+\.|\.index\.json$")
ADAPTERS = re.compile(r"^adapter_model\.")

# Arguments of timm's VisionTransformer that take code, and why a model that sets them is no plain one.
REFUSED = {
    "block_fn": "its blocks are {}, not timm's plain ones",
    "mlp_layer": "its feed-forward layers are gated ({}), and adapters are defined for two plain layers",
    "embed_layer": "its patches are embedded by a convolutional network ({})",
    "attn_layer": "its attention is not timm's plain one but {}",
}
NARROWING = "whose blocks change width between stages, so that every r-th cannot be copied"
FAMILIES = {
    "ConvNeXt": "which has convolutions in the place of attention, and stages of different width",
    "DaVit": NARROWING,
    "Hiera": NARROWING,
    "MultiScaleVit": NARROWING,
    "PoolingVisionTransformer": NARROWING,
    "PyramidVisionTransformerV2": NARROWING,
    "ResNet": "which has convolutions in the place of attention, and stages of different width",
    "SwinTransformer": NARROWING,
    "SwinTransformerV2": NARROWING,
    "SwinTransformerV2Cr": NARROWING,
    "Twins": NARROWING,
    "VisionTransformerDistilled": "whose class and distillation tokens have a head each",
}


@dataclass(frozen=True)
class TimmModel:
    """A model of timm's with one of its weights: its name with the tag, ``recipes.Architecture``'s arguments, what its
    pixels are normalised with, its classes (0: no head), and where the weights are when they are not on the hub (""
    where nobody has published any)."""

    name: str
    architecture: dict[str, Any]
    mean: list[float]
    std: list[float]
    num_classes: int
    elsewhere: str | None


@cache
def table() -> dict[str, Any]:
    """The whole table: ``models`` (architecture and tags, the first of which is timm's default), ``refused`` (a reason
    a model) and ``families`` (the models of each other class)."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def lookup(name: str) -> TimmModel:
    """A model by timm's name, with a tag or without. ValueError, with the reason, for one that is none of ours."""
    known = table()
    model, _, tag = name.partition(".")
    if model in known["refused"]:
        raise ValueError(f"{model} cannot be copied block by block: {known['refused'][model]}")
    for family, members in known["families"].items():
        if model in members:
            why = FAMILIES.get(family, "whose blocks are not those of a plain VisionTransformer")
            raise ValueError(f"{model} is timm's {family}, {why}; take a VisionTransformer, such as vit_* and deit_*")
    if model not in known["models"]:
        close = difflib.get_close_matches(name.replace("/", "."), [*known["models"], *_full_names()], n=1)
        hint = f"; did you mean {close[0]}" if close else ""
        raise ValueError(f"{name!r} is no model of timm {known['timm']}{hint}")
    entry = known["models"][model]
    tag = tag or next(iter(entry["tags"]))
    if tag not in entry["tags"]:
        raise ValueError(f"timm's {model} has no weights {tag!r}; it has {', '.join(entry['tags'])}")
    about = {"mean": HALF, "std": HALF, "num_classes": 1000, "elsewhere": None, **entry["tags"][tag]}
    return TimmModel(f"{model}.{tag}", entry["architecture"], **about)


def weights_file(path: str) -> str:
    """A file of weights: the path itself, or, of a folder, the file in it that is named as on the hub, or else its only
    one. BadInput where that is unclear, or the file is of another kind, a shard, or one of adapters."""
    if Path(path).is_dir():
        path = str(Path(path) / _of_folder(path))
    name = Path(path).name.lower()
    if SHARD.search(name):
        raise BadInput(f"{path}: is a part of weights in shards; merge the shards into one file, and name that.")
    if ADAPTERS.search(name):
        raise BadInput(f"{path}: holds adapters alone; merge them into their model first, and name its weights.")
    if not name.endswith(SUFFIXES):
        raise BadInput(f"{path}: is no file of weights; give one that ends in {', '.join(SUFFIXES)}, or its folder.")
    return path


def _of_folder(path: str) -> str:
    """The name of the file in a folder that weights_file takes, or refuses."""
    names = sorted(entry.name for entry in Path(path).iterdir())
    for kind in (SHARD, ADAPTERS):  # training scripts leave other files beside these
        if (found := [name for name in names if kind.search(name.lower())]) and not {*HUB_FILES} & {*names}:
            return found[0]
    found = [name for name in names if name.lower().endswith(SUFFIXES)]
    chosen = [name for name in HUB_FILES if name in found] or found
    if not chosen or (len(chosen) > 1 and chosen[0] not in HUB_FILES):
        has = f"has {', '.join(chosen)}" if chosen else f"has no file that ends in {', '.join(SUFFIXES)}"
        raise BadInput(f"{path}: {has}; name the one file of weights.")
    return chosen[0]


def _full_names() -> list[str]:
    return [f"{name}.{tag}" for name, entry in table()["models"].items() for tag in entry["tags"]]


# The table


class _Found(BaseException):
    """Carries out of timm's factory what it was about to build; no exception that the factory might handle."""


def built(name: str) -> tuple[type, dict[str, Any]]:
    """The class that timm builds for a model, and, of a plain VisionTransformer, the arguments. Nothing is built."""
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
    """Why a VisionTransformer of these arguments is no plain one."""
    for key, why in REFUSED.items():
        if key in arguments:
            code = arguments[key].func if isinstance(arguments[key], partial) else arguments[key]
            return why.format(getattr(code, "__name__", code))
    return None


def described(arguments: dict[str, Any]) -> dict[str, Any]:
    """timm's arguments as those of ``recipes.Architecture``, less its defaults."""
    from timm.layers import get_norm_layer

    from wecolora.recipes import Architecture

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
    """What timm says of each of a model's weights, by tag, timm's default first; less the commonest."""
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
    """The table of the installed timm."""
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
    """As JSON, a line a model."""
    parts = [f'"timm": {json.dumps(found["timm"])}']
    for part in ("models", "refused", "families"):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(found[part].items()))
        parts.append(f'"{part}": {{\n{lines}\n}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(dumped(make_table()), encoding="utf-8")
