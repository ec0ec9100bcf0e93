"""Text that is code in one format or another, and Markdown read back by a renderer of it."""

from __future__ import annotations

from markdown_it import MarkdownIt

# Everything that is code somewhere, in one label.
NASTY = (
    r"from $5 to $10 \foo{x}^2_i ~5% ~~6~~ #1 & &amp; |a| <b>c</b> `d` *e* **f** _g_ [h](i) ![j](k) {{ 7 * 7 }} "
    r"--l 'm' „n“ :o: ≤"
)


def rendered(source: str):
    """The tokens of Markdown as GitHub has it: with tables and struck-out text."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)


def shown(token) -> str:
    """Of a token of a line: its text. There is nothing else in it but bold type."""
    kinds = {child.type for child in token.children}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}, (token.content, kinds)
    return "".join(child.content for child in token.children)


def cells(source: str) -> list[list[str]]:
    """The texts of a Markdown table's cells, a list a row, the head's first."""
    rows: list[list[str]] = []
    for token in rendered(source):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > 2:
            rows[-1].append(shown(token))
    return rows


def head(source: str) -> str:
    """The text of a Markdown page's first paragraph."""
    return next(shown(token) for token in rendered(source) if token.type == "inline" and token.level == 1)
