"""Worker processes that decode images in order, so that a device need not wait.

Any number of workers gives the same result.
"""

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
    """A maker of batches: ``decode`` turns each item into an array, (...) uint8, in one of ``workers`` processes.

    With 0 workers, this process makes a batch when it is asked for. The processes stay from one use to the next. They
    hand over batches of at most ``batch_bytes`` in shared memory; if there is little of it, there are fewer workers.
    They are forked, so that they start at once and share what ``decode`` holds without a copy; they must not touch the
    GPU or HDF5.
    """

    def __init__(
        self, decode: Callable[[Any], np.ndarray], workers: int = 0, device: str = "cpu", batch_bytes: int = 0
    ) -> None:
        workers = helpers(workers, (AHEAD + 1) * batch_bytes)  # one more is being read
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
            generator=torch.Generator(),  # the global one must not move: a student depends on it
            persistent_workers=workers > 0,
            worker_init_fn=_deaf,
        )

    def __call__(self, batches: Iterable[Sequence[Any]]) -> Iterator[Tensor]:
        """Yield (items, ...) uint8 for each batch, in order; the processes start at once and work ahead.

        Raise the BadInput of an item in place of its batch. With workers, only one use at a time is possible.
        """
        self._plan.batches = [list(batch) for batch in batches]
        running: Any = iter(self._loader)
        if self._loader.num_workers and self._stop is None:
            # Otherwise its queues may close in any order, and files may close twice, if the garbage collector finds it
            # in a cycle, such as a raised exception makes.
            self._stop = weakref.finalize(self, _shut_down, running, os.getpid())
        return self._each(running)

    def _each(self, running: Iterator[Tensor | BadInput]) -> Iterator[Tensor]:
        for batch in running:
            if isinstance(batch, BadInput):
                raise batch
            yield batch


def _deaf(worker: int) -> None:
    """Make a worker ignore SIGTERM.

    A scheduler sends it to every process of a job, and the step that is under way needs its images. A worker ends with
    its loader, or with the process that started it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _shut_down(running: Any, process: int) -> None:
    if os.getpid() == process:
        running._shutdown_workers()
        for worker in running._workers:  # ends a worker that waits for a disk, too
            worker.kill()
    else:  # a process forked since has a copy of the loader, but the workers are not its own
        running._shutdown = True


class _Plan:
    """The batches of the next use; an earlier use keeps its own."""

    batches: Sequence[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)


class _Items(Dataset):
    def __init__(self, decode: Callable[[Any], np.ndarray]) -> None:
        self.decode = decode

    def __getitems__(self, items: Sequence[Any]) -> list[np.ndarray] | BadInput:
        try:
            return [self.decode(item) for item in items]
        except BadInput as error:  # returned, not raised: DataLoader would put its own traceback into it
            return error


def _stack(found: list[np.ndarray] | BadInput) -> Tensor | BadInput:
    return found if isinstance(found, BadInput) else torch.from_numpy(np.stack(found))
