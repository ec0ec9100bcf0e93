"""Labels as people write them: one spelling for each label, and warnings about labels that may be mistakes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal

from wecolora.data.listing import nfc, some

# As programs and people write a missing value.
MISSING = {"nan", "null", "n/a", "na", "#n/a", "<na>", "nat", "?", "-", "none", "unknown", "undefined"}
SIGNS = "|;,/"  # characters with which people divide several labels
BRACKETS = {"[": "]", "{": "}", "(": ")"}
QUOTED = re.compile("([\"'`\u2018\u201c\u201e\u00ab])(.*)[\"'`\u2019\u201c\u201d\u00bb]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+", re.ASCII)


def label_of(text: str) -> str:
    """Return the label that a cell of a table stands for.

    A whole number has one spelling: ``1.0`` is ``1`` (pandas writes ``1.0`` if a value of the column is missing). An
    accented letter has one spelling, too.
    """
    label = nfc(text.strip())
    whole = WHOLE.fullmatch(label)
    label = whole[1] if whole else label
    return "0" if label == "-0" else label


def is_unprintable(label: str) -> bool:
    """Return whether a label has control characters, which no table shows, or bytes that are not UTF-8."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in label)


def is_list(cell: str) -> bool:
    """Return whether a cell looks like a list of Python or JSON: a bracket opens at its start and closes at its end."""
    closing = BRACKETS.get(cell[:1])
    if closing is None or not cell.endswith(closing):
        return False
    depth = 0
    for place, character in enumerate(cell):
        depth += (character == cell[0]) - (character == closing)
        if depth == 0:
            return place == len(cell) - 1
    return False


def doubtful(classes: Iterable[str]) -> list[str]:
    """Return a sentence for each reason why some of these classes may be mistakes."""
    classes, found = list(classes), []
    if same := _alike(classes, _number):
        found.append(f"classes are one number, spelt differently: {same}.")
    if same := _alike(classes, _plain):
        found.append(f"classes differ in case, quotes, white space or invisible characters alone: {same}.")
    if joined := _joined(classes):
        found.append(f"classes look like several labels of an image: {some(joined)}; `separator` divides a table's.")
    if missing := [label for label in classes if label.lower() in MISSING]:
        found.append(f"classes look like missing values: {some(missing)}.")
    return found


def _number(label: str) -> str | Decimal:
    """Return the number that a label writes, perhaps with a decimal comma, or the label itself if it writes none."""
    plain = label.replace(",", ".")
    return label if NUMBER.fullmatch(plain) is None else Decimal(plain)


def _plain(label: str) -> str:
    visible = "".join(character for character in label if unicodedata.category(character) != "Cf").strip()
    quoted = QUOTED.fullmatch(visible)
    return " ".join((quoted[2] if quoted else visible).casefold().split())


def _joined(classes: list[str]) -> list[str]:
    """Return the classes that look like several labels in one.

    Such a class has a divider in it, and each of its parts is also a class, or a part of another class.
    """
    parts = {label: {part.strip() for part in re.split(f"[{re.escape(SIGNS)}]", label)} - {""} for label in classes}
    counts = Counter(part for label, found in parts.items() for part in found | {label})
    return [repr(label) for label, found in parts.items() if len(found) > 1 and all(counts[one] > 1 for one in found)]


def _alike(classes: list[str], key: Callable[[str], Hashable]) -> str:
    """Return, in words, the groups of classes that have the same ``key``."""
    groups: dict[Hashable, list[str]] = {}
    for label in classes:
        groups.setdefault(key(label), []).append(label)
    return some([" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1])
