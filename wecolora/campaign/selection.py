"""What the rules ask: paths, inputs and recipes, from a config and a job's wildcards alone. No torch.

Methods that take ``w`` get Snakemake's wildcards (teacher, run, shard, dataset, artifact).
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wecolora.campaign.revisions import REVISIONS
from wecolora.config.campaign import Config, parse
from wecolora.config.methods import METHODS
from wecolora.config.recipes import (
    ArtifactRecipe,
    CacheRecipe,
    ClaimsRecipe,
    CompareRecipe,
    ComputationRecipe,
    DistillRecipe,
    FeatureRecipe,
    FetchRecipe,
    PrepareRecipe,
    PretrainRecipe,
    ProbeJob,
    ProbeRecipe,
    ReportArtifact,
    ReportRecipe,
    Statistics,
    StudentShape,
    SubsetRecipe,
)
from wecolora.config.runs import RunSpec, union
from wecolora.config.teachers import head_classes
from wecolora.config.timm_catalogue import weights_file
from wecolora.config.values import PAPER_NAMES
from wecolora.core.errors import BadInput
from wecolora.core.files import sha256

FILES = {
    "table": ("tables/{}.csv", "tables/{}.md", "tables/{}.tex"),
    **dict.fromkeys(("figure", "latent", "rollout"), ("figures/{}.csv", "figures/{}.png", "figures/{}.pdf")),
    "claims": ("claims/{}.csv", "claims/{}_comparisons.csv", "claims/{}.md"),
    "computation": ("computation/{}.csv", "computation/{}.md", "computation/{}_speed.csv"),
}


def refuse_unquotable(python: str) -> None:
    """Raise BadInput where the path of the Python that starts the jobs holds what a shell reads otherwise, such as a
    space: Snakemake puts it into each job's command as it is."""
    if re.search(r"[^\w@%+=:,./-]", python):
        raise BadInput(
            f"{python}: Snakemake cannot start jobs by this path, which holds a space or a sign of the shell; move the "
            "project, or its environment (.venv), to a path of letters, digits and ./_- alone, and set it up again."
        )


