"""Tables as the paper prints them: rows by axes, a column a data set, the best of each group bold."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from wecolora.files import atomic_write
from wecolora.methods import COMPONENTS, METHODS
from wecolora.recipes import ArtifactRecipe
from wecolora.scores import over_seeds

TITLES = {"teacher": "Teacher", "r": "r", "alpha": "alpha", "loss_point": "Tokens compared", "method": "Method"}
LOSS_POINTS = {"before_norm": "before the norm", "after_norm": "after the norm"}


def tidy_table(scores: pd.DataFrame, recipe: ArtifactRecipe) -> pd.DataFrame:
    """One row a cell: its axes, mean, std and number of seeds, and whether it is the best of its group.

    A group is what shares every row label but the method, in one data set; equal values, as printed with one decimal,
    are best together (as in the paper's tables).
    """
    axes = ["teacher", "r", "k", "alpha", "loss_point", "method"]
    table = over_seeds(scores, [*axes, "dataset", "metric"])
    group = [axis for axis in ("teacher", "r", "alpha", "loss_point") if axis in recipe.rows] + ["dataset"]
    printed = table["mean"].map(lambda mean: float(f"{mean:.1f}"))  # round(1) differs from it where a 5 is cut
    table["best"] = printed == printed.groupby([table[name] for name in group]).transform("max")
    rank = {name: {value: place for place, value in enumerate(order)} for name, order in _orders(recipe).items()}
    keys = [axis if axis != "components" else "method" for axis in recipe.rows] + ["dataset"]
    return table.sort_values(
        keys,
        key=lambda column: column.map(rank[str(column.name)]) if column.name in rank else column,
        ignore_index=True,
    )


def _orders(recipe: ArtifactRecipe) -> dict[str, list[str]]:
    return {
        "teacher": list(recipe.teachers),
        "loss_point": list(LOSS_POINTS),
        "method": recipe.methods,
        "dataset": list(recipe.datasets),
    }


def printed_table(table: pd.DataFrame, recipe: ArtifactRecipe, bold: str = "**{}**") -> pd.DataFrame:
    """The table as strings, a column a data set; a row label is printed once for the rows that share it."""
    metric = dict(zip(table["dataset"], table["metric"], strict=True))
    columns = {name: f"{label} ({metric[name]})" for name, label in recipe.datasets.items()}
    axes = [axis if axis != "components" else "method" for axis in recipe.rows]
    rows = []
    last: tuple[object, ...] = ()
    for key, cells in table.groupby(axes, sort=False):
        row: dict[str, str] = {}
        same = True
        for place, (axis, value) in enumerate(zip(recipe.rows, key, strict=True)):
            same = same and place < len(last) and last[place] == value
            if axis == "components":
                row |= {title: "✓" if has(str(value)) else "✗" for title, has in COMPONENTS.items()}
            else:
                row[TITLES[axis]] = "" if same else _label(axis, value, recipe)
        for cell in cells.to_dict("records"):
            text = f"{cell['mean']:.1f}" + (f" ± {cell['std']:.1f}" if cell["seeds"] > 1 else "")
            row[columns[str(cell["dataset"])]] = bold.format(text) if cell["best"] else text
        rows.append(row)
        last = key
    return pd.DataFrame(rows)


def _label(axis: str, value: object, recipe: ArtifactRecipe) -> str:
    if axis == "teacher":
        return recipe.teachers[str(value)]
    if axis == "method":
        return METHODS[str(value)].label
    if axis == "loss_point":
        return LOSS_POINTS[str(value)]
    return f"{value:g}%" if axis == "alpha" else str(value)


def write_table(
    scores: pd.DataFrame, recipe: ArtifactRecipe, csv: str | Path, markdown: str | Path, latex: str | Path
) -> None:
    """Write the tidy CSV, and the printed table as Markdown and LaTeX with its caption."""
    table = tidy_table(scores, recipe)
    with atomic_write(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    printed = printed_table(table, recipe)
    with atomic_write(markdown) as temporary:
        temporary.write_text(f"**{recipe.title}.** {recipe.caption}\n\n{printed.to_markdown(index=False)}\n")
    with atomic_write(latex) as temporary:
        temporary.write_text(_latex(printed_table(table, recipe, bold="\\textbf{{{}}}"), recipe))


def _escape(text: str) -> str:
    return re.sub(r"[%&_#]", r"\\\g<0>", text).replace("±", r"$\pm$")


def _latex(printed: pd.DataFrame, recipe: ArtifactRecipe) -> str:
    marks = {"✓": r"\checkmark", "✗": r"$\times$"}
    escaped = printed.map(lambda cell: marks.get(cell, _escape(cell)))
    escaped.columns = pd.Index([_escape(name).replace("alpha", r"$\alpha$") for name in printed.columns])
    return escaped.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="l" * len(recipe.rows) + "r" * (len(printed.columns) - len(recipe.rows)),
        caption=_escape(f"{recipe.title}. {recipe.caption}"),
        label=f"tab:{recipe.name}",
        position_float="centering",
    )
