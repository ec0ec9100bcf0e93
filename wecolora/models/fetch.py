"""A teacher from timm: its weights from the hub or a file, with timm's names and in the wanted shape.

Nothing from outside runs code: files are safetensors, or pickles that torch reads with ``weights_only``.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file
from timm.models import clean_state_dict, get_pretrained_cfg
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.recipes import FetchRecipe
from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import HUB_FILES, lookup
from wecolora.core.errors import BadInput
from wecolora.core.files import unreadable
from wecolora.models.vit import build, mismatch, refuse_whole_numbers, stand_in

log = logging.getLogger("wecolora")
PATCHES = "patch_embed.proj.weight"  # every VisionTransformer of timm has this weight
# The names of this weight, and of the positions, in files that timm converts.
KERNELS = (PATCHES, "visual.conv1.weight", "vision_embed.proj.weight", "patchifier.proj.weight")
POSITIONS = ("pos_embed", "visual.positional_embedding", "visual.trunk.pos_embed")
# The keys under which training scripts keep the weights, in timm's order; the last is I-JEPA's.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "encoder")
# Parts of names that show a project whose names timm does not convert.
OTHER_NAMES = {
    "transformers": ("embeddings.patch_embedding", "encoder.layer.0."),
    "torchvision": ("encoder.layers.encoder_layer_",),
}


def download(name: str) -> Path:
    """Return the file of a model's weights in the hub's cache; download it if it is not there yet.

    HF_HUB_OFFLINE forbids the download. Raise BadInput if the file cannot be had.
    """
    config = get_pretrained_cfg(name)
    assert config is not None and config.hf_hub_id  # the table promises it (TimmModel.elsewhere)
    repository, _, revision = config.hf_hub_id.partition("@")
    reason, unreachable = "", False
    for file in HUB_FILES:
        try:
            found = hf_hub_download(
                repository, file, revision=revision or None, library_name="timm", local_files_only=unreachable
            )
            return Path(found)
        except LocalEntryNotFoundError as error:  # it is not in the cache, and the hub was not reached or not asked
            reason, unreachable = reason or str(error), True
        except EntryNotFoundError as error:
            reason = str(error)
        except Exception as error:  # the network and its libraries raise errors of many classes
            reason = str(error) or type(error).__name__
            break
    offline = "HF_HUB_OFFLINE is set; " if os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("", "0", "NO") else ""
    raise BadInput(
        f"timm's {name}: {offline}{repository} is not in the hub's cache, {HF_HUB_CACHE}, and cannot be downloaded "
        f"({reason.splitlines()[0].rstrip('.')}); run `hf download {repository}` where there is internet and let "
        "HF_HOME name its cache, or give the file as the teacher's `weights`."
    )


def read_state(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a checkpoint by name, without what training scripts wrap around them.

    The decoder of a masked autoencoder is left out. Raise BadInput for a file that cannot be read without running what
    it holds, that holds no weights of a model, or that holds those of several models.
    """
    state = _of_one_model(_cleaned(_unwrapped(_opened(path), path), path), path)
    if "decoder_embed.weight" in state:
        state = {key: value for key, value in state.items() if not key.startswith(("decoder_", "mask_token"))}
    if next(_flat(state), None) is None:
        raise BadInput(f"{path}: holds no weights of a model; give a file with the state_dict of the whole model.")
    return state


def _opened(path: str | Path) -> Any:
    """Return what a file of weights holds, or raise BadInput; none of it is run."""
    try:
        if str(path).lower().endswith(".safetensors"):
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # training scripts keep their arguments in it
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise unreadable(path, error, "cannot be read as weights", "give a whole file") from error
    except Exception as error:  # bytes that are no pickle make an unpickler raise any error
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".") if str(error) else type(error).__name__
        raise stand_in(path) or BadInput(
            f"{path}: cannot be read as weights ({reason}); give a whole .safetensors file, or one that torch.load "
            "reads with weights_only: a pickle that holds code is never run."
        ) from error


