"""The order of the tests: files that wait longest for their own processes come first.

So no worker is left with one of them at the end while the others have nothing to do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FIRST = ("workflow/test_paper.py", "slurm/", "workflow/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, and leave the tests of each as they are."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS).as_posix()
        return next((number for number, start in enumerate(FIRST) if name.startswith(start)), len(FIRST))

    items.sort(key=place)
