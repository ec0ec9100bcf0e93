"""The computation study (section 4.3): parameters, multiply-accumulates, speed and memory of teacher and students.

Counts are of shapes alone, made without weights on PyTorch's meta device. A merged student is a plain model of
floor(L / r) blocks, whatever its method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wecolora.files import atomic_write
from wecolora.lora import add_lora
from wecolora.methods import METHODS
from wecolora.recipes import Architecture, ComputationRecipe
from wecolora.vit import build, pooled

LINEAR = {torch.ops.aten.addmm, torch.ops.aten.mm, torch.ops.aten.convolution}
REPEATS = 20  # timed passes, after WARM_UP passes that are not
WARM_UP = 3


def macs(model: VisionTransformer, size: int) -> tuple[int, int]:
    """Multiply-accumulates of one image of size x size: of linear and convolution layers alone, which is what the paper
    calls FLOPs, and with Q K^T and the product with V. The model is on the meta device."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]  # so that its two products are seen apart
    with FlopCounterMode(display=False) as counter:  # not without gradients, where its module tracker stumbles
        pooled(model, torch.empty(1, 3, size, size, device="meta"))
    flops = counter.get_flop_counts()["Global"]
    assert all(value % 2 == 0 for value in flops.values())
    return sum(value for kind, value in flops.items() if kind in LINEAR) // 2, sum(flops.values()) // 2


def parameters(model: nn.Module) -> tuple[int, int]:
    """All, and those that train."""
    every = list(model.parameters())
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def counts(architecture: Architecture, depth: int, method: str | None = None, k: int | None = None) -> dict[str, int]:
    """Of a model of that many blocks (a merged student, or the teacher), and of its training by a method."""
    with torch.device("meta"):
        model = build(architecture.model_dump(), depth=depth)
    paper, full = macs(model, architecture.img_size)
    found = {
        "blocks": depth,
        "parameters": parameters(model)[0],
        "trained": 0,
        "macs": paper,
        "macs_with_attention": full,
        "training_macs": 0,
        "training_macs_with_attention": 0,
        "cache_bytes_per_view": bytes_per_view(architecture),
    }
    if method is None:
        return found
    targets = METHODS[method].trains
    if targets in ("enhanced", "qv"):
        assert k is not None
        with torch.device("meta"):
            model = add_lora(model, k, targets, METHODS[method].adapter)
        paper, full = macs(model, architecture.img_size)
    return {
        **found,
        "trained": parameters(model)[1],
        "training_macs": paper,
        "training_macs_with_attention": full,
    }


def bytes_per_view(architecture: Architecture) -> int:
    """Of one view of one image in the teacher cache: tokens in float16 and the crop's pixels."""
    return architecture.tokens * architecture.embed_dim * 2 + architecture.img_size**2 * 3


def speed(architecture: Architecture, depth: int, batch: int, device: str) -> dict[str, float | None]:
    """Median latency of one image (ms), images a second in batches, and peak memory in MB (on a GPU; the device is
    idle before and after each timed pass)."""
    torch.manual_seed(0)
    model = build(architecture.model_dump(), depth=depth).eval().to(device)
    cuda = device == "cuda"

    def seconds(images: int) -> float:
        pixels = torch.randn(images, 3, architecture.img_size, architecture.img_size, device=device)
        taken = _timed(lambda: pooled(model, pixels), torch.cuda.synchronize if cuda else lambda: None)
        return float(np.median(taken))

    latency = seconds(1)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    rate = batch / seconds(batch)
    peak = torch.cuda.max_memory_allocated() / 1e6 if cuda else None
    return {"latency_ms": 1000 * latency, "images_per_second": rate, "peak_memory_mb": peak}


@torch.no_grad()
def _timed(work: Callable[[], Any], synchronise: Callable[[], Any]) -> list[float]:
    taken = []
    for _ in range(WARM_UP + REPEATS):
        synchronise()
        start = time.perf_counter()
        work()
        synchronise()
        taken.append(time.perf_counter() - start)
    return taken[WARM_UP:]


def tidy_counts(recipe: ComputationRecipe) -> pd.DataFrame:
    """One row a model: each teacher, then each of its students once."""
    rows: list[dict[str, Any]] = []
    for name, teacher in recipe.teachers.items():
        rows.append({"teacher": name, "method": "teacher", "r": 1, "k": None, **counts(teacher, teacher.depth)})
        for student in recipe.students:
            found = counts(teacher, teacher.depth // student.r, student.method, student.k)
            rows.append({"teacher": name, **student.model_dump(), **found})
    return pd.DataFrame(rows).astype({"k": "Int64"})


def tidy_speed(recipe: ComputationRecipe, device: str, log: Callable[[str], None]) -> pd.DataFrame:
    """One row a shape: each teacher, and its merged student for each r."""
    rows = []
    for name, teacher in recipe.teachers.items():
        for r in [1, *dict.fromkeys(student.r for student in recipe.students if student.r > 1)]:
            found = speed(teacher, teacher.depth // r, recipe.batch, device)
            log(f"{name}, r = {r}: {found['latency_ms']:.2f} ms, {found['images_per_second']:.0f} images/s")
            about = {"device": device, "threads": torch.get_num_threads()}
            rows.append({"teacher": name, "r": r, "batch": recipe.batch, **about, **found})
    return pd.DataFrame(rows)


def printed_counts(table: pd.DataFrame, recipe: ComputationRecipe) -> pd.DataFrame:
    """The counts as a reader wants them: millions and thousand millions."""
    return pd.DataFrame(
        {
            "Teacher": table["teacher"].map(recipe.labels),
            "Model": [METHODS[name].label for name in table["method"]],
            "r": table["r"].map(lambda r: str(r) if r > 1 else ""),
            "k": table["k"].map(str, na_action="ignore").fillna(""),
            "Parameters (M)": (table["parameters"] / 1e6).map("{:.2f}".format),
            "trained (M)": (table["trained"] / 1e6).map("{:.2f}".format).where(table["trained"] > 0, ""),
            "GMACs": (table["macs"] / 1e9).map("{:.4g}".format),
            "with attention": (table["macs_with_attention"] / 1e9).map("{:.4g}".format),
            "GMACs in training": (table["training_macs"] / 1e9).map("{:.4g}".format).where(table["trained"] > 0, ""),
            "KB a cached view": (table["cache_bytes_per_view"] / 1e3).map("{:.1f}".format),
        }
    )


def write_counts(recipe: ComputationRecipe, csv: str | Path, markdown: str | Path) -> None:
    """Write the tidy counts, and a table of them."""
    table = tidy_counts(recipe)
    with atomic_write(csv) as temporary:
        table.to_csv(temporary, index=False)
    printed = printed_counts(table, recipe).to_markdown(index=False, disable_numparse=True)
    with atomic_write(markdown) as temporary:
        temporary.write_text(f"**{recipe.title}.** {recipe.caption}\n\n{printed}\n")


def write_speed(recipe: ComputationRecipe, path: str | Path, device: str, log: Callable[[str], None]) -> None:
    """Time the models on this device; what it gives changes from run to run."""
    with atomic_write(path) as temporary:
        tidy_speed(recipe, device, log).to_csv(temporary, index=False, float_format="%.4g")