def _unwrapped(checkpoint: Any, path: str | Path) -> dict[str, Any]:
    """Return the part of a training script's checkpoint that holds the weights.

    Averaged weights (EMA) come before others, as timm chooses. Log a warning if other parts hold a model, too. Raise
    BadInput if the checkpoint does not hold weights by name.
    """
    if not isinstance(checkpoint, dict):
        raise BadInput(
            f"{path}: holds a {type(checkpoint).__name__}, not weights by name; save the model's state_dict."
        )
    wrappers = [key for key in WRAPPERS if isinstance(checkpoint.get(key), dict)]
    if not wrappers:
        return checkpoint
    taken, *others = wrappers
    rest = {key: value for key, value in checkpoint.items() if key not in wrappers}
    if others := [*others, *(name for name, _ in _flat(rest) if name.endswith(PATCHES))]:
        text = "WARNING: %s: the weights under %s are taken, not those under %s; to take others, save them alone."
        log.warning(text, path, taken, " and ".join(others))
    return checkpoint[taken]


def _cleaned(state: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the weights without what torch's wrappers put before their names (``module.``, ``_orig_mod.``).

    Raise BadInput if two weights then have the same name; timm would keep the later one.
    """
    state = {str(name): value for name, value in state.items()}
    kept = clean_state_dict({name: name for name in state})
    if lost := [name for name in state if name not in kept.values()]:
        (clean,) = clean_state_dict({lost[0]: None})
        raise BadInput(
            f"{path}: holds {lost[0]} and {kept[clean]}, the same weight of two models; save the weights of one of "
            "them in a file of their own."
        )
    _refuse_adapters([name for name, _ in _flat(state)], path)
    return clean_state_dict(state)


def _refuse_adapters(names: list[str], path: str | Path) -> None:
    """Raise BadInput for adapters (LoRA) that are not merged into the weights of their model."""
    whole = any(name.endswith(PATCHES) for name in names)
    for name in names:
        if "lora_" in name or (name.startswith("base_model.") and not whole):
            what = "adapters beside the weights" if whole else "adapters alone"
            raise BadInput(f"{path}: holds {what} ({name}); merge them into their model first, and save that.")


def _of_one_model(state: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the tensors of the one VisionTransformer in a checkpoint, by its own names.

    They may stand under a prefix (``teacher.``, ``backbone.``, Lightning's ``model.``) or in dictionaries. What timm
    converts stays as it is. Raise BadInput if there are several models.
    """
    if PATCHES in state or any(name.startswith("visual.") for name in state):
        return state
    tensors = dict(_flat(state))
    prefixes = sorted(name.removesuffix(PATCHES) for name in tensors if name.endswith(f".{PATCHES}"))
    if len(prefixes) > 1:
        raise BadInput(
            f"{path}: holds {len(prefixes)} models, under {' and '.join(prefixes)}; save the weights of one of them "
            "in a file of their own."
        )
    if not prefixes:
        return state
    (prefix,) = prefixes
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if others := [name for name in tensors if not name.startswith(prefix)]:
        text = "WARNING: %s: %d tensors outside %s are left out, such as %s."
        log.warning(text, path, len(others), prefix, others[0])
    log.info("%s: the model's weights stand under %s", path, prefix)
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of nested dictionaries, by their names joined with dots."""
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")


def fetched(recipe: FetchRecipe, path: str | Path) -> VisionTransformer:
    """Return timm's model in the recipe's shape, with the weights of that file and the head that it has.

    timm converts the names of other projects and resamples the position embedding. Raise BadInput for weights of
    another model.
    """
    state, shape = read_state(path), recipe.architecture
    if shape.global_pool != "map":
        state = {key: value for key, value in state.items() if "attn_pool." not in key}
    _refuse_other_numbers(state, path)
    _refuse_other_patches(state, recipe, path)
    model = _loaded(recipe, state, path)
    _warn_of_other_positions(state, recipe, path)
    names = set(model.state_dict())
    # timm loads SigLIP without its pooling, and then accepts any other missing or additional weight, too.
    if "siglip" in recipe.timm:
        missing = [f"no {name}" for name in names if not any(key.endswith(name) for key in state)]
        others = [f"a {name}" for name in state if PATCHES in state and name not in names]
        if missing or others:
            why = min(missing or others)
            raise BadInput(f"{path}: does not fit timm's {recipe.timm}: it has {why}; give that model's weights.")
    with torch.device("meta"):
        plain = set(build(shape.model_dump()).state_dict())
    if plain != {name for name in names if not name.startswith("head.")}:
        raise BadInput(
            f"timm {timm.__version__} builds {recipe.timm} in another shape than wecolora/config/timm_catalogue.json "
            "says; install the timm of requirements.lock, or make the table again with `make models`."
        )
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise BadInput(f"{path}: {min(broken)} holds values that are no numbers; give weights that are whole.")
    return model


def _refuse_other_numbers(state: dict[str, Any], path: str | Path) -> None:
    """Raise BadInput for weights that are not floating-point numbers, or that are not stored in full.

    timm would read other numbers as if they were floating-point ones.
    """
    # Files of other projects may hold whole numbers beside the model, such as CLIP's sizes; timm leaves them out.
    suffixes = ("",) if PATCHES in state else ("weight", "bias")
    tensors = {name: tensor for name, tensor in _flat(state) if name.endswith(suffixes)}
    refuse_whole_numbers(tensors, path)
    if others := [name for name, tensor in tensors.items() if tensor.layout is not torch.strided or tensor.is_meta]:
        raise BadInput(f"{path}: {min(others)} is sparse, or without its values; save the weights as dense tensors.")


def _refuse_other_patches(state: dict[str, Any], recipe: FetchRecipe, path: str | Path) -> None:
    """Raise BadInput for patches of another size than the model's, which timm would resample."""
    size = recipe.architecture.patch_size
    for name, tensor in _flat(state):
        if name.endswith(KERNELS) and tensor.ndim == 4 and tensor.shape[2:] != (size, size):
            height, width = tensor.shape[2:]
            raise BadInput(
                f"{path}: does not fit timm's {recipe.timm}: its patches are of {height} x {width} pixels, not "
                f"{size} x {size}; give that model's weights."
            )


def _warn_of_other_positions(state: dict[str, Any], recipe: FetchRecipe, path: str | Path) -> None:
    """Log a warning if the positions are of another input size than the model's own, unless the config gives a size."""
    shape = recipe.architecture
    if shape.img_size != Architecture(**lookup(recipe.timm).architecture).img_size:
        return
    wanted = shape.img_size // shape.patch_size
    for name, tensor in _flat(state):
        if name in POSITIONS and tensor.ndim > 1:
            side = math.isqrt(tensor.shape[-2])  # the class token and registers are too few for another row
            if side != wanted:
                text = (
                    "WARNING: %s: its positions are of %d x %d patches, and are resampled to the %d x %d of %s; give "
                    "`img_size: %d` for the size that they were trained in."
                )
                log.warning(text, path, side, side, wanted, wanted, recipe.timm, side * shape.patch_size)


def _loaded(recipe: FetchRecipe, state: dict[str, Any], path: str | Path) -> VisionTransformer:
    """Return timm's model with these weights, or raise BadInput if they do not fit.

    The addresses of timm's own weights are removed, so that timm cannot load those instead.
    """
    shape, names = recipe.architecture, [name for name, _ in _flat(state)]
    try:
        if "head.weight" in state:
            classes = len(state["head.weight"])
        else:  # there is no head, or timm converts another project's names
            classes = 0 if PATCHES in state else lookup(recipe.timm).num_classes
        model = timm.create_model(
            recipe.timm,
            pretrained=True,
            pretrained_cfg_overlay={
                "state_dict": dict(state),  # a copy, because timm removes from it what it converts
                "num_classes": classes,
                "hf_hub_id": None,
                "url": None,
                "file": None,
            },
            num_classes=classes,
            img_size=shape.img_size,
            global_pool=shape.global_pool,
            fc_norm=shape.fc_norm,
        )
    except (RuntimeError, LookupError, ValueError, AssertionError, AttributeError, TypeError) as error:
        for project, parts in OTHER_NAMES.items():
            if found := [name for name in names if any(part in name for part in parts)]:
                raise BadInput(
                    f"{path}: names its weights as {project} does, such as {found[0]}; convert the names to timm's, or "
                    "give timm's file of that model."
                ) from error
        raise BadInput(
            f"{path}: does not fit timm's {recipe.timm}: {mismatch(error)}; give that model's weights."
        ) from error
    assert isinstance(model, VisionTransformer)
    return model
