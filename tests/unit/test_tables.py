"""Tables: what is printed, in which order, and what is bold."""

from __future__ import annotations

import csv
import re

import pytest

from wecolora.methods import COMPONENTS, METHODS
from wecolora.recipes import ArtifactRecipe
from wecolora.scores import read_scores
from wecolora.tables import printed_table, tidy_table, write_table

TICK, CROSS = "✓", "✗"

# Table 1 of the paper: alpha, method, and the scores on ImageNet-1K, iNaturalist and CIFAR-100.
PAPER = [
    (1, "scratch_kd", 3.5, 2.4, 9.1),
    (1, "weco_kd", 30.2, 19.2, 32.1),
    (1, "weco_lora_qv", 32.4, 21.6, 30.7),
    (1, "wecolora", 36.8, 22.7, 33.3),
    (10, "scratch_kd", 15.8, 14.5, 28.9),
    (10, "weco_kd", 53.7, 31.2, 48.2),
    (10, "weco_lora_qv", 33.0, 28.4, 41.1),
    (10, "wecolora", 56.0, 34.5, 49.8),
]
SETS = {"in1k": "ImageNet", "inat": "iNaturalist", "cifar": "CIFAR-100"}


def recipe(**changes):
    values = {
        "name": "table1",
        "title": "Table 1",
        "caption": "Ablation.",
        "rows": ["alpha", "components"],
        "x": None,
        "datasets": SETS,
        "teachers": {"mae": "ViT-B (MAE)"},
        "methods": ["scratch_kd", "weco_kd", "weco_lora_qv", "wecolora"],
        "revision": 1,
    }
    return ArtifactRecipe(**{**values, **changes})


@pytest.fixture
def paper(score_files):
    scores = [
        ("mae", method, 2, 128 if "k" in METHODS[method].axes else None, alpha, 0, name, value)
        for alpha, method, *values in reversed(PAPER)
        for name, value in zip(SETS, values, strict=True)
    ]
    return read_scores(score_files(*scores))


def frame(score_files, cells, dataset="photos", teacher="one", seeds=1):
    """Scores of {(method, r, alpha): value}."""
    return read_scores(
        score_files(
            *(
                (teacher, method, r, 8 if "k" in METHODS[method].axes else None, alpha, seed, dataset, value)
                for (method, r, alpha), value in cells.items()
                for seed in range(seeds)
            )
        )
    )


