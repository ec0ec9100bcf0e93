"""Labels as people write them: one spelling of each, and what looks as if it were not meant so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal

from wecolora.datasets.listing import nfc, some

MISSING = {"nan", "null", "n/a", "na", "#n/a", "<na>", "nat"}  # as programs write a missing value
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+", re.ASCII)


def label_of(text: str) -> str:
    """The label that a cell or a folder's name stands for: a whole number has one spelling (``1.0`` is ``1``, as pandas
    writes it where a value of its column is missing), and so has an accented letter."""
    label = nfc(text.strip())
    whole = WHOLE.fullmatch(label)
    label = whole[1] if whole else label
    return "0" if label == "-0" else label


def is_unprintable(label: str) -> bool:
    """Whether it has control characters, which no table shows, or bytes that are no UTF-8."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in label)


def doubtful(classes: Iterable[str]) -> list[str]:
    """A sentence for each way in which some of these classes may not be meant so."""
    classes, found = list(classes), []
    if same := _alike(classes, lambda label: label if NUMBER.fullmatch(label) is None else Decimal(label)):
        found.append(f"classes are one number, spelt differently: {same}.")
    if same := _alike(classes, _plain):
        found.append(f"classes differ in case, white space or invisible characters alone: {same}.")
    if missing := [label for label in classes if label.lower() in MISSING]:
        found.append(f"classes look like missing values: {some(missing)}.")
    return found


def _plain(label: str) -> str:
    visible = "".join(character for character in label if unicodedata.category(character) != "Cf")
    return " ".join(visible.casefold().split())


def _alike(classes: list[str], key: Callable[[str], Hashable]) -> str:
    """The classes that this key does not tell apart, in words."""
    groups: dict[Hashable, list[str]] = {}
    for label in classes:
        groups.setdefault(key(label), []).append(label)
    return some([" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1])
