"""Recipes: everything that decides a stage's result, as plain values. No torch: the Snakefile builds them.

A recipe travels to its job as canonical JSON, so that Snakemake reruns the job when, and only when, it changes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from wecolora.config.datasets import Dataset
from wecolora.config.methods import LossPoint
from wecolora.config.own_methods import NamesMethods
from wecolora.config.teachers import Architecture
from wecolora.config.training import Pretraining, ProbeSettings
from wecolora.config.values import PaperDataset, PaperTeacher, Positive, Strict, Triple


class FetchRecipe(Strict):
    """Of a teacher of timm's: the model with its tag, and the shape in which it is used."""

    timm: str
    architecture: Architecture
    revision: int


class PretrainRecipe(Strict):
    """A demo teacher's training."""

    teacher: str
    architecture: Architecture
    mean: Triple
    std: Triple
    training: Pretraining
    data: Dataset
    revision: int


class SubsetRecipe(Strict):
    """How the corpus is ordered."""

    seed: int
    strategy: Literal["balanced", "uniform"]
    revision: int


class CacheRecipe(Strict):
    """What a shard of a teacher's cache holds: the images whose smallest alpha lies in (low, high] percent."""

    teacher: str
    corpus: str
    architecture: Architecture
    mean: Triple
    std: Triple
    seed: int
    views: int
    low: float
    high: float
    revision: int

    def of_all_shards(self) -> dict[str, Any]:
        """What every shard of one cache, and every run that reads it, must agree on."""
        return self.model_dump(mode="json", exclude={"low", "high"})


class DistillRecipe(NamesMethods):
    """One run."""

    method: str
    teacher: str
    architecture: Architecture
    mean: Triple
    std: Triple
    corpus: str
    corpus_seed: int
    views: int
    cache_revision: int
    r: int
    k: int | None
    alpha: float
    seed: int
    epochs: int
    warmup_epochs: float
    batch: int
    accumulate: int
    leftover: Literal["use", "drop"]
    lr: float
    weight_decay: float
    layers: Literal["paper", "authors_code"] | list[int]
    loss_point: LossPoint | None  # None: the method's loss compares no tokens
    online: bool
    revision: int

    def cache(self) -> dict[str, Any]:
        """What the cache that this run reads must say of itself (CacheRecipe.of_all_shards)."""
        return CacheRecipe(
            teacher=self.teacher,
            corpus=self.corpus,
            architecture=self.architecture,
            mean=self.mean,
            std=self.std,
            seed=self.corpus_seed,
            views=self.views,
            low=0,
            high=0,
            revision=self.cache_revision,
        ).of_all_shards()


class Statistics(Strict):
    """What pixels are normalised with."""

    mean: Triple
    std: Triple


class FeatureRecipe(Strict):
    """Feature extraction of one run or teacher, from some data sets."""

    architecture: Architecture
    statistics: dict[str, Statistics]
    revision: int


class ProbeRecipe(ProbeSettings):
    """One probe. The seed, of the initial weights and of the order of the features, is its run's."""

    seed: int = 0


class ProbeJob(Strict):
    """The probes of one job: a recipe a data set."""

    recipes: dict[str, ProbeRecipe]
    revision: int


class CompareRecipe(Strict):
    """A demo teacher beside an untrained model of its shape and raw pixels."""

    architecture: Architecture
    mean: Triple
    std: Triple
    probes: ProbeJob
    revision: int


class PrepareRecipe(Strict):
    """A data set's index."""

    name: str
    data: Dataset
    folder: str  # files.folder_state, so that a changed folder is indexed again
    probed: bool  # and so needs labels and test images
    revision: int


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


class ReportArtifact(Strict):
    """A finished artifact: its files, in the order of workflow.FILES, and how a table's rows are labelled."""

    kind: Literal["table", "figure", "latent", "rollout", "computation", "claims"]
    title: str
    caption: str
    files: list[str]
    recipe: ArtifactRecipe | None


class ReportRecipe(NamesMethods):
    """The page that shows a campaign."""

    title: str
    artifacts: dict[str, ReportArtifact]
    revision: int


class ClaimsRecipe(Strict):
    """Which teacher and data set of a campaign stands for which of the paper's, and the width of its teachers; for each
    of the paper's tables, the methods of the campaign's own."""

    title: str
    caption: str
    teachers: dict[str, PaperTeacher]
    datasets: dict[str, PaperDataset]
    widths: dict[str, Positive]
    methods: dict[int, list[str]] = Field(default={})
    revision: int

    @model_validator(mode="after")
    def _one_each(self) -> ClaimsRecipe:
        for part in (self.teachers, self.datasets):
            if len(set(part.values())) < len(part):
                raise ValueError(f"two stand for the same of the paper's: {part}")
        if missing := self.teachers.keys() - self.widths.keys():
            raise ValueError(f"widths: none for {', '.join(sorted(missing))}")
        return self
