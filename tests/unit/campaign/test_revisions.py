"""Whoever changes a stage's code is asked whether its results change.

``python -m tests.unit.campaign.test_revisions`` records the code of every stage as it is now: a file a stage, with a
line for each file of code behind it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from wecolora.campaign.revisions import REVISIONS

REPOSITORY = Path(__file__).parents[3]
DIGESTS = Path(__file__).with_name("digests")
COMMAND = "python -m tests.unit.campaign.test_revisions"

# Modules that a stage reaches and that decide none of its results: those of every stage, then those of one.
VALUES = "a recipe's values travel with the job, and rerun it"
SERVES = "says, saves or stops, and makes no number"
DECIDES_NOTHING = {
    "campaign.revisions": "the numbers stand in the recipes",
    "config.layout": "where files lie, and not what they hold",
    "config.recipes": VALUES,
    "config.teachers": VALUES,
    "core.checkpoint": SERVES,
    "core.errors": SERVES,
    "core.files": SERVES,
    "core.job": SERVES,
    "core.progress": SERVES,
}
READ_AS_STORED = "read as the stage before wrote it, which is watched there"
CACHED = "a run's recipe holds cache_teacher's revision, with the teacher online too"
WATCHED_ELSEWHERE = {
    "subset": {"data.images": READ_AS_STORED},
    "distill": {"training.cache": CACHED, "data.images": CACHED},
    "features": {"evaluation.probe": "its targets alone: raise features too where labels change their form"},
    "probe": {"evaluation.features": READ_AS_STORED, "config.runs": "the name of a run, which its paths hold"},
    "latent": {"evaluation.features": READ_AS_STORED},
    "report": {"data.images": READ_AS_STORED},
}
# Packages of modules that a stage finds by their names, so that no import tells of them.
FOUND_BY_NAME = {"prepare": "data.sources"}
# Files that a module reads, and whose text decides what it makes.
DATA = {
    "results.published": ["results/paper_results.csv"],
    "results.report": ["results/report.html.j2", "results/report.css", "results/report.js"],
}
LOADERS = {"import_module", "resolve_name", "__import__"}


# The files behind a stage


def path_of(module: str) -> Path:
    """Return the file of a module of the package."""
    return REPOSITORY / "wecolora" / (module.replace(".", "/") + ".py")


def modules_in(package: str | None) -> list[str]:
    """Return the modules of a package in the package."""
    return [f"{package}.{path.stem}" for path in path_of(package).with_suffix("").glob("[!_]*.py")] if package else []


def script_of(stage: str) -> Path:
    """Return the file of a stage's script."""
    return REPOSITORY / "workflow_scripts" / f"{stage}.py"


def imported(path: Path) -> frozenset[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    ours = {name.removeprefix("wecolora.") for name in found if name.startswith("wecolora.")}
    return frozenset(name for name in ours if path_of(name).is_file())


def named(path: Path) -> frozenset[str]:
    """Return the modules of the package that a file's texts name, such as "training.deit:DeiT"."""
    texts = {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)}
    pattern = re.compile(r"(?:wecolora\.)?(\w+(?:\.\w+)+)(?::\w+)?", re.ASCII)
    matches = [pattern.fullmatch(text) for text in texts if isinstance(text, str)]
    return frozenset(match[1] for match in matches if match and path_of(match[1]).is_file())


def loads_by_name(path: Path) -> bool:
    """Tell whether a file imports modules by names that are values."""
    return any(
        (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)) in LOADERS
        for node in ast.walk(_tree(path))
    )


def _tree(path: Path) -> ast.Module:
    return _parsed(path.read_text(encoding="utf-8"))


_parsed = cache(ast.parse)


def reached(stage: str) -> tuple[set[str], set[str]]:
    """Return (the modules whose code decides a stage's results, the excused modules that these or the script import).

    From the script on, each module's imports are followed. A module that is only named in a text counts where one of
    the stage's modules imports by such names. What an excused module imports is excused with it.
    """
    excuses = DECIDES_NOTHING.keys() | WATCHED_ELSEWHERE.get(stage, {}).keys()
    watched: set[str] = set()
    excused: set[str] = set()
    todo = {*imported(script_of(stage)), *modules_in(FOUND_BY_NAME.get(stage))}
    while todo:
        excused |= todo & excuses
        watched |= todo - excuses
        files = [script_of(stage), *map(path_of, watched)]
        todo = {module for path in files for module in imported(path)}
        if any(map(loads_by_name, files)):
            todo |= {module for path in files for module in named(path)}
        todo -= watched | excused
    return watched, excused


