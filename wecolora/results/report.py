"""The report: a campaign as one HTML page, from its verdicts and tables down to each run's recipe and training curve.

The page is complete by itself: its figures are embedded, and it loads nothing. The same results give the same bytes.
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

from wecolora.config.kinds import KINDS
from wecolora.config.layout import ABOUT, BENCHMARKS, PROBE_PROVENANCE, PROVENANCE
from wecolora.config.methods import METHODS
from wecolora.config.recipes import ArtifactRecipe, ReportArtifact, ReportRecipe
from wecolora.core.files import read_json, unreadable, write_text
from wecolora.core.job import duration
from wecolora.data.images import read_columns
from wecolora.results.claims import METHOD, printed_claim
from wecolora.results.counts import printed_counts
from wecolora.results.figures import TEXT, wrapped
from wecolora.results.scores import read_scores
from wecolora.results.tables import LOSS_POINTS, cell_text, notes, printed_table, tidy_table

Labels = dict[str, dict[str, str]]  # what is printed for a teacher, a method or a data set
HEADINGS = [heading for heading in dict.fromkeys(kind.heading for kind in KINDS.values()) if heading]
SVG: Any = {
    **TEXT,
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text, which is smaller
    "svg.hashsalt": "wecolora",  # so that the ids are the same each time
}
COMPARED = ["difference", "margin", "std", "seeds", "verdict", "published_difference"]
UNSAID: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
DASHES: list[Any] = ["-", "--", "-.", ":"]  # one for each share of the corpus, the largest first


@dataclass(frozen=True)
class Run:
    """What is known about a run.

    ``axes`` names it (teacher, method, r, k, alpha, seed, loss_point, slug). ``scores`` holds its scores by data set,
    ``student`` its student's record (empty for a teacher, which is probed as it is), and ``jobs`` how each of its jobs
    went. ``used`` says what its jobs took of a machine, a line each.
    """

    axes: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    student: dict[str, Any]
    jobs: dict[str, dict[str, Any]]
    used: list[str]

    @property
    def anchor(self) -> str:
        """The id of the run's section in the page."""
        return anchor(self.axes["teacher"], self.axes["slug"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """The record of the run's distillation, one entry for each epoch; it is empty for a teacher."""
        epochs: list[dict[str, Any]] = self.student.get("history", [])
        return epochs

    def environments(self) -> list[str]:
        """Return the device and the versions of the run's jobs, each set once."""
        records = [self.student, *self.scores.values()] if self.student else self.scores.values()
        lines = [", ".join(f"{name} {value}" for name, value in one["environment"].items()) for one in records]
        return list(dict.fromkeys(lines))

    def warnings(self, labels: Labels) -> list[tuple[str, str, str]]:
        """Return the run's warnings (failure signs): the kind, where it showed, and what it was.

        If several epochs of the distillation show one kind, the words are those of the last.
        """
        epochs: dict[str, dict[int, str]] = defaultdict(dict)
        for number, epoch in enumerate(self.history, 1):
            for warning in epoch["signs"]:
                kind, _, words = warning.partition(": ")
                epochs[kind][number] = words
        found = [
            (kind, f"distillation, epoch {', '.join(map(str, warnings))}", warnings[max(warnings)])
            for kind, warnings in epochs.items()
        ]
        for dataset, score in self.scores.items():
            for kind, colon, words in (warning.partition(": ") for warning in score["signs"]):
                if colon:  # without a colon, it repeats a kind of warning from the distillation
                    found.append((kind, f"probe on {labels['dataset'][dataset]}", words))
        return found


def anchor(teacher: str, slug: str) -> str:
    """Return the id of a run's section, with its teacher: a slug alone may belong to several teachers."""
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

    ``indexes`` are those of the corpus and of the scored data sets, ``config`` is the resolved config. The provenance
    of each run lies beside its scores and may be missing.
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
        about = {"name": name, "title": artifact.title, "caption": artifact.caption}
        artifacts.append(about | shown_artifact(artifact, labels, frame, by_anchor))
    warnings: dict[str, list[tuple[Run, str, str]]] = defaultdict(list)
    for run in runs:
        for kind, where, words in run.warnings(labels):
            warnings[kind].append((run, where, words))
    page = _template().render(
        title=recipe.title,
        artifacts=artifacts,
        groups={
            heading: [artifact for artifact in artifacts if artifact["heading"] == heading] for heading in HEADINGS
        },
        labels=labels,
        facts=facts(runs, labels) | {"Test images that were distilled on": leaks},
        runs=runs,
        warnings=warnings,
        curves=_campaign_curves(runs, labels),
        config=resolved,
    )
    write_text(html, page)
    log.info(f"{_plural(len(runs), 'run')}, {_plural(len(paths), 'score')}, {_plural(len(artifacts), 'artifact')}")


def shown_artifact(
    artifact: ReportArtifact, labels: Labels, scores: pd.DataFrame, runs: dict[str, Run]
) -> dict[str, Any]:
    """Return what the page shows of an artifact, as its kind says, and below which heading."""
    kind, files = KINDS[artifact.kind], dict(zip(KINDS[artifact.kind].files, artifact.files, strict=True))
    shown: dict[str, Any] = {"heading": kind.heading}
    if kind.shown_as == "cells":
        assert artifact.recipe is not None
        shown |= linked_table(scores, artifact.recipe, files["csv"], runs)
    elif kind.shown_as == "counts":
        shown["tables"] = [counts_table(files["csv"], labels), csv_table(files["speed"], labels)]
    elif kind.shown_as == "verdicts":
        shown["claims"] = [printed_claim(claim) for claim in pd.read_csv(files["csv"]).to_dict("records")]
        shown["comparisons"] = comparisons_table(files["comparisons"], labels)
    else:
        shown["png"] = _embedded("image/png", Path(files["png"]).read_bytes())
        shown["downloads"] = {
            kind: _embedded(content, Path(files[kind]).read_bytes())
            for kind, content in {"pdf": "application/pdf", "csv": "text/csv"}.items()
        }
        if kind.shown_as == "picture_and_values":  # others have thousands of points
            shown["points"] = csv_table(files["csv"], labels)
    return shown


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
    """Return the runs of these scores and students, sorted by teacher, method, r, k, alpha and seed.

    The data sets of a run are in the config's order. Raise BadInput if a file is not whole.
    """
    folders: dict[Path, dict[str, dict[str, Any]]] = {path.parent: {} for path in students}
    for path in paths:
        folders.setdefault(path.parent.parent, {})[path.stem] = read_json(path, ["run"], "probe again")
    runs = []
    for folder, scores in folders.items():
        jobs = {"distillation": folder / PROVENANCE}
        before, after = PROBE_PROVENANCE.split("{job}")
        jobs |= {
            f"probes, {path.name.removeprefix(before).removesuffix(after)}": path
            for path in sorted((folder / "scores").glob(PROBE_PROVENANCE.format(job="*")))
        }
        student: dict[str, Any] = {}
        if folder.name != "teacher":
            student = read_json(folder / ABOUT, ["history", "recipe"], "distil it again")
        runs.append(
            Run(
                axes=next(iter(scores.values()))["run"] if scores else _axes(folder, student["recipe"]),
                scores={name: scores[name] for name in labels["dataset"] if name in scores},
                student=student,
                jobs={job: read_json(path, (), "leave it out") for job, path in jobs.items() if path.exists()},
                used=_used(folder),
            )
        )
    teachers, methods = list(labels["teacher"]), list(labels["method"])

    def place(run: Run) -> tuple[Any, ...]:
        axes = run.axes
        numbers = [axes[name] or 0 for name in ("r", "k", "alpha", "seed")]
        return teachers.index(axes["teacher"]), methods.index(axes["method"]), *numbers, axes["slug"]

    return sorted(runs, key=place)


def _used(folder: Path) -> list[str]:
    """Return the time and the memory of a run's jobs, as Snakemake noted them; it may have noted none.

    A job of less than a few seconds, or on a system that tells nothing, has no memory and no CPU time. Raise BadInput
    for a file that is none of Snakemake's.
    """
    benchmarks = folder.parents[2] / BENCHMARKS
    found = []
    for rule, what in {"distill": "distillation", "features": "features", "probe": "probes"}.items():
        path = benchmarks / rule / folder.parent.name / folder.name
        for file in [path.parent / f"{path.name}.tsv", *sorted(path.glob("*.tsv"))]:
            if not file.exists():
                continue
            try:
                row = pd.read_csv(file, sep="\t", na_values=["NA", "-"]).astype({"s": float}).iloc[-1]
            except (OSError, ValueError, LookupError) as error:
                raise unreadable(file, error, "is no benchmark of Snakemake's", "delete it") from error
            facts = [f"{row['s']:.1f} s"]
            facts += [f"{row['max_rss']:.0f} MB of memory at most"] if row["max_rss"] > 0 else []
            facts += [f"{row['cpu_time']:.1f} s of CPU time"] if row["cpu_time"] > 0 else []
            job = "" if file.stem == folder.name else f", {file.stem}"
            found.append(f"{what}{job}: {', '.join(facts)}")
    return found


def _axes(folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what names a run that has no score."""
    named = ("teacher", "method", "r", "k", "alpha", "seed", "loss_point")
    return {**{axis: recipe[axis] for axis in named}, "slug": folder.name}


def facts(runs: list[Run], labels: Labels) -> dict[str, list[str]]:
    """Return what the page's head says: how much there is, and when and with what it was made."""
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
    """Return how many test images of each data set are training images of the corpus, byte for byte, as sentences.

    The corpus is the first of the indexes. Students are distilled on these images, though without their labels. A data
    set without such images has no sentence.
    """
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
    """Return the printed table, its cells linked to the runs behind them, and the notes on it.

    The artifact's tidy CSV says which runs stand behind a cell.
    """
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
            return Markup('<a href="#{}" title="{}">{}</a>').format(
                found[0].anchor, about(found[0], cell["dataset"]), text
            )
        links = [
            Markup('<a href="#{}" title="{}">{}</a>').format(run.anchor, about(run, cell["dataset"]), run.axes["seed"])
            for run in found
        ]
        return Markup('{} <small class="seeds">seeds {}</small>').format(text, Markup(" ").join(links))

    table = tidy_table(scores, recipe)
    printed = printed_table(table, recipe, render).fillna("")
    numbers = [name for name in printed.columns if any(isinstance(cell, Markup) for cell in printed[name])]
    return {"table": table_parts(printed, numbers), "notes": notes(table, recipe)}


def about(run: Run, dataset: str) -> str:
    """Return what is behind a number, a line each: the run's seed and recipe, its last and its best score."""
    score, lines = run.scores[dataset], []
    if run.axes["seed"] is not None:
        lines.append(f"seed {run.axes['seed']}, r = {run.axes['r']}, alpha = {run.axes['alpha']:g}%")
    recipe = run.student.get("recipe", {})
    if told := [
        f"{key} {recipe[key]}"
        for key in ("epochs", "batch", "accumulate", "lr", "loss_point", "layers")
        if key in recipe
    ]:
        lines.append(", ".join(told))
    lines.append(f"last {score['last']:.2f}, best {score['best']:.2f} (epoch {score['best_epoch']})")
    return "\n".join(lines)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Return a CSV's cells as they are written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def csv_table(path: str | Path, labels: Labels) -> dict[str, Any]:
    """Return a CSV for a reader: with labels, with thousands set apart, and without columns that are empty."""
    table = read_csv(path)
    table = table.loc[:, (table != "").any()]
    named = labels.keys() & set(table.columns)  # such a name or label may look like a number
    for column in named:
        table[column] = [labels[column].get(name, name) for name in table[column]]
    if "methods" in table:  # the methods with this form of student
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
    """Return the table of the computation study's counts."""
    types: Any = {"teacher": str, "method": str, "k": "Int64"}
    counts = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"k": [""]})
    printed = printed_counts(counts, labels["teacher"])
    return table_parts(printed, list(printed.columns[2:]))


def comparisons_table(path: str | Path, labels: Labels) -> dict[str, Any]:
    """Return the table of the comparisons that were run for the claims, with links to their runs."""
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
    """Return what the template needs of a table: its columns, whether each is one of numbers, and its rows."""
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
    """Return a picture of a run's loss, and of its student's effective rank beside its teacher's, over the epochs."""

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
        for axes in (loss, rank):  # with few ticks, because a page may hold hundreds of these
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylim(0, 1.05 * axes.dataLim.ymax or 1)  # 1 if the loss is 0 throughout
        return figure

    return _svg(draw)


def _campaign_curves(runs: list[Run], labels: Labels) -> dict[str, str]:
    """Return the pictures of all distillations together, by what they show."""
    drawn = [run for run in runs if run.history]
    if not drawn:
        return {}
    return {
        "Loss, as a share of the teacher tokens' own mean absolute deviation": _svg(
            lambda: _panels(drawn, labels, lambda epoch: epoch["relative_loss"])  # None if the loss is no distance
        ),
        "Effective rank of the student's embeddings, as a share of its teacher's": _svg(
            lambda: _panels(drawn, labels, lambda epoch: epoch["student_rank"] / epoch["teacher_rank"])
        ),
    }


def _panels(runs: list[Run], labels: Labels, value: Callable[[dict[str, Any]], float | None]) -> Figure:
    """Draw a panel for each teacher and r, with a line for each run.

    The colour of a line is the method, its dashes are the share of the corpus.
    """
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
