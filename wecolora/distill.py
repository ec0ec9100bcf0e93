"""Distillation (Algorithm 1): a student's tokens are drawn to its teacher's by the L1 loss of equation 5."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.errors import BadInput
from wecolora.health import effective_rank, epoch_signs
from wecolora.objectives import Objective
from wecolora.optim import adamw, epoch_generator, set_lr, warmup_cosine
from wecolora.recipes import DistillRecipe
from wecolora.resume import ResumeFile
from wecolora.sources import Source, prefetched
from wecolora.students import start
from wecolora.vit import normalise


def update_windows(micro_batches: int, accumulate: int, leftover: str) -> list[range]:
    """The micro-batches of each update of an epoch; ``drop`` leaves an incomplete last window out."""
    windows = [range(s, min(s + accumulate, micro_batches)) for s in range(0, micro_batches, accumulate)]
    if leftover == "drop" and windows and len(windows[-1]) < accumulate:
        windows.pop()
    return windows


def distill(
    teacher: VisionTransformer,
    source: Source,
    images: int,
    recipe: DistillRecipe,
    *,
    labels: Tensor | None = None,
    device: str = "cpu",
    resume: ResumeFile | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[VisionTransformer, list[dict[str, Any]]]:
    """Train on the first ``images`` images of the source; return the student, merged, and one record an epoch.
    ``labels``: of these images, (images,), for a method that reads them.

    Epoch e uses view e mod V, in an order drawn from (seed, e) alone, so that a resumed run repeats an uninterrupted
    one. Raises BadInput when the subset is smaller than one update needs, or the loss stops being a number.
    """
    resume = resume or ResumeFile(None, "")
    objective = start(teacher.to(device), recipe, labels).to(device).train()
    log(f"the loss has these terms: {', '.join(objective.terms)}")
    trainable = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    optimiser = adamw(trainable.values(), recipe.weight_decay)
    micro_batches = images // recipe.batch
    windows = update_windows(micro_batches, recipe.accumulate, recipe.leftover)
    if not windows:
        raise BadInput(
            f"alpha = {recipe.alpha}: its {images} images do not fill one update of distill.batch = {recipe.batch}"
            f"{f' x accumulate = {recipe.accumulate}' if recipe.leftover == 'drop' else ''}; lower it or raise alpha."
        )
    unused = images - recipe.batch * windows[-1].stop
    if unused:
        log(f"{unused} of {images} images an epoch, others each time, fill no batch and are left out")
    history: list[dict[str, Any]] = []
    saved = resume.load()
    if saved is not None:
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(saved["trainable"][name])
        optimiser.load_state_dict(saved["optimiser"])
        history = saved["history"]
        log(f"resumed after epoch {len(history)}")
    for epoch in range(len(history), recipe.epochs):
        record = _one_epoch(objective, source, windows, optimiser, images, recipe, epoch, labels, device)
        record["signs"] = epoch_signs(
            [*(past["loss"] for past in history), record["loss"]], record["student_rank"], record["teacher_rank"]
        )
        history.append(record)
        relative = record["relative_loss"]
        share = "" if relative is None else f" ({relative:.3f} of the teacher's deviation)"
        log(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {record['loss']:.5f}{share}, effective rank "
            f"{record['student_rank']:.1f} (teacher {record['teacher_rank']:.1f}), lr {record['lr']:.2e}"
        )
        for sign in record["signs"]:
            log(f"WARNING: {sign}")
        if not math.isfinite(record["loss"]):
            raise BadInput(f"run {recipe.method}: the loss is no number in epoch {epoch + 1}; lower distill.lr.")
        resume.save({"trainable": dict(trainable.items()), "optimiser": optimiser.state_dict(), "history": history})
    student = objective.exported().requires_grad_(False).eval()
    # The last update has no loss after it that would show that it broke the student.
    if not all(tensor.isfinite().all() for tensor in student.state_dict().values()):
        raise BadInput(f"run {recipe.method}: the student's weights are no numbers after training; lower distill.lr.")
    return student, history


def _one_epoch(
    objective: Objective,
    source: Source,
    windows: list[range],
    optimiser: torch.optim.Optimizer,
    images: int,
    recipe: DistillRecipe,
    epoch: int,
    labels: Tensor | None,
    device: str,
) -> dict[str, Any]:
    order = torch.randperm(images, generator=epoch_generator(recipe.seed, epoch))
    used = windows[-1].stop
    batches = order[: used * recipe.batch].view(used, recipe.batch)
    read = zip(batches, prefetched(source, batches.tolist(), epoch % recipe.views), strict=True)
    objective.start_epoch(epoch)
    total = deviation = 0.0
    is_distance = True
    seen_student: list[Tensor] = []
    seen_teacher: list[Tensor] = []
    lr = 0.0
    for window in windows:
        # Once an update, from the position of its first micro-batch: the first update of a run has lr 0.
        lr = recipe.lr * warmup_cosine(epoch + window.start / used, recipe.warmup_epochs, recipe.epochs)
        set_lr(optimiser, lr)
        for _ in window:
            rows, (pixels, tokens) = next(read)
            inputs = normalise(pixels.to(device), recipe.mean, recipe.std)
            known = None if labels is None else labels[rows].to(device)
            found = objective(inputs, tokens.to(device).float(), known)
            (found.loss / len(window)).backward()
            total += found.loss.item()
            is_distance = found.deviation is not None
            deviation += 0.0 if found.deviation is None else found.deviation.item()
            if len(seen_student) * recipe.batch < 512:
                seen_student.append(found.student)
                seen_teacher.append(found.teacher)
        optimiser.step()
        optimiser.zero_grad()
    loss_mean = total / used
    finite = math.isfinite(loss_mean)
    return {
        "loss": loss_mean,
        # Micro-batches of one image have no deviation. A loss that is no distance has none to be compared with.
        "relative_loss": loss_mean / max(deviation / used, 1e-12) if is_distance else None,
        "student_rank": effective_rank(torch.cat(seen_student)) if finite else 0.0,
        "teacher_rank": effective_rank(torch.cat(seen_teacher)) if finite else 0.0,
        "lr": lr,
    }
