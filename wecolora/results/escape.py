"""What users type, and what is printed around it, as text of Markdown and of LaTeX: never as code of theirs.

A line break or a run of white space becomes one space: in either format a table's row is a line.
"""

from __future__ import annotations

import re

import pandas as pd

# A backslash before any of these makes it a sign like others. `$` opens a formula on GitHub; an ampersand, a colon and
# a dot matter only where they would make a character reference, a link or a picture (`:tada:`).
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|#~$]|&(?=#?\w+;)|:(?=//|\w+:)|(?<=www)\.")
# pandas' own escaping (Styler.format) leaves what LaTeX's usual fonts print as other signs, such as < and |, what a
# row's end would take for its argument, * and [, and letters and signs that pdflatex does not know.
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {sign: f"{{{sign}}}" for sign in "[]*"}
    | {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "`": r"\textasciigrave{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        '"': r"\symbol{34}",  # \textquotedbl needs fontenc; of an old font it is the closing mark
        "„": "{,}{,}",
        "‚": "{,}",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "∞": r"$\infty$",
        "±": r"$\pm$",
        "†": r"$^\dagger$",
        "×": r"$\times$",
        "−": r"$-$",
        "α": r"$\alpha$",
        "✓": r"\checkmark{}",
        "✗": r"$\times$",
    }
)
# Two hyphens would be set as a dash, two apostrophes or commas as quotation marks.
_LIGATURE = re.compile(r"(?<=[-',])(?=[-',])")
LATEX_NEEDS = """\
% The preamble needs \\usepackage{booktabs} and, for \\checkmark, \\usepackage{amssymb}.
% Letters that pdflatex does not know, such as Chinese ones, need lualatex or xelatex, and a font that has them.
"""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Text as Markdown that GitHub shows as it was typed; within a line."""
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def markdown_table(table: pd.DataFrame, words: int) -> str:
    """A table of Markdown, as it is: its first ``words`` columns to the left, the others, of numbers, to the right."""
    places = ["left"] * words + ["right"] * (len(table.columns) - words)
    return table.to_markdown(index=False, disable_numparse=True, colalign=places)


def latex(text: str) -> str:
    """Text as LaTeX that is set as it was typed; see LATEX_NEEDS."""
    return _LIGATURE.sub("{}", _one_line(text).translate(_LATEX))
