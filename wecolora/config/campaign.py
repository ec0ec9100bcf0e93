"""The config file: what it may say, and every check that can be made before anything runs. No torch.

``python -m wecolora.config.campaign`` prints the JSON schema (schemas/config.schema.json).
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from wecolora.config.artifacts import Artifact, Runs
from wecolora.config.datasets import Dataset
from wecolora.config.methods import METHODS, LossPoint, components
from wecolora.config.protocol import IMAGENET_MEAN, IMAGENET_STD, Normalisation, Protocol, with_protocol
from wecolora.config.runs import RunSpec, expand, union
from wecolora.config.teachers import Teacher, head_classes
from wecolora.config.training import Corpus, Optimisation, Pretraining, ProbeOverride, ProbeSettings
from wecolora.config.values import Name, Strict, Triple
from wecolora.core.errors import BadInput

# What `snakemake NAME` already means (rules/); a test compares.
RULES = {
    "all",
    "cache_teacher",
    "caches",
    "claims",
    "collect",
    "computation",
    "compare_teacher",
    "distill",
    "fetch_teacher",
    "figure",
    "latent",
    "prepare",
    "pretrain_all",
    "pretrain_teacher",
    "report",
    "resolved_config",
    "rollout",
    "subset",
    "table",
}


class Config(Strict):
    """One campaign."""

    name: Name = Field(description="The campaign's folder below results/.")
    title: str = Field(description="Of the campaign, for a reader.")
    protocol: Protocol = Field(
        default="paper",
        description="Which reading of the recipe (docs/protocol.md): decides layers, loss_point, lr_scaling and "
        "leftover of `distill`, and normalisation, where these keys are not given.",
    )
    normalisation: Normalisation = Field(
        default="teacher",
        description="Of the pixels: each teacher's own mean and std, or ImageNet's for all, as the authors' code has.",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0], min_length=1, description="Of a run's initialisation and order, and of its probes'; a run each."
    )
    corpus: Corpus = Field(description="What students are distilled on, and how it is cut and recorded.")
    teachers: dict[Name, Teacher] = Field(min_length=1, description="Pre-trained models, by name.")
    datasets: dict[Name, Dataset] = Field(min_length=1, description="Sets of images, by name.")
    distill: Optimisation = Field(default=Optimisation(), description="How students are trained.")
    probe: ProbeSettings = Field(default=ProbeSettings(), description="How students are scored: by linear probing.")
    probe_of: dict[Name, ProbeOverride] = Field(default={}, description="Probe settings of single data sets.")
    keep_features: bool = Field(
        default=True,
        description="false: a run's features are deleted when its probes are done, and extracted again for others. "
        "They take 4 bytes x width an image: 4 GB a run of ViT-B on ImageNet-1K.",
    )
    pretraining: dict[Name, Pretraining] = Field(default={}, description="How demo teachers are trained.")
    artifacts: dict[Name, Artifact] = Field(default={}, description="Tables and figures, by name.")
    targets: list[Name] = Field(default=[], description="Artifacts that `snakemake` makes; empty: all of them.")

    @model_validator(mode="before")
    @classmethod
    def _protocol(cls, values: Any) -> Any:
        return with_protocol(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        for method in self.distill.lr_of:
            _known("distill.lr_of", method, METHODS, "method")
        for key, name in [("corpus.dataset", self.corpus.dataset), *((f"probe_of.{d}", d) for d in self.probe_of)]:
            _known(key, name, self.datasets, "data set")
        schedules: dict[str, Optimisation | ProbeSettings] = {"distill": self.distill, "probe": self.probe}
        schedules |= {f"probe_of.{name}": self.probe_for(name) for name in self.probe_of}
        for key, settings in schedules.items():
            if settings.warmup_epochs > settings.epochs:
                raise ValueError(
                    f"{key}.warmup_epochs: {settings.warmup_epochs:g} is more than {key}.epochs, {settings.epochs}"
                )
        for name, training in self.pretraining.items():
            _known("pretraining", name, self.teachers, "teacher")
            _known(f"pretraining.{name}.dataset", training.dataset, self.datasets, "data set")
        for target in self.targets:
            _known("targets", target, self.artifacts, "artifact")
        jobs = {
            f"{stage}_{data.job or name}" for name, data in self.datasets.items() for stage in ("features", "probe")
        }
        entries: Mapping[str, Dataset | Teacher]
        for key, entries in (("teachers", self.teachers), ("datasets", self.datasets)):
            roles: list[str] = []
            for name, entry in entries.items():
                if not _as_seen(entry.label):
                    raise ValueError(f"{key}.{name}.label: needs a text that can be seen")
                if entry.paper and entry.stands_for:
                    raise ValueError(f"{key}.{name}: `paper` says that it is the paper's, so leave out `stands_for`")
                role = entry.paper or entry.stands_for
                if role in roles:
                    raise ValueError(f"{key}.{name}: another is, or stands for, the paper's {role} already")
                roles += [role] if role else []
        tables: list[int] = []
        for name, artifact in self.artifacts.items():
            if artifact.paper_table in tables:
                raise ValueError(f"artifacts.{name}.paper_table: another is the paper's Table {artifact.paper_table}")
            tables += [artifact.paper_table] if artifact.paper_table else []
            if name in RULES | jobs:
                raise ValueError(f"artifacts.{name}: is the name of a rule; choose another")
            if artifact.runs:
                self._check_runs(f"artifacts.{name}", artifact, artifact.runs)
        return self

    def _check_runs(self, where: str, artifact: Artifact, runs: Runs) -> None:
        for dataset in artifact.datasets:
            _known(f"{where}.datasets", dataset, self.datasets, "data set")
        self._check_classes(where, artifact)
        _distinct(f"{where}.rows", list(artifact.rows))
        _distinct(f"{where}.datasets", [self.datasets[name].label for name in artifact.datasets])
        for axis in ("teacher", "method", "r", "k", "alpha", "loss_point"):
            values = list(dict.fromkeys(getattr(runs, axis)))
            if len(values) > 1 and axis not in artifact.shown():
                by = f"`x: {artifact.x}`" if artifact.x else f"`rows: {', '.join(artifact.rows)}`"
                if artifact.kind not in ("table", "figure"):
                    by = f"a {artifact.kind} figure" if artifact.datasets else "a computation study"
                raise ValueError(f"{where}.runs.{axis}: {values} cannot be told apart by {by}; give one value")
        for method in runs.method:
            _known(f"{where}.runs.method", method, METHODS, "method")
            if "k" in METHODS[method].axes and not runs.k:
                raise ValueError(f"{where}.runs.k: method {method} needs a rank")
            if artifact.x and artifact.x not in METHODS[method].axes:
                missing = f"{'rank' if artifact.x == 'k' else artifact.x} to draw over (x: {artifact.x})"
                having = ", ".join(name for name in METHODS if artifact.x in METHODS[name].axes)
                raise ValueError(f"{where}.runs.method: {method} has no {missing}; these have: {having}")
        ticks = [components(method) for method in dict.fromkeys(runs.method)]
        if "components" in artifact.rows and len(set(ticks)) < len(ticks):
            raise ValueError(f"{where}.rows: `components` cannot tell {', '.join(runs.method)} apart; use `method`")
        for teacher in runs.teacher:
            _known(f"{where}.runs.teacher", teacher, self.teachers, "teacher")
        _distinct(f"{where}.runs.teacher", [self.teachers[name].label for name in dict.fromkeys(runs.teacher)])
        for teacher in runs.teacher:
            shape = self.teachers[teacher].architecture
            if artifact.kind == "rollout" and not shape.class_token:
                raise ValueError(f"{where}.runs.teacher: a rollout shows the class token's, and {teacher} has none")
            for method in runs.method:
                if why := self._unfit(method, teacher):
                    raise ValueError(f"{where}.runs.method: {method} {why}")
            for r in runs.r:
                if r > shape.depth:
                    raise ValueError(
                        f"{where}.runs.r: {r} is more than the {shape.depth} blocks of {teacher}; "
                        f"r must lie in 1..{shape.depth}"
                    )
                listed = self.distill.layers
                if isinstance(listed, list) and not (
                    len(listed) == shape.depth // r and all(0 <= layer < shape.depth for layer in listed)
                ):
                    raise ValueError(
                        f"distill.layers: {listed} is no student of {teacher} for r = {r} in {where}; name "
                        f"{shape.depth // r} blocks from 0 to {shape.depth - 1}, or give a rule"
                    )
                if r not in self.distill.lr:
                    raise ValueError(
                        f"{where}.runs.r: distill.lr has no learning rate for r = {r}; it has {sorted(self.distill.lr)}"
                    )
            for k in runs.k:
                largest = min(shape.embed_dim, int(shape.embed_dim * shape.mlp_ratio))
                if k > largest:
                    raise ValueError(
                        f"{where}.runs.k: {k} is more than min(d1, d2) = {largest} of {teacher}; "
                        f"k must lie in 1..{largest}"
                    )

    def _check_classes(self, where: str, artifact: Artifact) -> None:
        """A latent figure colours classes, which is found out again when all students are trained."""
        for name in artifact.datasets:
            if artifact.kind == "latent" and self.datasets[name].several_labels:
                raise ValueError(
                    f"{where}.datasets: {name} has several labels an image, and classes are what a latent figure "
                    "colours; take a data set with one label an image"
                )

    def _unfit(self, name: str, teacher: str) -> str | None:
        """Why a method cannot learn from a teacher, or from the corpus."""
        method, shape = METHODS[name], self.teachers[teacher].architecture
        if method.objective.startswith("deit") and (shape.global_pool != "token" or not shape.class_token):
            return f"needs a class token, and {teacher} pools patches"
        if method.start == "random" and shape.global_pool == "map":
            return f"starts at random and never trains the pooling of {teacher}; give that `global_pool: avg`"
        if method.objective.startswith("minivit") and shape.scale_attn_norm:
            return f"shares plain attention, and that of {teacher} has a norm (scale_attn_norm)"
        if not method.reads_labels:
            return None
        if head_classes(self.teachers[teacher]) == 0:
            return f"learns from the teacher's logits, and {teacher} has no head; take deit, or weights with a head"
        corpus = self.datasets[self.corpus.dataset]
        if not corpus.labelled:
            return f"learns from labels, and the corpus, {self.corpus.dataset}, has none (labels: null)"
        if corpus.several_labels:
            return f"learns from one label an image, and the corpus, {self.corpus.dataset}, has several"
        return None

    def chosen(self) -> dict[str, Artifact]:
        """The artifacts to make."""
        return {name: self.artifacts[name] for name in self.targets or self.artifacts}

    def probe_for(self, dataset: str) -> ProbeSettings:
        """The probe of a data set: ``probe`` with what ``probe_of`` changes."""
        override = self.probe_of.get(dataset, ProbeOverride()).model_dump(exclude_none=True)
        return ProbeSettings.model_validate({**self.probe.model_dump(), **override})

    def pixel_statistics(self, teacher: str) -> tuple[Triple, Triple]:
        """Mean and standard deviation that a teacher's, and its students', input is normalised with."""
        if self.normalisation == "imagenet":
            return IMAGENET_MEAN, IMAGENET_STD
        return self.teachers[teacher].mean, self.teachers[teacher].std

    def _shapes(self, artifact: str) -> list[RunSpec]:
        """The runs of an artifact, with seed 0 for all. A loss point that is the config's own is not named."""
        runs = self.artifacts[artifact].runs
        found = expand(runs.model_dump(exclude={"seeds"}), [0]) if runs else []
        return union(
            [replace(run, loss_point=None) if run.loss_point == self.loss_point(run.method) else run] for run in found
        )

    @cached_property
    def _seeds(self) -> dict[RunSpec, list[int]]:
        """Of each run, the seeds of all artifacts that name it, chosen or not."""
        seeds: dict[RunSpec, set[int]] = defaultdict(set)
        for name, artifact in self.artifacts.items():
            for shape in self._shapes(name):
                seeds[shape].update((artifact.runs and artifact.runs.seeds) or self.seeds)
        return {shape: sorted(found) for shape, found in seeds.items()}

    def runs_of(self, artifact: str) -> list[RunSpec]:
        """The runs that an artifact needs, each once; claims need those of every table and figure."""
        if self.artifacts[artifact].kind == "claims":
            return union(self.runs_of(name) for name in self.scored() if name != artifact)
        return union([replace(shape, seed=seed) for seed in self._seeds[shape]] for shape in self._shapes(artifact))

    def scored(self) -> list[str]:
        """The artifacts that print scores."""
        return [name for name, artifact in self.artifacts.items() if artifact.kind in ("table", "figure")]

    def loss_point(self, method: str) -> LossPoint:
        """Where a method's tokens are compared when its run does not say."""
        chosen = self.distill.loss_point
        return METHODS[method].authors_loss_point if chosen == "authors_code" else chosen

    def runs(self) -> list[RunSpec]:
        """The union of the runs that the chosen artifacts need."""
        return union(self.runs_of(name) for name in self.chosen())


