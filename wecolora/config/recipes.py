"""Recipes: everything that decides a stage's result, as plain values. No torch: the Snakefile builds them.

A recipe travels to its job as canonical JSON, so that Snakemake reruns the job when, and only when, it changes. Each is
built by its own ``of``, from the config, the stages' revisions and what names the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wecolora.config.artifacts import Artifact
from wecolora.config.campaign import Config
from wecolora.config.datasets import Dataset
from wecolora.config.kinds import KINDS, KindName
from wecolora.config.layout import Layout
from wecolora.config.methods import CHOSEN, METHODS, Layers, LossPoint
from wecolora.config.own_methods import NamesMethods, carried
from wecolora.config.runs import RunSpec
from wecolora.config.teachers import Architecture, head_classes
from wecolora.config.training import DistillSettings, Optimisation, Pretraining, ProbeSettings
from wecolora.config.values import PAPER_NAMES, PaperDataset, PaperTeacher, Part, Positive, Recipe, Strict, Triple

Revisions = Mapping[str, int]  # of the stages, by name


# What several recipes share


class TeacherInput(Part):
    """A teacher's shape, and what the pixels that it sees are normalised with."""

    architecture: Architecture
    mean: Triple
    std: Triple

    @classmethod
    def of(cls, config: Config, teacher: str) -> TeacherInput:
        """Return that of a teacher, and of its students, in this campaign."""
        mean, std = config.pixel_statistics(teacher)
        return cls(architecture=config.teachers[teacher].architecture, mean=mean, std=std)

    @classmethod
    def own(cls, config: Config, teacher: str) -> TeacherInput:
        """Return that of a demo teacher while it is made, whatever normalisation the campaign has."""
        entry = config.teachers[teacher]
        return cls(architecture=entry.architecture, mean=entry.mean, std=entry.std)


class CorpusViews(Part):
    """The images that students are distilled on, and their recorded views."""

    corpus: str
    corpus_seed: int
    views: int

    @classmethod
    def of(cls, config: Config) -> CorpusViews:
        """Return those of a campaign."""
        corpus = config.corpus
        return cls(corpus=corpus.dataset, corpus_seed=corpus.seed, views=corpus.views)


class Student(Part):
    """Which student of its teacher and method a run makes: the axes of the run."""

    r: int
    k: int | None
    alpha: float
    seed: int | None  # None: nothing in it is drawn

    @classmethod
    def of(cls, run: RunSpec) -> Student:
        """Return that of a run, which must distil one."""
        assert run.alpha is not None
        return cls(r=run.r, k=run.k, alpha=run.alpha, seed=run.seed)


class Statistics(Strict):
    """What pixels are normalised with."""

    mean: Triple
    std: Triple


# Images


class PrepareRecipe(Recipe):
    """A data set's index."""

    name: str
    data: Dataset
    folder: str  # folders.folder_state, so that a changed folder is indexed again
    probed: bool  # and so needs labels and test images
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, dataset: str) -> PrepareRecipe:
        """Return that of a data set, with the state of its folder as it is now."""
        data = config.datasets[dataset].of_images()
        probed = any(dataset in artifact.datasets for artifact in config.artifacts.values())
        return cls(name=dataset, data=data, folder=data.state(), probed=probed, revision=revisions["prepare"])


class SubsetRecipe(Recipe):
    """How the corpus is ordered."""

    seed: int
    strategy: Literal["balanced", "uniform"]
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions) -> SubsetRecipe:
        """Return that of the campaign's corpus."""
        return cls(seed=config.corpus.seed, strategy=config.corpus.strategy, revision=revisions["subset"])


# Teachers


class FetchRecipe(Recipe):
    """A teacher of timm's: the model with its tag, and the shape in which it is used."""

    timm: str
    architecture: Architecture
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, teacher: str) -> FetchRecipe:
        """Return that of a teacher that timm names."""
        entry = config.teachers[teacher]
        assert entry.timm is not None
        return cls(timm=entry.timm, architecture=entry.architecture, revision=revisions["fetch_teacher"])


class PretrainRecipe(Recipe):
    """A demo teacher's training."""

    teacher: str
    input: TeacherInput
    training: Pretraining
    data: Dataset
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, teacher: str) -> PretrainRecipe:
        """Return that of a demo teacher."""
        training = config.pretraining[teacher]
        return cls(
            teacher=teacher,
            input=TeacherInput.own(config, teacher),
            training=training,
            data=config.datasets[training.dataset].of_images(),
            revision=revisions["pretrain_teacher"],
        )


