"""A student of a teacher, by whatever method: one call, ``fit(teacher, batches, recipe, context)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from wecolora.config.methods import CHOSEN, METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.process_group import ProcessGroup
from wecolora.core.progress import Starting, silent
from wecolora.training.batches import Batches
from wecolora.training.students import library_object

History = list[dict[str, Any]]


@dataclass(frozen=True)
class JobContext:
    """The place and the manner in which a student is made.

    They decide nothing of what it becomes. The defaults suit a notebook.
    """

    device: str = "cpu"
    group: ProcessGroup = field(default_factory=ProcessGroup)  # that make it together, each of which calls fit
    workers: int = 0  # processes that may help this one
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(None, ""))  # to go on from; kept nowhere
    log: Callable[[str], None] = print
    progress: Starting = silent  # of work that has no line of its own in the log for a long time
    stopping: Callable[[], bool] = lambda: False  # asked now and then whether to save and to end


def with_blocks(recipe: DistillRecipe, choice: Mapping[str, Any]) -> DistillRecipe:
    """Return a recipe whose blocks are listed, as choose_blocks chose them for its depth."""
    depth = recipe.input.architecture.depth // recipe.student.r
    return recipe.model_copy(update={"layers": choice["kept"][str(depth)]})


def fit(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext | None = None
) -> tuple[VisionTransformer, History]:
    """Make the student of a recipe, and return it as a plain model, with a record for each epoch.

    The method's entry names what makes it (``fitted_by``): a function of these four arguments. Blocks that the images
    choose are chosen first. Raise BadInput if teacher, images and recipe do not go together; Stopped if the context
    told it to stop.
    """
    context = context or JobContext()
    if recipe.layers in CHOSEN:
        choose_blocks = library_object("training.choose_blocks:choose_blocks")
        choice = choose_blocks(teacher, batches, recipe, replace(context, checkpoint=Checkpoint(None, "")))
        recipe = with_blocks(recipe, choice)
    student, history = library_object(METHODS[recipe.method].fitted_by)(teacher, batches, recipe, context)
    return student, history
