"""What the rules ask: paths, inputs and recipes, from a config and a job's wildcards alone. No torch.

Methods that take ``w`` get Snakemake's wildcards (teacher, run, shard, dataset, artifact).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from wecolora.config import Config, parse
from wecolora.files import folder_state
from wecolora.grid import RunSpec
from wecolora.methods import METHODS
from wecolora.recipes import (
    ArtifactRecipe,
    CacheRecipe,
    CompareRecipe,
    ComputationRecipe,
    DistillRecipe,
    FeatureRecipe,
    PrepareRecipe,
    PretrainRecipe,
    ProbeJob,
    StudentShape,
    SubsetRecipe,
)
from wecolora.revisions import REVISIONS

FILES = {
    "table": ("tables/{}.csv", "tables/{}.md", "tables/{}.tex"),
    "figure": ("figures/{}.csv", "figures/{}.png", "figures/{}.pdf"),
    "computation": ("computation/{}.csv", "computation/{}.md", "computation/{}_speed.csv"),
}


class Campaign:
    """A checked config and everything below its folder in results/."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: Config = parse(values)
        self.root = f"results/{self.config.name}"
        corpus = self.config.corpus
        self.corpus = f"{self.root}/data/{corpus.dataset}/index.parquet"
        self.subset = f"{self.root}/data/{corpus.dataset}/subset.parquet"

    # Which runs and files

    def probe_jobs(self) -> dict[str, list[str]]:
        """Data sets that are extracted and probed together, by the job's name."""
        # Of every artifact, chosen or not, so that other `targets` leave a job, and what it made, as they are.
        needed = {name for artifact in self.config.artifacts.values() for name in artifact.datasets}
        jobs: dict[str, list[str]] = defaultdict(list)
        for name, dataset in self.config.datasets.items():
            if name in needed:
                jobs[dataset.job or name].append(name)
        return dict(jobs)

    def scores_of(self, artifact: str) -> list[str]:
        """The score files that an artifact needs."""
        datasets = self.config.artifacts[artifact].datasets
        return [self.score(run, dataset) for run in self.config.runs_of(artifact) for dataset in datasets]

    def all_scores(self) -> list[str]:
        """Each score that the chosen artifacts need, once."""
        return list(dict.fromkeys(path for name in self.config.chosen() for path in self.scores_of(name)))

    def score(self, run: RunSpec, dataset: str) -> str:
        """Path of a score."""
        return f"{self.root}/runs/{run.teacher}/{run.slug()}/scores/{dataset}.json"

    def files_of(self, artifact: str) -> list[str]:
        """The files of an artifact."""
        return [f"{self.root}/{path.format(artifact)}" for path in FILES[self.config.artifacts[artifact].kind]]

    def targets(self) -> list[str]:
        """What `snakemake` makes when no target is named."""
        files = [path for name in self.config.chosen() for path in self.files_of(name)]
        return [*files, f"{self.root}/scores.csv", f"{self.root}/config.yaml"]

    def scores(self, w: Any) -> list[str]:
        """The scores of the artifact of a table or figure job."""
        return self.scores_of(w.artifact)

    def shards(self, w: Any) -> list[str]:
        """The cache shards that a run's alpha needs; none where the teacher runs online."""
        run = RunSpec.parse(w.teacher, w.run)
        if self._online(run):
            return []
        count = math.ceil(run.alpha / self.config.corpus.shard_percent - 1e-9)
        return [f"{self.root}/teachers/{w.teacher}/cache/{shard:03d}.h5" for shard in range(count)]

    def _online(self, run: RunSpec) -> bool:
        """Whether a run's teacher runs in every step: by choice, or because a cache holds the last block alone."""
        return self.config.distill.teacher == "online" or METHODS[run.method].compares == "blocks"

    def weights(self, w: Any) -> str:
        """The teacher's weights file."""
        return self.config.teachers[w.teacher].weights

    # Recipes, as canonical JSON

    def prepare_recipe(self, w: Any) -> str:
        """Of a data set's index."""
        data = self.config.datasets[w.dataset].model_copy(update={"job": "", "label": ""})
        folder = folder_state(data.root) if data.root else ""
        return PrepareRecipe(name=w.dataset, data=data, folder=folder, revision=REVISIONS["prepare"]).canonical()

    def subset_recipe(self, w: Any) -> str:
        """Of the corpus's order."""
        corpus = self.config.corpus
        return SubsetRecipe(seed=corpus.seed, strategy=corpus.strategy, revision=REVISIONS["subset"]).canonical()

    def pretrain_recipe(self, w: Any) -> str:
        """Of a demo teacher."""
        teacher, training = self.config.teachers[w.teacher], self.config.pretraining[w.teacher]
        return PretrainRecipe(
            teacher=w.teacher,
            architecture=teacher.architecture,
            mean=teacher.mean,
            std=teacher.std,
            training=training,
            data=self.config.datasets[training.dataset],
            revision=REVISIONS["pretrain_teacher"],
        ).canonical()

    def pretrain_index(self, w: Any) -> str:
        """The index that a demo teacher is trained on."""
        return f"{self.root}/data/{self.config.pretraining[w.teacher].dataset}/index.parquet"

    def compare_datasets(self) -> list[str]:
        """The labelled data sets that demo teachers are probed on: all but those that they are trained on."""
        trained_on = {training.dataset for training in self.config.pretraining.values()}
        return [name for name in self.config.datasets if name not in trained_on]

    def compare_recipe(self, w: Any) -> str:
        """Of a demo teacher's comparison."""
        teacher = self.config.teachers[w.teacher]
        return CompareRecipe(
            architecture=teacher.architecture,
            mean=teacher.mean,
            std=teacher.std,
            probes=self.probe_job(self.compare_datasets()),
            revision=REVISIONS["compare_teacher"],
        ).canonical()

    def cache_recipe(self, w: Any) -> str:
        """Of one shard of a teacher's cache."""
        teacher, corpus = self.config.teachers[w.teacher], self.config.corpus
        number = int(w.shard)
        return CacheRecipe(
            teacher=w.teacher,
            corpus=corpus.dataset,
            architecture=teacher.architecture,
            mean=teacher.mean,
            std=teacher.std,
            seed=corpus.seed,
            views=corpus.views,
            low=number * corpus.shard_percent,
            high=min(100.0, (number + 1) * corpus.shard_percent),
            revision=REVISIONS["cache_teacher"],
        ).canonical()

    def distill_recipe(self, w: Any) -> str:
        """Of one run."""
        run = RunSpec.parse(w.teacher, w.run)
        teacher, corpus, settings = self.config.teachers[run.teacher], self.config.corpus, self.config.distill
        scale = settings.batch * settings.accumulate / 256 if settings.lr_scaling == "linear_256" else 1.0
        return DistillRecipe(
            method=run.method,
            teacher=run.teacher,
            architecture=teacher.architecture,
            mean=teacher.mean,
            std=teacher.std,
            corpus=corpus.dataset,
            corpus_seed=corpus.seed,
            views=corpus.views,
            cache_revision=REVISIONS["cache_teacher"],
            r=run.r,
            k=run.k,
            alpha=run.alpha,
            seed=run.seed,
            epochs=settings.epochs,
            warmup_epochs=settings.warmup_epochs,
            batch=settings.batch,
            accumulate=settings.accumulate,
            leftover=settings.leftover,
            lr=settings.lr[run.r] * scale,
            weight_decay=settings.weight_decay,
            layers=settings.layers,
            loss_point=run.loss_point or self.config.loss_point(run.method),
            online=self._online(run),
            revision=REVISIONS["distill"],
        ).canonical()

    def feature_recipe(self, w: Any) -> str:
        """Of a run's features."""
        teacher = self.config.teachers[w.teacher]
        return FeatureRecipe(
            architecture=teacher.architecture, mean=teacher.mean, std=teacher.std, revision=REVISIONS["features"]
        ).canonical()

    def probe_job(self, datasets: list[str]) -> ProbeJob:
        """Of the probes of one job."""
        recipes = {name: self.config.probe_for(name) for name in datasets}
        return ProbeJob(recipes=recipes, revision=REVISIONS["probe"])

    def artifact_recipe(self, w: Any) -> str:
        """Of a table or a figure: its own entry and the labels that it prints, nothing else."""
        artifact = self.config.artifacts[w.artifact]
        return ArtifactRecipe(
            name=w.artifact,
            title=artifact.title,
            caption=artifact.caption,
            rows=list(artifact.rows),
            x=artifact.x,
            datasets={name: self.config.datasets[name].label for name in artifact.datasets},
            teachers={name: self.config.teachers[name].label for name in artifact.runs.teacher},
            methods=artifact.runs.method,
            revision=REVISIONS[artifact.kind],
        ).canonical()

    def computation_recipe(self, w: Any) -> str:
        """Of a computation study: shapes alone."""
        artifact = self.config.artifacts[w.artifact]
        shapes = [StudentShape(method=run.method, r=run.r, k=run.k) for run in self.config.runs_of(w.artifact)]
        return ComputationRecipe(
            title=artifact.title,
            caption=artifact.caption,
            teachers={name: self.config.teachers[name].architecture for name in artifact.runs.teacher},
            labels={name: self.config.teachers[name].label for name in artifact.runs.teacher},
            students=list({shape.canonical(): shape for shape in shapes}.values()),
            batch=self.config.distill.batch,
            revision=REVISIONS["computation"],
        ).canonical()

    def resolved(self) -> str:
        """The config with every default written out, as JSON (which is YAML)."""
        return self.config.model_dump_json(indent=2)