class CacheRecipe(Recipe):
    """What a shard of a teacher's cache holds: the images whose smallest alpha lies in (low, high] percent."""

    teacher: str
    corpus: str
    input: TeacherInput
    seed: int  # the corpus's
    views: int
    low: float
    high: float
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, teacher: str, shard: int) -> CacheRecipe:
        """Return that of the shard of that number, from 0."""
        corpus = config.corpus
        return cls(
            teacher=teacher,
            corpus=corpus.dataset,
            input=TeacherInput.of(config, teacher),
            seed=corpus.seed,
            views=corpus.views,
            low=shard * corpus.shard_percent,
            high=min(100.0, (shard + 1) * corpus.shard_percent),
            revision=revisions["cache_teacher"],
        )

    def of_all_shards(self) -> dict[str, Any]:
        """Return what every shard of one cache, and every run that reads it, must agree on."""
        return self.model_dump(mode="json", exclude={"low", "high"})


class ProbeRecipe(ProbeSettings):
    """One probe. The seed, of the initial weights and of the order of the features, is its run's."""

    seed: int = 0


class ProbeJob(Recipe):
    """The probes of one job: a recipe a data set."""

    recipes: dict[str, ProbeRecipe]
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, datasets: Sequence[str], seed: int | None = None) -> ProbeJob:
        """Return that of the probes on these data sets; a teacher, which has no seed, is probed with 0."""
        settings = {name: config.probe_for(name).model_dump() for name in datasets}
        recipes = {name: ProbeRecipe(**values, seed=seed or 0) for name, values in settings.items()}
        return cls(recipes=recipes, revision=revisions["probe"])


class CompareRecipe(Recipe):
    """A demo teacher beside an untrained model of its shape and raw pixels."""

    input: TeacherInput
    probes: ProbeJob
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, teacher: str) -> CompareRecipe:
        """Return that of a demo teacher, on the data sets that no demo teacher is trained on."""
        return cls(
            input=TeacherInput.own(config, teacher),
            probes=ProbeJob.of(config, revisions, config.compared()),
            revision=revisions["compare_teacher"],
        )


# Students


class DistillRecipe(NamesMethods):
    """One run."""

    method: str
    teacher: str
    input: TeacherInput
    images: CorpusViews
    cache_revision: int
    student: Student
    optimisation: Optimisation
    lr: float
    weight_decay: float
    layers: Layers | list[int]
    loss_point: LossPoint | None  # None: the method's loss compares no tokens
    online: bool
    calibration_views: Positive | None = Field(default=None, exclude_if=lambda views: views is None)
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, run: RunSpec) -> DistillRecipe:
        """Return that of a run, with its learning rate and its loss point resolved."""
        method, settings = METHODS[run.method], config.distill
        optimisation = Optimisation(**settings.model_dump(include=set(Optimisation.model_fields)))
        if method.trains == "nothing":  # what no run of it takes makes none again
            optimisation = Optimisation(epochs=1, warmup_epochs=0, batch=settings.batch, accumulate=1)
        point = run.loss_point or config.loss_point(run.method)
        layers = run.layers or config.layers(run.method)
        calibrates = bool(method.calibration) or layers in CHOSEN
        return cls(
            method=run.method,
            teacher=run.teacher,
            input=TeacherInput.of(config, run.teacher),
            images=CorpusViews.of(config),
            cache_revision=revisions["cache_teacher"],
            student=Student.of(run),
            optimisation=optimisation,
            lr=_learning_rate(settings, run),
            weight_decay=0.0 if method.trains == "nothing" else settings.weight_decay,
            layers=layers,
            loss_point=point if method.compares_tokens else None,
            # By choice, or because a cache holds the last block alone.
            online=settings.teacher == "online" or method.online,
            calibration_views=min(settings.calibration_views, config.corpus.views) if calibrates else None,
            own_methods=carried(config.methods, [run.method], code=True, printed=False),
            revision=revisions["distill"],
        )

    def cache(self) -> dict[str, Any]:
        """Return what the cache that this run reads must say of itself (CacheRecipe.of_all_shards)."""
        return CacheRecipe(
            teacher=self.teacher,
            corpus=self.images.corpus,
            input=self.input,
            seed=self.images.corpus_seed,
            views=self.images.views,
            low=0,
            high=0,
            revision=self.cache_revision,
        ).of_all_shards()


