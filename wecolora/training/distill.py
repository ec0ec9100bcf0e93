"""Distillation (Algorithm 1): a student's tokens are drawn to its teacher's by the L1 loss of equation 5."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.recipes import DistillRecipe
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.process_group import ProcessGroup
from wecolora.models.vit import normalise
from wecolora.training.batches import Batches, prefetched
from wecolora.training.diagnostics import effective_rank, epoch_warnings
from wecolora.training.objectives import Objective, Step
from wecolora.training.optim import adamw, epoch_generator, set_lr, warmup_cosine
from wecolora.training.students import start

SAVE_SECONDS = 600  # an epoch that takes longer is saved in its middle, too
RANKED = 512  # images of an epoch whose embeddings' effective rank is taken


def update_windows(micro_batches: int, accumulate: int, leftover: str) -> list[range]:
    """The micro-batches of each update of an epoch; ``drop`` leaves an incomplete last window out."""
    windows = [range(s, min(s + accumulate, micro_batches)) for s in range(0, micro_batches, accumulate)]
    if leftover == "drop" and windows and len(windows[-1]) < accumulate:
        windows.pop()
    return windows


def distill(
    teacher: VisionTransformer,
    source: Batches,
    images: int,
    recipe: DistillRecipe,
    *,
    labels: Tensor | None = None,
    device: str = "cpu",
    group: ProcessGroup | None = None,
    resume: Checkpoint | None = None,
    log: Callable[[str], None] = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[VisionTransformer, list[dict[str, Any]]]:
    """Train on the first ``images`` images of the source; return the student, merged, and one record an epoch.
    ``labels``: of these images, (images,), for a method that reads them. ``group``: the processes that train it
    together, each of which calls this. ``stopping``: asked after each update whether to save and to end here.

    Epoch e uses view e mod V, in an order drawn from (seed, e) alone, so that a resumed run repeats an uninterrupted
    one. Raises BadInput when the subset is smaller than one update needs, or the loss stops being a number; Stopped
    where it was told to stop.
    """
    schedule = recipe.optimisation
    group, resume = group or ProcessGroup(), resume or Checkpoint(None, "")
    if schedule.batch % group.size:
        raise BadInput(f"distill.batch = {schedule.batch} has no equal parts for {group.size} GPUs; ask for a divisor.")
    objective = start(teacher.to(device), recipe, labels).to(device).train()
    objective.group = group
    log(f"the loss has these terms: {', '.join(objective.terms)}")
    if group.size > 1:
        log(f"{group.size} processes, each with {schedule.batch // group.size} images of every {schedule.batch}")
    trainable = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    optimiser = adamw(trainable.values(), recipe.weight_decay)
    windows = update_windows(images // schedule.batch, schedule.accumulate, schedule.leftover)
    if not windows:
        raise BadInput(
            f"alpha = {recipe.student.alpha}: its {images} images do not fill one update of "
            f"distill.batch = {schedule.batch}"
            f"{f' x accumulate = {schedule.accumulate}' if schedule.leftover == 'drop' else ''}; lower it or raise "
            "alpha."
        )
    used = windows[-1].stop
    unused = images - schedule.batch * used
    if unused:
        log(f"{unused} of {images} images an epoch, others each time, fill no batch and are left out")
    history: list[dict[str, Any]] = []
    tally = Tally()
    saved = group.broadcast(resume.load() if group.rank == 0 else None)  # whatever becomes of the file meanwhile
    if saved is not None:
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(saved["trainable"][name])
        optimiser.load_state_dict(saved["optimiser"])
        history, tally = saved["history"], Tally(**saved.get("tally", {}))  # none: before epochs were cut
        log(f"resumed after epoch {len(history)} and {tally.batches} of {used} micro-batches of the next")

    def save() -> None:
        if group.rank == 0:
            state = {"trainable": dict(trainable.items()), "optimiser": optimiser.state_dict()}
            resume.save({**state, "history": history, "tally": vars(tally)})

    for epoch in range(len(history), schedule.epochs):
        started = saved_at = time.monotonic()
        done_before = tally.batches
        for _ in updates(objective, optimiser, source, images, windows, epoch, tally, labels, device):
            if group.any(stopping()):
                save()
                group.any(True)  # torchrun kills the first soon after the others have ended
                raise Stopped(f"epoch {epoch + 1}, {tally.batches} of {used} micro-batches")
            if time.monotonic() - saved_at > SAVE_SECONDS:
                save()
                saved_at = time.monotonic()
        rate = (tally.batches - done_before) * schedule.batch / (time.monotonic() - started)
        record = {**tally.record(), "lr": _lr(recipe, epoch, windows[-1].start / used)}
        record["signs"] = epoch_warnings(
            [*(past["loss"] for past in history), record["loss"]], record["student_rank"], record["teacher_rank"]
        )
        history.append(record)
        relative = record["relative_loss"]
        share = "" if relative is None else f" ({relative:.3f} of the teacher's deviation)"
        log(
            f"epoch {epoch + 1}/{schedule.epochs}: loss {record['loss']:.5f}{share}, effective rank "
            f"{record['student_rank']:.1f} (teacher {record['teacher_rank']:.1f}), lr {record['lr']:.2e}, "
            f"{rate:.0f} images/s"
        )
        for sign in record["signs"]:
            log(f"WARNING: {sign}")
        if not math.isfinite(record["loss"]):
            raise BadInput(f"run {recipe.method}: the loss is no number in epoch {epoch + 1}; lower distill.lr.")
        tally = Tally()
        save()
    student = objective.exported().requires_grad_(False).eval()
    # The last update has no loss after it that would show that it broke the student.
    if not all(tensor.isfinite().all() for tensor in student.state_dict().values()):
        raise BadInput(f"run {recipe.method}: the student's weights are no numbers after training; lower distill.lr.")
    return student, history


@dataclass
class Tally:
    """What an epoch has summed up so far: of each micro-batch the loss and, where it is a distance, that of a constant
    answer; of its first images the embeddings."""

    batches: int = 0
    loss: float = 0.0
    deviation: float | None = 0.0
    student: list[Tensor] = field(default_factory=list)
    teacher: list[Tensor] = field(default_factory=list)

    def add(self, found: Step, group: ProcessGroup) -> None:
        """A micro-batch, of which each process has a part."""
        self.batches += 1
        sums = [found.loss.detach().double(), *([] if found.deviation is None else [found.deviation])]
        loss, *deviation = group.all_mean(torch.stack(sums)).tolist()
        self.loss += loss
        self.deviation = self.deviation + deviation[0] if deviation and self.deviation is not None else None
        if sum(map(len, self.student)) < RANKED:
            self.student.append(group.all_gather(found.student).cpu())
            self.teacher.append(group.all_gather(found.teacher).cpu())

    def record(self) -> dict[str, Any]:
        """Of the whole epoch."""
        loss = self.loss / self.batches
        finite = math.isfinite(loss)
        return {
            "loss": loss,
            # Micro-batches of one image have no deviation. A loss that is no distance has none to be compared with.
            "relative_loss": None if self.deviation is None else loss / max(self.deviation / self.batches, 1e-12),
            "student_rank": effective_rank(torch.cat(self.student)) if finite else 0.0,
            "teacher_rank": effective_rank(torch.cat(self.teacher)) if finite else 0.0,
        }


def updates(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    source: Batches,
    images: int,
    windows: list[range],
    epoch: int,
    tally: Tally,
    labels: Tensor | None,
    device: str,
) -> Iterator[None]:
    """Make the updates of an epoch whose micro-batches its tally does not hold yet; yields after each."""
    recipe, group = objective.recipe, objective.group
    assert recipe.student.seed is not None
    order = torch.randperm(images, generator=epoch_generator(recipe.student.seed, epoch))
    used = windows[-1].stop
    batches = order[: used * recipe.optimisation.batch].view(used, recipe.optimisation.batch)[tally.batches :]
    own = [group.part(batch) for batch in batches]
    read = zip(own, prefetched(source, (rows.tolist() for rows in own), epoch % recipe.images.views), strict=True)
    objective.start_epoch(epoch, tally.batches)
    for window in windows:
        if window.start < tally.batches:
            continue
        # Once an update, from the position of its first micro-batch: the first update of a run has lr 0.
        set_lr(optimiser, _lr(recipe, epoch, window.start / used))
        for _ in window:
            rows, (pixels, tokens) = next(read)
            inputs = normalise(pixels.to(device), recipe.input.mean, recipe.input.std)
            known = None if labels is None else labels[rows].to(device)
            found = objective(inputs, tokens.to(device).float(), known)
            (found.loss / len(window)).backward()
            tally.add(found, group)
        group.average_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()
        optimiser.zero_grad()
        yield


def _lr(recipe: DistillRecipe, epoch: int, position: float) -> float:
    """At a position, from 0 to 1, within an epoch."""
    return recipe.lr * warmup_cosine(epoch + position, recipe.optimisation.warmup_epochs, recipe.optimisation.epochs)
