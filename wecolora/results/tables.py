"""Tables as the paper prints them: rows by axes, a column for each data set, the best of each group bold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wecolora.config.methods import COMPONENTS, METHODS, TEACHER_VENUES
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.files import atomic_write, write_text
from wecolora.results.escape import LATEX_NEEDS, latex, markdown, markdown_table
from wecolora.results.published import published
from wecolora.results.scores import over_seeds

TITLES = {
    "teacher": "Teacher",
    "r": "r",
    "alpha": "alpha",
    "loss_point": "Tokens compared",
    "layers": "Blocks copied",
    "method": "Method",
    "venue": "Venue",
}
LOSS_POINTS = {"before_norm": "before the norm", "after_norm": "after the norm"}


LAYERS = {
    "paper": "every r-th (paper)",
    "authors_code": "the first, then every r-th (authors' code)",
    "first": "the first ones",
    "influence": "highest influence",
    "search": "search",
}


def tidy_table(scores: pd.DataFrame, recipe: ArtifactRecipe) -> pd.DataFrame:
    """Return a row for each cell of the table.

    It has the cell's axes, its mean, std and number of seeds, the slugs of its runs (by seed, joined by spaces), how
    many of them have warnings, and whether it is the best of its group.

    A group is the cells of one data set that share every row label but the method. Values that are equal as printed,
    with one decimal, are best together (as in the paper's tables).
    """
    axes = ["teacher", "r", "k", "alpha", "loss_point", "layers", "method", "dataset", "metric"]
    scores = scores.sort_values("seed", kind="stable")
    table = over_seeds(scores, axes)
    runs = scores.groupby(axes, dropna=False, sort=False)
    table["runs"] = runs["slug"].agg(" ".join).to_numpy()
    table["flagged"] = runs["signs"].agg(lambda warnings: int((warnings != "").sum())).to_numpy()
    # A teacher is an upper bound and does not compete.
    ranked = table["mean"].map(_as_printed).where(~table["method"].map(_is_teacher))
    group = [table[name] for name in _group(recipe)]
    table["best"] = ranked == ranked.groupby(group, dropna=False).transform("max")
    table["published"] = [_published(cell, recipe) for cell in table.to_dict("records")]
    table["difference"] = table["mean"] - table["published"]
    rank = {name: {value: place for place, value in enumerate(order)} for name, order in _orders(recipe).items()}
    keys = [*_axes(recipe), "dataset"]
    return table.sort_values(
        keys,
        key=lambda column: column.map(rank[str(column.name)]) if column.name in rank else column,
        ignore_index=True,
    )


def _axes(recipe: ArtifactRecipe) -> list[str]:
    """Return the axes behind the row labels, each once."""
    return list(dict.fromkeys("method" if row in ("components", "venue") else row for row in recipe.rows))


def _group(recipe: ArtifactRecipe) -> list[str]:
    return [axis for axis in ("teacher", "r", "alpha", "loss_point", "layers") if axis in recipe.rows] + ["dataset"]


def _as_printed(value: float) -> float:
    return float(f"{value:.1f}")  # round(value, 1) may round a 5 in another way


def _is_teacher(method: str) -> bool:
    return METHODS[method].is_teacher


def _published(cell: Mapping[Any, Any], recipe: ArtifactRecipe) -> float | None:
    """Return the paper's score in a table of the paper if teacher and data set are the paper's own, or None."""
    if (
        recipe.paper_table is None
        or cell["teacher"] not in recipe.exact_teachers
        or cell["dataset"] not in recipe.exact_datasets
    ):
        return None
    return _of_paper(cell, recipe)


def _of_paper(cell: Mapping[Any, Any], recipe: ArtifactRecipe) -> float | None:
    """Return the paper's score of what this cell is, or stands for, or None."""
    teacher, dataset = recipe.paper_teachers.get(cell["teacher"]), recipe.paper_datasets.get(cell["dataset"])
    if teacher is None or dataset is None:
        return None
    alpha = None if pd.isna(cell["alpha"]) else cell["alpha"]
    return published(teacher, cell["r"], cell["method"], alpha, dataset, recipe.paper_table)


def notes(table: pd.DataFrame, recipe: ArtifactRecipe) -> list[str]:
    """Return what a reader must know besides the caption.

    The notes say what stands in brackets. They also say how many of the paper's orderings of two methods, in one column
    and group, this version of a table repeats. Values count as printed, and the paper's ties are left out.
    """
    found = []
    if table["published"].notna().any():
        found.append("In brackets: the published score, and the difference from it.")
    if table["flagged"].any():
        found.append("† A run behind it showed a failure sign, such as a collapsed student: see the report.")
    same = level = pairs = 0
    contestants = table[~table["method"].map(_is_teacher) & (recipe.paper_table is not None)]
    for _, group in contestants.groupby(_group(recipe), dropna=False):
        cells = [(_of_paper(cell, recipe), _as_printed(cell["mean"])) for cell in group.to_dict("records")]
        in_paper = [(paper, mean) for paper, mean in cells if paper is not None]
        for (paper, mean), (other_paper, other_mean) in itertools.combinations(in_paper, 2):
            ahead, here = np.sign(paper - other_paper), np.sign(mean - other_mean)
            if ahead:
                pairs += 1
                same += here == ahead
                level += here == 0
    if pairs:
        levels = f" (level in {level})" if level else ""
        found.append(
            f"Of the paper's {pairs} orderings of two methods in a column, {same} hold here by their means{levels}."
        )
    return found


def _orders(recipe: ArtifactRecipe) -> dict[str, list[str]]:
    return {
        "teacher": list(recipe.teachers),
        "loss_point": list(LOSS_POINTS),
        "layers": list(LAYERS),
        "method": recipe.methods,
        "dataset": list(recipe.datasets),
    }


def cell_text(cell: dict[Any, Any]) -> str:
    """Return a row of the tidy table as printed: its mean, with its deviation if there are several seeds."""
    text = f"{cell['mean']:.1f}" + (f" ± {cell['std']:.1f}" if cell["seeds"] > 1 else "")
    text += "†" if cell["flagged"] else ""
    if pd.isna(cell["published"]):
        return text
    difference = _as_printed(cell["mean"]) - cell["published"]  # the difference of the numbers as they are printed
    return f"{text} ({cell['published']:.1f}; {difference:+.1f})"


def _markdown_cell(cell: dict[Any, Any]) -> str:
    text = markdown(cell_text(cell))
    return f"**{text}**" if cell["best"] else text


def _latex_cell(cell: dict[Any, Any]) -> str:
    text = latex(cell_text(cell))
    return f"\\textbf{{{text}}}" if cell["best"] else text


def printed_table(
    table: pd.DataFrame, recipe: ArtifactRecipe, render: Callable[[dict[Any, Any]], str] = _markdown_cell
) -> pd.DataFrame:
    """Return the table as strings: the columns of the row labels, then a column for each data set.

    A row label is printed once for the rows that share it. ``render`` turns a row of the tidy table into its cell.
    Everything else is as the config has it.
    """
    metric = dict(zip(table["dataset"], table["metric"], strict=True))
    columns = {name: f"{label} ({metric[name]})" for name, label in recipe.datasets.items()}
    axes = _axes(recipe)
    rows = []
    last: tuple[object, ...] = ()
    for key, cells in table.groupby(axes, sort=False, dropna=False):
        row: dict[str, str] = {}
        same = True
        for axis in recipe.rows:
            place = axes.index("method" if axis in ("components", "venue") else axis)
            value = key[place]
            same = same and place < len(last) and (last[place] == value or (_missing(value) and _missing(last[place])))
            if axis == "components":
                row |= {title: "✓" if has(str(value)) else "✗" for title, has in COMPONENTS.items()}
            elif axis == "venue":
                row[TITLES[axis]] = "" if same else _venue(str(value), cells["teacher"].iloc[0], recipe)
            else:
                row[TITLES[axis]] = "" if same else _label(axis, value, recipe)
        for cell in cells.to_dict("records"):
            row[columns[str(cell["dataset"])]] = render(cell)
        rows.append(row)
        last = key
    return pd.DataFrame(rows, dtype=object)  # keeps what render returned; pandas' own strings would be plain ones


def _missing(value: object) -> bool:
    return value is None or value != value


def _venue(method: str, teacher: str, recipe: ArtifactRecipe) -> str:
    """Return where a method was published; for a teacher, where the paper's teacher was that it is, or stands for."""
    if _is_teacher(method):
        return TEACHER_VENUES.get(recipe.paper_teachers.get(teacher, ""), "-")
    return METHODS[method].venue


def _label(axis: str, value: object, recipe: ArtifactRecipe) -> str:
    if axis == "teacher":
        return recipe.teachers[str(value)]
    if axis == "method":
        return METHODS[str(value)].label
    if _missing(value):  # the teacher has no alpha
        return "-"
    if axis == "loss_point":
        return LOSS_POINTS[str(value)]
    if axis == "layers":
        return LAYERS.get(str(value), str(value))
    return f"{value:g}%" if axis == "alpha" else str(value)


def write_table(scores: pd.DataFrame, recipe: ArtifactRecipe, csv: str | Path, md: str | Path, tex: str | Path) -> None:
    """Write the tidy CSV, and the printed table with its caption as Markdown and LaTeX."""
    table = tidy_table(scores, recipe)
    with atomic_write(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    write_text(md, _markdown(table, recipe))
    write_text(tex, LATEX_NEEDS + _latex(table, recipe))


def _escaped(printed: pd.DataFrame, words: int, escape: Callable[[str], str]) -> pd.DataFrame:
    """Return the table with its heads and its row labels, the first ``words`` columns, as text of a format."""
    labels = printed.iloc[:, :words].map(escape)
    return pd.concat([labels, printed.iloc[:, words:]], axis=1).rename(columns=escape)


def _markdown(table: pd.DataFrame, recipe: ArtifactRecipe) -> str:
    printed = printed_table(table, recipe, _markdown_cell)
    words = len(printed.columns) - len(recipe.datasets)
    grid = markdown_table(_escaped(printed, words, markdown), words)
    head = f"**{markdown(recipe.title)}.** {markdown(recipe.caption)}"
    return "\n\n".join([head, grid, *map(markdown, notes(table, recipe))]) + "\n"


def _latex(table: pd.DataFrame, recipe: ArtifactRecipe) -> str:
    printed = printed_table(table, recipe, _latex_cell)
    words = len(printed.columns) - len(recipe.datasets)
    # No data set's column has this name, because theirs end with the metric.
    escaped = _escaped(printed, words, latex).rename(columns={TITLES["alpha"]: latex("α")})
    return escaped.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="l" * words + "r" * len(recipe.datasets),
        caption=latex(" ".join([f"{recipe.title}. {recipe.caption}", *notes(table, recipe)])),
        label=f"tab:{recipe.name}",
        position_float="centering",
    )
