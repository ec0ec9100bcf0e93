"""The paper's scores: against what its tables print, typed by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wecolora.config.methods import METHODS, variants
from wecolora.results import published as module
from wecolora.results.published import published

SUP, MAE = "vitb_sup", "vitb_mae"


def rows():
    with open(Path(module.__file__).with_name("paper_results.csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_holds_every_score_of_the_seven_tables():
    # Rows x columns: Tables 1 (8 x 3), 2 (9 x 3), 5 (10 x 3), and 3, 4, 6, 7 (8 x 5 each).
    tables = [row["table"] for row in rows()]
    assert {table: tables.count(table) for table in tables} == {
        "1": 24, "2": 27, "5": 30, "3": 40, "4": 40, "6": 40, "7": 40
    }  # fmt: skip
    assert len(tables) == 241
    assert all(0 < float(row["value_percent"]) < 100 for row in rows())
    axes = [tuple(value for name, value in row.items() if name != "value_percent") for row in rows()]
    assert len(set(axes)) == 241  # no cell twice


@pytest.mark.parametrize(
    ("run", "scores"),
    [
        # ImageNet, iNaturalist, CIFAR-100
        ((MAE, 2, "scratch_kd", 1), (3.5, 2.4, 9.1)),
        ((MAE, 2, "weco_lora_qv", 10), (33.0, 28.4, 41.1)),
        ((MAE, 2, "wecolora", 10), (56.0, 34.5, 49.8)),
        ((MAE, 1, "teacher", None), (66.1, 41.6, 55.1)),
        ((MAE, 2, "dmae", 1), (15.5, 8.5, 22.4)),
        ((SUP, 2, "dmae", 1), (15.4, 7.9, 22.2)),
        ((SUP, 2, "minivit", 10), (64.0, 40.8, 64.2)),
        ((SUP, 2, "wecolora", 1), (60.5, 43.4, 60.6)),
        # ..., ChestX-ray14, RESISC45
        ((SUP, 3, "weco_kd", 1), (7.6, 6.0, 11.0, 57.2, 33.3)),
        ((MAE, 3, "wecolora", 2), (35.3, 22.2, 36.8, 67.0, 56.0)),
        ((SUP, 2, "weco_kd", 5), (65.3, 45.4, 60.1, 69.4, 73.5)),
        ((MAE, 3, "wecolora", 10), (41.0, 23.5, 39.5, 67.3, 60.2)),
    ],
)
def test_scores_are_those_that_the_paper_prints(run, scores):
    datasets = ("imagenet1k", "inat19", "cifar100", "chestxray14", "resisc45")
    assert tuple(published(*run, dataset) for dataset in datasets[: len(scores)]) == scores


def test_the_score_that_two_tables_print_differently():
    run = (MAE, 2, "wecolora", 1, "cifar100")
    assert (published(*run, table=1), published(*run, table=2), published(*run, table=3)) == (33.3, 33.3, 33.4)
    assert published(*run) == 33.3  # the first table in the file
    assert published(*run, table=7) == 33.3  # which does not print the run
    by_run = {}
    for row in rows():
        key = tuple(row[name] for name in ("teacher", "r", "method", "alpha_percent", "dataset"))
        by_run.setdefault(key, set()).add(row["value_percent"])
    assert [values for values in by_run.values() if len(values) > 1] == [{"33.3", "33.4"}]


def test_variants_are_the_papers_row():
    for variant in ("deit", "deit_hard", "deit_soft"):
        assert published(SUP, 2, variant, 1, "cifar100") == 39.0
        assert published(MAE, 2, variant, 10, "cifar100") == 48.1
    for variant in ("minivit", "minivit_depth"):
        assert published(SUP, 2, variant, 1, "cifar100") == 37.3
    assert variants("deit") == ["deit", "deit_hard", "deit_soft"]
    assert variants("minivit") == ["minivit", "minivit_depth"]
    assert variants("wecolora") == ["wecolora"]
    assert {method.variant_of for method in METHODS.values()} - {None} <= {row["method"] for row in rows()}


@pytest.mark.parametrize(
    "run",
    [
        (MAE, 2, "minivit", 1, "cifar100"),  # Table 2 has no MiniViT
        (SUP, 1, "teacher", None, "imagenet1k"),  # only the self-supervised teacher's own row is printed
        (MAE, 1, "teacher", None, "resisc45"),
        (SUP, 2, "scratch_kd", 1, "imagenet1k"),
        (SUP, 2, "wecolora", 20, "imagenet1k"),
        (SUP, 4, "wecolora", 1, "imagenet1k"),
        (SUP, 2, "wecolora_kl", 1, "imagenet1k"),
        ("demo_sup", 2, "wecolora", 1, "imagenet1k"),
        (SUP, 2, "wecolora", 1, "photos"),
    ],
)
def test_what_the_paper_does_not_print_is_none(run):
    assert published(*run) is None