def files_of(stage: str) -> list[Path]:
    """Return the files that decide a stage's results: its script, modules, and the data that these read."""
    watched, _ = reached(stage)
    data = [REPOSITORY / "wecolora" / path for module, paths in DATA.items() if module in watched for path in paths]
    return sorted([script_of(stage), *map(path_of, watched), *data])


# Their digests


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


def code_digest(source: str) -> str:
    """Return 32 hex digits that change with the code, and not with comments, docstrings or layout."""
    return hashlib.sha256(json.dumps([canonical(ast.parse(source))]).encode()).hexdigest()[:32]


def digest_of(path: Path) -> str:
    """Return the digest of a file: of its code, or of the text of any other."""
    text = path.read_text(encoding="utf-8")
    return code_digest(text) if path.suffix == ".py" else hashlib.sha256(text.encode()).hexdigest()[:32]


def state(stage: str) -> dict[str, Any]:
    """Return a stage's revision and the digest of each of its files, as they are."""
    digests = {path.relative_to(REPOSITORY).as_posix(): digest_of(path) for path in files_of(stage)}
    return {"revision": REVISIONS[stage], "files": digests}


def recorded(stage: str) -> dict[str, Any] | None:
    """Return the same as it was recorded; None for a stage of which nothing is."""
    path = DIGESTS / f"{stage}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def complaint(stage: str, before: dict[str, Any] | None, now: dict[str, Any]) -> str | None:
    """Return what is to be done about a stage; None: nothing."""
    if before == now:
        return None
    then = f"then record it: {COMMAND}"
    if before is None:
        return f"Stage {stage} is new: give it a revision in wecolora/campaign/revisions.py, {then}"
    if now["revision"] < before["revision"]:
        return (
            f"Stage {stage}: revision {now['revision']} is less than {before['revision']}, with which results may "
            f"have been made already; raise it in wecolora/campaign/revisions.py, {then}"
        )
    if now["revision"] > before["revision"]:
        return f"Stage {stage}: revision {now['revision']} is not recorded yet: {COMMAND}"
    changed = sorted({path for path, _ in before["files"].items() ^ now["files"].items()})
    return (
        f"The code of stage {stage} changed ({', '.join(changed)}), and its revision is still {now['revision']}.\n"
        f"If a number that it makes can change, raise the stage's revision in wecolora/campaign/revisions.py, {then}\n"
        f"If no number changes, record the digests again: {COMMAND}"
    )


def record() -> None:
    """Record the code of every stage as it is, say which changed, and forget the stages that are gone."""
    DIGESTS.mkdir(exist_ok=True)
    for stage in REVISIONS:
        before, now = recorded(stage), state(stage)
        if before != now:
            print(f"{stage}: revision {before['revision'] if before else '-'} -> {now['revision']}, code recorded")
            (DIGESTS / f"{stage}.json").write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    for path in DIGESTS.glob("*.json"):
        if path.stem not in REVISIONS:
            print(f"{path.stem}: no stage any more, forgotten")
            path.unlink()


# The stages


@pytest.mark.parametrize("stage", REVISIONS)
def test_a_stage_whose_code_changed_has_a_higher_revision(stage):
    message = complaint(stage, recorded(stage), state(stage))
    if message:
        pytest.fail(message, pytrace=False)


def test_the_record_has_the_stages_that_there_are():
    assert {path.stem for path in DIGESTS.iterdir()} == set(REVISIONS)
    assert all(isinstance(revision, int) and revision >= 1 for revision in REVISIONS.values())


def test_every_excuse_is_still_needed():
    """An excuse for what no stage reaches would hide what comes under its name one day."""
    excused = {stage: reached(stage)[1] for stage in REVISIONS}
    assert set(DECIDES_NOTHING) <= set().union(*excused.values())
    assert WATCHED_ELSEWHERE.keys() <= REVISIONS.keys()
    for stage, excuses in WATCHED_ELSEWHERE.items():
        assert set(excuses) <= excused[stage], stage


