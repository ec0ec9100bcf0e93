"""Whoever changes a stage's code is asked whether its results change.

``python -m tests.unit.campaign.test_revisions`` records the code of every stage as it is now.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from wecolora.campaign.revisions import MODULES, REVISIONS

PACKAGE = Path(__file__).parents[3] / "wecolora"
RECORD = Path(__file__).with_name("stage_digests.json")
COMMAND = "python -m tests.unit.campaign.test_revisions"

# Modules that a stage's modules import, and whose code decides none of its results, or which are watched elsewhere.
DECIDES_NOTHING = {
    "core.errors",
    "core.files",
    "core.progress",
    "config.artifacts",
    "config.recipes",
    "config.teachers",
    "config.training",
    "config.values",
    "core.checkpoint",
    "core.job",
}  # a recipe's values travel with the job
WATCHED_ELSEWHERE = {
    "subset": {"data.images"},  # the index alone is read, which `prepare` writes
    "distill": {
        "training.cache",
        "data.images",
        "data.views",
    },  # a run's recipe holds cache_teacher's revision, online too
    "report": {"data.images"},  # columns of an index alone are read
    "features": {"evaluation.probe"},  # probe.targets alone: raise features too where labels change their form
}


def canonical(node: Any) -> Any:
    """A syntax tree as nested lists, without docstrings; the same on every Python version that can parse the code."""
    if isinstance(node, list):
        return [canonical(part) for part in node if not _is_text(part)]
    if isinstance(node, ast.AST):
        fields = [[name, canonical(value)] for name, value in ast.iter_fields(node) if value not in (None, [])]
        # Constant(None) is a value; every other None, and every empty list, is something that is not there.
        return [type(node).__name__, repr(node.value) if isinstance(node, ast.Constant) else fields]
    return repr(node)


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def path_of(module: str) -> Path:
    """The file of a module of the package."""
    return (PACKAGE / module.replace(".", "/")).with_suffix(".py")


def code_digest(*sources: str) -> str:
    """32 hex digits that change with the code, and not with comments, docstrings or layout."""
    trees = [canonical(ast.parse(source)) for source in sources]
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:32]


# Files that a module reads, and whose text decides what it makes.
DATA = {"results.published": "results/paper_results.csv", "results.report": "results/report.html.j2"}


def stage_digest(stage: str) -> str:
    code = code_digest(*(path_of(module).read_text(encoding="utf-8") for module in MODULES[stage]))
    data = "".join((PACKAGE / DATA[module]).read_text(encoding="utf-8") for module in MODULES[stage] if module in DATA)
    return hashlib.sha256((code + data).encode()).hexdigest()[:32] if data else code


def state() -> dict[str, dict[str, Any]]:
    """Revision and digest of each stage, as they are."""
    return {stage: {"revision": REVISIONS[stage], "digest": stage_digest(stage)} for stage in REVISIONS}


def complaint(stage: str, recorded: dict[str, Any] | None, now: dict[str, Any]) -> str | None:
    """What is to be done about a stage; None: nothing."""
    if recorded == now:
        return None
    then = f"then record it: {COMMAND}"
    if recorded is None:
        return f"Stage {stage} is new: give it a revision in wecolora/campaign/revisions.py, {then}"
    if now["revision"] < recorded["revision"]:
        return (
            f"Stage {stage}: revision {now['revision']} is less than {recorded['revision']}, with which results may "
            f"have been made already; raise it in wecolora/campaign/revisions.py, {then}"
        )
    if now["revision"] > recorded["revision"]:
        return f"Stage {stage}: revision {now['revision']} is not recorded yet: {COMMAND}"
    modules = ", ".join(str(path_of(module).relative_to(PACKAGE.parent)) for module in MODULES.get(stage, []))
    return (
        f"The code of stage {stage} changed ({modules}), and its revision is still {now['revision']}.\n"
        f"If a number that it makes can change, raise the stage's revision in wecolora/campaign/revisions.py, {then}\n"
        f"If no number changes, record the digests again: {COMMAND}"
    )


def record() -> None:
    """Record the code of every stage as it is, and say which changed."""
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    now = state()
    for stage, entry in now.items():
        old = before.get(stage)
        if old != entry:
            print(f"{stage}: revision {old['revision'] if old else '-'} -> {entry['revision']}, code recorded")
    RECORD.write_text(json.dumps(now, indent=2) + "\n")


# The stages


@pytest.mark.parametrize("stage", REVISIONS)
def test_a_stage_whose_code_changed_has_a_higher_revision(stage):
    recorded = json.loads(RECORD.read_text()).get(stage)
    message = complaint(stage, recorded, {"revision": REVISIONS[stage], "digest": stage_digest(stage)})
    if message:
        pytest.fail(message, pytrace=False)


def test_the_record_has_the_stages_that_there_are():
    assert set(json.loads(RECORD.read_text())) == set(REVISIONS) == set(MODULES)
    assert all(isinstance(revision, int) and revision >= 1 for revision in REVISIONS.values())


def imported(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wecolora."):
            parent = str(node.module).removeprefix("wecolora.")
            names = {parent, *(f"{parent}.{name.name}" for name in node.names)}
            found |= {name for name in names if path_of(name).exists()}
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("wecolora.") for name in node.names if name.name.startswith("wecolora.")}
    return found


@pytest.mark.parametrize("stage", MODULES)
def test_a_stages_modules_are_all_watched(stage):
    """What a stage's modules import, directly or not, is among them, or excused above."""
    seen: set[str] = set()
    todo = list(MODULES[stage])
    while todo:
        module = todo.pop()
        if module not in seen and module not in DECIDES_NOTHING | WATCHED_ELSEWHERE.get(stage, set()):
            seen.add(module)
            todo += imported(module)
    assert seen - set(MODULES[stage]) == set(), f"add them to MODULES[{stage!r}] in wecolora/campaign/revisions.py"
    excused = WATCHED_ELSEWHERE.get(stage, set())
    assert excused <= {name for module in seen | excused for name in imported(module)}, "no longer imported"


