"""Students that no gradient step makes: the copied blocks as they are, and the record that they have in the place of a
training's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.recipes import DistillRecipe
from wecolora.models.vit import embedded, normalise
from wecolora.models.weight_copy import copy_weights
from wecolora.training.batches import Batches, prefetched
from wecolora.training.diagnostics import epoch_warnings, mean_deviation
from wecolora.training.distill import Tally
from wecolora.training.fit import History, JobContext
from wecolora.training.objectives import Step, token_loss

HELD_OUT = 5  # every fifth image is held out


def untrained(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
) -> tuple[VisionTransformer, History]:
    """Return the copied blocks as they are (section 3.1), and one record of them; training.fit.fit calls it."""
    teacher = teacher.to(context.device)
    student = copied(teacher, recipe)
    return student, [closing_record(student, teacher, batches, recipe, context)]


def copied(teacher: VisionTransformer, recipe: DistillRecipe) -> VisionTransformer:
    """Return a student of the copied blocks, frozen, where its teacher is and of its precision."""
    student = copy_weights(teacher, recipe.input.architecture.model_dump(), recipe.student.r, recipe.layers)
    like = next(teacher.parameters())
    return student.requires_grad_(False).eval().to(like.device, like.dtype)


@torch.no_grad()
def closing_record(
    student: VisionTransformer,
    teacher: VisionTransformer,
    batches: Batches,
    recipe: DistillRecipe,
    context: JobContext,
) -> dict[str, object]:
    """Return the record of a whole student, in an epoch's words: its loss over every fifth image, and log it.

    The loss is equation 5 before the final norm, in the first view. All processes take the same images.
    """
    tally = Tally()
    fifth = [row for row in range(batches.images) if is_held_out(row, batches.images)]
    dtype = next(teacher.parameters()).dtype
    for _, images in images_of(batches, fifth, 0, recipe.optimisation.batch, recipe, context.device, dtype):
        output, target = student.blocks(embedded(student, images)), teacher.blocks(embedded(teacher, images))
        deviation = mean_deviation(target, context.group.all_mean)
        tally.add(
            Step(token_loss(output, target), student.pool(output), student.pool(target), deviation), context.group
        )
    found = tally.record()
    signs = epoch_warnings([found["loss"]], found["student_rank"], found["teacher_rank"])
    context.log(f"loss {found['loss']:.5f} over every fifth image")
    for sign in signs:
        context.log(f"WARNING: {sign}")
    return {**found, "lr": 0.0, "signs": signs}


def is_held_out(row: int, images: int) -> bool:
    """Return whether the image of that row is held out; of fewer than five images, it is the last."""
    return row % HELD_OUT == HELD_OUT - 1 if images >= HELD_OUT else row == images - 1


def images_of(
    batches: Batches,
    rows: Sequence[int],
    view: int,
    size: int,
    recipe: DistillRecipe,
    device: str,
    dtype: torch.dtype,
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the rows and the normalised images, (n, 3, H, W), of batches of a size."""
    wanted = [list(rows[at : at + size]) for at in range(0, len(rows), size)]
    for numbers, (pixels, _) in zip(wanted, prefetched(batches, wanted, view), strict=True):
        images = normalise(pixels.to(device), recipe.input.mean, recipe.input.std)
        yield numbers, images.to(dtype)
