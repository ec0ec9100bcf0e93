"""A student in training, by its method's name: the objective of a run, before its first step."""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wecolora.config.methods import METHODS, Method
from wecolora.config.recipes import DistillRecipe
from wecolora.core.errors import BadInput
from wecolora.training.objectives import Objective


def start(teacher: VisionTransformer, recipe: DistillRecipe, labels: Tensor | None = None) -> Objective:
    """Return the objective of a run, before its first step.

    ``labels`` are those of its images, (images,), for a method that reads them. Raise BadInput if the objective cannot
    be had, or if the teacher lacks the head that it needs.
    """
    method = METHODS[recipe.method]
    made = objective_class(method)
    if "head" in method.needs and not isinstance(teacher.head, nn.Linear):
        raise BadInput(
            f"teacher {recipe.teacher}: its weights have no head.weight, and {recipe.method} learns from its "
            "logits; take the method deit, or a teacher with a head."
        )
    assert recipe.student.seed is not None
    torch.manual_seed(recipe.student.seed)
    return made(teacher, recipe, labels)


def objective_class(method: Method) -> Any:
    """Return the class of a method's loss, a subclass of Objective.

    Raise BadInput if a user's own is no such class, or if its file cannot be imported or holds another text than when
    the campaign was read.
    """
    if not method.sha256:
        return library_object(method.objective)
    file, _, name = method.objective.rpartition(":")
    found = getattr(_own_module(file, method.sha256), name, None)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise BadInput(
            f"{file}: {name} is no Objective; let it be a subclass of wecolora.training.objectives.Objective."
        )
    return found


def library_object(name: str) -> Any:
    """Return what a name such as ``training.deit:DeiT`` means, below wecolora."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"wecolora.{module}"), attribute)


@cache
def _own_module(file: str, sha256: str) -> ModuleType:
    """Run a user's file of this sha256 as a module, once a process, and return the module."""
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); put the method's file back.") from error
    if hashlib.sha256(text).hexdigest() != sha256:
        raise BadInput(f"{file}: has changed since the campaign was read; start snakemake again.")
    module = module_from_spec(ModuleSpec(f"own_method_{sha256[:16]}", None, origin=file))
    module.__file__ = file
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        exec(compile(text, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever the file does
        del sys.modules[module.__name__]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f"line {lines[-1]}: " if lines else ""
        raise BadInput(f"{file}: cannot be imported ({where}{type(error).__name__}: {error}); correct it.") from error
    return module