class BlocksRecipe(Recipe):
    """Which blocks students of a teacher copy, where their images choose: how the candidates are calibrated."""

    calibrated: DistillRecipe
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, teacher: str, layers: Layers, alpha: float) -> BlocksRecipe:
        """Return that of a rule and a share of the corpus."""
        run = RunSpec(teacher, "calibrated", alpha=alpha, layers=layers)
        return cls(calibrated=DistillRecipe.of(config, revisions, run), revision=revisions["choose_blocks"])


def _learning_rate(settings: DistillSettings, run: RunSpec) -> float:
    """Return the learning rate of a run; 0 where nothing trains."""
    if METHODS[run.method].trains == "nothing":
        return 0.0
    scale = settings.batch * settings.accumulate / 256 if settings.lr_scaling == "linear_256" else 1.0
    return settings.lr_of[run.method] if run.method in settings.lr_of else settings.lr[run.r] * scale


class FeatureRecipe(Recipe):
    """Feature extraction of one run or teacher, from some data sets."""

    architecture: Architecture
    statistics: dict[str, Statistics]
    revision: int

    @classmethod
    def of(cls, config: Config, revision: int, teacher: str, datasets: Sequence[str]) -> FeatureRecipe:
        """Return that of these data sets, each with statistics of its own, where it has any, and else with its
        teacher's."""
        teachers_own = config.pixel_statistics(teacher)
        statistics = {}
        for name in datasets:
            entry = config.datasets[name]
            mean, std = teachers_own if entry.mean is None or entry.std is None else (entry.mean, entry.std)
            statistics[name] = Statistics(mean=mean, std=std)
        return cls(architecture=config.teachers[teacher].architecture, statistics=statistics, revision=revision)


# Artifacts


class StudentShape(Strict):
    """What decides the counts of a run's model, besides its teacher."""

    method: str
    r: int = 1
    k: int | None = None


class ComputationRecipe(NamesMethods):
    """A computation study."""

    title: str
    caption: str
    teachers: dict[str, Architecture]
    labels: dict[str, str]
    classes: dict[str, int]  # of each teacher's head; 0: it has none
    students: list[StudentShape]
    batch: int
    views: int
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, artifact: str) -> ComputationRecipe:
        """Return that of a study: shapes alone."""
        entry, teachers = config.artifacts[artifact], _teachers(config, artifact)
        shapes = [StudentShape(method=run.method, r=run.r, k=run.k) for run in config.runs_of(artifact)]
        return cls(
            title=entry.title,
            caption=entry.caption,
            teachers={name: teacher.architecture for name, teacher in teachers.items()},
            labels={name: teacher.label for name, teacher in teachers.items()},
            classes={name: assumed_classes(config, name) for name in teachers},
            students=list(dict.fromkeys(shapes)),
            batch=config.distill.batch,
            views=config.corpus.views,
            own_methods=carried(config.methods, {shape.method for shape in shapes}, code=True, printed=True),
            revision=revisions["computation"],
        )


def assumed_classes(config: Config, teacher: str) -> int:
    """Return the classes of a teacher's head; while its weights cannot say yet, ImageNet's."""
    known = head_classes(config.teachers[teacher])
    return 1000 if known is None else known


class ArtifactRecipe(NamesMethods):
    """How a table or figure is drawn: its entry in the config, and the labels that it prints."""

    name: str
    title: str
    caption: str
    rows: list[str]
    x: str | None
    datasets: dict[str, str]
    teachers: dict[str, str]
    methods: list[str]
    # Which of these are, or stand for, which of the paper's; those that are; and the paper's table of them.
    paper_teachers: dict[str, PaperTeacher] = Field(default={})
    paper_datasets: dict[str, PaperDataset] = Field(default={})
    exact_teachers: list[str] = Field(default=[])
    exact_datasets: list[str] = Field(default=[])
    paper_table: int | None = None
    images: int = 0  # how many a rollout shows
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, artifact: str) -> ArtifactRecipe:
        """Return that of an artifact: its own entry and what it prints, nothing else."""
        entry, teachers = config.artifacts[artifact], _teachers(config, artifact)
        assert entry.runs is not None
        datasets = {name: config.datasets[name] for name in entry.datasets}
        # A student distilled on other images than the paper's is not the paper's.
        on_papers_corpus = config.datasets[config.corpus.dataset].paper == "imagenet1k"
        return cls(
            name=artifact,
            title=entry.title,
            caption=entry.caption,
            rows=list(entry.rows),
            x=entry.x,
            datasets={name: dataset.label for name, dataset in datasets.items()},
            teachers={name: teacher.label for name, teacher in teachers.items()},
            methods=list(dict.fromkeys(entry.runs.method)),
            paper_teachers=_roles(teachers),
            paper_datasets=_roles(datasets),
            exact_teachers=[name for name, teacher in teachers.items() if teacher.paper and on_papers_corpus],
            exact_datasets=[name for name, dataset in datasets.items() if dataset.paper],
            paper_table=entry.paper_table,
            images=entry.images or 0,
            own_methods=carried(config.methods, entry.runs.method, code=False, printed=True),
            revision=revisions[entry.kind],
        )


