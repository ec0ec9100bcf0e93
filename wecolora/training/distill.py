"""Distillation (Algorithm 1): a student's tokens are drawn to its teacher's by the L1 loss of equation 5, or a student
to its teacher by whatever other objective its method names."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.recipes import DistillRecipe
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.process_group import ProcessGroup
from wecolora.models.vit import normalise
from wecolora.training.batches import Batches, prefetched
from wecolora.training.diagnostics import effective_rank, epoch_warnings
from wecolora.training.fit import History, JobContext
from wecolora.training.objectives import Step, trainable
from wecolora.training.optim import adamw, epoch_generator, set_lr, warmup_cosine
from wecolora.training.students import start

SAVE_SECONDS = 600  # an epoch that takes longer is saved in its middle, too
RANKED = 512  # images of an epoch whose embeddings' effective rank is taken


def distill(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
) -> tuple[VisionTransformer, History]:
    """Return the merged student and one record for each epoch, by gradient descent; training.fit.fit calls it."""
    return Distillation(teacher, batches, recipe, context).run()


class Distillation:
    """A student in training: its objective, its optimiser, and what is done so far.

    Epoch e uses view e mod V, in an order drawn from (seed, e) alone, so that a resumed run repeats an uninterrupted
    one. Raises BadInput when the images are fewer than one update needs, or the loss stops being a number; Stopped
    where it was told to stop.
    """

    def __init__(
        self,
        teacher: VisionTransformer,
        batches: Batches,
        recipe: DistillRecipe,
        context: JobContext,
        begun: VisionTransformer | None = None,
        kept: dict[str, Any] | None = None,
    ) -> None:
        """Prepare the first update.

        ``begun`` is the student to start from, in the place of the one that its method starts from. ``kept`` is what
        every checkpoint holds beside the training's own state.
        """
        self.kept = kept or {}
        self.batches, self.recipe, self.context, self.group = batches, recipe, context, context.group
        self.schedule = recipe.optimisation
        self.history: History = []
        self.tally = Tally()
        if self.schedule.batch % self.group.size:
            raise BadInput(
                f"distill.batch = {self.schedule.batch} has no equal parts for {self.group.size} GPUs; ask for a "
                "divisor."
            )
        objective = start(teacher.to(context.device), recipe, batches.labels)
        if begun is not None:
            objective.student = trainable(begun, recipe)
        self.objective = objective.to(context.device).train()
        self.objective.group = self.group
        self.trainable = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        self.optimiser = adamw(self.trainable.values(), recipe.weight_decay)
        self.windows = update_windows(
            batches.images // self.schedule.batch, self.schedule.accumulate, self.schedule.leftover
        )
        self._tell()

    def run(self) -> tuple[VisionTransformer, History]:
        """Train to the end, from where an earlier attempt stopped."""
        self.restore()
        for epoch in range(len(self.history), self.schedule.epochs):
            self.run_epoch(epoch)
            self.save()
        return self.finished(), self.history

    def restore(self) -> None:
        """Go on from the checkpoint, where there is one."""
        checkpoint = self.context.checkpoint
        saved = self.group.broadcast(
            checkpoint.load() if self.group.rank == 0 else None
        )  # whatever becomes of the file
        if saved is None or "trainable" not in saved:
            return
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(saved["trainable"][name])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.history, self.tally = saved["history"], Tally(**saved.get("tally", {}))  # none: before epochs were cut
        self.context.log(
            f"resumed after epoch {len(self.history)} and {self.tally.batches} of {self.used} micro-batches of the next"
        )

    def save(self) -> None:
        """Replace the checkpoint."""
        if self.group.rank == 0:
            state = {"trainable": dict(self.trainable.items()), "optimiser": self.optimiser.state_dict()}
            self.context.checkpoint.save({**self.kept, **state, "history": self.history, "tally": vars(self.tally)})

    def run_epoch(self, epoch: int) -> None:
        """Make the updates that are left of an epoch, and add its record to the history."""
        started = saved_at = time.monotonic()
        done_before = self.tally.batches
        for _ in self.updates(epoch):
            if self.group.any(self.context.stopping()):
                self.save()
                self.group.any(True)  # torchrun kills the first soon after the others have ended
                raise Stopped(f"epoch {epoch + 1}, {self.tally.batches} of {self.used} micro-batches")
            if time.monotonic() - saved_at > SAVE_SECONDS:
                self.save()
                saved_at = time.monotonic()
        rate = (self.tally.batches - done_before) * self.schedule.batch / (time.monotonic() - started)
        self._record(epoch, rate)
        self.tally = Tally()

    def updates(self, epoch: int) -> Iterator[None]:
        """Make the updates of an epoch whose micro-batches its tally does not hold yet; yields after each."""
        read = self._micro_batches(epoch)
        self.objective.start_epoch(epoch, self.tally.batches)
        for window in self.windows:
            if window.start < self.tally.batches:
                continue
            # Once an update, from the position of its first micro-batch: the first update of a run has lr 0.
            set_lr(self.optimiser, self._lr(epoch, window))
            for _ in window:
                found = self.objective(*next(read))
                (found.loss / len(window)).backward()
                self.tally.add(found, self.group)
            self.group.average_gradients(p for group in self.optimiser.param_groups for p in group["params"])
            self.optimiser.step()
            self.optimiser.zero_grad()
            yield

    def finished(self) -> VisionTransformer:
        """Return the merged student. Raise BadInput if its weights are no numbers."""
        student = self.objective.exported().requires_grad_(False).eval()
        # The last update has no loss after it that would show that it broke the student.
        if not all(tensor.isfinite().all() for tensor in student.state_dict().values()):
            raise BadInput(
                f"run {self.recipe.method}: the student's weights are no numbers after training; lower distill.lr."
            )
        return student

    @property
    def used(self) -> int:
        """Micro-batches of an epoch that updates are made of."""
        return self.windows[-1].stop

    def _tell(self) -> None:
        """Log what is trained; refuse images that fill no update."""
        schedule, images, log = self.schedule, self.batches.images, self.context.log
        log(f"the loss has these terms: {', '.join(self.objective.terms)}")
        if self.group.size > 1:
            part = schedule.batch // self.group.size
            log(f"{self.group.size} processes, each with {part} images of every {schedule.batch}")
        if not self.windows:
            raise BadInput(
                f"alpha = {self.recipe.student.alpha}: its {images} images do not fill one update of "
                f"distill.batch = {schedule.batch}"
                f"{f' x accumulate = {schedule.accumulate}' if schedule.leftover == 'drop' else ''}; lower it or raise "
                "alpha."
            )
        if unused := images - schedule.batch * self.used:
            log(f"{unused} of {images} images an epoch, others each time, fill no batch and are left out")

    def _micro_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what the objective takes of this process's part of each micro-batch: images, tokens, labels.

        Micro-batches that the tally holds already are left out.
        """
        recipe, device, labels = self.recipe, self.context.device, self.batches.labels
        assert recipe.student.seed is not None
        order = torch.randperm(self.batches.images, generator=epoch_generator(recipe.student.seed, epoch))
        left = order[: self.used * self.schedule.batch].view(self.used, self.schedule.batch)[self.tally.batches :]
        own = [self.group.part(rows) for rows in left]
        read = prefetched(self.batches, (rows.tolist() for rows in own), epoch % recipe.images.views)
        for rows, (pixels, tokens) in zip(own, read, strict=True):
            images = normalise(pixels.to(device), recipe.input.mean, recipe.input.std)
            yield images, tokens.to(device).float(), None if labels is None else labels[rows].to(device)

    def _lr(self, epoch: int, window: range) -> float:
        """Return the learning rate of the update that is made of these micro-batches."""
        position = epoch + window.start / self.used
        return self.recipe.lr * warmup_cosine(position, self.schedule.warmup_epochs, self.schedule.epochs)

    def _record(self, epoch: int, rate: float) -> None:
        """Add an epoch to the history, and log it; refuse a loss that is no number. ``rate``: images a second."""
        record = {**self.tally.record(), "lr": self._lr(epoch, self.windows[-1])}
        losses = [*(past["loss"] for past in self.history), record["loss"]]
        record["signs"] = epoch_warnings(losses, record["student_rank"], record["teacher_rank"])
        self.history.append(record)
        relative = record["relative_loss"]
        share = "" if relative is None else f" ({relative:.3f} of the teacher's deviation)"
        self.context.log(
            f"epoch {epoch + 1}/{self.schedule.epochs}: loss {record['loss']:.5f}{share}, effective rank "
            f"{record['student_rank']:.1f} (teacher {record['teacher_rank']:.1f}), lr {record['lr']:.2e}, "
            f"{rate:.0f} images/s"
        )
        for sign in record["signs"]:
            self.context.log(f"WARNING: {sign}")
        if not math.isfinite(record["loss"]):
            raise BadInput(f"run {self.recipe.method}: the loss is no number in epoch {epoch + 1}; lower distill.lr.")


