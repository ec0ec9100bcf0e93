"""The command `wecolora compare`: what it prints, and its exit status."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from wecolora.cli import main


def write(folder, lasts, teacher="one", dataset="digits", **distill):
    """Write a score a seed; ``distill`` changes the recipe."""
    for seed, last in enumerate(lasts):
        axes = {"teacher": teacher, "method": "wecolora", "r": 2, "k": 8, "alpha": 10.0, "seed": seed}
        axes["loss_point"] = "after_norm"
        slug = f"wecolora_r2_k8_a10_s{seed}"
        score = {"metric": "top-1", "best": 99.0, "best_epoch": 7, "n_train": 100, "n_test": 50, "signs": []}
        score |= {"run": {**axes, "dataset": dataset, "slug": slug}, "last": last, "student_sha256": f"{seed}"}
        score["recipe"] = {"distill": {**axes, "epochs": 3, "layers": "paper", **distill}, "probe": {"seed": seed}}
        path = folder / "runs" / teacher / slug / "scores" / f"{dataset}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(score))


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """A function that runs the command on the folders a and b; returns its status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        status = main(["compare", "a", "b", *arguments])
        return status, capsys.readouterr()

    return run


def test_all_the_same(told, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, [50.0, 51.0])
    status, said = told()
    assert status == 0
    assert said.out.splitlines() == [
        "A: a",
        "B: b",
        "Students that both have: 2; with the same weights (sha256): 2.",
        "1 cell: 1 same to the byte.",
        "Reproduced: every number is the same.",
    ]
    status, said = told("--all")
    assert status == 0 and "one/wecolora_r2_k8_a10" in said.out and "50.5 ± 0.71" in said.out


def test_within_the_spread(told, tmp_path):
    write(tmp_path / "a", [50.0, 51.0])
    write(tmp_path / "b", [51.0, 50.5])
    status, said = told()
    assert status == 3
    assert "+0.25 ± " in said.out and "within the spread" in said.out
    assert said.out.endswith(
        "1 cell: 1 within the seeds' spread.\nReproduced: every cell is the same or within the seeds' spread.\n"
    )


def test_different_and_missing_with_the_keys_that_differ(told, tmp_path):
    write(tmp_path / "a", [50.0, 50.1])
    write(tmp_path / "b", [60.0, 60.1], epochs=4, architecture="x" * 60)
    write(tmp_path / "a", [70.0], dataset="tags")
    status, said = told()
    assert status == 4
    out = said.out
    assert "+10 ± 0.3" in out and "chance alone makes 0.1 of them so" in out
    assert "recipe.distill.epochs" in out and "the one cell that has it" in out
    assert "x" * 37 + "..." in out and "x" * 38 not in out
    assert "1 cell: 1 different; 1 only in A." in out
    assert out.endswith("Two experiments, by the keys that differ: some cells are different or missing.\n")


def test_a_number_that_is_the_same_by_chance_is_no_reproduction(told, tmp_path):
    write(tmp_path / "a", [50.0])
    write(tmp_path / "b", [50.0], epochs=4)
    status, said = told()
    assert status == 0
    assert said.out.endswith(
        "1 cell: 1 the same number.\nTwo experiments, by the keys that differ: every number is the same.\n"
    )


def test_no_cell_in_both(told, tmp_path):
    write(tmp_path / "a", [50.0])
    write(tmp_path / "b", [50.0], teacher="two")
    status, said = told()
    assert status == 4 and "No cell is in both; 1 only in A, 1 only in B." in said.out


def test_the_csv_has_all_cells(told, tmp_path):
    write(tmp_path / "a", [50.0])
    write(tmp_path / "b", [50.0])
    write(tmp_path / "b", [60.0], dataset="tags")
    assert told("--csv", "new/cells.csv")[0] == 4
    cells = pd.read_csv("new/cells.csv")
    assert list(cells["class"]) == ["same", "only in B"] and list(cells["dataset"]) == ["digits", "tags"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cells.csv"]


def test_brackets_in_names_are_no_markup(told, tmp_path):
    write(tmp_path / "a", [50.0], teacher="the [red]one")
    write(tmp_path / "b", [50.5], teacher="the [red]one", corpus="[/x]")
    out = told()[1].out
    assert "the [red]one/wecolora" in out and "[/x]" in out


def test_bad_input_is_one_sentence_and_status_1(told, tmp_path):
    write(tmp_path / "a", [50.0])
    status, said = told("--csv", "cells.csv")
    assert status == 1 and said.out == ""
    assert said.err == "ERROR: b: there is no such folder; name a campaign's folder, such as results/demo.\n"
    assert not (tmp_path / "cells.csv").exists()
    write(tmp_path / "b", [50.0])
    (tmp_path / "b" / "runs" / "one" / "wecolora_r2_k8_a10_s0" / "scores" / "digits.json").write_text("{")
    status, said = told()
    assert status == 1 and "b/runs/one/wecolora_r2_k8_a10_s0/scores/digits.json: is no score file" in said.err


def test_wrong_usage_is_status_2_and_the_help_tells_the_others(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "a"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "exit status:" in shown and "example:" in shown and "  3  every cell" in shown
