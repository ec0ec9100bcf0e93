"""Benchmark (e): a calibrated student, over its teacher's bare forward pass over the same images."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.common import RECIPE, Row, Setting, random_images, random_teacher, seconds
from wecolora.models.vit import normalise, tokens_before_norm
from wecolora.training.batches import OnlineBatches
from wecolora.training.calibrated import Calibration
from wecolora.training.fit import JobContext

TITLE = "A calibrated student (r = 2, one view) over the teacher's bare forward pass"
MANY = 1000  # images, for which the aim is set


class Timed(Calibration):
    """A calibration that knows what its solutions take, which do not depend on the number of images."""

    solving = 0.0

    def _correct(self, *arguments: Any) -> None:
        started = time.perf_counter()
        super()._correct(*arguments)
        self.solving += time.perf_counter() - started


def run(setting: Setting) -> list[Row]:
    """Measure both once, after a first pass; the ratio for 1,000 images follows from the parts."""
    device = setting.device
    images, batch = setting.pick(2, 48, MANY), setting.pick(1, 16, 64)
    index, teacher = random_images(setting.folder, images), random_teacher().to(device)
    optimisation = RECIPE.optimisation.model_copy(update={"batch": batch})
    changes = {"method": "calibrated", "layers": "authors_code", "calibration_views": 1, "optimisation": optimisation}
    recipe = RECIPE.model_copy(update=changes)
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
    walks = seconds(calibration.run, device) - calibration.solving
    closing = seconds(calibration.record, device)
    many = (walks + closing) / floor + calibration.solving / (floor * MANY / images)

    def row(what: str, taken: float) -> Row:
        return Row(what, f"{taken:.1f} s", f"{taken / floor:.2f} x")

    return [
        row(f"the teacher, {images} images", floor),
        row("its walks", walks),
        row("the loss that is recorded", closing),
        row("its solutions, whatever the number of images", calibration.solving),
        Row(f"all of it for {MANY} images, by these parts", "", f"{many:.2f} x", "at most 3 x", many <= 3),
    ]
