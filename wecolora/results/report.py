"""The report: a campaign as one HTML page, from its verdicts and tables down to each run's recipe and training curve.

The page is whole by itself (figures are embedded, nothing is loaded), and the same bytes for the same results.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe, ReportRecipe
from wecolora.core.files import read_json, write_text
from wecolora.core.job import duration
from wecolora.data.images import read_columns
from wecolora.results.claims import METHOD, printed_claim
from wecolora.results.counts import printed_counts
from wecolora.results.figures import TEXT, wrapped
from wecolora.results.scores import read_scores
from wecolora.results.tables import LOSS_POINTS, cell_text, notes, printed_table, tidy_table

Labels = dict[str, dict[str, str]]  # what is printed for a teacher, a method or a data set
GROUPS = {"Tables": ["table"], "Figures": ["figure", "latent", "rollout"], "Computation": ["computation"]}
SVG: Any = {
    **TEXT,
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text as text: smaller
    "svg.hashsalt": "wecolora",  # the same ids each time
}
COMPARED = ["difference", "margin", "std", "seeds", "verdict", "published_difference"]
UNSAID: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
DASHES: list[Any] = ["-", "--", "-.", ":"]  # of the shares of the corpus, the largest first


@dataclass(frozen=True)
class Run:
    """What is known of a run: what names it (teacher, method, r, k, alpha, seed, loss_point, slug), its scores by data
    set, its student's record (empty for a teacher, which is probed as it is), and how each of its jobs went."""

    axes: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    student: dict[str, Any]
    jobs: dict[str, dict[str, Any]]

    @property
    def anchor(self) -> str:
        """Of its section in the page."""
        return anchor(self.axes["teacher"], self.axes["slug"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """Of its distillation, an entry an epoch; empty for a teacher."""
        epochs: list[dict[str, Any]] = self.student.get("history", [])
        return epochs

    def environments(self) -> list[str]:
        """Device and versions of its jobs, each set once."""
        records = [self.student, *self.scores.values()] if self.student else self.scores.values()
        lines = [", ".join(f"{name} {value}" for name, value in one["environment"].items()) for one in records]
        return list(dict.fromkeys(lines))

    def signs(self, labels: Labels) -> list[tuple[str, str, str]]:
        """Its failure signs: the kind, where it showed, and what it was (in the last of these epochs)."""
        epochs: dict[str, dict[int, str]] = defaultdict(dict)
        for number, epoch in enumerate(self.history, 1):
            for sign in epoch["signs"]:
                kind, _, words = sign.partition(": ")
                epochs[kind][number] = words
        found = [
            (kind, f"distillation, epoch {', '.join(map(str, signs))}", signs[max(signs)])
            for kind, signs in epochs.items()
        ]
        for dataset, score in self.scores.items():
            for kind, colon, words in (sign.partition(": ") for sign in score["signs"]):
                if colon:  # without: a kind of sign that its student's distillation showed
                    found.append((kind, f"probe on {labels['dataset'][dataset]}", words))
        return found


def anchor(teacher: str, slug: str) -> str:
    """The id of a run's section: a slug alone may belong to several teachers."""
    return f"run-{teacher}-{slug}"


def write_report(
    recipe: ReportRecipe,
    scores: Iterable[str | Path],
    students: Iterable[str | Path],
    indexes: Sequence[str | Path],
    config: str | Path,
    html: str | Path,
    log: logging.Logger,
) -> None:
    """Write the page of these scores, students (student.json files, scored or not) and artifacts.

    ``indexes`` are of the corpus and of the scored data sets, ``config`` is the resolved config. What else there is to
    say of a run lies beside: circumstances, which may be missing.
    """
    paths = [Path(path) for path in scores]
    labels = _labels(read_json(config, (), "have it written again"))
    resolved = Path(config).read_text(encoding="utf-8")
    runs = read_runs(paths, map(Path, students), labels)
    by_anchor = {run.anchor: run for run in runs}
    frame = read_scores(paths)
    leaks = leaked(indexes, labels)
    for leak in leaks:
        log.warning("WARNING: test images are among the corpus's: %s.", leak)
    artifacts = []
    for name, artifact in recipe.artifacts.items():
        shown: dict[str, Any] = {"name": name, **artifact.model_dump(include={"kind", "title", "caption"})}
        if artifact.kind == "table":
            assert artifact.recipe is not None
            shown |= linked_table(frame, artifact.recipe, artifact.files[0], by_anchor)
        elif artifact.kind == "computation":
            shown["tables"] = [counts_table(artifact.files[0], labels), csv_table(artifact.files[2], labels)]
        elif artifact.kind == "claims":
            shown["claims"] = [printed_claim(claim) for claim in pd.read_csv(artifact.files[0]).to_dict("records")]
            shown["comparisons"] = comparisons_table(artifact.files[1], labels)
        else:
            shown["png"] = _embedded("image/png", Path(artifact.files[1]).read_bytes())
            if artifact.kind == "figure":  # the others' are thousands of points
                shown["points"] = csv_table(artifact.files[0], labels)
        artifacts.append(shown)
    signs: dict[str, list[tuple[Run, str, str]]] = defaultdict(list)
    for run in runs:
        for kind, where, sign in run.signs(labels):
            signs[kind].append((run, where, sign))
    page = _template().render(
        title=recipe.title,
        artifacts=artifacts,
        groups={
            heading: [artifact for artifact in artifacts if artifact["kind"] in kinds]
            for heading, kinds in GROUPS.items()
        },
        labels=labels,
        facts=facts(runs, labels) | {"Test images that were distilled on": leaks},
        runs=runs,
        signs=signs,
        curves=_campaign_curves(runs, labels),
        config=resolved,
    )
    write_text(html, page)
    log.info(f"{_plural(len(runs), 'run')}, {_plural(len(paths), 'score')}, {_plural(len(artifacts), 'artifact')}")


def _template() -> Any:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"plural": _plural, "pretty": lambda value: json.dumps(value, indent=1), "curve": _run_curve}
    environment.globals |= {"LOSS_POINTS": LOSS_POINTS, "METHOD": METHOD.replace("`", "")}
    return environment.get_template("report.html.j2")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _labels(config: dict[str, Any]) -> Labels:
    return {
        "teacher": {name: teacher["label"] for name, teacher in config["teachers"].items()},
        "method": {name: method.label for name, method in METHODS.items()},
        "dataset": {name: dataset["label"] for name, dataset in config["datasets"].items()},
    }


# Runs


def read_runs(paths: Iterable[Path], students: Iterable[Path], labels: Labels) -> list[Run]:
    """The runs of these scores and students: by teacher, method, r, k, alpha and seed; their data sets in the config's
    order."""
    folders: dict[Path, dict[str, dict[str, Any]]] = {path.parent: {} for path in students}
    for path in paths:
        folders.setdefault(path.parent.parent, {})[path.stem] = read_json(path, ["run"], "probe again")
    runs = []
    for folder, scores in folders.items():
        jobs = {"distillation": folder / "circumstances.json"}
        jobs |= {
            f"probes, {path.stem.removeprefix('circumstances_')}": path
            for path in sorted((folder / "scores").glob("circumstances_*.json"))
        }
        student: dict[str, Any] = {}
        if folder.name != "teacher":
            student = read_json(folder / "student.json", ["history", "recipe"], "distil it again")
        runs.append(
            Run(
                axes=next(iter(scores.values()))["run"] if scores else _axes(folder, student["recipe"]),
                scores={name: scores[name] for name in labels["dataset"] if name in scores},
                student=student,
                jobs={job: read_json(path, (), "leave it out") for job, path in jobs.items() if path.exists()},
            )
        )
    teachers, methods = list(labels["teacher"]), list(labels["method"])

    def place(run: Run) -> tuple[Any, ...]:
        axes = run.axes
        numbers = [axes[name] or 0 for name in ("r", "k", "alpha", "seed")]
        return teachers.index(axes["teacher"]), methods.index(axes["method"]), *numbers, axes["slug"]

    return sorted(runs, key=place)


def _axes(folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """What names a run that has no score."""
    named = ("teacher", "method", "r", "k", "alpha", "seed", "loss_point")
    return {**{axis: recipe[axis] for axis in named}, "slug": folder.name}


def facts(runs: list[Run], labels: Labels) -> dict[str, list[str]]:
    """What the page's head says: how much there is, and when and with what it was made."""
    jobs = [job for run in runs for job in run.jobs.values()]
    finished = sorted(job["finished"] for job in jobs)
    seeds = sorted({run.axes["seed"] for run in runs} - {None})
    teachers = dict.fromkeys(labels["teacher"][run.axes["teacher"]] for run in runs)
    return {
        "Runs": [f"{len(runs)}, with {_plural(sum(len(run.scores) for run in runs), 'score')}"],
        "Seeds": [", ".join(map(str, seeds))],
        "Teachers": list(teachers),
        "Jobs finished": [f"{finished[0]} to {finished[-1]}"] if finished else [],
        "Time of all jobs": [duration(sum(job["seconds"] for job in jobs))] if jobs else [],
        "Device and versions": list(dict.fromkeys(line for run in runs for line in run.environments())),
        "Code (git)": sorted({job["git"] for job in jobs} - {None}),
    }


def leaked(indexes: Sequence[str | Path], labels: Labels) -> list[str]:
    """Return, for each data set of whose test images some are training images of the corpus (the first of the indexes),
    byte for byte, how many: students are distilled on them, if without their labels."""
    corpus, *others = [_digests(path) for path in indexes]
    found = []
    for path, digests in zip(indexes[1:], others, strict=True):
        tested = digests["test"]
        if count := pc.sum(pc.is_in(tested, corpus["train"])).as_py():
            found.append(f"{labels['dataset'][Path(path).parent.name]}: {count:,} of {len(tested):,}")
    return found


def _digests(index: str | Path) -> dict[str, pa.ChunkedArray]:
    """Return the digests of the images of each split, as far as they are known."""
    table = read_columns(index, ["split", "digest"])
    table = table.filter(pc.not_equal(table["digest"], ""))
    return {split: table.filter(pc.equal(table["split"], split))["digest"] for split in ("train", "test")}


# Tables


def linked_table(frame: pd.DataFrame, recipe: ArtifactRecipe, csv: str | Path, runs: dict[str, Run]) -> dict[str, Any]:
    """The printed table, its cells linked to the runs behind them (its tidy CSV says which), and the notes on it."""
    behind = {
        (cell["teacher"], slug, cell["dataset"])
        for cell in read_csv(csv).to_dict("records")
        for slug in cell["runs"].split()
    }
    keys = zip(frame["teacher"], frame["slug"], frame["dataset"], strict=True)
    scores = frame[[key in behind for key in keys]]

    def render(cell: dict[Any, Any]) -> Markup:
        found = [runs[anchor(cell["teacher"], slug)] for slug in cell["runs"].split()]
        text = Markup("<strong>{}</strong>" if cell["best"] else "{}").format(cell_text(cell))
        if len(found) == 1:
            return Markup('<a href="#{}">{}</a>').format(found[0].anchor, text)
        links = [Markup('<a href="#{}">{}</a>').format(run.anchor, run.axes["seed"]) for run in found]
        return Markup('{} <small class="seeds">seeds {}</small>').format(text, Markup(" ").join(links))

    table = tidy_table(scores, recipe)
    printed = printed_table(table, recipe, render).fillna("")
    numbers = [name for name in printed.columns if any(isinstance(cell, Markup) for cell in printed[name])]
    return {"table": table_parts(printed, numbers), "notes": notes(table, recipe)}


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV's cells as they are written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def csv_table(path: str | Path, labels: Labels) -> dict[str, Any]:
    """A CSV for a reader: labels, thousands set apart, and no column that is empty throughout."""
    table = read_csv(path)
    table = table.loc[:, (table != "").any()]
    named = labels.keys() & set(table.columns)  # a name, or a label, may look like a number
    for column in named:
        table[column] = [labels[column].get(name, name) for name in table[column]]
    if "methods" in table:  # those with the same form of student
        table["methods"] = ["; ".join(labels["method"][name] for name in names.split()) for names in table["methods"]]
    numbers = [
        name
        for name in table.columns
        if name not in named and pd.to_numeric(table[name].replace("", "0"), errors="coerce").notna().all()
    ]
    table[numbers] = table[numbers].map(lambda text: f"{int(text):,}" if text.isdecimal() else text)
    table.columns = table.columns.str.replace("_", " ")
    return table_parts(table, [name.replace("_", " ") for name in numbers])


def counts_table(path: str | Path, labels: Labels) -> dict[str, Any]:
    """The computation study's counts."""
    types: Any = {"teacher": str, "method": str, "k": "Int64"}
    counts = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"k": [""]})
    printed = printed_counts(counts, labels["teacher"])
    return table_parts(printed, list(printed.columns[2:]))


