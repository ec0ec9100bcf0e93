"""Benchmark (a): a distillation step, teacher cached and online, over a bare forward and backward of the student."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.common import (
    RECIPE,
    Row,
    Setting,
    interleaved,
    open_cache,
    random_images,
    random_teacher,
    ratio,
    write_cache,
)
from wecolora.models.vit import normalise, tokens_before_norm
from wecolora.training.batches import Batches, CachedBatches, OnlineBatches
from wecolora.training.distill import Distillation, Tally
from wecolora.training.fit import JobContext
from wecolora.training.objectives import token_loss

TITLE = "A distillation step (WeCoLoRA, r = 2, k = 128) over its bare forward + backward"


def run(setting: Setting) -> list[Row]:
    """Measure a step in three variants.

    A round is one window of micro-batches and its update, by the very code of a distillation's epoch.
    """
    device = setting.device
    steps, rounds = setting.pick(2, 4, 16), setting.pick(1, 5, 9)
    recipe = RECIPE.model_copy(update={"batch": setting.pick(1, 8, 64), "accumulate": steps})
    images = recipe.optimisation.batch * steps
    index, teacher = random_images(setting.folder, images), random_teacher().to(device)
    path = setting.folder / "cache.h5"
    write_cache(path, index, teacher, recipe, device)
    reader = open_cache(path, recipe)
    cached, online = CachedBatches(reader), OnlineBatches(index, range(images), teacher, recipe, device=device)
    training = Distillation(teacher, cached, recipe, JobContext(device, log=lambda line: None))
    student = training.objective.student
    pixels, tokens = cached.batch(range(images), 0)
    inputs = normalise(pixels.to(device), recipe.input.mean, recipe.input.std).split(recipe.optimisation.batch)
    wanted = teacher.norm(tokens.to(device).float()).split(recipe.optimisation.batch)

    def floor() -> None:
        for pair in zip(inputs, wanted, strict=True):
            token_loss(student.norm(tokens_before_norm(student, pair[0])), pair[1]).backward()
        training.optimiser.zero_grad()

    def window(batches: Batches) -> None:
        reader.shards[0].verified[:] = False  # so that every read is a first one
        training.batches, training.tally = batches, Tally()
        for _ in training.updates(1):
            pass

    variants: dict[str, Callable[[], None]] = {
        "floor": floor,
        "cached": partial(window, cached),
        "online": partial(window, online),
    }
    times = interleaved(variants, rounds, device)

    def row(what: str, name: str, most: float | None = None) -> Row:
        over = ratio(times[name], times["floor"])
        aim, met = ("", None) if most is None else (f"at most {most} x", over <= most)
        return Row(what, f"{np.median(times[name]) / steps:.3f} s a step", f"{over:.3f} x", aim, met)

    return [
        row(f"forward + backward of {recipe.optimisation.batch} images", "floor"),
        row("step, teacher cached", "cached", most=1.05),
        row("step, teacher online", "online"),
    ]