# The digest itself

SOURCE = '''
"""A module."""
from dataclasses import dataclass

LIMIT = 0.07  # of all


@dataclass
class Thing:
    """A thing."""

    size: int = 3

    def area(self, by: float = 2.0) -> float:
        """What it covers."""
        text = "kept"
        return self.size * by if text else LIMIT
'''

COSMETIC = {
    "a comment": SOURCE.replace("  # of all", "  # a share, not percent"),
    "no comment": SOURCE.replace("  # of all", ""),
    "a docstring": SOURCE.replace("What it covers.", "How much it covers, in squares."),
    "a module's docstring": SOURCE.replace('"""A module."""', ""),
    "a class's docstring": SOURCE.replace('    """A thing."""\n', ""),
    "a function gains none": SOURCE.replace('        """What it covers."""\n', ""),
    "an attribute's docstring": SOURCE.replace("size: int = 3\n", 'size: int = 3\n    """In metres."""\n'),
    "layout": SOURCE.replace(
        "self.size * by if text else LIMIT", "(\n            self.size * by if text else LIMIT\n        )"
    ),
    "quotes": SOURCE.replace('"kept"', "'kept'"),
    "blank lines": SOURCE.replace("\n\n", "\n\n\n"),
    "a number's spelling": SOURCE.replace("0.07", "7e-2"),
}
CODE = {
    "a number": SOURCE.replace("0.07", "0.08"),
    "a default": SOURCE.replace("by: float = 2.0", "by: float = 2.5"),
    "an operator": SOURCE.replace("self.size * by", "self.size + by"),
    "a text that is used": SOURCE.replace('"kept"', '"other"'),
    "a float for a whole number": SOURCE.replace("size: int = 3", "size: int = 3.0"),
    "a decorator": SOURCE.replace("@dataclass\n", "@dataclass(frozen=True)\n"),
    "an import": SOURCE.replace("from dataclasses", "from other"),
    "a statement less": SOURCE.replace('        text = "kept"\n', ""),
    "a name": SOURCE.replace("LIMIT", "MOST"),
    "an order": SOURCE.replace("self.size * by if text else LIMIT", "LIMIT if text else self.size * by"),
    "none for something": SOURCE.replace("= 2.0", "= None"),
}


