"""The device and the threads of a job, deterministic algorithms on it, and what a job records of them."""

from __future__ import annotations

import logging
import os
import platform
import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

log = logging.getLogger("wecolora")
not_deterministic: set[str] = set()  # operations that this process used and that have no deterministic algorithm
# What torch warns of: the operation, then one of these.
WARNING = r"(?s)(.*?) (does not have a deterministic|defaults to a non-deterministic|is not deterministic)"


def device(threads: int) -> str:
    """The device of this job, with its number of CPU threads set; on a GPU, deterministic algorithms where torch has
    them. A GPU that was given to the job and cannot be used is told."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which makes matrix products deterministic
        # The backward pass of fused attention is not, unless operations without a deterministic algorithm are errors.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        deterministic()
        return "cuda"
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("WARNING: the job was given GPU %s, but torch finds none: it runs on the CPU.", given)
    return "cpu"


def deterministic() -> None:
    """Have torch take deterministic algorithms, and note in ``not_deterministic`` where it has none."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    warnings.filterwarnings("always", message=WARNING)
    shown = warnings.showwarning

    def note(message: Any, *where: Any, **others: Any) -> None:
        if found := re.match(WARNING, str(message)):
            not_deterministic.add(found[1])
        else:
            shown(message, *where, **others)

    warnings.showwarning = note


def _version(package: str) -> str:
    """Return the version of a package; this project itself may run from a checkout that nobody installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment(device_name: str, processes: int = 1) -> dict[str, Any]:
    """What a number may depend on besides its recipe; the same on every run of one installation. On a GPU, by the end
    of a job, also the operations that it used and that have no deterministic algorithm."""
    packages = ("wecolora", "torch", "timm", "numpy", "pillow")
    kind = platform.machine()
    if device_name == "cuda":
        kind = torch.cuda.get_device_name()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "device": kind,
        **{name: _version(name) for name in packages},
    }
    if processes > 1:
        found["processes"] = processes
    if not_deterministic:
        found["not deterministic"] = ", ".join(sorted(not_deterministic))
    return found
