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
from wecolora.vit import VisionTransformer, block_outputs, normalise, tokens_before_norm

Triple = tuple[float, float, float]


class Source(Protocol):
    """Images in subset order, any of them in any view."""

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        """(pixels (n, size, size, 3) uint8, teacher tokens before the final norm (n, tokens, width) float); of several
        blocks: (n, blocks, tokens, width)."""


class CachedSource:
    """Reads both from a teacher cache."""

    def __init__(self, reader: CacheReader) -> None:
        self.reader = reader

    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        crops, tokens = self.reader.read(rows, view)
        return torch.from_numpy(crops), torch.from_numpy(tokens)


class OnlineSource:
    """Decodes the images and runs the teacher in every step: no disk, more compute. ``blocks``: whose outputs are
    wanted, 0-based; None: the last block's alone, as a cache holds it."""

    def __init__(
        self,
        index: Index,
        positions: Sequence[int],
        teacher: VisionTransformer,
        mean: Triple,
        std: Triple,
        seed: int,
        size: int,
        device: str = "cpu",
        blocks: Sequence[int] | None = None,
    ) -> None:
        self.index, self.positions, self.teacher = index, positions, teacher.to(device)
        self.mean, self.std, self.seed, self.size, self.device = mean, std, seed, size, device
        self.blocks = blocks

    @torch.no_grad()
    def batch(self, rows: Sequence[int], view: int) -> tuple[Tensor, Tensor]:
        crops = [view_pixels(self.index, self.positions[row], [view], self.seed, self.size)[0] for row in rows]
        pixels = torch.from_numpy(np.stack(crops)).to(self.device)
        inputs = normalise(pixels, self.mean, self.std)
        if self.blocks is None:
            return pixels, tokens_before_norm(self.teacher, inputs)
        return pixels, torch.stack(block_outputs(self.teacher, inputs, self.blocks), 1)


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
