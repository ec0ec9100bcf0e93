"""What a campaign takes, before anything runs: jobs, passes through models, bytes and GPU-hours, and what is done.

Image counts come from a data set's index where it is prepared, and from the published sizes before. A subset of alpha
percent is counted as that share of the corpus (an exact one rounds down in each class).
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.computation import bytes_per_view, counts
from wecolora.datasets import chestxray14, cifar100, imagenet, inat2019, resisc45
from wecolora.errors import BadInput
from wecolora.grid import RunSpec
from wecolora.jobs import Job, jobs
from wecolora.methods import METHODS
from wecolora.recipes import Architecture, StudentShape
from wecolora.vit import build, pooled
from wecolora.workflow import Campaign

# Sustained, and a guess: 40 percent of the dense TF32 peak of an RTX 3090, the paper's GPU (section 4.3).
TFLOPS = 15.0
SECONDS = 5.0  # that a rate is measured for
PUBLISHED = {
    "imagenet": imagenet.PUBLISHED,
    "cifar100": cifar100.PUBLISHED,
    "chestxray14": chestxray14.PUBLISHED,
    "inat2019": inat2019.PUBLISHED,
}


@dataclass(frozen=True)
class Stage:
    """All jobs of a stage: how many, how many of them have left their files; images passed through a model, each view
    and epoch counted; multiply-accumulates, those of backward passes included; bytes left on disk."""

    name: str
    jobs: int
    done: int
    passes: int = 0
    macs: int = 0
    bytes: int = 0

    def hours(self, tflops: float) -> float:
        """GPU-hours at that many 1e12 operations a second; a multiply-accumulate is two."""
        return 2 * self.macs / (tflops * 1e12) / 3600


@dataclass(frozen=True)
class Plan:
    """The stages of a campaign; what its teachers would take in every step of the same runs, in the place of a cache;
    and the cache's bytes by its number of views."""

    runs: int
    stages: list[Stage]
    online: Stage
    cache_bytes: dict[int, int]


def make_plan(campaign: Campaign) -> Plan:
    """Of the config's chosen artifacts. BadInput where a data set is not counted yet."""
    config = campaign.config
    found = jobs(campaign)
    counted = {"cache_teacher": _cache, "distill": _distill, "features": _features}
    stages = []
    for rule in ("prepare", "subset", "fetch_teacher", "cache_teacher", "distill", "features", "probe"):
        of_rule = [job for job in found if job.rule == rule]
        cost = counted[rule](campaign, of_rule) if rule in counted else {}
        stages.append(Stage(rule, len(of_rule), sum(job.done for job in of_rule), **cost))
    artifacts = [name for name, artifact in config.chosen().items() if artifact.kind != "students"]
    drawn = [campaign.files_of(name) for name in artifacts]
    drawn += [[path] for path in campaign.targets() if path not in campaign.artifact_files()]
    done = sum(all(Path(path).exists() for path in files) for files in drawn)
    stages.append(Stage("tables, figures", len(drawn), done))
    online = Stage("teacher online", 0, 0, **_online(campaign, [job for job in found if job.rule == "distill"]))
    cached = next(stage for stage in stages if stage.name == "cache_teacher")
    a_view = cached.bytes // config.corpus.views
    return Plan(len(config.runs()), stages, online, {views: views * a_view for views in (1, 10)})


@functools.cache
def sizes(campaign: Campaign, dataset: str) -> tuple[int, int]:
    """(training, test) images of a data set."""
    index = campaign.index(dataset)
    if Path(index).exists():
        split = pq.read_table(index, columns=["split"]).column("split").to_pylist()
        return split.count("train"), split.count("test")
    data = campaign.config.datasets[dataset]
    if data.source == "bundled":
        return data.train, data.test
    published = resisc45.published(data.train_share) if data.source == "resisc45" else PUBLISHED.get(data.source)
    if published is None:
        raise BadInput(f"datasets.{dataset}: its images are not counted yet; run `snakemake {index}` first.")
    return published["train"], published["test"]


def _images(campaign: Campaign, percent: float | None) -> int:
    """Of a share of the corpus."""
    return round(sizes(campaign, campaign.config.corpus.dataset)[0] * min(percent or 0, 100) / 100)


def _cache(campaign: Campaign, found: list[Job]) -> dict[str, int]:
    config = campaign.config
    passes = macs = size = 0
    for teacher, shards in Counter(job.teacher for job in found).items():
        architecture = config.teachers[teacher].architecture
        views = _images(campaign, shards * config.corpus.shard_percent) * config.corpus.views
        passes += views
        macs += views * _of_teacher(architecture)
        size += views * bytes_per_view(architecture)
    return {"passes": passes, "macs": macs, "bytes": size}


