"""Which of a teacher's blocks a student copies, where its images choose: for every depth, by one of two rules.

``search`` drops one block after the other from the whole teacher. In each step it drops the block whose work the block
before it takes over best, by calibration (training/calibrated.py). ``influence`` keeps the blocks that turn the tokens
most (Men et al. 2024, ShortGPT, arXiv 2403.03853): it costs one pass of the teacher, and knows of no calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from wecolora.config.recipes import DistillRecipe
from wecolora.models.vit import embedded
from wecolora.training.batches import Batches
from wecolora.training.calibrated import Calibration, add_to, best_strength, feed_forward, solution
from wecolora.training.fit import JobContext
from wecolora.training.untrained import images_of, in_batches

Choice = dict[str, Any]


@torch.no_grad()
def choose_blocks(teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext) -> Choice:
    """Return the blocks that students keep, and why, by the rule that ``recipe.layers`` names.

    ``kept`` has the 0-based blocks by the student's depth, as a text: from the teacher's depth down to 1. Those of a
    depth are among those of every larger one. Raise BadInput where there are fewer than two images for a search;
    Stopped where the context told it to stop.
    """
    teacher = teacher.to(context.device)
    streams = _teacher_streams(teacher, batches, recipe, context)
    if recipe.layers == "search":
        return _search(teacher, batches, recipe, context, streams.variances())
    influence = streams.influence()
    order = sorted(range(len(influence)), key=influence.__getitem__)
    return {
        "kept": {str(len(order) - gone): sorted(order[gone:]) for gone in range(len(order))},
        "influence": influence,
    }


def _search(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext, variances: list[float]
) -> Choice:
    """Return what greedy backward elimination keeps; ``variances`` are those of the stream before each block, and after
    the last."""
    saved = context.group.broadcast(context.checkpoint.load() if context.group.rank == 0 else None)
    steps: list[dict[str, Any]] = saved["steps"] if saved else []
    kept = [block for block in range(len(teacher.blocks)) if block not in {step["dropped"] for step in steps}]
    while len(kept) > 1:
        losses = _losses(teacher, batches, recipe.model_copy(update={"layers": kept}), context, variances)
        dropped = min(losses, key=losses.__getitem__)
        steps.append({"dropped": dropped, "losses": {str(block): loss for block, loss in losses.items()}})
        kept.remove(dropped)
        context.log(f"{len(kept)} blocks left: block {dropped} is dropped, which loses {losses[dropped]:.4f}")
        if context.group.rank == 0:
            context.checkpoint.save({"steps": steps})
    gone = [step["dropped"] for step in steps]
    depths = range(len(teacher.blocks), 0, -1)
    left = {
        str(depth): sorted(set(range(len(teacher.blocks))) - set(gone[: len(gone) + 1 - depth])) for depth in depths
    }
    return {"kept": left, "steps": steps}


def _losses(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext, variances: list[float]
) -> dict[int, float]:
    """Return what dropping each block but the first would lose, of the blocks that ``recipe.layers`` keeps.

    The loss is a share of the variance of the teacher's stream before the next block: the error over the held-out
    images with which the block before it takes over both, minus the error with which it stands for its own. The streams
    are those of the student that is calibrated without the held-out images.
    """
    now = Calibration(teacher, batches, recipe, context)
    ends, losses = now.ends, {}
    with now.streams() as streams:
        for number in range(len(now.copied)):
            block: Any = now.student.blocks[number]
            next_end = ends[number + 1] if number + 1 < len(ends) else ends[number]
            own, both = now.no_sums(block), now.no_sums(block)
            for held_out, attended, target in now.through(number, streams):
                output, hidden = feed_forward(block, attended)
                further = teacher.blocks[ends[number] : next_end](target)
                own[held_out].add(hidden.flatten(0, 1), (target - output).flatten(0, 1))
                both[held_out].add_wanted(hidden.flatten(0, 1), (further - output).flatten(0, 1))
            own = [part.over(context.group) for part in own]
            both = [replace(part.over(context.group), gram=same.gram) for part, same in zip(both, own, strict=True)]
            strength, error = best_strength(*own)
            add_to(block.mlp.fc2, *solution(own[0], strength))
            if next_end > ends[number]:
                losses[now.copied[number + 1]] = (best_strength(*both)[1] - error) / variances[next_end]
    return losses


@dataclass
class TeacherStreams:
    """Sums over the tokens of a teacher's stream before each block, and after the last, in float64."""

    tokens: float
    sums: Tensor  # (blocks + 1, width)
    squares: Tensor  # (blocks + 1,)
    cosines: Tensor  # (blocks,), of a block's input with its output

    def variances(self) -> list[float]:
        """Return the mean variance of the stream's channels, at each place."""
        found = self.squares / self.tokens - (self.sums / self.tokens).square().sum(1)
        return [float(value) / self.sums.shape[1] for value in found]

    def influence(self) -> list[float]:
        """Return each block's influence: 1 - the mean cosine of a token before and after the block."""
        return [1 - float(value) for value in self.cosines / self.tokens]


def _teacher_streams(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
) -> TeacherStreams:
    """Return the sums of one pass over all images, in each view that is used."""
    group, width, depth = context.group, teacher.embed_dim, len(teacher.blocks)
    sums, squares, cosines = torch.zeros(depth + 1, width), torch.zeros(depth + 1), torch.zeros(depth + 1)
    parts = [part.double().to(context.device) for part in (sums, squares, cosines)]
    own, size = range(group.rank, batches.images, group.size), recipe.optimisation.batch
    wanted = in_batches(own, size)
    views, dtype = min(recipe.calibration_views or 1, recipe.images.views), next(teacher.parameters()).dtype
    told, done, tokens = context.progress(views * len(own), "images through the teacher"), 0, 0
    for view in range(views):
        for images in images_of(batches, wanted, view, recipe, context.device, dtype):
            stream = embedded(teacher, images)
            tokens += stream.shape[0] * stream.shape[1]
            for place in range(depth + 1):
                before, stream = stream, teacher.blocks[place](stream) if place < depth else stream
                parts[0][place] += before.flatten(0, 1).double().sum(0)
                parts[1][place] += before.double().square().sum()
                parts[2][place] += F.cosine_similarity(before, stream, dim=-1).double().sum()
            told(done := done + len(images))
    counted = torch.tensor(float(tokens), dtype=torch.float64, device=context.device)
    sums, squares, cosines, counted = (group.all_mean(part) * group.size for part in (*parts, counted))
    return TeacherStreams(float(counted), sums, squares, cosines[:depth])
