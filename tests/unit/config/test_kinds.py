"""The kinds of artifacts: one entry each, which every other part reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from wecolora.campaign.revisions import REVISIONS
from wecolora.campaign.selection import Campaign
from wecolora.config.kinds import AXES, KINDS, KindName

REPOSITORY = Path(__file__).parents[3]
MODULES = sorted((REPOSITORY / "wecolora").rglob("*.py"))


def test_the_config_accepts_the_kinds_that_have_an_entry():
    assert list(KINDS) == list(get_args(KindName))


def compared_kinds(source: str) -> list[str]:
    """Return what a module compares with the name of a kind, such as ``artifact.kind == "table"``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {side.value for part in sides for side in ast.walk(part) if isinstance(side, ast.Constant)}
            asks = any(isinstance(part, ast.Attribute) and part.attr == "kind" for part in sides)
            if asks and names & set(KINDS):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_module_asks_for_a_kind_by_its_name(module):
    assert compared_kinds(module.read_text(encoding="utf-8")) == []


def test_a_question_for_a_kind_by_its_name_is_found():
    asked = (
        'a = entry.kind == "table"\nb = x.kind in ("latent", "rollout")\nc = entry.kind == kind\nd = kind != "table"'
    )
    assert compared_kinds(asked) == ["entry.kind == 'table'", "x.kind in ('latent', 'rollout')"]


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.files])
def test_a_kind_with_files_has_a_rule_a_script_and_a_revision(kind):
    rules = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "rules").glob("*.smk"))
    (body,) = re.findall(rf"^rule {kind}:\n(.*?)(?=^rule |\Z)", rules, re.MULTILINE | re.DOTALL)
    for output in KINDS[kind].files:
        assert f'paths.artifact("{kind}")["{output}"]' in body
    assert f'"../workflow_scripts/{kind}.py"' in body
    assert (REPOSITORY / "workflow_scripts" / f"{kind}.py").exists() and kind in REVISIONS


def test_entries_hold_together():
    for name, kind in KINDS.items():
        assert set(kind.cells or ()) <= set(AXES)
        assert (kind.heading != "") == (kind.shown_as not in ("nothing", "verdicts")), name
        assert (kind.shown_as == "nothing") == (not kind.files), name
        assert not kind.one_dataset or "datasets" in kind.needs, name
        # Where neither rows nor x tell cells apart, the entry must, and say what it is in a refusal.
        if kind.needs & {"rows", "x"} == frozenset() and kind.needs:
            assert kind.cells is not None
            assert kind.called or kind.cells == set(AXES), name


def test_a_figure_of_one_run_a_method_takes_the_first_seed_of_each(small_config):
    runs = {"teacher": ["one"], "method": ["wecolora", "weco_kd"], "r": [2], "k": [4], "alpha": [1], "seeds": [5, 3]}
    words = {"title": "T", "caption": "C", "runs": runs, "datasets": ["shapes"]}
    small_config["artifacts"] = {
        "points": {**words, "kind": "latent"},
        "scores": {**words, "kind": "table", "rows": ["method"]},
    }
    config = Campaign(small_config).config
    assert [(run.method, run.seed) for run in config.runs_of("points")] == [("wecolora", 3), ("weco_kd", 3)]
    assert [(run.method, run.seed) for run in config.runs_of("scores")] == [
        ("wecolora", 3), ("wecolora", 5), ("weco_kd", 3), ("weco_kd", 5)
    ]  # fmt: skip
