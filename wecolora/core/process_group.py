"""Several processes, one for each GPU, that distil one student together.

Each process takes an equal part of every micro-batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from wecolora.core import job
from wecolora.core.errors import BadInput


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one student, and the rank of this one among them.

    A process that is alone gets its own values back from every method. All processes have the same parameters, sums and
    order of images, and call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's part of rows that all have: (n, ...) -> (n / size, ...), in the order of the ranks."""
        return rows.chunk(self.size)[self.rank]

    def all_gather(self, part: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes' parts (n / size, ...), in the order of the ranks."""
        if self.size == 1:
            return part
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    def all_mean(self, value: Tensor) -> Tensor:
        """Return the mean of all processes' values, which have the same shape."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes.

        All parts have the same size, so this is the gradient of the mean over all of them.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = self.all_mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any of the processes; each waits until all have asked."""
        return flag if self.size == 1 else bool(self.all_mean(torch.tensor(float(flag))) > 0)

    def broadcast(self, value: Any) -> Any:
        """Return the value that the first process has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


def gpus(resources: Mapping[str, Any]) -> int:
    """Return how many GPUs a job asks for.

    The number stands in ``gpu`` or, at sites that need it so, in ``gres`` (gpu:2, gpu:a100:2,ssd:1); without either it
    is 1.
    """
    if count := resources.get("gpu"):
        return int(count)
    for wanted in str(resources.get("gres", "")).split(","):
        name, *details = wanted.partition("(")[0].split(":")
        if name == "gpu" and details and details[-1].isdigit():
            return int(details[-1])
    return 1


def launch(processes: int, log: str) -> None:
    """Replace this process by ``processes`` processes of the same script under torchrun, with one log.

    Return at once if only one process is asked for, or if torchrun started this one. A process that is replaced never
    returns from here.
    """
    if processes > 1 and not job.by_torchrun():
        job.empty_log(log)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        os.execv(sys.executable, [sys.executable, *torchrun, *sys.argv])


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Yield the group of the processes that torchrun started, or a group of one without torchrun.

    Each process gets a GPU of its own if there are any. Raise BadInput if there are fewer GPUs than processes.
    """
    if not job.by_torchrun():
        yield ProcessGroup()
        return
    size = int(os.environ["WORLD_SIZE"])
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        if torch.cuda.device_count() < size:
            raise BadInput(
                f"{size} GPUs are asked for, and torch finds {torch.cuda.device_count()}; ask for no more than a node "
                "has (--set-resources distill:gpu=N)."
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
    yield ProcessGroup(dist.get_rank(), size)
    dist.destroy_process_group()  # not after an error: it would wait for the other processes, which torchrun ends
