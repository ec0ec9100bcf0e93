"""`wecolora compare`: what it prints, and its exit status."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.unit.results.test_compare import write
from wecolora.cli import main


@pytest.fixture
def both(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("a", "b"):
        for seed in (0, 1):
            write(tmp_path / name, seed=seed, last=50.0 + seed)
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_the_same_is_0_and_shown_on_request(both, capsys):
    assert main(["compare", *both]) == 0
    assert capsys.readouterr().out == "1 cells: 1 same bytes.\n"
    assert main(["compare", *both, "--all"]) == 0
    assert "one/wecolora_r2_k4_a1" in capsys.readouterr().out


def test_within_the_spread_is_3(both, tmp_path, capsys):
    write(tmp_path / "b", seed=1, last=51.5)
    assert main(["compare", *both]) == 3
    out = capsys.readouterr().out
    assert "50.50 (2 seeds)" in out and "+0.25" in out and "within the spread" in out


def test_different_is_4_with_the_keys_that_differ(both, tmp_path, capsys):
    for seed in (0, 1):
        write(tmp_path / "b", seed=seed, last=90.0 + seed, revisions={"distill": 3})
    write(tmp_path / "a", dataset="[red]tags")
    assert main(["compare", *both, "--csv", str(tmp_path / "c.csv")]) == 4
    out = capsys.readouterr().out
    assert "revisions.distill: 2 in A, 3 in B (2 scores)" in out and "[red]tags" in out
    assert out.endswith("2 cells: 1 different, 1 only in A.\n")
    assert set(pd.read_csv(tmp_path / "c.csv")["verdict"]) == {"different", "only in A"}


def test_bad_input_is_1(both, tmp_path, capsys):
    assert main(["compare", both[0], str(tmp_path / "nowhere")]) == 1
    assert "nowhere: has no scores of a campaign" in capsys.readouterr().err