@pytest.mark.parametrize("change", COSMETIC)
def test_a_cosmetic_edit_leaves_the_digest(change):
    assert COSMETIC[change] != SOURCE
    assert code_digest(COSMETIC[change]) == code_digest(SOURCE)


@pytest.mark.parametrize("change", CODE)
def test_a_change_of_code_changes_the_digest(change):
    assert CODE[change] != SOURCE
    digests = [code_digest(SOURCE), *map(code_digest, CODE.values())]
    assert len(set(digests)) == len(digests)
    assert code_digest(CODE[change]) != code_digest(SOURCE)


@pytest.mark.parametrize("module", sorted({module for modules in MODULES.values() for module in modules}))
def test_a_comment_and_a_docstring_in_every_real_module_leave_its_digest(module):
    source = path_of(module).read_text(encoding="utf-8")
    digest = code_digest(source)
    assert code_digest(source.replace('"""', '"""Edited. ', 1) + "\n# a comment\n") == digest
    assert code_digest(source + "\nEDITED = 1\n") != digest


def test_modules_are_told_apart():
    assert code_digest("a = 1", "b = 2") != code_digest("a = 1\nb = 2") != code_digest("b = 2", "a = 1")
    assert code_digest("a = 1", "b = 2") != code_digest("b = 2", "a = 1")


def test_the_digest_is_the_same_on_every_python():
    """Where this fails on another Python version, the record would have to be made again for that version alone."""
    source = (
        SOURCE
        + """
type_of = {**{"a": None, "b": ...}, "c": b"x"}
async def f(x, /, *rest: int, key=(yield_ := 1e-9), **more) -> "int":
    match x:
        case [1, *_] | {"k": 2}: return f"{x!r:>{key}.1f} and {{}}" "joined" f"{x = }"
        case _: return lambda y: (y, not y, -y, y[1:2, ...], [*rest], {i async for i in y if i})
try: pass
except (A, B) as e: raise E from e
finally: del a
with p as q, r: global_ = 1_000j
"""
    )
    assert code_digest(source) == "8adea119a7a22894b8594ddbd90d8f02"  # Python 3.11, 3.12 and 3.13


def test_what_is_said():
    now = {"revision": 3, "digest": "new"}
    assert complaint("distill", dict(now), now) is None
    changed = complaint("distill", {"revision": 3, "digest": "old"}, now)
    assert changed is not None
    for words in (
        "stage distill changed",
        "wecolora/training/distill.py",
        "still 3",
        "raise the stage's revision",
        COMMAND,
    ):
        assert words in changed
    assert "record" in str(complaint("distill", {"revision": 2, "digest": "old"}, now))
    assert "less than 4" in str(complaint("distill", {"revision": 4, "digest": "new"}, now))
    assert "is new" in str(complaint("distill", None, now))


def test_recording_settles_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(f"{__name__}.RECORD", tmp_path / "digests.json")
    record()
    assert json.loads((tmp_path / "digests.json").read_text()) == state()
    assert capsys.readouterr().out.count("code recorded") == len(REVISIONS)
    record()
    assert capsys.readouterr().out == ""
    before = REVISIONS["probe"]
    monkeypatch.setitem(REVISIONS, "probe", 99)
    record()
    assert capsys.readouterr().out == f"probe: revision {before} -> 99, code recorded\n"


if __name__ == "__main__":
    record()
