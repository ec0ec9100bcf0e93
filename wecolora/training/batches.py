"""The pixels and teacher tokens of a distillation step, from the cache or from the teacher itself, on the same
views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.data.images import Index, read_index
from wecolora.data.loader import Loader
from wecolora.data.subset import prefix_length, read_subset
from wecolora.models.vit import VisionTransformer, normalise, tokens_before_norm
from wecolora.training.cache import CacheReader, view_pixels


class Batches(Protocol):
    """A run's images in subset order, any of them in any view, and their labels, (images,), where its method reads
    them."""

    images: int
    labels: Tensor | None

    def read(self, rows: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, for the rows of each batch in order, its pixels and its teacher tokens.

        The shapes are (n, size, size, 3) uint8, and (n, tokens, width) floating-point before the final norm.
        """


class CachedBatches:
    """Reads both from a teacher cache, of its first ``images`` (None: all); without ``tokens``, the pixels alone."""

    def __init__(
        self, reader: CacheReader, images: int | None = None, labels: Tensor | None = None, tokens: bool = True
    ) -> None:
        self.reader, self.tokens, self.labels = reader, tokens, labels
        self.images = len(reader) if images is None else images

    def read(self, rows: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in rows:
            yield self.batch(batch, view)

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        """One batch."""
        crops, tokens = self.reader.read(rows, view, self.tokens)
        return torch.from_numpy(crops), torch.from_numpy(tokens)


class OnlineBatches:
    """Decodes the images at ``positions`` of the index, in ``workers`` processes, at most ``batch`` at once, and runs
    the teacher in every step: no disk, more compute. ``teacher`` None: gives pixels and no tokens."""

    def __init__(
        self,
        index: Index,
        positions: Sequence[int],
        teacher: VisionTransformer | None,
        recipe: DistillRecipe,
        labels: Tensor | None = None,
        device: str = "cpu",
        workers: int = 0,
    ) -> None:
        self.positions, self.teacher, self.labels = positions, teacher and teacher.to(device), labels
        self.images = len(positions)
        self.mean, self.std, self.device = recipe.input.mean, recipe.input.std, device
        size = recipe.input.architecture.img_size
        view = partial(_one_view, index, recipe.images.corpus_seed, size)
        self._loader = Loader(view, workers, device, 3 * size**2 * recipe.optimisation.batch)

    def read(self, rows: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
        wanted = [[(self.positions[row], view) for row in batch] for batch in rows]
        return map(self._with_tokens, self._loader(wanted))

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        """One batch."""
        return next(self.read([rows], view))

    @torch.no_grad()
    def _with_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.to(self.device, non_blocking=True)
        if self.teacher is None:
            return pixels, torch.empty(0)
        return pixels, tokens_before_norm(self.teacher, normalise(pixels, self.mean, self.std))


def _one_view(index: Index, seed: int, size: int, wanted: tuple[int, int]) -> np.ndarray:
    position, view = wanted
    return view_pixels(index, position, [view], seed, size)[0]


def open_batches(
    index: str,
    subset: str,
    shards: Sequence[str],
    recipe: DistillRecipe,
    teacher: tuple[VisionTransformer, str],
    device: str,
    workers: int,
) -> tuple[Batches, list[str]]:
    """Return the images of a run, from the teacher's cache where there are shards of it, and their ids.

    ``teacher``, with the sha256 of its weights, gives the tokens where no cache does.
    """
    method, (model, sha256) = METHODS[recipe.method], teacher
    # A cache knows its images by their ids, and so does without the index.
    known = read_index(index) if method.reads_labels or not shards else None
    positions, ids, share = read_subset(subset, known)
    images = prefix_length(share, recipe.student.alpha)
    labels = torch.tensor(known.single_labels(positions[:images])) if method.reads_labels and known else None
    if known is None or shards:
        reader = CacheReader(shards, recipe.cache(), sha256, ids[:images])
        return CachedBatches(reader, images, labels, tokens=method.reads_tokens), ids[:images]
    running = model if method.reads_tokens else None
    return OnlineBatches(known, positions[:images], running, recipe, labels, device, workers), ids[:images]


def prefetched(batches: Batches, rows: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of these rows in order; the next one is read while the caller works on the last."""
    coming = batches.read(rows, view)
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    with ThreadPoolExecutor(1, initializer=_on, initargs=(gpu,)) as pool:
        waiting = pool.submit(next, coming, None)
        while (batch := waiting.result()) is not None:
            waiting = pool.submit(next, coming, None)
            yield batch


def _on(gpu: int | None) -> None:
    """Let this thread work on a device. A new thread starts on the first GPU, whichever its process has."""
    if gpu is not None:
        torch.cuda.set_device(gpu)
