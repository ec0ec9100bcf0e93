"""The layout of the results: every path once, as README and earlier campaigns have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wecolora.config.kinds import KINDS
from wecolora.config.layout import LOGS, RESULTS, RESUME, Layout

REPOSITORY = Path(__file__).parents[3]
NAMES = {"teacher": "t", "run": "wecolora_r2_k4_a1_s0", "dataset": "d", "shard": "003", "job": "j", "artifact": "a"}
NAMES |= {"layers": "search", "alpha": "2.5"}
# Spelt out by hand: users' scripts, and campaigns that are there already, know these.
PATHS = {
    "index": "results/small/data/d/index.parquet",
    "images_report": "results/small/data/d/report.json",
    "subset": "results/small/data/d/subset.parquet",
    "fetched": "results/small/teachers/t/weights.safetensors",
    "fetched_about": "results/small/teachers/t/weights.json",
    "pretrained": "results/small/teachers/t.safetensors",
    "pretrained_about": "results/small/teachers/t.json",
    "card": "results/small/teachers/t.card.json",
    "cache": "results/small/teachers/t/cache/003.h5",
    "blocks": "results/small/teachers/t/blocks/search_a2.5.json",
    "student": "results/small/runs/t/wecolora_r2_k4_a1_s0/student.safetensors",
    "about": "results/small/runs/t/wecolora_r2_k4_a1_s0/student.json",
    "provenance": "results/small/runs/t/wecolora_r2_k4_a1_s0/circumstances.json",
    "features": "results/small/runs/t/wecolora_r2_k4_a1_s0/features/d.h5",
    "score": "results/small/runs/t/wecolora_r2_k4_a1_s0/scores/d.json",
    "probe_provenance": "results/small/runs/t/wecolora_r2_k4_a1_s0/scores/circumstances_j.json",
    "scores": "results/small/scores.csv",
    "config": "results/small/config.yaml",
    "report": "results/small/report.html",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_where_it_always_was(name):
    assert getattr(Layout("small"), name).format(**NAMES) == PATHS[name]


def test_every_path_is_in_this_list():
    assert vars(Layout("small")).keys() - {"root"} == PATHS.keys()
    assert RESUME == "results/.resume" and Layout("small").root == "results/small"


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("table", ["tables/a.csv", "tables/a.md", "tables/a.tex"]),
        *(
            (kind, ["figures/a.csv", "figures/a.png", "figures/a.pdf"])
            for kind in ("figure", "seconds", "latent", "rollout")
        ),
        ("claims", ["claims/a.csv", "claims/a_comparisons.csv", "claims/a.md"]),
        ("computation", ["computation/a.csv", "computation/a.md", "computation/a_speed.csv"]),
        ("students", []),
    ],
)
def test_an_artifacts_files_are_where_they_always_were(kind, files):
    found = [pattern.format(artifact="a") for pattern in Layout("small").artifact(kind).values()]
    assert found == [f"results/small/{path}" for path in files]


@pytest.mark.parametrize(
    ("rule", "log"),
    [
        ("cache_teacher", "cache_teacher/t_003.log"),
        ("distill", "distill/t/wecolora_r2_k4_a1_s0.log"),
        ("probe", "probe/t/wecolora_r2_k4_a1_s0/j.log"),
        ("table", "table/a.log"),
        ("report", "report.log"),
    ],
)
def test_a_log_is_where_it_always_was(rule, log):
    assert Layout("small").log(rule).format(**NAMES) == f"results/small/logs/{log}"


@pytest.mark.parametrize(
    ("rule", "file"),
    [
        ("prepare", "prepare/d.tsv"),
        ("distill", "distill/t/wecolora_r2_k4_a1_s0.tsv"),
        ("features", "features/t/wecolora_r2_k4_a1_s0/j.tsv"),
    ],
)
def test_a_benchmark_is_named_as_its_log(rule, file):
    assert Layout("small").benchmark(rule).format(**NAMES) == f"results/small/benchmarks/{file}"


def test_rules_and_library_spell_no_path_of_their_own():
    """A path below results/ that is spelt elsewhere drifts from this one."""
    spelt = re.compile(r"""["']f?[^"'\n]*(results/[\w{]|/runs/|/data/\{|/teachers/\{|/scores/|/logs/|/figures/)""")
    files = [path for where in ("Snakefile", "rules/*.smk", "workflow_scripts/*.py") for path in REPOSITORY.glob(where)]
    files += [path for path in (REPOSITORY / "wecolora").rglob("*.py") if path.name != "layout.py"]
    files = [path for path in files if path.parent.name != "sources"]  # they spell the folders of others
    found = {}
    for path in files:
        code = re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        if lines := [line.strip() for line in code.splitlines() if spelt.search(line)]:
            found[path.name] = lines
    assert found == {}


def test_every_rule_with_a_wildcard_names_its_log():
    assert set(KINDS) <= set(LOGS) and RESULTS == "results"