def comparisons_table(path: str | Path, labels: Labels) -> dict[str, Any]:
    """The comparisons behind the claims that were run, with links to their runs."""
    table = read_csv(path)
    table = table[table["seeds"] != "0"]

    def linked(runs: str) -> Markup:
        links = [Markup('<a href="#{}">{}</a>').format(anchor(*run.split("/")), run) for run in runs.split()]
        return Markup("<br>").join(links)

    columns = {
        "claim": table["claim"],
        "data set": [labels["dataset"].get(name, name) for name in table["config_dataset"]],
        "in the paper": table["dataset"],
        "better": [linked(runs) for runs in table["better_runs"]],
        "worse": [linked(runs) for runs in table["worse_runs"]],
        **{name.replace("_", " "): table[name] for name in COMPARED},
    }
    return table_parts(pd.DataFrame(columns, dtype=object), [name.replace("_", " ") for name in COMPARED])


def table_parts(table: pd.DataFrame, numbers: list[str]) -> dict[str, Any]:
    """What the template needs of a table: its columns, whether each is one of numbers, and its rows."""
    return {"columns": {name: name in numbers for name in table.columns}, "rows": table.to_numpy().tolist()}


# Curves


def _embedded(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _svg(draw: Callable[[], Figure]) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context(SVG):
        draw().savefig(buffer, format="svg", metadata=UNSAID)
    return _embedded("image/svg+xml", buffer.getvalue())


def _run_curve(run: Run) -> str:
    """A run's loss, and its student's effective rank beside its teacher's, over the epochs."""

    def draw() -> Figure:
        figure = Figure(figsize=(5.4, 1.8), layout="constrained")
        loss, rank = figure.subplots(1, 2)
        history = pd.DataFrame(run.history, index=range(1, len(run.history) + 1))
        loss.plot(history["loss"], color="#0072B2")
        loss.set(title="loss", xlabel="epoch")
        rank.plot(history["student_rank"], color="#0072B2", label="student")
        rank.plot(history["teacher_rank"], "--", color="#666666", label="teacher")
        rank.set(title="effective rank", xlabel="epoch")
        rank.legend(frameon=False)
        for axes in (loss, rank):  # few ticks: a page may hold hundreds of these
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylim(0, 1.05 * axes.dataLim.ymax or 1)  # of a loss of 0 throughout, too
        return figure

    return _svg(draw)


def _campaign_curves(runs: list[Run], labels: Labels) -> dict[str, str]:
    """What is drawn of all distillations together, and its picture."""
    drawn = [run for run in runs if run.history]
    if not drawn:
        return {}
    return {
        "Loss, as a share of the teacher tokens' own mean absolute deviation": _svg(
            lambda: _panels(drawn, labels, lambda epoch: epoch["relative_loss"])  # None where it is no distance
        ),
        "Effective rank of the student's embeddings, as a share of its teacher's": _svg(
            lambda: _panels(drawn, labels, lambda epoch: epoch["student_rank"] / epoch["teacher_rank"])
        ),
    }


def _panels(runs: list[Run], labels: Labels, value: Callable[[dict[str, Any]], float | None]) -> Figure:
    """A panel a teacher and r, a line a run: its colour is the method, its dashes the share of the corpus."""
    panels: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        panels[run.axes["teacher"], run.axes["r"]].append(run)
    alphas = sorted({run.axes["alpha"] for run in runs}, reverse=True)
    dashes = {alpha: DASHES[place % len(DASHES)] for place, alpha in enumerate(alphas)}
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.4 * columns, 2.8 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    teachers = list(labels["teacher"])
    order = sorted(panels, key=lambda panel: (teachers.index(panel[0]), panel[1]))
    for axes, (teacher, r) in zip(grid, order, strict=False):
        for run in panels[teacher, r]:
            colour = METHODS[run.axes["method"]].colour
            heights = np.array([value(epoch) for epoch in run.history], dtype=float)
            axes.plot(range(1, len(heights) + 1), heights, dashes[run.axes["alpha"]], color=colour, linewidth=1.2)
        axes.set(title=wrapped(f"{labels['teacher'][teacher]}, r = {r}", 5.4), xlabel="epoch")
        axes.tick_params(labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    grid[0].set_ylim(bottom=0)
    methods = dict.fromkeys(run.axes["method"] for run in runs)
    keys = [Line2D([], [], color=METHODS[name].colour, label=labels["method"][name]) for name in methods]
    figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
    keys = [Line2D([], [], color="#666666", linestyle=dashes[a], label=f"alpha = {a:g}%") for a in alphas]
    figure.legend(handles=keys, loc="outside upper center", ncols=4, frameon=False)
    return figure
