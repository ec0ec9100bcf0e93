"""Tables and figures as the config names them, and the runs that they need. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wecolora.config.kinds import KINDS, KindName
from wecolora.config.methods import Layers, LossPoint
from wecolora.config.values import Alpha, Name, Positive, Strict


class Runs(Strict):
    """A product of axes."""

    teacher: list[Name] = Field(min_length=1, description="Names below `teachers`.")
    method: list[str] = Field(min_length=1, description="How students start, train and are compared (methods.py).")
    r: list[Positive] = Field(min_length=1, description="Reduction ratio: a student has floor(L / r) blocks.")
    k: list[Positive] = Field(default=[], description="Rank; dropped for methods without adapters.")
    alpha: list[Alpha] = Field(min_length=1, description="Percent of the corpus.")
    loss_point: list[LossPoint] = Field(default=[], description="Where tokens are compared; empty: distill.loss_point.")
    layers: list[Layers] = Field(
        default=[],
        description="Blocks that are copied, for methods that start from copied ones; empty: distill.layers.",
        exclude_if=lambda layers: not layers,
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default=[],
        description="Of these runs; empty: the campaign's. A run has the seeds of every artifact that names it, so "
        "that its score is the same wherever it is printed.",
    )


class Artifact(Strict):
    """A table or a figure of the paper."""

    kind: KindName = Field(
        description="table: CSV, Markdown and LaTeX. figure: scores over `x`, as CSV, PNG and PDF. seconds: scores "
        "over the time of the distillation, a panel a data set. latent: t-SNE of the runs' features of a data set's "
        "test images. rollout: their attention on some of these images. "
        "computation: counts and times of the runs' models; nothing is trained for it. claims: what the paper says in "
        "words, checked on every score of the config's tables and figures. students: the runs' weights, unscored."
    )
    title: str = Field(description="As the paper numbers it.")
    caption: str = Field(description="What it shows, for a reader.")
    runs: Runs | None = Field(
        default=None, description="The runs that it needs: the product of these axes, with each seed."
    )
    datasets: list[Name] = Field(default=[], description="Columns of a table; one data set for a figure.")
    rows: list[Literal["teacher", "r", "alpha", "loss_point", "layers", "method", "components", "venue"]] = Field(
        default=[],
        description="A table's row labels, outermost first; components: what Table 1 ticks; venue: where the method "
        "was published.",
    )
    x: Literal["k", "alpha"] | None = Field(default=None, description="A figure's horizontal axis.")
    images: Annotated[Positive, Field(le=100)] | None = Field(
        default=None, description="How many images a rollout shows; a picture of very many cannot be written."
    )
    paper_table: Annotated[int, Field(ge=1, le=7)] | None = Field(
        default=None,
        description="The paper's table that it regenerates: published scores and orderings are compared with its own.",
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Artifact:
        kind = KINDS[self.kind]
        for key in ("runs", "datasets", "rows", "x", "images"):
            if key in kind.needs and not getattr(self, key):
                raise ValueError(f"an artifact of kind {self.kind} needs `{key}`")
            if key not in kind.needs and getattr(self, key):
                raise ValueError(f"an artifact of kind {self.kind} has no `{key}`")
        if kind.one_dataset and len(self.datasets) != 1:
            raise ValueError(f"an artifact of kind {self.kind} needs exactly one name in `datasets`")
        if self.paper_table and "paper_table" not in kind.may_have:
            raise ValueError(f"an artifact of kind {self.kind} has no `paper_table`")
        return self

    def cells(self) -> set[str]:
        """Return the axes that tell its cells, or its points, apart."""
        of_kind = KINDS[self.kind].cells
        if of_kind is not None:
            return set(of_kind)
        if self.x:
            return {self.x, "r", "method"}
        # Two methods may have the same venue, which therefore tells none apart.
        return {"method" if row == "components" else row for row in self.rows}
