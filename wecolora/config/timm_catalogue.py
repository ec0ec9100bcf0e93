"""Which models timm builds as its plain VisionTransformer, and in what shape. No torch: the Snakefile asks.

``make models`` writes the table (timm_catalogue.json) from the installed timm (tools/timm_catalogue.py); a test
compares the two.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wecolora.core.errors import BadInput

TABLE = Path(__file__).with_name("timm_catalogue.json")
HALF: list[float] = [0.5, 0.5, 0.5]
# Of weights, as the hub names them; the first that is there is taken.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt")
SHARD = re.compile(r"-\d+-of-(?!0*1\.)\d+\.|\.index\.json$")
ADAPTERS = re.compile(r"^adapter_model\.")

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
    """Return the whole table.

    ``models`` holds the architecture and the tags of each model, timm's default tag first; ``refused`` a reason for
    each model that cannot be copied; ``families`` the models of each other class.
    """
    return json.loads(TABLE.read_text(encoding="utf-8"))


def lookup(name: str) -> TimmModel:
    """Return a model by timm's name, with a tag or without.

    Raise ValueError, with the reason, for a model that cannot be used.
    """
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
    """Return the file of weights that a path means: the path itself, or a file in the folder that it names.

    Of a folder it is the file that is named as on the hub, or else the only one. Raise BadInput if that is unclear, or
    if the file is of another kind, a shard, or one of adapters.
    """
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
    """Return the name of the file that weights_file takes in a folder, or is to refuse."""
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
