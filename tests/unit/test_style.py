"""The style of the house that a machine can check: short functions with few parameters, and docstrings that say what a
function does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wecolora"
MOST_LINES, MOST_PARAMETERS = 59, 7
FILES = sorted(PACKAGE.rglob("*.py"))
# A docstring that begins so is a fragment ("Of one run.").
FRAGMENTS = {"And", "As", "At", "By", "For", "From", "If", "In", "Of", "On", "To", "Where", "Whether", "With"}
# The docstring of a function that begins so names a thing, and does not say what the function does with it.
NAMES = {"A", "All", "An", "Each", "Every", "Its", "How", "No", "None", "The", "This", "What", "When", "Which", "Why"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(function: Function) -> list[str]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [one.arg for one in named if one is not None and one.arg not in ("self", "cls")]


def is_property(node: Documented) -> bool:
    """A property names a thing."""
    decorators = {ast.unparse(one) for one in getattr(node, "decorator_list", [])}
    return isinstance(node, Function) and bool(decorators & {"property", "cached_property"})


def faults(source: str) -> list[str]:
    """Everything in a module that is against the rules, as a line and a sentence each."""
    tree, found = ast.parse(source), []
    for function in functions(tree):
        lines, count = (function.end_lineno or 0) - function.lineno + 1, len(parameters(function))
        if lines > MOST_LINES:
            found.append(f"{function.lineno}: {function.name} has {lines} lines")
        if count > MOST_PARAMETERS:
            found.append(f"{function.lineno}: {function.name} has {count} parameters")
    for node in ast.walk(tree):
        if not isinstance(node, Documented) or (text := ast.get_docstring(node)) is None:
            continue
        first = text.split()[0].rstrip(".,:;") if text.split() else ""
        names_a_thing = isinstance(node, Function) and not is_property(node) and first in NAMES
        if first in FRAGMENTS or names_a_thing or not first[:1].isupper():
            found.append(f"{node.body[0].lineno}: a docstring begins with {first!r}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_written_in_the_style_of_the_house(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def long_function(lines: int) -> str:
    return "def f():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (long_function(59), []),
        (long_function(60), ["1: f has 60 lines"]),
        ("def f(a, b, c, /, d, *, e, g, h): ...", []),
        ("class C:\n    def f(self, a, b, c, d, *, e, g, h): ...", []),
        ("def f(a, b, c, /, d, *, e, g, h, i): ...", ["1: f has 8 parameters"]),
        ("def f(a, b, c, d, e, g, *h, **i): ...", ["1: f has 8 parameters"]),
        ("def f():\n    def g(a, b, c, d, e, g, h, i): ...", ["2: g has 8 parameters"]),
        ('def f():\n    """Return the runs."""', []),
        ('def f():\n    """The runs."""', ["2: a docstring begins with 'The'"]),
        ('def f():\n    """What: the runs."""', ["2: a docstring begins with 'What'"]),
        ('class C:\n    """The runs."""', []),
        ('class C:\n    """Of one run."""', ["2: a docstring begins with 'Of'"]),
        ('class C:\n    @property\n    def f(self):\n        """The runs."""', []),
        ('class C:\n    @property\n    def f(self):\n        """Of one run."""', ["4: a docstring begins with 'Of'"]),
        ('"""writes a table."""', ["1: a docstring begins with 'writes'"]),
        ('"""(n, d) -> (n, 2)."""', ["1: a docstring begins with '(n'"]),
    ],
)
def test_what_is_against_the_rules_is_found(source, said):
    assert faults(source) == said
