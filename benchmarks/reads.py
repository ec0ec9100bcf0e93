"""Benchmark (b): random batches from a teacher cache, over the same bytes copied out of a raw memory map."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from benchmarks.common import (
    RECIPE,
    Row,
    Setting,
    open_cache,
    random_images,
    random_teacher,
    ratio,
    seconds,
    write_cache,
)
from wecolora.training.cache import CacheReader

Maps = tuple[np.ndarray, np.ndarray]
Times = list[tuple[float, float]]

BATCH = RECIPE.optimisation.batch
TITLE = f"Random batches of {BATCH} from a teacher cache, over a memory map of the same bytes, in the page cache"


def run(setting: Setting) -> list[Row]:
    """Measure the reads of both sides.

    Each round opens both anew and goes twice through all batches: first reads, then reads of verified views.
    """
    images, views, rounds = setting.pick(128, 256, 256), setting.pick(2, 6, 6), setting.pick(1, 10, 10)
    recipe = RECIPE.model_copy(update={"views": views})
    path = setting.folder / "cache.h5"
    # One block gives tokens of the same shape as twelve do, but sooner.
    write_cache(path, random_images(setting.folder, images), random_teacher(depth=1), recipe, setting.device)
    _settle(path)
    rng = np.random.default_rng(0)
    first: Times = []
    later: Times = []
    for _ in range(rounds):
        reader, maps = open_cache(path, recipe), _memory_maps(path)
        for passed in (first, later):
            batches = [(rows, view) for view in range(views) for rows in rng.permutation(images).reshape(-1, BATCH)]
            passed += _both(reader, maps, [batches[number] for number in rng.permutation(len(batches))])
    view_bytes = sum(part[0, 0].nbytes for part in maps)
    return [_row("first reads, verified", first, view_bytes), _row("later reads", later, view_bytes)]


def _both(reader: CacheReader, maps: Maps, batches: list[tuple[np.ndarray, int]]) -> Times:
    """Return the seconds of each batch, by the reader and from the maps.

    The two take turns, half a file apart, so that neither finds in the processor's cache what the other has just read.
    """
    times = []
    for number, (rows, view) in enumerate(batches):
        ours = seconds(partial(reader.read, rows.tolist(), view))
        rows, view = batches[number - len(batches) // 2]
        times.append((ours, seconds(partial(_copy, maps, rows, view))))
    return times


def _copy(maps: Maps, rows: np.ndarray, view: int) -> Maps:
    return maps[0][rows, view], maps[1][rows, view]


def _row(what: str, times: Times, view_bytes: int) -> Row:
    ours, raw = np.array(times).T
    speed, raw_speed = (BATCH * view_bytes / np.median(taken) / 1e9 for taken in (ours, raw))
    share = ratio(raw, ours)
    measured = f"{speed:.1f} GB/s (map: {raw_speed:.1f})"
    return Row(f"{what} ({len(times)} batches)", measured, f"{share:.2f} x", "at least 0.8 x", share >= 0.8)


def _settle(path: Path) -> None:
    """Have the file written to disk, so that this does not go on meanwhile, and read it, so that memory holds it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        while file.read(2**24):
            pass


def _memory_maps(path: Path) -> Maps:
    with h5py.File(path, "r") as file:
        sets = [(file[name].dtype, file[name].id.get_offset(), file[name].shape) for name in ("crops", "tokens")]
    crops, tokens = (np.memmap(path, dtype, "r", offset, shape) for dtype, offset, shape in sets)
    return crops, tokens
