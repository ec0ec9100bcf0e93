"""Benchmark (d): images a second and core, from JPEG files to a model's pixels, over bare decoding by Pillow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.common import ARCHITECTURE, Row, Setting, interleaved, ratio
from wecolora.data.images import Index
from wecolora.data.loader import Loader
from wecolora.training.cache import view_pixels

SIZE = ARCHITECTURE.img_size
TITLE = f"Images a second and core, JPEG files to crops of {SIZE} px; the ratio is to bare decoding by Pillow"
SHAPES = {"0.2 MP": (500, 375), "12 MP": (4000, 3000)}  # the median of ImageNet, and a camera's size


def run(setting: Setting) -> list[Row]:
    """Measure each line; a round goes once through all files, which the page cache holds.

    With workers, the speed is that of one worker.
    """
    counts = {"0.2 MP": setting.pick(16, 128, 512), "12 MP": setting.pick(1, 3, 12)}
    indexes = {kind: _photographs(setting.folder, kind, count) for kind, count in counts.items()}
    images = indexes["0.2 MP"]
    one_view = partial(view_pixels, images, numbers=[0], seed=0, size=SIZE)
    loaders = {workers: Loader(one_view, workers) for workers in (0, 1, 2)}
    batches = np.arange(counts["0.2 MP"]).reshape(-1, 16).tolist()

    variants: dict[str, Callable[[], object]] = {}
    for kind, index in indexes.items():
        crop = partial(index.crop, size=SIZE)
        view, views = (partial(view_pixels, index, numbers=range(n), seed=0, size=SIZE) for n in (1, 10))
        steps: dict[str, Callable[[int], object]] = {
            "bare": partial(_bare, index),
            "centre crop": crop,
            "a view": view,
            "10 views": views,
        }
        variants |= {f"{kind}, {name}": partial(_each, step, counts[kind]) for name, step in steps.items()}
    variants |= {f"0.2 MP, a view, {n} workers": partial(_all, loaders[n], batches) for n in loaders}
    times = interleaved(variants, setting.pick(1, 5, 5), "cpu")

    def row(name: str) -> Row:
        kind, what = name.split(", ", 1)
        cores = max(1, int(what.split()[-2])) if what.endswith("workers") else 1
        speed = counts[kind] / np.median(times[name]) / cores
        over = ratio(times[f"{kind}, bare"], times[name]) / cores
        return Row(name, f"{speed:.1f} images/s a core", f"{over:.2f} x")

    return [row(name) for name in variants]


def _photographs(folder: Path, kind: str, count: int) -> Index:
    """Write copies of one photograph, enlarged, each with a grain of its own, and return their index."""
    rng = np.random.default_rng(0)
    photograph = Image.fromarray(skimage.data.coffee()).resize(SHAPES[kind], Image.Resampling.BICUBIC)
    names = [f"{kind} {number}.jpg" for number in range(count)]
    for name in names:
        grain = rng.normal(scale=4, size=(*photograph.size[::-1], 1))
        pixels = (np.asarray(photograph) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=90)
    return Index(kind, str(folder), [], False, names, names, [0] * count, [[] for _ in names], ["train"] * count)


def _bare(index: Index, position: int) -> None:
    with Image.open(Path(index.root) / index.paths[position]) as picture:
        picture.load()


def _each(step: Callable[[int], object], count: int) -> None:
    for position in range(count):
        step(position)


def _all(loader: Loader, batches: list[list[int]]) -> None:
    for _ in loader(batches):
        pass
