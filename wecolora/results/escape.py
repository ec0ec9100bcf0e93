"""Text that users type, and text around it, in Markdown and LaTeX; it is printed as it is and never acts as code.

A line break or a run of white space becomes one space, because a table's row is one line in either format.
"""

from __future__ import annotations

import re

import pandas as pd

# A backslash before any of these makes it an ordinary character. `$` opens a formula on GitHub. An ampersand, a colon
# and a dot matter only if they would make a character reference, a link or a picture (`:tada:`).
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|#~$]|&(?=#?\w+;)|:(?=//|\w+:)|(?<=www)\.")
# pandas' own escaping (Styler.format) leaves three sorts of characters as they are: those that LaTeX's usual fonts
# print as others (such as < and |), those that the end of a row would take for its argument (* and [), and letters and
# symbols that pdflatex does not know.
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
        '"': r"\symbol{34}",  # \textquotedbl needs fontenc; in an old font it is the closing mark
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
# LaTeX would print two hyphens as a dash, and two apostrophes or commas as quotation marks.
_LIGATURE = re.compile(r"(?<=[-',])(?=[-',])")
LATEX_NEEDS = """\
% The preamble needs \\usepackage{booktabs} and, for \\checkmark, \\usepackage{amssymb}.
% Letters that pdflatex does not know, such as Chinese ones, need lualatex or xelatex, and a font that has them.
"""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Return text as Markdown that GitHub shows as it was typed, within a line."""
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def markdown_table(table: pd.DataFrame, words: int) -> str:
    """Return a Markdown table of cells as they are.

    Its first ``words`` columns are aligned to the left, the others, which are numbers, to the right.
    """
    places = ["left"] * words + ["right"] * (len(table.columns) - words)
    return table.to_markdown(index=False, disable_numparse=True, colalign=places)


def latex(text: str) -> str:
    """Return text as LaTeX that is set as it was typed; see LATEX_NEEDS."""
    return _LIGATURE.sub("{}", _one_line(text).translate(_LATEX))