class Campaign:
    """A checked config and everything below its folder in results/."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: Config = parse(values)
        self.root = f"results/{self.config.name}"
        self.logs = f"{self.root}/logs"
        corpus = self.config.corpus
        self.corpus = self.index(corpus.dataset)
        self.subset = f"{self.root}/data/{corpus.dataset}/subset.parquet"
        self.sources = {
            name: [weights_file(teacher.weights)] if teacher.weights is not None else []
            for name, teacher in self.config.teachers.items()
            if teacher.timm is not None
        }
        self._refuse_results_as_images()

    def _refuse_results_as_images(self) -> None:
        """A data set's folder that holds the results would grow by the campaign's own figures with each run."""
        results, own = Path("results").resolve(), Path(self.root).resolve()
        for name, data in self.config.datasets.items():
            if data.folder is None:
                continue
            root = Path(data.folder).resolve()
            if results.is_relative_to(root) or root.is_relative_to(own):
                raise BadInput(
                    f"datasets.{name}.root: {root} holds the campaign's results, or lies within them, so that its own "
                    "figures would become images; put the images into a folder of their own."
                )

    def refuse_lost_weights(self) -> None:
        """Raise BadInput where a weights file that the config names is not there, or was replaced by an older one.

        Snakemake takes an output whose input is missing for a file of the user's, and compares an input's content only
        where its date is newer: either would leave the old teacher's scores under the new one's name.
        """
        for name in dict.fromkeys(run.teacher for run in self.trained()):
            entry = self.config.teachers[name]
            if entry.weights is None or name in self.config.pretraining:
                continue
            path = Path(self.sources[name][0] if entry.timm is not None else entry.weights)
            if not path.is_file():
                raise BadInput(f"teachers.{name}.weights: there is no file {path}; correct the path.")
            recorded = self._recorded_weights(name, path)
            if recorded is not None and sha256(path) != recorded:
                raise BadInput(
                    f"teachers.{name}.weights: {path} holds other weights than those behind the results, and has an "
                    "older date, so that Snakemake would not make them again; touch the file."
                )

    def _recorded_weights(self, teacher: str, path: Path) -> str | None:
        """Return the sha256 of the weights behind a teacher's results, where these are newer than the file's date but
        older than what was last done to the file; else Snakemake sees by itself what to do."""
        fetched = Path(f"{self.root}/teachers/{teacher}").glob("weights.json")
        runs = Path(f"{self.root}/runs/{teacher}")
        about = path.stat()
        for record in (*fetched, *runs.glob("*/student.json"), *runs.glob("teacher/scores/*.json")):
            with suppress(OSError, ValueError):
                if about.st_mtime <= record.stat().st_mtime < about.st_ctime:
                    found = json.loads(record.read_text(encoding="utf-8"))
                    return found.get("source_sha256") or found.get("teacher_sha256")
        return None

    # Which runs and files

    def index(self, dataset: str) -> str:
        """A data set's index."""
        return f"{self.root}/data/{dataset}/index.parquet"

    def trained(self) -> list[RunSpec]:
        """The runs whose weights the chosen artifacts need: not those of a computation study, which takes shapes."""
        return union(
            self.drawn_runs(name) if artifact.kind in ("latent", "rollout") else self.config.runs_of(name)
            for name, artifact in self.config.chosen().items()
            if artifact.kind != "computation"
        )

    def names_of(self, kind: str) -> str:
        """The artifacts of a kind, as a pattern of a wildcard."""
        return "|".join(name for name, artifact in self.config.artifacts.items() if artifact.kind == kind) or "(?!)"

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
        entry = self.config.artifacts[artifact]
        if entry.kind == "claims":
            return list(dict.fromkeys(path for name in self.config.scored() for path in self.scores_of(name)))
        if entry.kind not in ("table", "figure"):
            return []
        return [self.score(run, dataset) for run in self.config.runs_of(artifact) for dataset in entry.datasets]

    def report_indexes(self) -> list[str]:
        """The indexes of the corpus and of the data sets that are scored."""
        scored = {name for artifact in self.config.chosen().values() for name in artifact.datasets}
        return [self.corpus, *(self.index(name) for name in self.config.datasets if name in scored)]

    def all_scores(self) -> list[str]:
        """Each score that the chosen artifacts need, once."""
        return list(dict.fromkeys(path for name in self.config.chosen() for path in self.scores_of(name)))

    def score(self, run: RunSpec, dataset: str) -> str:
        """Path of a score."""
        return f"{self._folder(run.teacher, run.slug())}/scores/{dataset}.json"

    def features(self, run: RunSpec, dataset: str) -> str:
        """Path of a run's features."""
        return f"{self._folder(run.teacher, run.slug())}/features/{dataset}.h5"

    def _folder(self, teacher: str, slug: str) -> str:
        """Of what a run leaves."""
        return f"{self.root}/runs/{teacher}/{slug}"

    def files_of(self, artifact: str) -> list[str]:
        """The files of an artifact."""
        if self.config.artifacts[artifact].kind == "students":
            return [self._student(run.teacher, run.slug()) for run in self.config.runs_of(artifact)]
        return [f"{self.root}/{path.format(artifact)}" for path in FILES[self.config.artifacts[artifact].kind]]

    def targets(self) -> list[str]:
        """What `snakemake` makes when no target is named."""
        return [
            *self.artifact_files(),
            f"{self.root}/scores.csv",
            f"{self.root}/config.yaml",
            f"{self.root}/report.html",
        ]

    def scores(self, w: Any) -> list[str]:
        """The scores of the artifact of a table or figure job."""
        return self.scores_of(w.artifact)

    def artifact_files(self) -> list[str]:
        """The files of the chosen artifacts."""
        return [path for name in self.config.chosen() for path in self.files_of(name)]

    def told(self) -> list[str]:
        """What the runs behind the chosen artifacts say of their distillation."""
        return [path for run in self.trained() for path in self._about(run.teacher, run.slug())]

    def student(self, w: Any) -> str:
        """The weights of a run: its student's, or the teacher's own."""
        return self._student(w.teacher, w.run)

    def _student(self, teacher: str, slug: str) -> str:
        return self._weights(teacher) if slug == "teacher" else f"{self._folder(teacher, slug)}/student.safetensors"

    def about(self, w: Any) -> list[str]:
        """What a run's distillation says of itself; nothing of a teacher's."""
        return self._about(w.teacher, w.run)

    def _about(self, teacher: str, slug: str) -> list[str]:
        return [] if slug == "teacher" else [f"{self._folder(teacher, slug)}/student.json"]

    def drawn_runs(self, artifact: str) -> list[RunSpec]:
        """Of a latent or rollout figure: one run a method, of the first seed."""
        runs = self.config.runs_of(artifact)
        return list({run.method: run for run in reversed(runs)}.values())[::-1]

    def drawn_features(self, w: Any) -> list[str]:
        """The features that a latent figure shows, one file a method."""
        (dataset,) = self.config.artifacts[w.artifact].datasets
        runs = self.drawn_runs(w.artifact)
        return [self.features(run, dataset) for run in runs]

    def drawn_students(self, w: Any) -> list[str]:
        """The weights whose attention a rollout shows, one file a method."""
        return [self._student(run.teacher, run.slug()) for run in self.drawn_runs(w.artifact)]

    def drawn_index(self, w: Any) -> str:
        """The images of a rollout."""
        (dataset,) = self.config.artifacts[w.artifact].datasets
        return self.index(dataset)

    def shards(self, w: Any) -> list[str]:
        """The cache shards that a run's alpha needs; none where images are decoded in every epoch."""
        if self.config.distill.teacher == "online":
            return []
        run = RunSpec.parse(w.teacher, w.run)
        assert run.alpha is not None
        count = math.ceil(run.alpha / self.config.corpus.shard_percent - 1e-9)
        return [f"{self.root}/teachers/{w.teacher}/cache/{shard:03d}.h5" for shard in range(count)]

    def _online(self, run: RunSpec) -> bool:
        """Whether a run's teacher runs in every step: by choice, or because a cache holds the last block alone."""
        return self.config.distill.teacher == "online" or METHODS[run.method].online

    def weights(self, w: Any) -> str:
        """The teacher's weights file."""
        return self._weights(w.teacher)

    def _weights(self, teacher: str) -> str:
        entry = self.config.teachers[teacher]
        if entry.timm is not None:
            return f"{self.root}/teachers/{teacher}/weights.safetensors"
        assert entry.weights is not None
        return entry.weights

    def timm_teachers(self) -> str:
        """The teachers that timm names, as a pattern of a wildcard."""
        return "|".join(name for name, entry in self.config.teachers.items() if entry.timm is not None) or "(?!)"

    def source(self, w: Any) -> list[str]:
        """The file that a teacher of timm's is read from; none: the hub."""
        return self.sources[w.teacher]

    # Recipes, as canonical JSON

    def prepare_recipe(self, w: Any) -> str:
        """Of a data set's index."""
        data = self.config.datasets[w.dataset].of_images()
        probed = any(w.dataset in datasets for datasets in self.probe_jobs().values())
        return PrepareRecipe(
            name=w.dataset, data=data, folder=data.state(), probed=probed, revision=REVISIONS["prepare"]
        ).canonical()

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
            data=self.config.datasets[training.dataset].of_images(),
            revision=REVISIONS["pretrain_teacher"],
        ).canonical()

    def pretrain_index(self, w: Any) -> str:
        """The index that a demo teacher is trained on."""
        return self.index(self.config.pretraining[w.teacher].dataset)

    def fetch_recipe(self, w: Any) -> str:
        """Of a teacher of timm's."""
        teacher = self.config.teachers[w.teacher]
        assert teacher.timm is not None
        return FetchRecipe(
            timm=teacher.timm, architecture=teacher.architecture, revision=REVISIONS["fetch_teacher"]
        ).canonical()

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
        mean, std = self.config.pixel_statistics(w.teacher)
        number = int(w.shard)
        return CacheRecipe(
            teacher=w.teacher,
            corpus=corpus.dataset,
            architecture=teacher.architecture,
            mean=mean,
            std=std,
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
        mean, std = self.config.pixel_statistics(run.teacher)
        scale = settings.batch * settings.accumulate / 256 if settings.lr_scaling == "linear_256" else 1.0
        assert run.alpha is not None and run.seed is not None
        point = run.loss_point or self.config.loss_point(run.method)
        return DistillRecipe(
            method=run.method,
            teacher=run.teacher,
            architecture=teacher.architecture,
            mean=mean,
            std=std,
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
            lr=settings.lr_of.get(run.method, settings.lr[run.r] * scale),
            weight_decay=settings.weight_decay,
            layers=settings.layers,
            loss_point=point if METHODS[run.method].compares_tokens else None,
            online=self._online(run),
            revision=REVISIONS["distill"],
        ).canonical()

    def feature_recipe(self, w: Any, datasets: list[str]) -> str:
        """Of a run's features in one job."""
        return self._features(w.teacher, datasets, REVISIONS["features"])

    def _features(self, teacher: str, datasets: list[str], revision: int) -> str:
        """Each data set with statistics of its own, where it has any, and else with its teacher's."""
        teachers_own = self.config.pixel_statistics(teacher)
        statistics = {}
        for name in datasets:
            entry = self.config.datasets[name]
            mean, std = teachers_own if entry.mean is None or entry.std is None else (entry.mean, entry.std)
            statistics[name] = Statistics(mean=mean, std=std)
        architecture = self.config.teachers[teacher].architecture
        return FeatureRecipe(architecture=architecture, statistics=statistics, revision=revision).canonical()

    def probe_job(self, datasets: list[str], seed: int = 0) -> ProbeJob:
        """Of the probes of one job."""
        settings = {name: self.config.probe_for(name).model_dump() for name in datasets}
        recipes = {name: ProbeRecipe(**values, seed=seed) for name, values in settings.items()}
        return ProbeJob(recipes=recipes, revision=REVISIONS["probe"])

    def probe_recipe(self, w: Any, datasets: list[str]) -> str:
        """Of the probes of one run in one job; a teacher, which has no seed, is probed with 0."""
        return self.probe_job(datasets, RunSpec.parse(w.teacher, w.run).seed or 0).canonical()

    def artifact_recipe(self, w: Any) -> str:
        """Of a table or a figure: its own entry and what it prints, nothing else."""
        return self._artifact(w.artifact).canonical()

    def _artifact(self, name: str) -> ArtifactRecipe:
        artifact = self.config.artifacts[name]
        assert artifact.runs is not None
        teachers = {name: self.config.teachers[name] for name in artifact.runs.teacher}
        datasets = {name: self.config.datasets[name] for name in artifact.datasets}
        return ArtifactRecipe(
            name=name,
            title=artifact.title,
            caption=artifact.caption,
            rows=list(artifact.rows),
            x=artifact.x,
            datasets={name: entry.label for name, entry in datasets.items()},
            teachers={name: entry.label for name, entry in teachers.items()},
            methods=list(dict.fromkeys(artifact.runs.method)),
            paper_teachers=_roles(teachers),
            paper_datasets=_roles(datasets),
            # A student distilled on other images than the paper's is not the paper's.
            exact_teachers=[name for name, entry in teachers.items() if entry.paper and self._on_papers_corpus()],
            exact_datasets=[name for name, entry in datasets.items() if entry.paper],
            paper_table=artifact.paper_table,
            images=artifact.images or 0,
            revision=REVISIONS[artifact.kind],
        )

    def _on_papers_corpus(self) -> bool:
        return self.config.datasets[self.config.corpus.dataset].paper == "imagenet1k"

    def rollout_recipe(self, w: Any) -> str:
        """How the students of a rollout see: as in their features."""
        (teacher,) = {run.teacher for run in self.drawn_runs(w.artifact)}
        return self._features(teacher, self.config.artifacts[w.artifact].datasets, REVISIONS["rollout"])

    def claims_recipe(self, w: Any) -> str:
        """Of the verdicts: which of the campaign stands for which of the paper's."""
        artifact = self.config.artifacts[w.artifact]
        teachers = _roles(self.config.teachers)
        return ClaimsRecipe(
            title=artifact.title,
            caption=self._with_warning(w.artifact),
            teachers=teachers,
            datasets=_roles(self.config.datasets),
            widths={name: self.config.teachers[name].architecture.embed_dim for name in teachers},
            methods={
                entry.paper_table: entry.runs.method
                for entry in self.config.artifacts.values()
                if entry.paper_table and entry.runs
            },
            revision=REVISIONS["claims"],
        ).canonical()

    def caption(self, w: Any) -> str:
        """Of the artifact of a job, for Snakemake's own report."""
        return f"{self.config.artifacts[w.artifact].title}. {self._with_warning(w.artifact)}"

    def _with_warning(self, name: str) -> str:
        """An artifact's caption; of verdicts on what only stands for the paper's, with a warning."""
        artifact = self.config.artifacts[name]
        if artifact.kind != "claims":
            return artifact.caption
        entries: list[Any] = [*self.config.teachers.values(), *self.config.datasets.values()]
        stand_ins = [f"{entry.label} for {PAPER_NAMES[entry.stands_for]}" for entry in entries if entry.stands_for]
        if not stand_ins:
            return artifact.caption
        return (
            f"{artifact.caption} Here {'; '.join(stand_ins)} stand in for the paper's own: what holds or fails here "
            "says nothing about the paper, and a difference in points means less than its sign."
        )

    def report_recipe(self, w: Any) -> str:
        """Of the report: the chosen artifacts."""
        artifacts = {
            name: ReportArtifact(
                kind=artifact.kind,
                title=artifact.title,
                caption=self._with_warning(name),
                files=self.files_of(name),
                recipe=self._artifact(name) if artifact.kind == "table" else None,
            )
            for name, artifact in self.config.chosen().items()
            if artifact.kind != "students"
        }
        return ReportRecipe(title=self.config.title, artifacts=artifacts, revision=REVISIONS["report"]).canonical()

    def computation_recipe(self, w: Any) -> str:
        """Of a computation study: shapes alone."""
        artifact = self.config.artifacts[w.artifact]
        assert artifact.runs is not None
        shapes = [StudentShape(method=run.method, r=run.r, k=run.k) for run in self.config.runs_of(w.artifact)]
        return ComputationRecipe(
            title=artifact.title,
            caption=artifact.caption,
            teachers={name: self.config.teachers[name].architecture for name in artifact.runs.teacher},
            labels={name: self.config.teachers[name].label for name in artifact.runs.teacher},
            classes={name: self.head_classes(name) for name in artifact.runs.teacher},
            students=list(dict.fromkeys(shapes)),
            batch=self.config.distill.batch,
            views=self.config.corpus.views,
            revision=REVISIONS["computation"],
        ).canonical()

    def head_classes(self, teacher: str) -> int:
        """Of a teacher's head; while its weights cannot say yet, ImageNet's."""
        known = head_classes(self.config.teachers[teacher])
        return 1000 if known is None else known

    def resolved(self) -> str:
        """The config with every default written out, as JSON (which is YAML)."""
        return self.config.model_dump_json(indent=2)


def _roles(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Which teacher or data set of the paper's each of these is, or stands for."""
    return {name: entry.paper or entry.stands_for for name, entry in entries.items() if entry.paper or entry.stands_for}
