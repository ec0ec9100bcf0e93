"""Benchmark (e): a calibrated student, over its teacher's bare forward pass over the same images; and what it keeps in
memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RECIPE, Row, Setting, random_images, random_teacher, seconds
from wecolora.config.recipes import DistillRecipe, TeacherInput
from wecolora.config.teachers import Architecture
from wecolora.models.vit import build, normalise, tokens_before_norm
from wecolora.training.batches import OnlineBatches
from wecolora.training.calibrated import Calibration
from wecolora.training.fit import JobContext

TITLE = "A calibrated student (r = 2, one view) over the teacher's bare forward pass"
MANY = 1000  # images, for which the aim is set
# For the memory: ViT-Ti/16, whose streams are as long as ViT-B's, and a quarter as wide.
SMALL = Architecture(embed_dim=192, num_heads=3)


class Timed(Calibration):
    """A calibration that knows what its solutions take, which do not depend on the number of images."""

    solving = 0.0

    def _correct(self, *arguments: Any) -> None:
        started = time.perf_counter()
        super()._correct(*arguments)
        self.solving += time.perf_counter() - started


def run(setting: Setting) -> list[Row]:
    """Measure the memory, then the time of each part."""
    return [*memory(setting), *times(setting)]


def calibrated_recipe(batch: int, architecture: Architecture) -> DistillRecipe:
    """Return that of a calibrated student of 0, 2, 4, ..., of one view."""
    return RECIPE.model_copy(
        update={
            "method": "calibrated",
            "layers": "authors_code",
            "calibration_views": 1,
            "optimisation": RECIPE.optimisation.model_copy(update={"batch": batch}),
            "input": TeacherInput(architecture=architecture, mean=RECIPE.input.mean, std=RECIPE.input.std),
        }
    )


def memory(setting: Setting) -> list[Row]:
    """Measure the most memory of a run, and of one of four times as many images."""
    teacher = build(SMALL.model_dump()).requires_grad_(False).eval()
    batch, few = setting.pick(2, 64, 128), setting.pick(3, 128, 512)
    recipe = calibrated_recipe(batch, SMALL)

    def most(images: int) -> float:
        batches = OnlineBatches(
            random_images(setting.folder, images), range(images), None, recipe, device=setting.device
        )
        calibration = Calibration(teacher, batches, recipe, JobContext(setting.device, log=lambda line: None))
        with calibration.streams() as streams:
            return peak(partial(calibration.run, streams), setting.device)

    least = most(few)  # the first run has buffers to make that later ones find
    least, more = min(least, most(few)), most(4 * few)
    met = more < 1.1 * least
    return [
        Row(f"ViT-Ti/16: most memory of {few} images", f"{least:.0f} MiB", ""),
        Row(f"ViT-Ti/16: most memory of {4 * few} images", f"{more:.0f} MiB", f"{more / least:.2f} x", "1.1 x", met),
    ]


def peak(work: Callable[[], Any], device: str) -> float:
    """Return the most memory that the work takes, in MiB, beyond what was taken before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def told(name: str) -> float:
        found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        assert found is not None
        return int(found[1]) / 2**10

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = told("VmRSS")
    work()
    return told("VmHWM") - before


def times(setting: Setting) -> list[Row]:
    """Measure both once, after a first pass; the ratio for 1,000 images follows from the parts."""
    device = setting.device
    images, batch = setting.pick(2, 48, MANY), setting.pick(1, 48, 128)
    index, teacher = random_images(setting.folder, images), random_teacher().to(device)
    recipe = calibrated_recipe(batch, RECIPE.input.architecture)
    batches = OnlineBatches(index, range(images), None, recipe, device=device)
    pixels = [
        pixels for pixels, _ in batches.read([range(at, min(at + batch, images)) for at in range(0, images, batch)], 0)
    ]
    inputs = [normalise(part.to(device), recipe.input.mean, recipe.input.std) for part in pixels]

    @torch.no_grad()
    def bare() -> None:
        for part in inputs:
            tokens_before_norm(teacher, part)

    bare()
    floor = seconds(bare, device)
    calibration = Timed(teacher, batches, recipe, JobContext(device, log=lambda line: None))
    with calibration.streams() as streams:
        walks = seconds(partial(calibration.run, streams), device) - calibration.solving
        closing = seconds(partial(calibration.record, streams), device)
    many = (walks + closing) / floor + calibration.solving / (floor * MANY / images)

    def row(what: str, taken: float) -> Row:
        return Row(what, f"{taken:.1f} s", f"{taken / floor:.2f} x")

    return [
        row(f"ViT-B/16: the teacher, {images} images", floor),
        row("its walks", walks),
        row("the loss that is recorded", closing),
        row("its solutions, whatever the number of images", calibration.solving),
        Row(f"all of it for {MANY} images, by these parts", "", f"{many:.2f} x", "at most 3 x", many <= 3),
    ]
