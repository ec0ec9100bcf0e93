"""A teacher of timm's: its weights from the hub or a file, in timm's names and the wanted shape.

Nothing from outside runs code: files are safetensors, or pickles that torch reads with ``weights_only``.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError
from timm.models import get_pretrained_cfg, load_state_dict
from timm.models.vision_transformer import VisionTransformer

from wecolora.errors import BadInput
from wecolora.files import unreadable
from wecolora.recipes import FetchRecipe
from wecolora.timm_models import HUB_FILES, lookup
from wecolora.vit import build, mismatch

log = logging.getLogger("wecolora")
PATCHES = "patch_embed.proj.weight"  # a name that every VisionTransformer of timm's has


def download(name: str) -> Path:
    """The file of a model's weights in the hub's cache, downloaded where it is not there yet (and HF_HUB_OFFLINE does
    not forbid it). BadInput where it cannot be had."""
    config = get_pretrained_cfg(name)
    assert config is not None and config.hf_hub_id  # as the table says (TimmModel.elsewhere)
    repository, _, revision = config.hf_hub_id.partition("@")
    reason, unreachable = "", False
    for file in HUB_FILES:
        try:
            found = hf_hub_download(
                repository, file, revision=revision or None, library_name="timm", local_files_only=unreachable
            )
            return Path(found)
        except LocalEntryNotFoundError as error:  # not in the cache, and the hub was not reached or not asked
            reason, unreachable = reason or str(error), True
        except EntryNotFoundError as error:
            reason = str(error)
        except Exception as error:  # whatever the network and its libraries raise
            reason = str(error) or type(error).__name__
            break
    offline = "HF_HUB_OFFLINE is set; " if os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("", "0", "NO") else ""
    raise BadInput(
        f"timm's {name}: {offline}{repository} is not in the hub's cache, {HF_HUB_CACHE}, and cannot be downloaded "
        f"({reason.splitlines()[0].rstrip('.')}); run `hf download {repository}` where there is internet and let "
        "HF_HOME name its cache, or give the file as the teacher's `weights`."
    )


def read_state(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a checkpoint by name, out of what training scripts wrap them in; of a masked autoencoder,
    without its decoder. Raise BadInput for a file that cannot be read without running what it holds, or that holds
    several models."""
    try:
        state = load_state_dict(str(path), weights_only=True)
    except OSError as error:
        raise unreadable(path, error, "cannot be read as weights", "give a whole file") from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, AttributeError, pickle.PickleError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".") if str(error) else type(error).__name__
        raise BadInput(
            f"{path}: cannot be read as weights ({reason}); give a whole .safetensors file, or one that torch.load "
            "reads with weights_only: a pickle that holds code is never run."
        ) from error
    state = _of_one_model(state, path)
    if "decoder_embed.weight" in state:
        state = {key: value for key, value in state.items() if not key.startswith(("decoder_", "mask_token"))}
    return state


def _of_one_model(state: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the tensors of the one VisionTransformer in a checkpoint, by its own names, where they stand under a
    prefix (``teacher.``, ``backbone.``, Lightning's ``model.``) or in dictionaries. What timm converts stays as it is.
    """
    if PATCHES in state or "encoder" in state or any(name.startswith("visual.") for name in state):
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
    """Yield the tensors of dictionaries within one another, by their names joined with dots."""
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")


def fetched(recipe: FetchRecipe, path: str | Path) -> VisionTransformer:
    """timm's model in the recipe's shape, with the weights of that file and the head that it has: timm converts the
    names of other projects and resamples the position embedding. BadInput for weights of another model."""
    state, shape = read_state(path), recipe.architecture
    if "head.weight" in state:
        classes = len(state["head.weight"])
    else:  # no head, or other projects' names, which timm converts
        classes = 0 if PATCHES in state else lookup(recipe.timm).num_classes
    if shape.global_pool != "map":
        state = {key: value for key, value in state.items() if "attn_pool." not in key}
    try:
        model = timm.create_model(
            recipe.timm,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": state, "num_classes": classes},
            num_classes=classes,
            img_size=shape.img_size,
            global_pool=shape.global_pool,
            fc_norm=shape.fc_norm,
        )
    except (RuntimeError, KeyError, ValueError, AssertionError, AttributeError, TypeError) as error:
        why = mismatch(error)
        raise BadInput(f"{path}: does not fit timm's {recipe.timm}: {why}; give that model's weights.") from error
    assert isinstance(model, VisionTransformer)
    names = set(model.state_dict())
    # timm loads SigLIP without its pooling, and then forgives whatever else is missing.
    if missing := [name for name in names if "siglip" in recipe.timm and not any(k.endswith(name) for k in state)]:
        raise BadInput(
            f"{path}: does not fit timm's {recipe.timm}: it has no {min(missing)}; give that model's weights."
        )
    with torch.device("meta"):
        plain = set(build(shape.model_dump()).state_dict())
    if plain != {name for name in names if not name.startswith("head.")}:
        raise BadInput(
            f"timm {timm.__version__} builds {recipe.timm} in another shape than wecolora/timm_models.json says; "
            "install the timm of requirements.lock, or make the table again with `python -m wecolora.timm_models`."
        )
    return model
