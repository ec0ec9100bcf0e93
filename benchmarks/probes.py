"""Benchmark (c): an epoch of the linear probe on cached features, over one that forwards the backbone."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from benchmarks.common import (
    ARCHITECTURE,
    RECIPE,
    SHA256,
    Row,
    Setting,
    interleaved,
    random_images,
    random_teacher,
    ratio,
)
from wecolora.config.recipes import ProbeRecipe
from wecolora.evaluation.features import Extractor, read_features, write_features
from wecolora.evaluation.probe import train_probe
from wecolora.models.vit import normalise, pooled

TITLE = "An epoch of the linear probe: times faster than forwarding the backbone"


def run(setting: Setting) -> list[Row]:
    """Measure both ways with a student of r = 2 as the backbone.

    Without augmentation both ways give the same numbers (a test shows it).
    """
    train, test = setting.pick(4, 32, 1024), setting.pick(2, 16, 512)
    rounds = setting.pick(1, 4, 5)
    index, student = random_images(setting.folder, train, test), random_teacher(ARCHITECTURE.depth // 2)
    student.to(setting.device)
    path, probe = setting.folder / "features.h5", ProbeRecipe()

    def forward(pixels: Tensor) -> Tensor:
        return pooled(student, normalise(pixels.to(setting.device), RECIPE.input.mean, RECIPE.input.std))

    def extract() -> None:
        write_features(path, Extractor(forward, ARCHITECTURE.img_size, ARCHITECTURE.embed_dim, SHA256), index)

    def epochs(count: int) -> None:
        data, classes, _ = read_features(path)
        recipe = probe.model_copy(update={"epochs": count})
        train_probe(data["train"], data["test"], len(classes), recipe, setting.device)

    def forwarding() -> None:
        extract()
        epochs(1)

    variants = {"forwarding": forwarding, "extraction": extract, "cached": lambda: epochs(probe.epochs)}
    times = interleaved(variants, rounds, setting.device)
    cached = times["cached"] / probe.epochs
    whole = (times["extraction"] + times["cached"]) / probe.epochs

    def row(what: str, taken: np.ndarray, least: int | None = None) -> Row:
        faster = ratio(times["forwarding"], taken)
        aim, met = ("", None) if least is None else (f"at least {least} x", faster >= least)
        return Row(what, f"{np.median(taken):.4f} s an epoch", f"{faster:.0f} x", aim, met)

    return [
        row(f"backbone forwarded ({train} + {test} images)", times["forwarding"]),
        row("on features", cached, least=20),
        row(f"the same, extraction / {probe.epochs} added", whole, least=20),
    ]