class ClaimsRecipe(Recipe):
    """Which teacher and data set of a campaign stands for which of the paper's, and the width of its teachers; for each
    of the paper's tables, the methods of the campaign's own."""

    title: str
    caption: str
    teachers: dict[str, PaperTeacher]
    datasets: dict[str, PaperDataset]
    widths: dict[str, Positive]
    methods: dict[int, list[str]] = Field(default={})
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions, artifact: str) -> ClaimsRecipe:
        """Return that of the verdicts of a campaign."""
        teachers = _roles(config.teachers)
        return cls(
            title=config.artifacts[artifact].title,
            caption=caption(config, artifact),
            teachers=teachers,
            datasets=_roles(config.datasets),
            widths={name: config.teachers[name].architecture.embed_dim for name in teachers},
            methods={
                entry.paper_table: entry.runs.method
                for entry in config.artifacts.values()
                if entry.paper_table and entry.runs
            },
            revision=revisions["claims"],
        )

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        for part in (self.teachers, self.datasets):
            if len(set(part.values())) < len(part):
                raise ValueError(f"two stand for the same of the paper's: {part}")
        if missing := self.teachers.keys() - self.widths.keys():
            raise ValueError(f"widths: none for {', '.join(sorted(missing))}")
        return self


class ReportArtifact(Strict):
    """A finished artifact: its files, in the order of its kind's entry, and how a table's rows are labelled."""

    kind: KindName
    title: str
    caption: str
    files: list[str]
    recipe: ArtifactRecipe | None


class ReportRecipe(NamesMethods):
    """The page that shows a campaign."""

    title: str
    artifacts: dict[str, ReportArtifact]
    revision: int

    @classmethod
    def of(cls, config: Config, revisions: Revisions) -> ReportRecipe:
        """Return that of the chosen artifacts."""
        artifacts = {}
        for name, entry in config.chosen().items():
            kind, files = KINDS[entry.kind], Layout(config.name).artifact(entry.kind)
            if kind.shown_as == "nothing":
                continue
            artifacts[name] = ReportArtifact(
                kind=entry.kind,
                title=entry.title,
                caption=caption(config, name),
                files=[pattern.format(artifact=name) for pattern in files.values()],
                recipe=ArtifactRecipe.of(config, revisions, name) if kind.shown_as == "cells" else None,
            )
        return cls(
            title=config.title,
            artifacts=artifacts,
            own_methods=carried(config.methods, config.methods, code=False, printed=True),
            revision=revisions["report"],
        )


def caption(config: Config, artifact: str) -> str:
    """Return an artifact's caption; that of verdicts on what only stands for the paper's says so."""
    entry: Artifact = config.artifacts[artifact]
    if KINDS[entry.kind].shown_as != "verdicts":
        return entry.caption
    entries: list[Any] = [*config.teachers.values(), *config.datasets.values()]
    stand_ins = [f"{one.label} for {PAPER_NAMES[one.stands_for]}" for one in entries if one.stands_for]
    if not stand_ins:
        return entry.caption
    return (
        f"{entry.caption} Here {'; '.join(stand_ins)} stand in for the paper's own: what holds or fails here "
        "says nothing about the paper, and a difference in points means less than its sign."
    )


def _teachers(config: Config, artifact: str) -> dict[str, Any]:
    """Return the teachers that an artifact names."""
    runs = config.artifacts[artifact].runs
    assert runs is not None
    return {name: config.teachers[name] for name in runs.teacher}


def _roles(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return which teacher or data set of the paper's each of these is, or stands for."""
    return {name: entry.paper or entry.stands_for for name, entry in entries.items() if entry.paper or entry.stands_for}