def markdown(path):
    """The cells of a Markdown table, line by line."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[0], rows[2:]


# The paper's Table 1


def test_the_papers_table_1(paper, tmp_path):
    write_table(paper, recipe(), tmp_path / "t.csv", tmp_path / "t.md", tmp_path / "t.tex")
    head, rows = markdown(tmp_path / "t.md")
    columns = ["alpha", "Weight copy", "LoRA", "Enhanced LoRA"]
    assert head == [*columns, "ImageNet (top-1)", "iNaturalist (top-1)", "CIFAR-100 (top-1)"]
    ticks = [[CROSS, CROSS, CROSS], [TICK, CROSS, CROSS], [TICK, TICK, CROSS], [TICK, CROSS, TICK]]
    assert [row[1:4] for row in rows] == ticks * 2
    assert [row[0] for row in rows] == ["1%", "", "", "", "10%", "", "", ""]
    for row, (_, method, *values) in zip(rows, PAPER, strict=True):
        mark = "**{:.1f}**" if method == "wecolora" else "{:.1f}"  # as the paper prints it: WeCoLoRA is best throughout
        assert row[4:] == [mark.format(value) for value in values]
    assert (tmp_path / "t.md").read_text().startswith("**Table 1.** Ablation.\n\n|")


def test_the_csv_has_a_row_a_cell(paper, tmp_path):
    write_table(paper, recipe(), tmp_path / "t.csv", tmp_path / "t.md", tmp_path / "t.tex")
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    wanted = {(str(a), m, d): v for a, m, *values in PAPER for d, v in zip(SETS, values, strict=True)}
    assert {(f"{float(r['alpha']):g}", r["method"], r["dataset"]): float(r["mean"]) for r in rows} == wanted
    assert [(r["method"], r["dataset"]) for r in rows[:4]] == [
        ("scratch_kd", "in1k"),
        ("scratch_kd", "inat"),
        ("scratch_kd", "cifar"),
        ("weco_kd", "in1k"),
    ]
    assert {r["k"] for r in rows if r["method"] in ("scratch_kd", "weco_kd")} == {""}
    assert {r["k"] for r in rows if r["method"] == "wecolora"} == {"128"}
    assert {r["method"] for r in rows if r["best"] == "True"} == {"wecolora"}
    assert {(r["std"], r["seeds"], r["metric"], r["teacher"], r["r"]) for r in rows} == {("", "1", "top-1", "mae", "2")}


def test_files_are_the_same_each_time_whatever_the_order_of_the_scores(paper, tmp_path):
    for number, scores in enumerate((paper, paper.sample(frac=1, random_state=0))):
        write_table(scores, recipe(), *(tmp_path / f"{number}.{suffix}" for suffix in ("csv", "md", "tex")))
    for suffix in ("csv", "md", "tex"):
        assert (tmp_path / f"0.{suffix}").read_bytes() == (tmp_path / f"1.{suffix}").read_bytes()


# Order


def test_the_loss_points_are_groups_of_their_own(score_files):
    files = score_files(("t", "weco_kd", 2, None, 1, 0, "photos", 60), ("t", "wecolora", 2, 8, 1, 0, "photos", 50))
    files += score_files(
        ("t", "weco_kd", 2, None, 1, 0, "photos", 30),
        ("t", "wecolora", 2, 8, 1, 0, "photos", 40),
        loss_point="before_norm",
    )
    one = recipe(rows=["loss_point", "method"], methods=["weco_kd", "wecolora"], datasets={"photos": "P"})
    printed = printed_table(tidy_table(read_scores(files), one), one)
    assert printed.values.tolist() == [
        ["before the norm", "WeCo+KD", "30.0"],
        ["", "WeCoLoRA", "**40.0**"],
        ["after the norm", "WeCo+KD", "**60.0**"],
        ["", "WeCoLoRA", "50.0"],
    ]


def test_rows_follow_the_configs_order_and_columns_too(score_files):
    methods, teachers = ["wecolora", "scratch_kd", "weco_kd"], {"zeta": "Z", "alpha": "A"}
    scores = [
        (teacher, method, r, 8 if method == "wecolora" else None, 1, 0, dataset, 50)
        for teacher in sorted(teachers)
        for method in sorted(methods)
        for r in (3, 2, 10)
        for dataset in ("digits", "photos")
    ]
    one = recipe(
        rows=["teacher", "r", "method"], teachers=teachers, methods=methods, datasets={"photos": "P", "digits": "D"}
    )
    printed = printed_table(tidy_table(read_scores(score_files(*scores)), one), one)
    assert list(printed.columns) == ["Teacher", "r", "Method", "P (top-1)", "D (top-1)"]
    assert list(printed["Method"]) == ["WeCoLoRA", "Scratch KD", "WeCo+KD"] * 6
    assert list(printed["r"]) == ["2", "", "", "3", "", "", "10", "", ""] * 2  # as numbers: 10 after 3
    assert list(printed["Teacher"]) == ["Z", *[""] * 8, "A", *[""] * 8]


def test_a_label_is_printed_again_under_another_outer_one(score_files):
    cells = {("weco_kd", r, alpha): 50 for r in (2, 3) for alpha in (1, 12.5)}
    one = recipe(rows=["r", "alpha"], datasets={"photos": "P"}, methods=["weco_kd"])
    printed = printed_table(tidy_table(frame(score_files, cells), one), one)
    assert list(printed["r"]) == ["2", "", "3", ""]
    assert list(printed["alpha"]) == ["1%", "12.5%", "1%", "12.5%"]
    cells = {("weco_kd", r, 1): 50 for r in (2, 3)}
    printed = printed_table(tidy_table(frame(score_files, cells), one), one)
    assert printed[["r", "alpha"]].values.tolist() == [["2", "1%"], ["3", "1%"]]


def test_one_row_label(score_files):
    cells = {("weco_kd", 2, 1): 40, ("wecolora", 2, 1): 50}
    one = recipe(rows=["method"], datasets={"photos": "P"})
    printed = printed_table(tidy_table(frame(score_files, cells), one), one)
    assert printed.values.tolist() == [["WeCo+KD", "40.0"], ["WeCoLoRA", "**50.0**"]]


def test_metrics_are_named_in_their_columns(score_files):
    scores = [("one", "weco_kd", 2, None, 1, 0, dataset, 50) for dataset in ("photos", "tags")]
    one = recipe(rows=["method"], datasets={"photos": "Photos", "tags": "Tags"})
    printed = printed_table(tidy_table(read_scores(score_files(*scores)), one), one)
    assert list(printed.columns) == ["Method", "Photos (top-1)", "Tags (mean AUC)"]


# Bold


def best(score_files, values, rows=("method",), methods=("scratch_kd", "weco_kd", "weco_lora_qv", "wecolora")):
    """The methods in bold, for one score each; and that what is printed bold and what the CSV calls best agree."""
    cells = {(method, 2, 1): value for method, value in zip(methods, values, strict=False)}
    one = recipe(rows=list(rows), datasets={"photos": "P"})
    table = tidy_table(frame(score_files, cells), one)
    printed = printed_table(table, one)
    bold = [cell.startswith("**") for cell in printed["P (top-1)"]]
    assert bold == list(table["best"])
    texts = [cell.strip("*") for cell in printed["P (top-1)"]]
    assert bold == [text == max(texts, key=float) for text in texts]  # bold is what looks best
    return [method for method, is_bold in zip(table["method"], bold, strict=True) if is_bold]


@pytest.mark.parametrize(
    ("values", "bold"),
    [
        ((40, 50, 60, 70), ["wecolora"]),
        ((40, 70, 60, 70), ["weco_kd", "wecolora"]),
        ((40, 69.96, 60, 70.04), ["weco_kd", "wecolora"]),  # both print 70.0
        ((40, 69.94, 60, 70.04), ["wecolora"]),
        # A 5 in the second decimal is cut as it is printed: 77.35 lies below itself in floats, and prints 77.3.
        ((77.35, 77.4, 1, 1), ["weco_kd"]),
        ((77.35, 77.3, 1, 1), ["scratch_kd", "weco_kd"]),
        ((0.25, 0.2, 0.15, 0.1), ["scratch_kd", "weco_kd"]),
        ((0, 0, 0, 0), ["scratch_kd", "weco_kd", "weco_lora_qv", "wecolora"]),
        ((9.9, 10.0), ["weco_kd"]),  # as numbers, not as text
    ],
)
def test_the_best_as_printed_is_bold(score_files, values, bold):
    assert best(score_files, values) == bold


def test_the_best_of_many_values_with_a_5_is_what_looks_best(score_files):
    for tenths in range(100):
        value = (tenths + 0.5) / 10  # x.x5
        best(score_files, (value, tenths / 10, (tenths + 1) / 10, value))


def test_each_group_has_its_best(score_files):
    cells = {("weco_kd", r, alpha): 10 * r + alpha for r in (2, 3) for alpha in (1, 10)}
    cells |= {("wecolora", r, alpha): 10 * r + alpha + (1 if r == 2 else -1) for r in (2, 3) for alpha in (1, 10)}
    one = recipe(rows=["r", "alpha", "method"], datasets={"photos": "P"})
    table = tidy_table(frame(score_files, cells), one)
    assert [(row.r, row.alpha, row.method) for row in table.itertuples() if row.best] == [
        (2, 1, "wecolora"),
        (2, 10, "wecolora"),
        (3, 1, "weco_kd"),
        (3, 10, "weco_kd"),
    ]


def test_each_data_set_has_its_best(score_files):
    scores = [
        ("one", method, 2, 8 if method == "wecolora" else None, 1, 0, dataset, value)
        for dataset, values in {"photos": (10, 20), "digits": (90, 80)}.items()
        for method, value in zip(("weco_kd", "wecolora"), values, strict=True)
    ]
    one = recipe(rows=["method"], datasets={"photos": "P", "digits": "D"})
    printed = printed_table(tidy_table(read_scores(score_files(*scores)), one), one)
    assert printed.values.tolist() == [["WeCo+KD", "10.0", "**90.0**"], ["WeCoLoRA", "**20.0**", "80.0"]]


# Seeds


def test_several_seeds_print_their_mean_and_deviation(score_files):
    scores = [("one", "weco_kd", 2, None, 1, seed, "photos", value) for seed, value in enumerate((50, 52, 57))]
    scores += [("one", "scratch_kd", 2, None, 1, 0, "photos", 12.34)]
    one = recipe(rows=["method"], datasets={"photos": "P"})
    table = tidy_table(read_scores(score_files(*scores)), one)
    # mean 53, deviation sqrt((9 + 1 + 16) / 2) = 3.606
    assert printed_table(table, one)["P (top-1)"].tolist() == ["12.3", "**53.0 ± 3.6**"]
    row = table[table.method == "weco_kd"].iloc[0]
    assert (row["mean"], row["seeds"]) == (53, 3) and row["std"] == pytest.approx(13**0.5)


# What a caller may do with a cell


def test_a_cell_names_its_runs_by_seed(score_files):
    scores = [("one", "wecolora", 2, 8, 1, seed, "photos", 50) for seed in (0, 2, 10)]
    scores += [("one", "weco_kd", 2, None, 1, 0, "photos", 40)]
    one = recipe(rows=["method"], datasets={"photos": "P"})
    found = read_scores(score_files(*scores))
    found["slug"] = [f"{row.method}_s{row.seed}" for row in found.itertuples()]
    table = tidy_table(found.sample(frac=1, random_state=3), one)
    assert dict(zip(table["method"], table["runs"], strict=True)) == {
        "wecolora": "wecolora_s0 wecolora_s2 wecolora_s10",
        "weco_kd": "weco_kd_s0",
    }


def test_a_caller_renders_the_cells(paper):
    class Mark(str):
        """A string that has to come out as it went in."""

    printed = printed_table(tidy_table(paper, recipe()), recipe(), lambda cell: Mark(f"{cell['best']} {cell['mean']}"))
    column = printed["iNaturalist (top-1)"].tolist()
    assert column[:4] == ["False 2.4", "False 19.2", "False 21.6", "True 22.7"]
    assert all(type(cell) is Mark for cell in column)
    assert printed["alpha"].tolist()[:2] == ["1%", ""]


# LaTeX


def test_latex_holds_the_same_table(paper, tmp_path):
    one = recipe(caption="Up to 10 % of R&D, my_set, 50 ± 1; the best in bold.", title="Table 1")
    write_table(paper, one, tmp_path / "t.csv", tmp_path / "t.md", tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert text.count(r"\textbf{") == 6 and r"\textbf{36.8}" in text and "**" not in text
    assert text.count(r"\checkmark") == 6 + 2 + 2 and TICK not in text and CROSS not in text
    assert r"\caption{Table 1. Up to 10 \% of R\&D, my\_set, 50 $\pm$ 1; the best in bold.}" in text
    assert r"\label{tab:table1}" in text and r"\toprule" in text and r"\centering" in text
    assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end") == 2
    (layout,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + 8 and all(line.count(" & ") == len(layout) - 1 == 6 for line in body)
    assert body[0].startswith(r"$\alpha$ & Weight copy") and body[1].startswith(r"1\% & $\times$")


def test_latex_escapes_labels_and_deviations(score_files, tmp_path):
    scores = [("one", "weco_kd", 2, None, 1, seed, "photos", 50 + seed) for seed in range(2)]
    one = recipe(rows=["teacher", "method"], teachers={"one": "ViT_B & 50% #1"}, datasets={"photos": "P&Q_r"})
    write_table(read_scores(score_files(*scores)), one, tmp_path / "t.csv", tmp_path / "t.md", tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"ViT\_B \& 50\% \#1 & WeCo+KD & \textbf{50.5 $\pm$ 0.7} \\" in text
    assert r"P\&Q\_r (top-1)" in text
    assert "ViT_B & 50% #1" in (tmp_path / "t.md").read_text()


def test_every_method_has_its_components():
    # Rows 1 to 4 of the paper's Table 1.
    names = ["scratch_kd", "weco_kd", "weco_lora_qv", "wecolora"]
    assert {name: [has(name) for has in COMPONENTS.values()] for name in names} == {
        "scratch_kd": [False, False, False],
        "weco_kd": [True, False, False],
        "weco_lora_qv": [True, True, False],
        "wecolora": [True, False, True],
    }