def _distinct(key: str, texts: list[str]) -> None:
    printed = [_as_seen(text) for text in texts]
    for text in printed:
        if printed.count(text) > 1:
            raise ValueError(f"{key}: two would be printed as {text!r}; name each once and give each its own label")


def _as_seen(text: str) -> str:
    """Return a text without what no eye tells apart: spelling of accents, white space, characters without width."""
    visible = "".join(sign for sign in unicodedata.normalize("NFC", text) if unicodedata.category(sign) != "Cf")
    return " ".join(visible.split())


def _known(key: str, name: str, allowed: Mapping[str, Any], kind: str) -> None:
    if name not in allowed:
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"; did you mean {close[0]}" if close else ""
        raise ValueError(f"{key}: {name!r} is no known {kind}{hint}; known are {', '.join(allowed)}")


def parse(values: Mapping[str, Any]) -> Config:
    """Check a loaded config file; BadInput lists each wrong key with its value and what is allowed, one a line."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for problem in error.errors():
            # Brackets mark pydantic's own names, such as list[int] for a branch of a union.
            key = ".".join(str(part) for part in _without_source(problem["loc"]) if "[" not in str(part))
            message = re.sub(r" or instance of \w+", "", problem["msg"].removeprefix("Value error, "))
            if problem["type"] == "source":
                entry = problem["input"]
                found_source = entry.get("source") if isinstance(entry, dict) else entry
                key, message = f"{key}.source", f"{message}, not {found_source!r}"
            elif problem["type"] == "extra_forbidden":
                message = f"unknown key{_suggest(problem['loc'])}"
            elif not isinstance(problem["input"], dict):
                message = f"{message}, not {problem['input']!r}"
            found.setdefault(key, []).append(message)
        lines = [f"{key}: {'; or: '.join(messages)}." for key, messages in found.items()]
        raise BadInput("config: " + "\n        ".join(line.removeprefix(": ") for line in lines)) from None


def _without_source(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where a key stands in the file: pydantic also names a data set's source."""
    return (*location[:2], *location[3:]) if location[:1] == ("datasets",) else location


def _suggest(location: tuple[int | str, ...]) -> str:
    """Name the allowed keys beside an unknown one, found by walking the schema."""
    schema = Config.model_json_schema()
    node: dict[str, Any] = schema
    for part in location[:-1]:
        node = _resolve(node, schema)
        named = next(iter(node.get("patternProperties", {}).values()), None)  # dict[Name, ...]
        sources = [_resolve(choice, schema) for choice in node.get("oneOf", [])]
        source = next((entry for entry in sources if entry["properties"]["source"]["const"] == part), None)
        node = source or node.get("properties", {}).get(part) or named or node.get("items") or {}
    allowed = list(_resolve(node, schema).get("properties", {}))
    return f"; allowed here are {', '.join(allowed)}" if allowed else ""


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref") or next((n["$ref"] for n in node.get("anyOf", []) if "$ref" in n), None)
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node


if __name__ == "__main__":
    print(json.dumps(Config.model_json_schema(), indent=2))
