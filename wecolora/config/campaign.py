"""The config file: what it may say, and the runs that follow from it. No torch.

``python -m wecolora.config.campaign`` prints the JSON schema (schemas/config.schema.json).
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, model_validator

from wecolora.config.artifacts import Artifact
from wecolora.config.datasets import Dataset
from wecolora.config.kinds import KINDS
from wecolora.config.methods import CHOSEN, METHODS, Layers, LossPoint
from wecolora.config.own_methods import OwnMethod, register
from wecolora.config.protocol import IMAGENET_MEAN, IMAGENET_STD, Normalisation, Protocol, with_protocol
from wecolora.config.runs import RunSpec, expand, union
from wecolora.config.teachers import Teacher
from wecolora.config.training import Corpus, DistillSettings, Pretraining, ProbeOverride, ProbeSettings
from wecolora.config.values import Name, Strict, Triple


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
    distill: DistillSettings = Field(default=DistillSettings(), description="How students are trained.")
    probe: ProbeSettings = Field(default=ProbeSettings(), description="How students are scored: by linear probing.")
    probe_of: dict[Name, ProbeOverride] = Field(default={}, description="Probe settings of single data sets.")
    keep_features: bool = Field(
        default=True,
        description="false: a run's features are deleted when its probes are done, and extracted again for others. "
        "They take 4 bytes x width an image: 4 GB a run of ViT-B on ImageNet-1K.",
    )
    pretraining: dict[Name, Pretraining] = Field(default={}, description="How demo teachers are trained.")
    methods: dict[Name, OwnMethod] = Field(
        default={},
        description="Methods of your own, by name, beside the library's (docs/own-method.md).",
        exclude_if=lambda methods: not methods,
    )
    artifacts: dict[Name, Artifact] = Field(default={}, description="Tables and figures, by name.")
    targets: list[Name] = Field(default=[], description="Artifacts that `snakemake` makes; empty: all of them.")

    @model_validator(mode="before")
    @classmethod
    def _protocol(cls, values: Any) -> Any:
        return with_protocol(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _own_methods(self) -> Config:
        register(self.methods)  # before the names of methods are looked up
        return self

    def chosen(self) -> dict[str, Artifact]:
        """Return the artifacts to make, by name."""
        return {name: self.artifacts[name] for name in self.targets or self.artifacts}

    def probe_for(self, dataset: str) -> ProbeSettings:
        """Return the probe of a data set: ``probe``, with what ``probe_of`` changes."""
        override = self.probe_of.get(dataset, ProbeOverride()).model_dump(exclude_none=True)
        return ProbeSettings.model_validate({**self.probe.model_dump(), **override})

    def pixel_statistics(self, teacher: str) -> tuple[Triple, Triple]:
        """Mean and standard deviation that a teacher's, and its students', input is normalised with."""
        if self.normalisation == "imagenet":
            return IMAGENET_MEAN, IMAGENET_STD
        return self.teachers[teacher].mean, self.teachers[teacher].std

    def _shapes(self, artifact: str) -> list[RunSpec]:
        """Return the runs of an artifact, with seed 0 for all.

        A loss point and a rule for the copied blocks that are the config's own are not named.
        """
        runs = self.artifacts[artifact].runs
        found = expand(runs.model_dump(exclude={"seeds"}), [0]) if runs else []
        return union([self._unnamed(run)] for run in found)

    def _unnamed(self, run: RunSpec) -> RunSpec:
        point = None if run.loss_point == self.loss_point(run.method) else run.loss_point
        layers = None if run.layers == self.layers(run.method) else run.layers
        return replace(run, loss_point=point, layers=layers)

    @cached_property
    def _seeds(self) -> dict[RunSpec, list[int]]:
        """The seeds of each run: those of all artifacts that name the run, chosen or not."""
        seeds: dict[RunSpec, set[int]] = defaultdict(set)
        for name, artifact in self.artifacts.items():
            for shape in self._shapes(name):
                seeds[shape].update((artifact.runs and artifact.runs.seeds) or self.seeds)
        return {shape: sorted(found) for shape, found in seeds.items()}

    def runs_of(self, artifact: str) -> list[RunSpec]:
        """Return the runs that an artifact needs, each once."""
        taken = KINDS[self.artifacts[artifact].kind].runs
        if taken == "of_the_scored":
            return union(self.runs_of(name) for name in self.scored())
        runs = self.product_of(artifact)
        # Those of the first seed, in the order of the methods.
        return list({run.method: run for run in reversed(runs)}.values())[::-1] if taken == "one_a_method" else runs

    def product_of(self, artifact: str) -> list[RunSpec]:
        """Return the whole product of an artifact's block of runs, with each run's seeds."""
        return union([replace(shape, seed=seed) for seed in self._seeds[shape]] for shape in self._shapes(artifact))

    def scored(self) -> list[str]:
        """Return the artifacts that are made from the scores of runs of their own."""
        kinds = {name: KINDS[artifact.kind] for name, artifact in self.artifacts.items()}
        return [name for name, kind in kinds.items() if kind.takes == "scores" and kind.runs != "of_the_scored"]

    def compared(self) -> list[str]:
        """Return the data sets that demo teachers are probed on: all but those that they are trained on."""
        trained_on = {training.dataset for training in self.pretraining.values()}
        return [name for name in self.datasets if name not in trained_on]

    def loss_point(self, method: str) -> LossPoint:
        """Return where a method's tokens are compared if its run does not say."""
        chosen = self.distill.loss_point
        return METHODS[method].authors_loss_point if chosen == "authors_code" else chosen

    def layers(self, method: str) -> Layers | list[int]:
        """Return which blocks of its teacher a method's student copies if its run does not say."""
        found = self.distill.layers_of.get(method, METHODS[method].layers or self.distill.layers)
        return "paper" if found in CHOSEN and METHODS[method].start != "copy" else found  # it has that depth alone

    def runs(self) -> list[RunSpec]:
        """Return the union of the runs that the chosen artifacts need."""
        return union(self.runs_of(name) for name in self.chosen())


if __name__ == "__main__":
    print(json.dumps(Config.model_json_schema(), indent=2))
