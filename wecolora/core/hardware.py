"""The device and the threads of a job, its deterministic algorithms, and what the job records about them."""

from __future__ import annotations

import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

log = logging.getLogger("wecolora")
not_deterministic: set[str] = set()  # operations without a deterministic algorithm that this process used
# A warning of torch begins with the operation and goes on with one of these.
WARNING = r"(?s)(.*?) (does not have a deterministic|defaults to a non-deterministic|is not deterministic)"


def device(threads: int) -> str:
    """Set the number of CPU threads, choose the device of this job and return its name, "cuda" or "cpu".

    On a GPU, torch uses deterministic algorithms wherever it has them. Log a warning if the job was given a GPU and
    torch cannot use it.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # it makes matrix products deterministic
        # The backward pass of fused attention is deterministic only if other operations are errors; so it is not used.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        deterministic()
        return "cuda"
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("WARNING: the job was given GPU %s, but torch finds none: it runs on the CPU.", given)
    return "cpu"


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 within have all of its digits: a GPU makes others in TF32, which has three."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def deterministic() -> None:
    """Make torch use deterministic algorithms, and note in ``not_deterministic`` the operations that have none."""
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
    """Return the version of a package, or "not installed", as for this project in a checkout that nobody installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment(device_name: str, processes: int = 1) -> dict[str, Any]:
    """Return what a number may depend on besides its recipe: the versions and the kind of device.

    This is the same for every run of one installation. At the end of a job on a GPU, it also names the operations that
    the job used and that have no deterministic algorithm.
    """
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
