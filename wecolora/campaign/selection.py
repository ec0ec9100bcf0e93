"""What the rules ask: a campaign's runs, files and recipes, from its config alone. No torch."""

from __future__ import annotations

import glob
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wecolora.campaign.revisions import REVISIONS
from wecolora.config.campaign import Config
from wecolora.config.kinds import KINDS
from wecolora.config.layout import RESULTS, Layout
from wecolora.config.methods import CHOSEN, METHODS, Layers
from wecolora.config.reading import parse
from wecolora.config.recipes import (
    ArtifactRecipe,
    BlocksRecipe,
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
    ReportRecipe,
    SubsetRecipe,
    caption,
)
from wecolora.config.runs import RunSpec, union
from wecolora.config.timm_catalogue import weights_file
from wecolora.core.errors import BadInput
from wecolora.core.files import sha256


def refuse_unquotable(python: str) -> None:
    """Raise BadInput where the path of the Python that starts the jobs holds what a shell reads otherwise, such as a
    space: Snakemake puts it into each job's command as it is."""
    if re.search(r"[^\w@%+=:,./-]", python):
        raise BadInput(
            f"{python}: Snakemake cannot start jobs by this path, which holds a space or a sign of the shell; move the "
            "project, or its environment (.venv), to a path of letters, digits and ./_- alone, and set it up again."
        )


