"""Text that users type: Markdown and reStructuredText are read back by renderers, LaTeX is compiled where it can be."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pandas as pd
import pytest
from docutils.core import publish_parts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.markup import NASTY, cells
from wecolora.results.escape import latex, markdown, markdown_table

CAPTION = Path(__file__).parents[3] / "rules" / "caption.rst"
TYPED = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))


def folded(text):
    return " ".join(text.split())


# Markdown


@pytest.mark.parametrize(
    ("typed", "escaped"),
    [
        ("ViT-B/16 (MAE), 50.5 ± 0.1% of R&D!", "ViT-B/16 (MAE), 50.5 ± 0.1% of R&D!"),
        (r"a|b \ `c` *d* _e_", r"a\|b \\ \`c\` \*d\* \_e\_"),
        ("[x](y) <b> #1 $5 ~6~", r"\[x\](y) \<b\> \#1 \$5 \~6\~"),
        ("&lt; &#36; & co", r"\&lt; \&\#36; & co"),
        ("https://a.org www.a.org 1:2", r"https\://a.org www\.a.org 1:2"),
        ("a :tada: b:c", r"a \:tada: b:c"),
        (" two\n\nlines\tand  more ", "two lines and more"),
    ],
)
def test_markdown_is_escaped(typed, escaped):
    assert markdown(typed) == escaped


@settings(deadline=None)
@given(TYPED)
@example(NASTY)
@example("\\|")
@example("a\\")
def test_a_markdown_table_shows_what_was_typed(typed):
    table = pd.DataFrame({"first": [markdown(typed), "x"], markdown(typed) + "!": ["**1.0**", "2"]})
    assert cells(markdown_table(table, words=1)) == [
        ["first", folded(typed) + "!"],
        [folded(typed), "1.0"],
        ["x", "2"],
    ]


def test_what_looks_like_a_number_is_printed_as_it_is_and_numbers_stand_to_the_right():
    table = pd.DataFrame({"name": ["007", "1e5", "1_000"], "score": ["80.0", "**81.50**", ""]})
    source = markdown_table(table, words=1)
    assert cells(source) == [["name", "score"], ["007", "80.0"], ["1e5", "81.50"], ["1_000", ""]]
    left, right = source.splitlines()[1].strip("|").split("|")
    assert left.startswith(":") and not left.endswith(":") and right.endswith(":") and not right.startswith(":")


# LaTeX


@pytest.mark.parametrize(
    ("typed", "escaped"),
    [
        ("WeCo+LoRA (Q, V), r = 2", "WeCo+LoRA (Q, V), r = 2"),
        (r"50% of R&D, my_set #1 {x} $5", r"50\% of R\&D, my\_set \#1 \{x\} \$5"),
        (r"\foo ^2 ~3", r"\textbackslash{}foo \textasciicircum{}2 \textasciitilde{}3"),
        ('a|b <c> `d` "e"', r"a\textbar{}b \textless{}c\textgreater{} \textasciigrave{}d\textasciigrave{} "
         r"\symbol{34}e\symbol{34}"),
        ("[1] *", "{[}1{]} {*}"),  # after a row's end: its argument, or its starred form
        ("a--b ''c'' ,,d,, it's 1-2", "a-{}-b '{}'c'{}' ,{},d,{}, it's 1-2"),  # no dash, no quotation marks
        ("„a“ ‚b‘ ≤ ≥ ∞", r"{,}{,}a“ {,}b‘ $\leq$ $\geq$ $\infty$"),
        ("±†×−α✓✗", r"$\pm$$^\dagger$$\times$$-$$\alpha$\checkmark{}$\times$"),
        ("alphabet é 猫", "alphabet é 猫"),
        (" two\n\nlines\tand  more ", "two lines and more"),
    ],
)  # fmt: skip
def test_latex_is_escaped(typed, escaped):
    assert latex(typed) == escaped


# reStructuredText: Snakemake's own report


class Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@settings(deadline=None)
@given(TYPED)
@example(NASTY)
@example("- no list\n\n.. include:: /etc/hostname\n\n|x| `y`_ ::")
def test_snakemakes_report_shows_a_caption_as_it_was_typed(typed):
    """As snakemake.report.FileRecord.render makes it: by jinja2, then by docutils; links follow it."""
    source = CAPTION.read_text(encoding="utf-8") + "\n\n.. _a link: #link\n"
    params = SimpleNamespace(caption=f"Table 1. {typed}")
    rendered = (
        jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        .from_string(source)
        .render(snakemake=SimpleNamespace(params=params))
    )
    found = Text()
    found.feed(publish_parts(rendered, writer="html", settings_overrides={"report_level": 2, "halt_level": 2})["body"])
    found.close()
    assert found.text.strip() == folded(f"Table 1. {typed}") and found.tags == ["p"]
