"""Benchmark (e): a calibrated student, over its teacher's bare forward pass over the same images; and what it keeps in
memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import RECIPE, Row, Setting, random_images, random_teacher, seconds
from wecolora.config.recipes import DistillRecipe, TeacherInput
from wecolora.config.teachers import Architecture
from wecolora.models.vit import build, normalise, tokens_before_norm
from wecolora.training.batches import OnlineBatches
from wecolora.training.calibrated import Calibration
from wecolora.training.fit import JobContext

TITLE = "A calibrated student (r = 2, one view) over the teacher's bare forward pass"
MANY = 1000  # images, for which the aim is set
SMALL = Architecture(embed_dim=192, num_heads=3, depth=4)  # for the memory


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


@dataclass
class Noise:
    """Images that are made up when they are read: no file of theirs counts as memory."""

    images: int
    labels: Tensor | None = None

    def read(self, rows: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels, and no tokens."""
        size = SMALL.img_size
        for batch in rows:
            yield torch.randint(256, (len(batch), size, size, 3), dtype=torch.uint8), torch.empty(0)


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
    """Measure the most memory of a run, and of one of eight times as many images, each in a process of its own."""
    batch, few = setting.pick(2, 64, 64), setting.pick(6, 128, 128)
    # glibc keeps what is freed in pieces, and the more of it the longer a process runs; with this it gives it back.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}

    def most(images: int) -> float:
        command = [sys.executable, "-m", __name__, setting.device, str(images), str(batch)]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    least, more = most(few), most(8 * few)
    return [
        Row(f"four blocks of ViT-Ti/16: most memory of {few} images", f"{least:.0f} MiB", "1.00 x"),
        Row(f"of {8 * few} images", f"{more:.0f} MiB", f"{more / least:.2f} x", "at most 1.2 x", more <= 1.2 * least),
    ]


def most_memory(device: str, images: int, batch: int) -> float:
    """Return the most memory that a run takes beyond what its process had before, in MiB."""
    teacher, recipe = build(SMALL.model_dump()).requires_grad_(False).eval(), calibrated_recipe(batch, SMALL)
    calibration = Calibration(teacher, Noise(images), recipe, JobContext(device, log=lambda line: None))

    def taken() -> float:
        if device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    before = taken()
    with calibration.streams() as streams:
        calibration.run(streams)
    return taken() - before


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


if __name__ == "__main__":
    print(most_memory(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
