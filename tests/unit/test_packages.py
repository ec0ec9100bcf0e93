"""The house: packages in reading order, each of which imports only those before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "wecolora"
ORDER = ["core", "config", "data", "models", "training", "evaluation", "results", "campaign", "api", "commands", "cli"]
FILES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found & FILES.keys()


def package_of(module: str) -> str:
    return module.split(".")[1]


def test_the_packages_are_those_of_the_house():
    assert {package_of(module) for module in FILES} == set(ORDER)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_packages_before_its_own(module):
    allowed = ORDER[: ORDER.index(package_of(module)) + 1]
    later = {other for other in imported(FILES[module]) if package_of(other) not in allowed}
    assert later == set()


def test_no_import_leads_back():
    list(TopologicalSorter({module: imported(path) for module, path in FILES.items()}).static_order())


def test_nothing_stands_in_an_init_file():
    """But in the project's own, which has the names of a notebook, and imports what is behind them when it is asked."""
    assert [path for path in PACKAGE.rglob("__init__.py") if path.stat().st_size] == [PACKAGE / "__init__.py"]


def test_a_test_file_mirrors_the_module_that_it_tests():
    """Or, in the package's folder, has a name of its own where it tests several."""
    several = {
        "config/test_architectures.py",
        "data/sources/test_official.py",
    }
    modules = {"/".join(module.split(".")[1:]) for module in FILES}
    for path in (REPOSITORY / "tests" / "unit").rglob("test_*.py"):
        name = path.relative_to(REPOSITORY / "tests" / "unit")
        if len(name.parts) > 1 and str(name) not in several:
            assert str(name.parent / name.stem.removeprefix("test_")) in modules, name


def test_what_the_snakefile_imports_needs_no_torch():
    code = "import sys, wecolora.campaign.selection, wecolora.config.campaign; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