def test_what_decides_a_stages_results_is_watched():
    def names(stage):
        return {path.relative_to(REPOSITORY).as_posix() for path in files_of(stage)}

    for stage in REVISIONS:
        assert f"workflow_scripts/{stage}.py" in names(stage)
    assert {"wecolora/training/deit.py", "wecolora/models/lora.py", "wecolora/config/methods.py"} <= names("distill")
    sources = {path.name for path in (REPOSITORY / "wecolora/data/sources").glob("*.py")} - {"__init__.py"}
    assert {f"wecolora/data/sources/{name}" for name in sources} <= names("prepare")
    assert "wecolora/results/paper_results.csv" in names("table") & names("claims")
    assert "wecolora/results/report.html.j2" in names("report")
    assert not {name for name in names("table") if name.startswith("wecolora/training/")}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A repository of its own: a script, and modules by their names."""
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)

    def build(script, **modules):
        for name, text in {"workflow_scripts/distill": script, **modules}.items():
            path = tmp_path / (name if "/" in name else "wecolora/" + name.replace("__", "/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(text)
        return reached("distill")

    return build


def test_imports_are_followed_from_the_script_on(house):
    watched, excused = house(
        "import wecolora.models.vit\ndef main():\n    from wecolora.data import listing, nothing\n",
        models__vit="from wecolora.core.errors import BadInput\nfrom wecolora.core import parts as p\nimport torch\n",
        data__listing="",
        core__parts="",
        core__errors="from wecolora.core import hidden\n",
        core__hidden="",
        data__alone="",
    )
    assert watched == {"models.vit", "data.listing", "core.parts"} and excused == {"core.errors"}


@pytest.mark.parametrize("text", ["training.deit:DeiT", "wecolora.training.deit", "training.deit"])
def test_a_module_that_a_text_names_counts_where_names_are_imported(house, text):
    methods = f"METHODS = {{'deit': '{text}', 'other': 'training.gone:It', 'label': 'e.g. training.told'}}\n"
    script = "from wecolora.config import methods\n"
    modules = {"config__methods": methods, "training__deit": "from wecolora.training import loss", "training__loss": ""}
    assert house(script, training__told="", **modules)[0] == {"config.methods"}
    loader = "import importlib\ndef load(name):\n    return importlib.import_module(name)\n"
    watched, _ = house(script + "from wecolora.training import start\n", training__start=loader, **modules)
    assert watched == {"config.methods", "training.start", "training.deit", "training.loss"}


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


@pytest.mark.parametrize("module", sorted({module for stage in REVISIONS for module in reached(stage)[0]}))
def test_a_comment_and_a_docstring_in_every_real_module_leave_its_digest(module):
    source = path_of(module).read_text(encoding="utf-8")
    digest = code_digest(source)
    assert code_digest(source.replace('"""', '"""Edited. ', 1) + "\n# a comment\n") == digest
    assert code_digest(source + "\nEDITED = 1\n") != digest


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
    now = {"revision": 3, "files": {"workflow_scripts/distill.py": "new", "wecolora/models/vit.py": "same"}}
    before = {"revision": 3, "files": {"workflow_scripts/distill.py": "old", "wecolora/models/vit.py": "same"}}
    assert complaint("distill", dict(now), now) is None
    changed = complaint("distill", before, now)
    assert changed is not None
    for words in ("stage distill changed", "(workflow_scripts/distill.py)", "still 3", "raise the stage's", COMMAND):
        assert words in changed
    fewer = {"revision": 3, "files": {"workflow_scripts/distill.py": "old"}}
    assert "(wecolora/models/vit.py)" in str(complaint("distill", before, fewer))
    assert "record" in str(complaint("distill", {**before, "revision": 2}, now))
    assert "less than 4" in str(complaint("distill", {**before, "revision": 4}, now))
    assert "is new" in str(complaint("distill", None, now))


def test_recording_settles_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(f"{__name__}.DIGESTS", tmp_path / "digests")
    record()
    assert all(recorded(stage) == state(stage) for stage in REVISIONS)
    assert capsys.readouterr().out.count("code recorded") == len(REVISIONS)
    record()
    assert capsys.readouterr().out == ""
    before = REVISIONS["probe"]
    monkeypatch.setitem(REVISIONS, "probe", 99)
    monkeypatch.delitem(REVISIONS, "subset")
    record()
    assert capsys.readouterr().out == (
        f"probe: revision {before} -> 99, code recorded\nsubset: no stage any more, forgotten\n"
    )
    assert {path.stem for path in (tmp_path / "digests").iterdir()} == set(REVISIONS)


if __name__ == "__main__":
    record()
