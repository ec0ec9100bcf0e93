"""What a campaign takes, before anything runs: jobs, passes through models, bytes and GPU-hours, and what is done.

Image counts come from a data set's index where it is prepared; before, from the published sizes, or from the listing of
a folder or a table. A subset of alpha percent is counted as that share of the corpus (an exact one rounds down in each
class).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from wecolora.campaign.jobs import Job, jobs, there
from wecolora.campaign.selection import Campaign
from wecolora.config.kinds import KINDS
from wecolora.config.methods import METHODS
from wecolora.config.recipes import StudentShape, assumed_classes
from wecolora.config.runs import RunSpec
from wecolora.config.teachers import Architecture
from wecolora.data.images import read_columns
from wecolora.data.prepare import listing_of
from wecolora.models.vit import build, pooled
from wecolora.results.computation import bytes_per_view, counts, median_seconds

# Sustained, and a guess: 40 percent of the dense TF32 peak of an RTX 3090, the paper's GPU (section 4.3).
TFLOPS = 15.0
SECONDS = 5.0  # that a rate is measured for


@dataclass(frozen=True)
class Cost:
    """Images passed forward through students (or a teacher that is probed) and through teachers that students learn
    from, each view and epoch counted; multiply-accumulates, those of backward passes included; bytes left on disk."""

    students: int = 0
    teachers: int = 0
    macs: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.students + other.students,
            self.teachers + other.teachers,
            self.macs + other.macs,
            self.bytes + other.bytes,
        )

    def hours(self, tflops: float) -> float:
        """GPU-hours at that many 1e12 operations a second; a multiply-accumulate is two."""
        return 2 * self.macs / (tflops * 1e12) / 3600


@dataclass(frozen=True)
class Stage:
    """All jobs of a stage: how many, how many of them are done; what all of them take, and those that are left."""

    name: str
    jobs: int
    done: int
    whole: Cost = Cost()
    left: Cost = Cost()


@dataclass(frozen=True)
class Plan:
    """The stages of a campaign; bytes of each teacher's cache with one view; and what teachers take if their tokens are
    cached, and if they run in every step."""

    runs: int
    stages: list[Stage]
    cache_bytes: dict[str, int]
    cached: Cost
    online: Cost


def make_plan(campaign: Campaign) -> Plan:
    """Return the plan of the config's chosen artifacts.

    Raise BadInput if a folder or a table of images cannot be read.
    """
    config = campaign.config
    found = jobs(campaign)
    stages = []
    for rule in (
        "prepare",
        "subset",
        "fetch_teacher",
        "cache_teacher",
        "choose_blocks",
        "distill",
        "features",
        "probe",
    ):
        of_rule = [(job, cost(campaign, job)) for job in found if job.rule == rule]
        whole, left = (
            sum((taken for job, taken in of_rule if every or not job.done), Cost()) for every in (True, False)
        )
        stages.append(Stage(rule, len(of_rule), sum(job.done for job, _ in of_rule), whole, left))
    artifacts = [name for name, artifact in config.chosen().items() if KINDS[artifact.kind].files]
    drawn = [campaign.files_of(name) for name in artifacts]
    drawn += [[path] for path in campaign.targets() if path not in campaign.artifact_files()]
    stages.append(Stage("tables, figures", len(drawn), sum(map(there, drawn))))
    runs = [job.run for job in found if job.rule == "distill" and job.run]
    caches = {teacher: _cache(campaign, runs, teacher) for teacher in dict.fromkeys(run.teacher for run in runs)}
    return Plan(
        runs=len(campaign.trained()),
        stages=stages,
        cache_bytes={teacher: taken.bytes // config.corpus.views for teacher, taken in caches.items()},
        cached=sum([*caches.values(), *(_teaching(campaign, run, online=False) for run in runs)], Cost()),
        online=sum((_teaching(campaign, run, online=True) for run in runs), Cost()),
    )


@functools.cache
def sizes(campaign: Campaign, dataset: str) -> tuple[int, int]:
    """Return the numbers of (training, test) images of a data set."""
    index = campaign.index(dataset)
    if Path(index).exists():
        split = read_columns(index, ["split"]).column("split").to_pylist()
        return split.count("train"), split.count("test")
    data = campaign.config.datasets[dataset]
    counts = data.expected_counts()
    if counts is None:
        counts = Counter(entry.split for entry in listing_of(dataset, data).entries)
    return counts["train"], counts["test"]


def _images(campaign: Campaign, percent: float | None) -> int:
    """Return the number of images in a share of the corpus."""
    return round(sizes(campaign, campaign.config.corpus.dataset)[0] * min(percent or 0, 100) / 100)


def cost(campaign: Campaign, job: Job) -> Cost:
    """Return what a job takes. Nothing is counted of jobs that only read images, and of probes."""
    if job.rule == "cache_teacher":
        percent = campaign.config.corpus.shard_percent
        number = int(Path(job.files[0]).stem)
        return _views(campaign, job.teacher, number * percent, (number + 1) * percent)
    if job.rule == "choose_blocks" and job.run:
        return _choosing(campaign, job.run)
    if job.rule == "distill" and job.run:
        return _training(campaign, job.run)
    if job.rule == "features" and job.run:
        architecture = campaign.config.teachers[job.run.teacher].architecture
        images = sum(sum(sizes(campaign, dataset)) for dataset in job.datasets)
        kept = images * architecture.embed_dim * 4 if campaign.config.keep_features else 0
        return Cost(students=images, macs=images * _counted(campaign, job.run)["macs_with_attention"], bytes=kept)
    return Cost()


def _views(campaign: Campaign, teacher: str, low: float, high: float) -> Cost:
    """Return what a teacher's cache of the images between two alphas takes."""
    architecture = campaign.config.teachers[teacher].architecture
    views = (_images(campaign, high) - _images(campaign, low)) * campaign.config.corpus.views
    return Cost(teachers=views, macs=views * _of_teacher(architecture), bytes=views * bytes_per_view(architecture))


