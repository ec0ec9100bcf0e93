"""Distillation (Algorithm 1): a student's tokens are drawn to its teacher's by the L1 loss of equation 5."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.errors import BadInput
from wecolora.health import effective_rank, epoch_signs, mean_deviation
from wecolora.lora import add_lora, merge
from wecolora.methods import METHODS
from wecolora.optim import adamw, set_lr, warmup_cosine
from wecolora.recipes import DistillRecipe
from wecolora.resume import ResumeFile
from wecolora.sources import Source, prefetched
from wecolora.vit import block_outputs, build, normalise, tokens_before_norm
from wecolora.weight_copy import copy_weights, layers


def start_student(teacher: VisionTransformer, recipe: DistillRecipe) -> VisionTransformer:
    """The student of a method before its first step; only what the method trains requires a gradient."""
    method = METHODS[recipe.method]
    architecture = recipe.architecture.model_dump()
    torch.manual_seed(recipe.seed)
    depth = len(layers(len(teacher.blocks), recipe.r, recipe.layers))
    if method.start == "random":
        student = build(architecture, depth=depth)
    else:
        rule = list(range(depth)) if method.start == "first" else recipe.layers
        student = copy_weights(teacher, architecture, recipe.r, rule)
    if method.trains == "all":
        return student.requires_grad_(True)
    assert recipe.k is not None
    return add_lora(student, recipe.k, method.trains, method.adapter)


def token_loss(student: Tensor, teacher: Tensor, kind: str = "l1") -> Tensor:
    """Equation 5: mean |E_S - E_T| over batch x tokens x width.

    ``l1_kl``: half of that and half of KL(teacher || student) between the softmax of each token's channels, the mean
    over batch x tokens. (The term in the authors' code is no divergence; this one is.)
    """
    distance = F.l1_loss(student, teacher)
    if kind == "l1":
        return distance
    logs = student.log_softmax(-1), teacher.log_softmax(-1)
    divergence = F.kl_div(*logs, reduction="none", log_target=True).sum(-1).mean()
    return (distance + divergence) / 2


def matched_blocks(depth: int, recipe: DistillRecipe) -> list[int] | None:
    """The 0-based teacher blocks that a method compares with its student's, one each; None: the last ones alone."""
    return layers(depth, recipe.r, "paper") if METHODS[recipe.method].compares == "blocks" else None


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
    device: str = "cpu",
    resume: ResumeFile | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[VisionTransformer, list[dict[str, Any]]]:
    """Train on the first ``images`` images of the source; return the merged student and one record an epoch.

    Epoch e uses view e mod V, in an order drawn from (seed, e) alone, so that a resumed run repeats an uninterrupted
    one. Raises BadInput when the subset is smaller than one update needs, or the loss stops being a number.
    """
    resume = resume or ResumeFile(None, "")
    student = start_student(teacher, recipe).to(device).train()
    teacher_norm = teacher.norm.to(device)
    trainable = {name: p for name, p in student.named_parameters() if p.requires_grad}
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
        record = _one_epoch(student, teacher_norm, source, windows, optimiser, images, recipe, epoch, device)
        record["signs"] = epoch_signs(
            [*(past["loss"] for past in history), record["loss"]], record["student_rank"], record["teacher_rank"]
        )
        history.append(record)
        log(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {record['loss']:.5f} ({record['relative_loss']:.3f} of the "
            f"teacher's deviation), effective rank {record['student_rank']:.1f} "
            f"(teacher {record['teacher_rank']:.1f}), lr {record['lr']:.2e}"
        )
        for sign in record["signs"]:
            log(f"WARNING: {sign}")
        if not math.isfinite(record["loss"]):
            raise BadInput(f"run {recipe.method}: the loss is no number in epoch {epoch + 1}; lower distill.lr.")
        resume.save({"trainable": dict(trainable.items()), "optimiser": optimiser.state_dict(), "history": history})
    student = merge(student).requires_grad_(False).eval()
    # The last update has no loss after it that would show that it broke the student.
    if not all(tensor.isfinite().all() for tensor in student.state_dict().values()):
        raise BadInput(f"run {recipe.method}: the student's weights are no numbers after training; lower distill.lr.")
    return student, history


def _one_epoch(
    student: VisionTransformer,
    teacher_norm: nn.Module,
    source: Source,
    windows: list[range],
    optimiser: torch.optim.Optimizer,
    images: int,
    recipe: DistillRecipe,
    epoch: int,
    device: str,
) -> dict[str, Any]:
    method = METHODS[recipe.method]
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator).tolist()
    used = windows[-1].stop
    rows = (order[i * recipe.batch : (i + 1) * recipe.batch] for i in range(used))
    batches = prefetched(source, rows, epoch % recipe.views)
    total = deviation = 0.0
    seen_student: list[Tensor] = []
    seen_teacher: list[Tensor] = []
    lr = 0.0
    for window in windows:
        # Once an update, from the position of its first micro-batch: the first update of a run has lr 0.
        lr = recipe.lr * warmup_cosine(epoch + window.start / used, recipe.warmup_epochs, recipe.epochs)
        set_lr(optimiser, lr)
        for _ in window:
            pixels, wanted = next(batches)
            inputs = normalise(pixels.to(device), recipe.mean, recipe.std)
            wanted = wanted.to(device).float()
            if method.compares == "blocks":
                assert wanted.ndim == 4, "a source of the matched blocks' outputs"
                targets, outs = list(wanted.unbind(1)), block_outputs(student, inputs, range(len(student.blocks)))
            else:
                targets, outs = [wanted], [tokens_before_norm(student, inputs)]
            if recipe.loss_point == "after_norm":  # of the last block alone: between blocks there is no final norm
                with torch.no_grad():
                    targets[-1] = teacher_norm(targets[-1])
                outs[-1] = student.norm(outs[-1])
            pairs = list(zip(outs, targets, strict=True))
            loss = torch.stack([token_loss(out, target, method.loss) for out, target in pairs]).mean()
            (loss / len(window)).backward()
            total += loss.item()
            deviation += sum(mean_deviation(target) for target in targets) / len(targets)
            if len(seen_student) * recipe.batch < 512:
                seen_student.append(student.pool(outs[-1].detach()))
                seen_teacher.append(student.pool(targets[-1]))
        optimiser.step()
        optimiser.zero_grad()
    loss_mean = total / used
    finite = math.isfinite(loss_mean)
    return {
        "loss": loss_mean,
        "relative_loss": loss_mean / max(deviation / used, 1e-12),  # micro-batches of one image have no deviation
        "student_rank": effective_rank(torch.cat(seen_student)) if finite else 0.0,
        "teacher_rank": effective_rank(torch.cat(seen_teacher)) if finite else 0.0,
        "lr": lr,
    }