def update_windows(micro_batches: int, accumulate: int, leftover: str) -> list[range]:
    """Return the micro-batches of each update of an epoch; ``drop`` leaves an incomplete last window out."""
    windows = [range(s, min(s + accumulate, micro_batches)) for s in range(0, micro_batches, accumulate)]
    if leftover == "drop" and windows and len(windows[-1]) < accumulate:
        windows.pop()
    return windows


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
        """Add a micro-batch, of which each process has a part."""
        self.batches += 1
        sums = [found.loss.detach().double(), *([] if found.deviation is None else [found.deviation])]
        loss, *deviation = group.all_mean(torch.stack(sums)).tolist()
        self.loss += loss
        self.deviation = self.deviation + deviation[0] if deviation and self.deviation is not None else None
        if sum(map(len, self.student)) < RANKED:
            self.student.append(group.all_gather(found.student).cpu())
            self.teacher.append(group.all_gather(found.teacher).cpu())

    def record(self) -> dict[str, Any]:
        """Return the record of the whole epoch."""
        loss = self.loss / self.batches
        finite = math.isfinite(loss)
        return {
            "loss": loss,
            # Micro-batches of one image have no deviation. A loss that is no distance has none to be compared with.
            "relative_loss": None if self.deviation is None else loss / max(self.deviation / self.batches, 1e-12),
            "student_rank": effective_rank(torch.cat(self.student)) if finite else 0.0,
            "teacher_rank": effective_rank(torch.cat(self.teacher)) if finite else 0.0,
        }