def _cache(campaign: Campaign, runs: list[RunSpec], teacher: str) -> Cost:
    """Return what all shards that these runs of a teacher need take, whether they are recorded or not."""
    percent = campaign.config.corpus.shard_percent
    largest = max(run.alpha or 0 for run in runs if run.teacher == teacher)
    return _views(campaign, teacher, 0, math.ceil(largest / percent - 1e-9) * percent)


def _trained_on(campaign: Campaign, run: RunSpec) -> int:
    """Return the images that a run trains on, each epoch counted."""
    epochs = 0 if METHODS[run.method].trains == "nothing" else campaign.config.distill.epochs
    return _images(campaign, run.alpha) * epochs


def _training(campaign: Campaign, run: RunSpec) -> Cost:
    seen, counted = _trained_on(campaign, run), _counted(campaign, run)
    # A backward pass costs a forward one for the inputs' gradients and one more for the weights' that train.
    backward = 2 if METHODS[run.method].trains == "all" else 1
    macs = seen * (1 + backward) * counted["training_macs_with_attention"]
    student = Cost(students=seen, macs=macs, bytes=4 * counted["parameters_saved"])
    taught = _teaching(campaign, run, campaign.config.distill.teacher == "online")
    return student + taught + _calibrating(campaign, run)


def _calibrating(campaign: Campaign, run: RunSpec) -> Cost:
    """Return what a calibrated student's regressions take: a pass of teacher and student, the feed-forward layers of
    the student again, and the sums of products; the solutions are not counted."""
    if not METHODS[run.method].calibration:
        return Cost()
    shape = campaign.config.teachers[run.teacher].architecture
    seen, blocks = _calibrated_on(campaign, run), shape.depth // run.r
    macs = _of_teacher(shape) + _counted(campaign, run)["macs_with_attention"] + blocks * _sums_of_block(shape)
    return Cost(students=seen, teachers=seen, macs=seen * macs)


def _calibrated_on(campaign: Campaign, run: RunSpec) -> int:
    """Return the images that a calibration of a run takes, each view counted."""
    config = campaign.config
    return _images(campaign, run.alpha) * min(config.distill.calibration_views, config.corpus.views)


def _sums_of_block(shape: Architecture) -> int:
    """Return the multiply-accumulates of an image's sums in a block, H'H and H'E, and of its feed-forward layer."""
    hidden = int(shape.embed_dim * shape.mlp_ratio)
    return shape.tokens * (hidden**2 + 3 * hidden * shape.embed_dim)


