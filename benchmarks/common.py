"""What the benchmarks share: random images and weights, a teacher cache of them, a clock, and rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.recipes import CacheRecipe, CorpusViews, DistillRecipe, Student, TeacherInput
from wecolora.config.teachers import Architecture
from wecolora.config.training import Optimisation
from wecolora.data.images import ARRAY, Index
from wecolora.models.vit import build
from wecolora.training.cache import CacheReader, Recording, write_shard

SHA256 = "0" * 64  # stands for the weights, which are in no file
ARCHITECTURE = Architecture()  # ViT-B/16 at 224 px
RECIPE = DistillRecipe(
    method="wecolora",
    teacher="random",
    input=TeacherInput(architecture=ARCHITECTURE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    images=CorpusViews(corpus="random", corpus_seed=0, views=1),
    cache_revision=0,
    student=Student(r=2, k=128, alpha=1, seed=0),
    optimisation=Optimisation(),
    lr=1e-3,
    weight_decay=0.05,
    layers="paper",
    loss_point="after_norm",
    online=False,
    revision=0,
)


@dataclass(frozen=True)
class Setting:
    """The folder, the device and the size of a benchmark's run."""

    folder: Path
    device: str
    quick: bool

    def pick(self, quick: int, cpu: int, gpu: int) -> int:
        """Return a size or a number of rounds for this device; the quick one only shows that the benchmark runs."""
        return quick if self.quick else gpu if self.device == "cuda" else cpu


@dataclass(frozen=True)
class Row:
    """A line of the table; ``met`` says whether its aim is met, and is None for a line without an aim."""

    what: str
    measured: str
    ratio: str
    aim: str = ""
    met: bool | None = None


def random_teacher(depth: int | None = None) -> VisionTransformer:
    """Return ViT-B/16 with random weights, frozen; ``depth`` replaces its 12 blocks."""
    torch.manual_seed(0)
    return build(ARCHITECTURE.model_dump(), depth).requires_grad_(False).eval()


def random_images(folder: Path, train: int, test: int = 0) -> Index:
    """Write noise images of 256 x 256 in two classes, and return their index."""
    count = train + test
    rng = np.random.default_rng(0)
    root = folder / f"images{count}"
    root.mkdir(exist_ok=True)
    np.save(root / ARRAY, rng.integers(0, 256, (count, 256, 256, 3), np.uint8))
    return Index(
        name="random",
        root=str(root),
        classes=["even", "odd"],
        multilabel=False,
        ids=[f"image{number}" for number in range(count)],
        paths=[ARRAY] * count,
        offsets=list(range(count)),
        labels=[[number % 2] for number in range(count)],
        split=["train"] * train + ["test"] * test,
    )


def write_cache(path: Path, index: Index, teacher: VisionTransformer, recipe: DistillRecipe, device: str) -> None:
    """Write a shard of all images of the index, for a run of this recipe."""
    wanted = CacheRecipe.model_validate({**recipe.cache(), "low": 0, "high": 100})
    write_shard(path, index, range(len(index.ids)), teacher, SHA256, wanted, Recording(device, batch=32))


def open_cache(path: Path, recipe: DistillRecipe) -> CacheReader:
    """Return a reader that has verified nothing so far."""
    return CacheReader([path], recipe.cache(), SHA256)


def seconds(work: Callable[[], Any], device: str = "cpu") -> float:
    """Return how long the work takes; a GPU's queue is empty before and after.

    What the work returns is freed after the clock has stopped.
    """
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    kept = work()
    synchronise()
    taken = time.perf_counter() - start
    del kept
    return taken


def interleaved(variants: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, np.ndarray]:
    """Return the seconds of each variant in each round.

    A round runs every variant once. A first round warms up and does not count.
    """
    times = [[seconds(work, device) for work in variants.values()] for _ in range(1 + rounds)][1:]
    return dict(zip(variants, np.array(times).T, strict=True))


def ratio(above: np.ndarray, below: np.ndarray) -> float:
    """Return the median over the rounds of above / below; a machine that slows down slows both sides of a round."""
    return float(np.median(above / below))
