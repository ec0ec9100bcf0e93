"""What a campaign takes, before anything runs: jobs, passes through models, bytes and GPU-hours, and what is done.

Image counts come from a data set's index where it is prepared, and from the published sizes before. A subset of alpha
percent is counted as that share of the corpus (an exact one rounds down in each class).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from wecolora.computation import bytes_per_view, counts
from wecolora.datasets import chestxray14, cifar100, imagenet, inat2019, resisc45
from wecolora.errors import BadInput
from wecolora.grid import RunSpec
from wecolora.methods import METHODS
from wecolora.recipes import Architecture
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


Evaluation = tuple[RunSpec, str]  # a run and a data set


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
    corpus = sizes(campaign, config.corpus.dataset)[0]
    scores, features = _probed(campaign)
    trained = [run for run in campaign.trained() if METHODS[run.method].axes]
    images = [config.corpus.dataset] * bool(trained) + [dataset for _, dataset in features]
    indexes = [[campaign.index(name)] for name in dict.fromkeys(images)]
    weights = [
        campaign.weights(SimpleNamespace(teacher=name))
        for name in dict.fromkeys(run.teacher for run in campaign.trained())
    ]
    fetched = [[path] for path in weights if path.startswith(campaign.root)]
    drawn = [campaign.files_of(name) for name, artifact in config.chosen().items() if artifact.kind != "students"]
    rest = [[path] for path in campaign.targets() if path not in campaign.artifact_files()]
    cached = _cache(campaign, trained, corpus)
    stages = [
        Stage("prepare", len(indexes), _there(indexes)),
        Stage("subset", int(bool(trained)), _there([[campaign.subset]])),
        Stage("fetch_teacher", len(fetched), _there(fetched)),
        cached,
        _distill(campaign, trained, corpus),
        _features(campaign, features),
        _probe(campaign, scores),
        Stage("tables, figures", len(drawn) + len(rest), _there([*drawn, *rest])),
    ]
    a_view = cached.bytes // config.corpus.views
    online = _online(campaign, trained, corpus)
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


def _there(jobs: Iterable[list[str]]) -> int:
    return sum(all(Path(path).exists() for path in files) for files in jobs)


def _probed(campaign: Campaign) -> tuple[list[Evaluation], list[Evaluation]]:
    """The (run, data set) pairs that the chosen artifacts need a score of, and those that they need features of."""
    config = campaign.config
    scores: dict[Evaluation, None] = {}
    drawn: dict[Evaluation, None] = {}
    for name in config.chosen():
        for artifact in config.scored() if config.artifacts[name].kind == "claims" else [name]:
            entry = config.artifacts[artifact]
            if entry.kind in ("table", "figure"):
                scores.update(
                    dict.fromkeys((run, dataset) for run in config.runs_of(artifact) for dataset in entry.datasets)
                )
            elif entry.kind == "latent":
                drawn.update(dict.fromkeys((run, entry.datasets[0]) for run in campaign.drawn_runs(artifact)))
    return list(scores), list({**scores, **drawn})


def _share(images: int, alpha: float | None) -> int:
    return round(images * (alpha or 0) / 100)


def _cache(campaign: Campaign, runs: list[RunSpec], corpus: int) -> Stage:
    config = campaign.config
    shards: dict[str, set[str]] = {}
    for run in runs:
        shards.setdefault(run.teacher, set()).update(
            campaign.shards(SimpleNamespace(teacher=run.teacher, run=run.slug()))
        )
    passes = macs = size = 0
    for teacher, files in shards.items():
        architecture = config.teachers[teacher].architecture
        views = _share(corpus, min(100, len(files) * config.corpus.shard_percent)) * config.corpus.views
        passes += views
        macs += views * _of_teacher(architecture)
        size += views * bytes_per_view(architecture)
    jobs = [[path] for files in shards.values() for path in files]
    return Stage("cache_teacher", len(jobs), _there(jobs), passes, macs, size)


def _distill(campaign: Campaign, runs: list[RunSpec], corpus: int) -> Stage:
    passes = macs = size = 0
    for run in runs:
        seen = _share(corpus, run.alpha) * campaign.config.distill.epochs
        architecture = campaign.config.teachers[run.teacher].architecture
        found = _counted(architecture, run)
        passes += seen
        # A backward pass costs a forward one for the inputs' gradients and one more for the weights' that train.
        backward = 2 if METHODS[run.method].trains == "all" else 1
        macs += seen * (1 + backward) * found["training_macs_with_attention"]
        if campaign.config.distill.teacher == "online" or METHODS[run.method].online:
            macs += seen * _of_teacher(architecture)
        size += 4 * found["parameters"]
    files = [[campaign.student(SimpleNamespace(teacher=run.teacher, run=run.slug()))] for run in runs]
    return Stage("distill", len(runs), _there(files), passes, macs, size)


def _online(campaign: Campaign, runs: list[RunSpec], corpus: int) -> Stage:
    passes = macs = 0
    for run in runs:
        architecture = campaign.config.teachers[run.teacher].architecture
        seen = _share(corpus, run.alpha) * campaign.config.distill.epochs
        passes += seen
        macs += seen * _of_teacher(architecture)
    return Stage("teacher online", len(runs), 0, passes, macs)


def _jobs(campaign: Campaign, wanted: list[Evaluation]) -> list[tuple[RunSpec, list[str]]]:
    """The jobs that give these: a run, and all data sets that the job takes on."""
    job_of = {dataset: job for job, datasets in campaign.probe_jobs().items() for dataset in datasets}
    jobs = dict.fromkeys((run, job_of[dataset]) for run, dataset in wanted)
    return [(run, campaign.probe_jobs()[job]) for run, job in jobs]


def _features(campaign: Campaign, wanted: list[Evaluation]) -> Stage:
    jobs = _jobs(campaign, wanted)
    passes = macs = size = 0
    for run, datasets in jobs:
        architecture = campaign.config.teachers[run.teacher].architecture
        images = sum(sum(sizes(campaign, dataset)) for dataset in datasets)
        passes += images
        macs += images * _counted(architecture, run)["macs_with_attention"]
        size += images * architecture.embed_dim * 4
    files = [[campaign.features(run, dataset) for dataset in datasets] for run, datasets in jobs]
    return Stage("features", len(jobs), _there(files), passes, macs, size)


def _probe(campaign: Campaign, wanted: list[Evaluation]) -> Stage:
    jobs = _jobs(campaign, wanted)
    files = [[campaign.score(run, dataset) for dataset in datasets] for run, datasets in jobs]
    return Stage("probe", len(jobs), _there(files))


def _counted(architecture: Architecture, run: RunSpec) -> dict[str, int]:
    return _counts(architecture, run.method, run.r, run.k)


@functools.cache
def _counts(architecture: Architecture, method: str, r: int, k: int | None) -> dict[str, int]:
    return counts(architecture, architecture.depth // r, method, k)


def _of_teacher(architecture: Architecture) -> int:
    """Multiply-accumulates of a teacher's forward pass of an image."""
    return _counts(architecture, "teacher", 1, None)["macs_with_attention"]


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
    console.print(f"GPU-hours: counted operations at {tflops:.3g} TFLOP/s ({rate}); probes and reading are not counted.")


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
