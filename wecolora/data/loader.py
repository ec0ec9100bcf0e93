"""Worker processes that decode images, in order, for a device that would wait for them; any number gives the same."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wecolora.core.errors import BadInput
from wecolora.core.job import helpers

AHEAD = 2  # batches that each worker has ready


class Loader:
    """Makes batches of what ``decode`` makes of each of their items, (...) uint8, in ``workers`` processes; 0: in this
    one, when a batch is asked for. The processes stay from one use to the next.

    Batches of ``batch_bytes`` at most are handed over in shared memory, for which there may be fewer workers.
    They are forked, so that they start at once, and hold what ``decode`` holds without a copy; they must touch neither
    the GPU nor HDF5.
    """

    def __init__(
        self, decode: Callable[[Any], np.ndarray], workers: int = 0, device: str = "cpu", batch_bytes: int = 0
    ) -> None:
        workers = helpers(workers, (AHEAD + 1) * batch_bytes)  # and one that is read
        self._plan = _Plan()
        self._stop: weakref.finalize | None = None
        self._loader = DataLoader(
            _Items(decode),
            batch_sampler=self._plan,
            num_workers=workers,
            collate_fn=_stack,
            pin_memory=device == "cuda",
            prefetch_factor=AHEAD if workers else None,
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # else each use draws from the global one, on which a student depends
            persistent_workers=workers > 0,
            worker_init_fn=_deaf,
        )

    def __call__(self, batches: Iterable[Sequence[Any]]) -> Iterator[Tensor]:
        """(items, ...) uint8 of each batch, in order; the processes start on them at once, and work ahead. Raises the
        BadInput of an item in the place of its batch. With workers, one use at a time."""
        self._plan.batches = [list(batch) for batch in batches]
        running: Any = iter(self._loader)
        if self._loader.num_workers and self._stop is None:
            # Else its queues may close in any order, and files twice, where the garbage collector finds it in a cycle,
            # as a raised exception makes one.
            self._stop = weakref.finalize(self, _shut_down, running, os.getpid())
        return self._each(running)

    def _each(self, running: Iterator[Tensor | BadInput]) -> Iterator[Tensor]:
        for batch in running:
            if isinstance(batch, BadInput):
                raise batch
            yield batch


def _deaf(worker: int) -> None:
    """A scheduler sends SIGTERM to every process of a job, and the step that is under way needs its images. A worker
    ends with its loader, or with the process that started it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _shut_down(running: Any, process: int) -> None:
    if os.getpid() == process:
        running._shutdown_workers()
        for worker in running._workers:  # one that waits for its disk is not waited for
            worker.kill()
    else:  # forked meanwhile, with the same garbage, whose workers are not its own
        running._shutdown = True


class _Plan:
    """The batches of the next use; an earlier one keeps its own."""

    batches: Sequence[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)


class _Items(Dataset):
    def __init__(self, decode: Callable[[Any], np.ndarray]) -> None:
        self.decode = decode

    def __getitems__(self, items: Sequence[Any]) -> list[np.ndarray] | BadInput:
        try:
            return [self.decode(item) for item in items]
        except BadInput as error:  # handed over as it is; raised, the loader would put its own traceback into it
            return error


def _stack(found: list[np.ndarray] | BadInput) -> Tensor | BadInput:
    return found if isinstance(found, BadInput) else torch.from_numpy(np.stack(found))
