"""What is told about a finished student in a few lines: its size, its speed, how well it learnt, how it is loaded."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from wecolora.config.recipes import StudentShape
from wecolora.config.teachers import Teacher
from wecolora.models.vit import pooled, stored_form
from wecolora.results.computation import counts, median_seconds, saved

ROUNDS, SECONDS = 3, 0.2  # in which models take turns, and the seconds of each


def size(teacher: Teacher, student: StudentShape, classes: int) -> str:
    """Return the student's blocks, parameters and multiply-accumulates of an image, beside its teacher's."""
    own = counts(teacher.architecture, student, classes)
    its = counts(teacher.architecture, StudentShape(method="teacher"))
    return (
        f"{own['blocks']} blocks of {its['blocks']}, {own['parameters'] / 1e6:.1f} M parameters of "
        f"{its['parameters'] / 1e6:.1f} M, {own['macs'] / 1e9:.3g} GMACs of {its['macs'] / 1e9:.3g}"
    )


def speed_up(teacher: Teacher, student: StudentShape, classes: int, device: str, batch: int) -> str:
    """Measure student and teacher on this device, with random weights, and return the ratio of their times.

    They take turns, and the best of each counts, so that other work on the machine weighs on both alike.
    """
    torch.manual_seed(0)
    size = teacher.architecture.img_size
    pixels = torch.randn(batch, 3, size, size, device=device)
    shapes = (student, StudentShape(method="teacher"))
    models = [saved(teacher.architecture, shape, classes).eval().to(device) for shape in shapes]
    rounds = [[median_seconds(partial(pooled, model, pixels), SECONDS) for model in models] for _ in range(ROUNDS)]
    own, its = (min(times) for times in zip(*rounds, strict=True))
    batches = f"batches of {batch}" if batch > 1 else "one at a time"
    return f"{its / own:.2f} times its teacher's speed: {batch / own:.0f} images/s ({device}, {batches})"


def learnt(record: dict[str, Any]) -> list[str]:
    """Return the final loss, as a share of the teacher's deviation where it has one, and the last epoch's warnings.

    ``record`` is the content of student.json.
    """
    last = record["history"][-1]
    share = "" if last["relative_loss"] is None else f", {last['relative_loss']:.1%} of the teacher's deviation"
    return [f"final loss {last['loss']:.4f}{share}", *(f"WARNING: {sign}" for sign in last["signs"])]


def loads(teacher: Teacher, student: str) -> list[str]:
    """Return the two lines of Python that load a student's file, with timm alone where it is a plain model of timm's.

    Students of DeiT and MiniViT have parts that timm does not give a model of that name.
    """
    blocks, form = stored_form(student)
    if teacher.timm is None or form != "plain":
        return [
            "from wecolora.models.vit import load_student",
            f"student = load_student({teacher.architecture.model_dump(exclude_defaults=True)}, {student!r})",
        ]
    size = f", img_size={teacher.img_size}" if teacher.img_size else ""
    pool = f", global_pool={teacher.global_pool!r}" if teacher.global_pool else ""
    made = f"timm.create_model({teacher.timm.partition('.')[0]!r}, depth={blocks}, num_classes=0{size}{pool})"
    return [
        "import timm; from safetensors.torch import load_file",
        f"student = {made}; student.load_state_dict(load_file({student!r}))",
    ]