def _choosing(campaign: Campaign, run: RunSpec) -> Cost:
    """Return what choosing the blocks of a run's student takes: a pass of the teacher, and, for a search, for each
    number of blocks two of the teacher and one of the student, and the sums of its blocks, with H'E twice."""
    shape = campaign.config.teachers[run.teacher].architecture
    seen, whole = _calibrated_on(campaign, run), _of_teacher(shape)
    passes = Cost(teachers=seen, macs=seen * whole)
    if campaign.layers(run) == "influence":
        return passes
    again = shape.tokens * int(shape.embed_dim * shape.mlp_ratio) * shape.embed_dim
    for blocks in range(shape.depth, 1, -1):
        macs = 2 * whole + blocks * (whole // shape.depth + _sums_of_block(shape) + again)
        passes += Cost(students=seen, teachers=2 * seen, macs=seen * macs)
    return passes


def _teaching(campaign: Campaign, run: RunSpec, online: bool) -> Cost:
    """Return what a run's teacher takes while the run trains.

    A method that needs more than a cache holds runs it in any case.
    """
    seen = _trained_on(campaign, run)
    macs = _counted(campaign, run)["teacher_macs_with_attention"]
    own = METHODS[run.method].online
    if online and not own:
        macs += _of_teacher(campaign.config.teachers[run.teacher].architecture)
    return Cost(teachers=seen if online or own else 0, macs=seen * macs)


_counts = functools.cache(counts)


def _counted(campaign: Campaign, run: RunSpec) -> dict[str, int]:
    return _counts(
        campaign.config.teachers[run.teacher].architecture,
        StudentShape(method=run.method, r=run.r, k=run.k),
        assumed_classes(campaign.config, run.teacher),
        campaign.config.distill.batch,
    )


def _of_teacher(architecture: Architecture) -> int:
    """Multiply-accumulates of a teacher's forward pass of an image."""
    return _counts(architecture, StudentShape(method="teacher"))["macs_with_attention"]


def measured_tflops(architecture: Architecture, device: str, batch: int = 64) -> float:
    """Measure how many 1e12 operations a second this device sustains in the teacher's forward passes."""
    model = build(architecture.model_dump()).eval().to(device)
    pixels = torch.randn(batch, 3, architecture.img_size, architecture.img_size, device=device)
    seconds = median_seconds(lambda: pooled(model, pixels), SECONDS)
    return 2 * batch * _of_teacher(architecture) / seconds / 1e12


def show(plan: Plan, name: str, tflops: float, rate: str, console: Console) -> None:
    """Print a plan as tables; ``rate`` says where the number of TFLOP/s comes from."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{name}: {plan.runs} runs", padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    for column in ("jobs", "done", "student forwards", "teacher forwards", "GPU-hours", "left", "disk"):
        table.add_column(column, justify="right", no_wrap=" " not in column)
    for stage in plan.stages:
        table.add_row(*_row(stage, tflops))
    table.add_section()
    done = sum(stage.done for stage in plan.stages)
    whole, left = (sum((getattr(stage, part) for stage in plan.stages), Cost()) for part in ("whole", "left"))
    table.add_row(*_row(Stage("total", sum(stage.jobs for stage in plan.stages), done, whole, left), tflops))
    console.print(table)
    for teacher, size in plan.cache_bytes.items():
        console.print(f"Cache of {teacher}: {decimal(size)} with 1 view an image, {decimal(10 * size)} with 10.")
    for what, taken in {"cached": plan.cached, "online, in every step": plan.online}.items():
        hours = _hours(taken, tflops)
        console.print(f"Teachers {what}: {taken.teachers:,} forwards, {hours} GPU-hours.", soft_wrap=True)
    console.print(
        f"GPU-hours: counted operations at {tflops:.3g} TFLOP/s ({rate}); probes and reading are not counted.",
        soft_wrap=True,
    )


def _row(stage: Stage, tflops: float) -> list[str]:
    numbers = [_count(count) if count else "" for count in (stage.whole.students, stage.whole.teachers)]
    hours = [_hours(taken, tflops) if stage.whole.macs else "" for taken in (stage.whole, stage.left)]
    size = decimal(stage.whole.bytes) if stage.whole.bytes else ""
    return [stage.name, f"{stage.jobs:,}", f"{stage.done:,}", *numbers, *hours, size]


def _hours(taken: Cost, tflops: float) -> str:
    hours = taken.hours(tflops)
    return f"{hours:,.1f}" if hours >= 0.1 or not hours else f"{hours:.1g}"


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,}"
