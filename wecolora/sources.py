"""Where a distillation step gets its pixels and its teacher tokens: the cache, or the teacher itself. Same views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from wecolora.cache import CacheReader, view_pixels
from wecolora.images import Index
from wecolora.vit import VisionTransformer, normalise, tokens_before_norm

Triple = tuple[float, float, float]


class Source(Protocol):
    """Images in subset order, any of them in any view."""

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        """(pixels (n, size, size, 3) uint8, teacher tokens before the final norm (n, tokens, width) float)."""


class CachedSource:
    """Reads both from a teacher cache."""

    def __init__(self, reader: CacheReader) -> None:
        self.reader = reader

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        crops, tokens = self.reader.read(rows, view)
        return torch.from_numpy(crops), torch.from_numpy(tokens)


class OnlineSource:
    """Decodes the images and runs the teacher in every step: no disk, more compute. ``teacher`` None: gives pixels and
    no tokens, for a method whose objective runs the teacher itself."""

    def __init__(
        self,
        index: Index,
        positions: Sequence[int],
        teacher: VisionTransformer | None,
        mean: Triple,
        std: Triple,
        seed: int,
        size: int,
        device: str = "cpu",
    ) -> None:
        self.index, self.positions, self.teacher = index, positions, teacher and teacher.to(device)
        self.mean, self.std, self.seed, self.size, self.device = mean, std, seed, size, device

    @torch.no_grad()
    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        crops = [view_pixels(self.index, self.positions[row], [view], self.seed, self.size)[0] for row in rows]
        pixels = torch.from_numpy(np.stack(crops)).to(self.device)
        if self.teacher is None:
            return pixels, torch.empty(0)
        return pixels, tokens_before_norm(self.teacher, normalise(pixels, self.mean, self.std))


def prefetched(source: Source, batches: Iterable[Sequence[int]], view: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches in order, the next one read while the caller works on the last."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for rows in batches:
            following = pool.submit(source.batch, rows, view)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
