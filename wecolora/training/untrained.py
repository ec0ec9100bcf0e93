"""Students that no gradient step makes: the copied blocks as they are, and the record that they have in the place of a
training's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.recipes import DistillRecipe
from wecolora.core.process_group import ProcessGroup
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

    def held_out_tokens() -> Iterator[tuple[Tensor, Tensor]]:
        wanted = [part.rows for part in divided(batches.images, recipe.optimisation.batch) if part.held_out]
        dtype = next(teacher.parameters()).dtype
        for images in images_of(batches, wanted, 0, recipe, context.device, dtype):
            yield student.blocks(embedded(student, images)), teacher.blocks(embedded(teacher, images))

    return student, [closing_record(held_out_tokens(), student, context)]


def copied(teacher: VisionTransformer, recipe: DistillRecipe) -> VisionTransformer:
    """Return a student of the copied blocks, frozen, where its teacher is and of its precision."""
    student = copy_weights(teacher, recipe.input.architecture.model_dump(), recipe.student.r, recipe.layers)
    like = next(teacher.parameters())
    return student.requires_grad_(False).eval().to(like.device, like.dtype)


@torch.no_grad()
def closing_record(
    tokens: Iterable[tuple[Tensor, Tensor]], student: VisionTransformer, context: JobContext
) -> dict[str, object]:
    """Return the record of a whole student, in an epoch's words: its loss over the held-out images, and log it.

    ``tokens`` are those of the student and of the teacher before the final norm, (n, tokens, width) each, a batch at a
    time, in the first view. The loss is equation 5. All processes have the same.
    """
    tally, alone = Tally(), ProcessGroup()
    for output, target in tokens:
        deviation = mean_deviation(target)
        tally.add(Step(token_loss(output, target), student.pool(output), student.pool(target), deviation), alone)
    found = tally.record()
    signs = epoch_warnings([found["loss"]], found["student_rank"], found["teacher_rank"])
    context.log(f"loss {found['loss']:.5f} over every fifth image")
    for sign in signs:
        context.log(f"WARNING: {sign}")
    return {**found, "lr": 0.0, "signs": signs}


@dataclass(frozen=True)
class Part:
    """The rows of a batch of images, all of which are held out, or none."""

    held_out: bool
    rows: list[int]


def held_out_rows(images: int) -> list[int]:
    """Return every fifth row; of fewer than five images, the last."""
    return list(range(HELD_OUT - 1, images, HELD_OUT)) or [images - 1]


def divided(images: int, size: int) -> list[Part]:
    """Return the rows of all images in batches of a size: first those in use, then the held-out."""
    held_out = held_out_rows(images)
    in_use = sorted(set(range(images)) - set(held_out))
    return [Part(out, batch) for out, rows in ((False, in_use), (True, held_out)) for batch in in_batches(rows, size)]


def in_batches(rows: Sequence[int], size: int) -> list[list[int]]:
    """Return rows in batches of a size, the last of which may be smaller."""
    return [list(rows[at : at + size]) for at in range(0, len(rows), size)]


def images_of(
    batches: Batches,
    wanted: Sequence[Sequence[int]],
    view: int,
    recipe: DistillRecipe,
    device: str,
    dtype: torch.dtype,
) -> Iterator[Tensor]:
    """Yield the normalised images, (n, 3, H, W), of the rows of each batch."""
    for pixels, _ in prefetched(batches, wanted, view):
        yield normalise(pixels.to(device), recipe.input.mean, recipe.input.std).to(dtype)