def _distill(campaign: Campaign, found: list[Job]) -> dict[str, int]:
    passes = macs = size = 0
    for run in [job.run for job in found if job.run]:
        seen = _images(campaign, run.alpha) * campaign.config.distill.epochs
        counted = _counted(campaign, run)
        passes += seen
        # A backward pass costs a forward one for the inputs' gradients and one more for the weights' that train.
        backward = 2 if METHODS[run.method].trains == "all" else 1
        macs += seen * (1 + backward) * counted["training_macs_with_attention"]
        macs += seen * counted["teacher_macs_with_attention"]
        if campaign.config.distill.teacher == "online" and not METHODS[run.method].online:
            macs += seen * _of_teacher(campaign.config.teachers[run.teacher].architecture)
        size += 4 * counted["parameters_saved"]
    return {"passes": passes, "macs": macs, "bytes": size}


def _online(campaign: Campaign, found: list[Job]) -> dict[str, int]:
    passes = macs = 0
    for run in [job.run for job in found if job.run]:
        seen = _images(campaign, run.alpha) * campaign.config.distill.epochs
        passes += seen
        macs += seen * _of_teacher(campaign.config.teachers[run.teacher].architecture)
    return {"passes": passes, "macs": macs}


def _features(campaign: Campaign, found: list[Job]) -> dict[str, int]:
    passes = macs = size = 0
    for job in found:
        assert job.run
        architecture = campaign.config.teachers[job.run.teacher].architecture
        images = sum(sum(sizes(campaign, dataset)) for dataset in job.datasets)
        passes += images
        macs += images * _counted(campaign, job.run)["macs_with_attention"]
        size += images * architecture.embed_dim * 4
    return {"passes": passes, "macs": macs, "bytes": size}


_counts = functools.cache(counts)


def _counted(campaign: Campaign, run: RunSpec) -> dict[str, int]:
    return _counts(
        campaign.config.teachers[run.teacher].architecture,
        StudentShape(method=run.method, r=run.r, k=run.k),
        campaign.head_classes(run.teacher),
        campaign.config.distill.batch,
    )


def _of_teacher(architecture: Architecture) -> int:
    """Multiply-accumulates of a teacher's forward pass of an image."""
    return _counts(architecture, StudentShape(method="teacher"))["macs_with_attention"]


def measured_tflops(architecture: Architecture, device: str, batch: int = 64) -> float:
    """What this device sustains in the teacher's forward passes, in 1e12 operations a second."""
    model = build(architecture.model_dump()).eval().to(device)
    pixels = torch.randn(batch, 3, architecture.img_size, architecture.img_size, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    passes = 0
    with torch.no_grad():
        pooled(model, pixels)
        wait()
        started = time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            pooled(model, pixels)
            wait()
            passes += batch
    return 2 * passes * _of_teacher(architecture) / (time.perf_counter() - started) / 1e12


def show(plan: Plan, name: str, tflops: float, rate: str, console: Console) -> None:
    """Print a plan as tables; ``rate`` says where the number of TFLOP/s comes from."""
    table = Table("stage", box=box.SIMPLE_HEAD, title=f"{name}: {plan.runs} runs")
    for column in ("jobs", "done", "images", "GPU-hours", "disk"):
        table.add_column(column, justify="right")
    total = Stage("total", 0, 0)
    for stage in plan.stages:
        table.add_row(*_row(stage, tflops))
        total = Stage(
            "total", *(getattr(total, key) + getattr(stage, key) for key in ("jobs", "done", "passes", "macs", "bytes"))
        )
    table.add_section()
    table.add_row(*_row(total, tflops))
    console.print(table)
    cached = next(stage for stage in plan.stages if stage.name == "cache_teacher")
    by_views = ", ".join(
        f"{_size(size)} with {views} view{'s' * (views > 1)}" for views, size in plan.cache_bytes.items()
    )
    console.print(f"Teacher caches: {by_views} an image.")
    console.print(
        f"Teacher forwards: {cached.passes:,} for the caches ({_hours(cached, tflops)} GPU-hours); "
        f"{plan.online.passes:,} with `teacher: online`, in every step ({_hours(plan.online, tflops)} GPU-hours)."
    )
    console.print(
        f"GPU-hours: counted operations at {tflops:.3g} TFLOP/s ({rate}); probes and reading are not counted."
    )


def _row(stage: Stage, tflops: float) -> list[str]:
    hours = _hours(stage, tflops) if stage.macs else ""
    images = f"{stage.passes:,}" if stage.passes else ""
    return [stage.name, str(stage.jobs), str(stage.done), images, hours, _size(stage.bytes) if stage.bytes else ""]


def _hours(stage: Stage, tflops: float) -> str:
    hours = stage.hours(tflops)
    return f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.1g}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"
