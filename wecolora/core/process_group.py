"""Several processes, one a GPU, that distil one student together: each takes an equal part of every micro-batch."""

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
    """The processes, and which of them this one is; alone, everything stays as it is. All of them have the same
    parameters, sums and order of images, and call the same methods in the same order."""

    rank: int = 0
    size: int = 1

    def part(self, rows: Tensor) -> Tensor:
        """This process's part of rows that all have: (n, ...) -> (n / size, ...), in the order of the ranks."""
        return rows.chunk(self.size)[self.rank]

    def all_gather(self, part: Tensor) -> Tensor:
        """The rows, (n, ...), of everybody's parts, (n / size, ...)."""
        if self.size == 1:
            return part
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    def all_mean(self, value: Tensor) -> Tensor:
        """Of everybody's values, which have one shape."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """The gradient of a mean over parts of one size is the mean of the parts' gradients."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = self.all_mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether it is true for one of them. Nobody goes on before all have asked."""
        return flag if self.size == 1 else bool(self.all_mean(torch.tensor(float(flag))) > 0)

    def broadcast(self, value: Any) -> Any:
        """What the first of them has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


def gpus(resources: Mapping[str, Any]) -> int:
    """How many a job asks for, as ``gpu`` or, at sites that want it so, as ``gres`` (gpu:2, gpu:a100:2,ssd:1)."""
    if count := resources.get("gpu"):
        return int(count)
    for wanted in str(resources.get("gres", "")).split(","):
        name, *details = wanted.partition("(")[0].split(":")
        if name == "gpu" and details and details[-1].isdigit():
            return int(details[-1])
    return 1


def launch(processes: int, log: str) -> None:
    """Go on as torchrun's ``processes`` processes of this very script, where more than one is asked for, with one log.
    Returns in each of them, and not in the one that calls it first."""
    if processes > 1 and not job.by_torchrun():
        job.empty_log(log)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        os.execv(sys.executable, [sys.executable, *torchrun, *sys.argv])


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """The group that torchrun started, each with a GPU of its own where there are any; without torchrun, a group of
    one."""
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
    dist.destroy_process_group()  # not after an error: it would wait for the others, which torchrun ends
