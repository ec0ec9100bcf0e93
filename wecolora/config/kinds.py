"""The kinds of artifacts: one entry each, which says what an artifact needs, leaves, takes and looks like. No torch.

Adding a kind takes one entry here, the rule that makes its files (rules/) with its script, and a revision. Validation,
rules, plan, status and report read the entry's fields and ask for no kind by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

KindName = Literal["table", "figure", "seconds", "latent", "rollout", "computation", "claims", "students"]
Axis = Literal["teacher", "method", "r", "k", "alpha", "loss_point", "layers"]
AXES: tuple[Axis, ...] = ("teacher", "method", "r", "k", "alpha", "loss_point", "layers")
PICTURE = {name: f"figures/{{artifact}}.{name}" for name in ("csv", "png", "pdf")}


@dataclass(frozen=True)
class Kind:
    """What holds for every artifact of a kind."""

    needs: frozenset[str]  # the keys that its entry in the config must give; it may give no other but these ...
    may_have: frozenset[str] = frozenset()  # ... and these
    one_dataset: bool = False  # exactly one name in `datasets`
    # What it is made from: scores; the features of a data set; students' weights; or the shapes of models alone.
    takes: Literal["scores", "features", "weights", "shapes"] = "scores"
    # Its runs: all that its block names; of these one a method, of the first seed; or those of all artifacts that are
    # made from scores of their own.
    runs: Literal["all", "one_a_method", "of_the_scored"] = "all"
    # The axes that tell its cells apart; None: those that its `rows` or its `x` name.
    cells: frozenset[Axis] | None = None
    # The files that its rule leaves, below the campaign's folder, by the name of the output; none: its runs' weights.
    files: Mapping[str, str] = field(default_factory=dict)
    # How the report shows it, and under which heading; no heading: not at all, or, as verdicts, by themselves.
    shown_as: Literal["cells", "picture", "picture_and_values", "counts", "verdicts", "nothing"] = "nothing"
    heading: Literal["Tables", "Figures", "Computation", ""] = ""
    called: str = ""  # in a sentence
    # What of its teachers and data sets it shows, which they must have.
    shows_class_token: bool = False
    shows_classes: bool = False


KINDS: dict[KindName, Kind] = {
    "table": Kind(
        needs=frozenset({"runs", "datasets", "rows"}),
        may_have=frozenset({"paper_table"}),
        files={
            "csv": "tables/{artifact}.csv",
            "markdown": "tables/{artifact}.md",
            "latex": "tables/{artifact}.tex",
        },
        shown_as="cells",
        heading="Tables",
    ),
    "figure": Kind(
        needs=frozenset({"runs", "datasets", "x"}),
        one_dataset=True,
        files=PICTURE,
        shown_as="picture_and_values",
        heading="Figures",
    ),
    "seconds": Kind(
        needs=frozenset({"runs", "datasets"}),
        cells=frozenset({"method", "alpha"}),
        files=PICTURE,
        shown_as="picture_and_values",
        heading="Figures",
        called="a figure of score over seconds",
    ),
    "latent": Kind(
        needs=frozenset({"runs", "datasets"}),
        one_dataset=True,
        takes="features",
        runs="one_a_method",
        cells=frozenset({"method"}),
        files=PICTURE,
        shown_as="picture",
        heading="Figures",
        called="a latent figure",
        shows_classes=True,
    ),
    "rollout": Kind(
        needs=frozenset({"runs", "datasets", "images"}),
        one_dataset=True,
        takes="weights",
        runs="one_a_method",
        cells=frozenset({"method"}),
        files=PICTURE,
        shown_as="picture",
        heading="Figures",
        called="a rollout figure",
        shows_class_token=True,
    ),
    "computation": Kind(
        needs=frozenset({"runs"}),
        takes="shapes",
        cells=frozenset({"teacher", "method", "r", "k"}),
        files={
            "csv": "computation/{artifact}.csv",
            "markdown": "computation/{artifact}.md",
            "speed": "computation/{artifact}_speed.csv",
        },
        shown_as="counts",
        heading="Computation",
        called="a computation study",
    ),
    "claims": Kind(
        needs=frozenset(),
        runs="of_the_scored",
        files={
            "csv": "claims/{artifact}.csv",
            "comparisons": "claims/{artifact}_comparisons.csv",
            "markdown": "claims/{artifact}.md",
        },
        shown_as="verdicts",
    ),
    "students": Kind(needs=frozenset({"runs"}), takes="weights", cells=frozenset(AXES)),
}