class Campaign:
    """A checked config: which runs and files it needs, where they are, and the recipe of each job."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: Config = parse(values)
        self.layout = Layout(self.config.name)
        self.corpus = self.index(self.config.corpus.dataset)
        self.subset = self.layout.subset.format(dataset=self.config.corpus.dataset)
        self.sources = {
            name: [weights_file(teacher.weights)] if teacher.weights is not None else []
            for name, teacher in self.config.teachers.items()
            if teacher.timm is not None
        }
        self._refuse_results_as_images()

    def _refuse_results_as_images(self) -> None:
        """Raise BadInput where a data set's folder holds the results: it would grow by the campaign's own figures with
        each run."""
        results, own = Path(RESULTS).resolve(), Path(self.layout.root).resolve()
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
        about = path.stat()
        records = [
            self.layout.fetched_about.format(teacher=teacher),
            self.layout.about.format(teacher=teacher, run="*"),
            self.layout.score.format(teacher=teacher, run="teacher", dataset="*"),
        ]
        for record in (Path(found) for pattern in records for found in glob.glob(pattern)):
            with suppress(OSError, ValueError):
                if about.st_mtime <= record.stat().st_mtime < about.st_ctime:
                    found = json.loads(record.read_text(encoding="utf-8"))
                    return found.get("source_sha256") or found.get("teacher_sha256")
        return None

    # Which runs

    def trained(self) -> list[RunSpec]:
        """Return the runs whose weights the chosen artifacts need, each once."""
        return union(self.trained_for(name) for name in self.config.chosen())

    def trained_for(self, artifact: str) -> list[RunSpec]:
        """Return the runs whose weights an artifact needs: none where it takes shapes alone."""
        kind = KINDS[self.config.artifacts[artifact].kind]
        return [] if kind.takes == "shapes" else self.config.runs_of(artifact)

    def timm_teachers(self) -> str:
        """Return the teachers that timm names, as a pattern of a wildcard."""
        return "|".join(self.sources) or "(?!)"

    def names_of(self, kind: str) -> str:
        """Return the artifacts of a kind, as a pattern of a wildcard."""
        return "|".join(name for name, artifact in self.config.artifacts.items() if artifact.kind == kind) or "(?!)"

    def probe_jobs(self) -> dict[str, list[str]]:
        """Return the data sets that are extracted and probed together, by the job's name."""
        # Of every artifact, chosen or not, so that other `targets` leave a job, and what it made, as they are.
        needed = {name for artifact in self.config.artifacts.values() for name in artifact.datasets}
        jobs: dict[str, list[str]] = defaultdict(list)
        for name, dataset in self.config.datasets.items():
            if name in needed:
                jobs[dataset.job or name].append(name)
        return dict(jobs)

    # Files of data sets, teachers and runs

    def index(self, dataset: str) -> str:
        """Return the path of a data set's index."""
        return self.layout.index.format(dataset=dataset)

    def weights(self, teacher: str) -> str:
        """Return the path of a teacher's weights."""
        entry = self.config.teachers[teacher]
        if entry.timm is not None:
            return self.layout.fetched.format(teacher=teacher)
        assert entry.weights is not None
        return entry.weights

    def shards(self, run: RunSpec) -> list[str]:
        """Return the shards of its teacher's cache that a run reads; none where images are decoded in every epoch."""
        return [] if run.alpha is None else self.shards_of(run.teacher, run.alpha)

    def shards_of(self, teacher: str, alpha: float) -> list[str]:
        """Return the shards of a teacher's cache that hold a share of the corpus; none where it has no cache."""
        if self.config.distill.teacher == "online":
            return []
        count = math.ceil(alpha / self.config.corpus.shard_percent - 1e-9)
        return [self.layout.cache.format(teacher=teacher, shard=f"{shard:03d}") for shard in range(count)]

    def layers(self, run: RunSpec) -> Layers | list[int]:
        """Return which blocks a run copies."""
        return run.layers or self.config.layers(run.method)

    def blocks(self, run: RunSpec) -> list[str]:
        """Return the path of the blocks that a run copies, where its images choose them."""
        layers = self.layers(run)
        if layers not in CHOSEN or not METHODS[run.method].axes:
            return []
        return [self.layout.blocks.format(teacher=run.teacher, layers=layers, alpha=run.share)]

    def student(self, run: RunSpec) -> str:
        """Return the path of a run's weights: its student's, or the teacher's own."""
        return self._of_run(self.layout.student, run) if METHODS[run.method].axes else self.weights(run.teacher)

    def about(self, run: RunSpec) -> list[str]:
        """Return the path of what a run's distillation says of itself; none of a teacher."""
        return [self._of_run(self.layout.about, run)] if METHODS[run.method].axes else []

    def circumstances_of(self, artifact: str) -> list[str]:
        """Return the paths of what tells how long the distillations of an artifact's runs took."""
        students = [run for run in self.config.runs_of(artifact) if METHODS[run.method].axes]
        return [self._of_run(self.layout.provenance, run) for run in students]

    def features(self, run: RunSpec, dataset: str) -> str:
        """Return the path of a run's features."""
        return self._of_run(self.layout.features, run, dataset=dataset)

    def score(self, run: RunSpec, dataset: str) -> str:
        """Return the path of a score."""
        return self._of_run(self.layout.score, run, dataset=dataset)

    def _of_run(self, pattern: str, run: RunSpec, **names: str) -> str:
        return pattern.format(teacher=run.teacher, run=run.slug(), **names)

    # Files of artifacts

    def files_of(self, artifact: str) -> list[str]:
        """Return the files of an artifact: those of its kind, or, where this has none, its runs' weights."""
        files = self.layout.artifact(self.config.artifacts[artifact].kind)
        if not files:
            return [self.student(run) for run in self.config.runs_of(artifact)]
        return [pattern.format(artifact=artifact) for pattern in files.values()]

    def artifact_files(self) -> list[str]:
        """Return the files of the chosen artifacts."""
        return [path for name in self.config.chosen() for path in self.files_of(name)]

    def targets(self) -> list[str]:
        """Return what `snakemake` makes when no target is named."""
        return [*self.artifact_files(), self.layout.scores, self.layout.config, self.layout.report]

    def scores_of(self, artifact: str) -> list[str]:
        """Return the scores that an artifact is made from."""
        entry = self.config.artifacts[artifact]
        kind = KINDS[entry.kind]
        if kind.takes != "scores":
            return []
        if kind.runs == "of_the_scored":
            return list(dict.fromkeys(path for name in self.config.scored() for path in self.scores_of(name)))
        return [self.score(run, dataset) for run in self.config.runs_of(artifact) for dataset in entry.datasets]

    def all_scores(self) -> list[str]:
        """Return each score that the chosen artifacts need, once."""
        return list(dict.fromkeys(path for name in self.config.chosen() for path in self.scores_of(name)))

    def features_of(self, artifact: str) -> list[str]:
        """Return the features that a figure shows, one file a run."""
        (dataset,) = self.config.artifacts[artifact].datasets
        return [self.features(run, dataset) for run in self.config.runs_of(artifact)]

    def students_of(self, artifact: str) -> list[str]:
        """Return the weights whose attention a figure shows, one file a run."""
        return [self.student(run) for run in self.config.runs_of(artifact)]

    def index_of(self, artifact: str) -> str:
        """Return the index of the one data set of a figure."""
        (dataset,) = self.config.artifacts[artifact].datasets
        return self.index(dataset)

    def told(self) -> list[str]:
        """Return what the runs behind the chosen artifacts say of their distillation."""
        return [path for run in self.trained() for path in self.about(run)]

    def report_indexes(self) -> list[str]:
        """Return the indexes of the corpus and of the data sets that are scored."""
        scored = {name for artifact in self.config.chosen().values() for name in artifact.datasets}
        return [self.corpus, *(self.index(name) for name in self.config.datasets if name in scored)]

    # Recipes, as canonical JSON

    def prepare_recipe(self, dataset: str) -> str:
        """Return that of a data set's index."""
        return PrepareRecipe.of(self.config, REVISIONS, dataset).canonical()

    def subset_recipe(self) -> str:
        """Return that of the corpus's order."""
        return SubsetRecipe.of(self.config, REVISIONS).canonical()

    def fetch_recipe(self, teacher: str) -> str:
        """Return that of a teacher of timm's."""
        return FetchRecipe.of(self.config, REVISIONS, teacher).canonical()

    def pretrain_recipe(self, teacher: str) -> str:
        """Return that of a demo teacher."""
        return PretrainRecipe.of(self.config, REVISIONS, teacher).canonical()

    def compare_recipe(self, teacher: str) -> str:
        """Return that of a demo teacher's comparison."""
        return CompareRecipe.of(self.config, REVISIONS, teacher).canonical()

    def cache_recipe(self, teacher: str, shard: int) -> str:
        """Return that of one shard of a teacher's cache."""
        return CacheRecipe.of(self.config, REVISIONS, teacher, shard).canonical()

    def blocks_recipe(self, teacher: str, layers: Layers, alpha: float) -> str:
        """Return that of the blocks that images choose."""
        return BlocksRecipe.of(self.config, REVISIONS, teacher, layers, alpha).canonical()

    def distill_recipe(self, run: RunSpec) -> str:
        """Return that of a run."""
        return DistillRecipe.of(self.config, REVISIONS, run).canonical()

    def feature_recipe(self, run: RunSpec, datasets: Sequence[str]) -> str:
        """Return that of a run's features in one job."""
        return FeatureRecipe.of(self.config, REVISIONS["features"], run.teacher, datasets).canonical()

    def probe_recipe(self, run: RunSpec, datasets: Sequence[str]) -> str:
        """Return that of the probes of a run in one job."""
        return ProbeJob.of(self.config, REVISIONS, datasets, run.seed).canonical()

    def artifact_recipe(self, artifact: str) -> str:
        """Return that of a table or a figure."""
        return ArtifactRecipe.of(self.config, REVISIONS, artifact).canonical()

    def sight_recipe(self, artifact: str) -> str:
        """Return how the students of a rollout see: as in their features."""
        (teacher,) = {run.teacher for run in self.config.runs_of(artifact)}
        datasets = self.config.artifacts[artifact].datasets
        return FeatureRecipe.of(self.config, REVISIONS["rollout"], teacher, datasets).canonical()

    def claims_recipe(self, artifact: str) -> str:
        """Return that of the verdicts."""
        return ClaimsRecipe.of(self.config, REVISIONS, artifact).canonical()

    def computation_recipe(self, artifact: str) -> str:
        """Return that of a computation study."""
        return ComputationRecipe.of(self.config, REVISIONS, artifact).canonical()

    def report_recipe(self) -> str:
        """Return that of the report."""
        return ReportRecipe.of(self.config, REVISIONS).canonical()

    def caption(self, artifact: str) -> str:
        """Return what Snakemake's own report says below an artifact's file."""
        return f"{self.config.artifacts[artifact].title}. {caption(self.config, artifact)}"

    def resolved(self) -> str:
        """Return the config with every default written out, as JSON (which is YAML)."""
        return self.config.model_dump_json(indent=2)
