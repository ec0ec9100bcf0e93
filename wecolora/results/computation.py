"""The computation study (section 4.3): parameters, multiply-accumulates, speed and memory of teacher and students.

Counts depend on shapes alone. They are made without weights, on PyTorch's meta device, from the modules that a run
trains and saves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ComputationRecipe, DistillRecipe, Student, StudentShape, TeacherInput
from wecolora.config.teachers import Architecture
from wecolora.core.files import atomic_write, write_text
from wecolora.models.vit import build, pooled
from wecolora.results.counts import printed_counts
from wecolora.results.escape import markdown, markdown_table
from wecolora.training.objectives import Objective
from wecolora.training.students import start

LINEAR = {torch.ops.aten.addmm, torch.ops.aten.mm, torch.ops.aten.convolution}
SECONDS = 0.2  # that passes are timed for, at least
M = TypeVar("M", bound=nn.Module)
TRAINING = ("trained", "training_macs", "training_macs_with_attention", "teacher_macs", "teacher_macs_with_attention")


def objective_of(architecture: Architecture, student: StudentShape, classes: int) -> Objective:
    """Return what a run trains, with random weights.

    Its teacher has a head of ``classes`` classes (0: no head). If the method reads labels, they are of as many classes.
    """
    teacher = build(architecture.model_dump())
    teacher.reset_classifier(classes)
    # Which blocks are copied, and where tokens are compared, changes no shape; of the rest nothing is asked here.
    values: dict[str, Any] = {
        "method": student.method,
        "input": TeacherInput(architecture=architecture, mean=(0, 0, 0), std=(1, 1, 1)),
        "student": Student(r=student.r, k=student.k, alpha=100, seed=0),
        "layers": "paper",
        "loss_point": "after_norm",
    }
    recipe = DistillRecipe.model_construct(**values)
    return start(teacher, recipe, torch.tensor([classes - 1], device="cpu"))


def saved(architecture: Architecture, student: StudentShape, classes: int) -> VisionTransformer:
    """Return the model that a run leaves, with random weights: the student with its adapters merged, or the teacher."""
    if not METHODS[student.method].axes:
        return build(architecture.model_dump())
    return objective_of(architecture, student, classes).exported()


def macs(work: Callable[[], Any], apart: nn.Module | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Count the multiply-accumulates of ``work`` on the meta device, outside of the model ``apart`` and within it.

    Each count has two numbers: linear and convolution layers alone, which the paper calls FLOPs, and all products of
    matrices.
    """
    within = np.zeros(2, dtype=int)
    entered: list[np.ndarray] = []
    with FlopCounterMode(display=False) as counter, ExitStack() as hooks:

        def so_far() -> np.ndarray:
            flops = counter.get_flop_counts().get("Global", {})
            return np.array([sum(flops[kind] for kind in flops.keys() & LINEAR), sum(flops.values())])

        def leave(*_: Any) -> None:
            before = entered.pop()
            if not entered:  # this is the outermost module, and those inside it are counted with it
                within[:] += so_far() - before

        for module in [] if apart is None else apart.modules():
            hooks.callback(module.register_forward_pre_hook(lambda *_: entered.append(so_far())).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        work()  # gradients stay on: without them the counter's module tracker fails
        outside = so_far() - within
    assert not (outside % 2).any() and not (within % 2).any()
    return outside // 2, within // 2


def _unfused(model: M) -> M:
    """Return the model without fused kernels, so that attention's two products are counted apart from linear layers."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return model


def parameters(model: nn.Module) -> tuple[int, int]:
    """Return the number of all parameters and of those that train; what several modules share counts once."""
    every = list(model.parameters())
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def counts(architecture: Architecture, student: StudentShape, classes: int = 0, batch: int = 1) -> dict[str, int]:
    """Return the counts of the model that a run leaves, and of its training in batches of that size.

    ``parameters`` counts once what blocks share, ``parameters_saved`` as often as the file holds it. The counts of
    training are those of _training; ``classes`` is that of objective_of.
    """
    with torch.device("meta"):
        objective = objective_of(architecture, student, classes) if METHODS[student.method].axes else None
    training = dict.fromkeys(TRAINING, 0) if objective is None else _training(objective, architecture, batch)
    with torch.device("meta"):
        model = build(architecture.model_dump()) if objective is None else objective.exported()
    image = torch.empty(1, 3, architecture.img_size, architecture.img_size, device="meta")
    (linear, every), _ = macs(lambda: pooled(_unfused(model), image))
    return {
        "blocks": len(model.blocks),
        "parameters": parameters(model if objective is None else objective.student)[0],
        "parameters_saved": parameters(model)[0],
        "macs": int(linear),
        "macs_with_attention": int(every),
        **training,
    }


def _training(objective: Objective, architecture: Architecture, batch: int) -> dict[str, int]:
    """Return what a run needs in training, by the names of TRAINING.

    These are the parameters that train, the multiply-accumulates of an image's forward pass and loss in a batch of that
    size, and those of the teacher if it runs in every step (with cached tokens, only its head runs).
    """
    images = torch.empty(batch, 3, architecture.img_size, architecture.img_size, device="meta")
    tokens = torch.empty(batch, architecture.tokens, architecture.embed_dim, device="meta")
    labels = torch.empty(batch, dtype=torch.long, device="meta")
    objective.start_epoch(0, done=0)
    own, teachers = macs(lambda: _unfused(objective)(images, tokens, labels), _unfused(objective.teacher))
    numbers = [parameters(objective)[1], *(round(number / batch) for number in (*own, *teachers))]
    return dict(zip(TRAINING, numbers, strict=True))


def bytes_per_view(architecture: Architecture) -> int:
    """Return the bytes of one view of one image in the teacher cache: tokens in float16 and the crop's pixels."""
    return architecture.tokens * architecture.embed_dim * 2 + architecture.img_size**2 * 3


def speed(model: VisionTransformer, size: int, batch: int, device: str) -> dict[str, float | None]:
    """Measure a model: the latency of one image of size x size, the images a second in batches, and the peak memory.

    The latency is a median, in ms. The memory is in MB, and None on a CPU. A GPU is idle before and after each timed
    pass.
    """
    model = model.eval().to(device)

    def seconds(images: int) -> float:
        pixels = torch.randn(images, 3, size, size, device=device)
        return median_seconds(lambda: pooled(model, pixels), SECONDS)

    latency = seconds(1)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rate = batch / seconds(batch)
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    return {"latency_ms": 1000 * latency, "images_per_second": rate, "peak_memory_mb": peak}


@torch.no_grad()
def median_seconds(work: Callable[[], Any], seconds: float) -> float:
    """Return the median time of ``work``, which is called for at least so many seconds, without gradients.

    Warm-up passes are not timed. A GPU is idle before and after each block of passes.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where a GPU's driver is missing
    from torch.utils.benchmark import Timer

    # Without num_threads, the timer would take one thread.
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=seconds).median)


def tidy_counts(recipe: ComputationRecipe) -> pd.DataFrame:
    """Return a row for each model: the models of each teacher's runs, in the recipe's order."""
    rows: list[dict[str, Any]] = []
    for name, teacher in recipe.teachers.items():
        view = bytes_per_view(teacher)
        cache = {"cache_bytes_per_view": view, "cache_bytes_per_image": recipe.views * view}
        for student in recipe.students:
            found = counts(teacher, student, recipe.classes[name], recipe.batch)
            rows.append({"teacher": name, **student.model_dump(), **found, **cache})
    return pd.DataFrame(rows).astype({"k": "Int64"})


def tidy_speed(recipe: ComputationRecipe, device: str, log: Callable[[str], None]) -> pd.DataFrame:
    """Time the models and return a row for each form.

    Models of one teacher and r are one form if their weights have the same names and shapes; a form is timed once.
    """
    rows = []
    for name, teacher in recipe.teachers.items():
        forms: dict[Any, list[StudentShape]] = {}
        for student in recipe.students:
            with torch.device("meta"):
                state = saved(teacher, student, recipe.classes[name]).state_dict()
            shapes = tuple((weight, tuple(tensor.shape)) for weight, tensor in state.items())
            forms.setdefault((student.r, shapes), []).append(student)
        for alike in forms.values():
            torch.manual_seed(0)
            model = saved(teacher, alike[0], recipe.classes[name])
            methods = " ".join(dict.fromkeys(student.method for student in alike))
            found = speed(model, teacher.img_size, recipe.batch, device)
            log(
                f"{name}, r = {alike[0].r}, {methods}: {found['latency_ms']:.2f} ms, "
                f"{found['images_per_second']:.0f} images/s"
            )
            of = {"teacher": name, "r": alike[0].r, "blocks": len(model.blocks), "methods": methods}
            about = {"batch": recipe.batch, "device": device, "threads": torch.get_num_threads()}
            rows.append({**of, **about, **found})
    return pd.DataFrame(rows)


def write_counts(recipe: ComputationRecipe, csv: str | Path, md: str | Path) -> None:
    """Write the tidy counts as CSV, and a table of them as Markdown."""
    table = tidy_counts(recipe)
    with atomic_write(csv) as temporary:
        table.to_csv(temporary, index=False)
    printed = markdown_table(printed_counts(table, recipe.labels).map(markdown), words=2)
    write_text(md, f"**{markdown(recipe.title)}.** {markdown(recipe.caption)}\n\n{printed}\n")


def write_speed(recipe: ComputationRecipe, path: str | Path, device: str, log: Callable[[str], None]) -> None:
    """Time the models on this device and write the times as CSV; they change from run to run."""
    with atomic_write(path) as temporary:
        tidy_speed(recipe, device, log).to_csv(temporary, index=False, float_format="%.4g")
