"""Data sets that a table names: what its columns give, and what is said of a bad one."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from wecolora.datasets import prepare
from wecolora.errors import BadInput
from wecolora.images import read_index
from wecolora.recipes import Listed

ROWS = [
    # path, label, split
    ("b/1.png", "dog", "train"),
    ("a/2.png", "cat", "train"),
    ("a/1, 2.png", "cat", "test"),
    ("ñ.png", "dog", "test"),
]


def put(root, names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(path, "PNG")


def write(path: Path, head, rows, delimiter=",", encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns = {name: [row[place] for row in rows] for place, name in enumerate(head)}
        pq.write_table(pa.table(columns), path)
        return
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(head)
        writer.writerows(rows)


def prepared(tmp_path, table="labels.csv", **keys):
    data = Listed(label="", source="table", root=str(tmp_path / "root"), table=table, **keys)
    prepare("mine", data, tmp_path / "out" / "index.parquet")
    return read_index(tmp_path / "out" / "index.parquet")


def refusal(tmp_path, **keys):
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path, **keys)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def found(index):
    return {
        name: ([index.classes[label] for label in labels], split)
        for name, labels, split in zip(index.ids, index.labels, index.split, strict=True)
    }


@pytest.mark.parametrize(
    ("table", "about"),
    [
        ("labels.csv", {}),
        ("labels.csv", {"encoding": "utf-8-sig"}),
        ("sub/labels.TSV", {"delimiter": "\t"}),
        ("labels.parquet", {}),
    ],
)
def test_paths_labels_and_splits(tmp_path, table, about):
    put(tmp_path / "root", [path for path, _, _ in ROWS])
    put(tmp_path / "root", ["unnamed.png"])
    rows = [(number, *row) for number, row in enumerate(ROWS)]
    write(tmp_path / "root" / table, ["number", "path", "label", "split"], rows, **about)
    index = prepared(tmp_path, table=table, split="split")
    assert index.classes == ["cat", "dog"] and not index.multilabel
    assert found(index) == {path: ([label], split) for path, label, split in ROWS}
    assert index.paths == index.ids == sorted(path for path, _, _ in ROWS)
    reds = {path: number for number, (path, _, _) in enumerate(ROWS)}
    assert [index.image(position).getpixel((0, 0))[0] for position in range(4)] == [reds[name] for name in index.ids]


def test_val_may_stand_for_test(tmp_path):
    put(tmp_path / "root", ["1.png", "2.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label", "part"], [("1.png", "a", "Train"), ("2.png", "a", "VAL")])
    assert prepared(tmp_path, split="part").split == ["train", "test"]


def test_columns_may_have_other_names(tmp_path):
    put(tmp_path / "root", ["1.png", "2.png"])
    write(tmp_path / "root" / "labels.csv", ["file name", "Label", "path"], [("1.png", "a", "x"), ("2.png", "b", "y")])
    index = prepared(tmp_path, path="file name", labels="Label")
    assert found(index) == {"1.png": (["a"], "train"), "2.png": (["b"], "train")}


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10, 9, 2, 9], ["2", "9", "10"]),
        ([1.5, -1.0, 10.0, 9.0], ["-1", "1.5", "9", "10"]),
        (["10", "9", "b", "9"], ["10", "9", "b"]),
        (["nan", "inf", "1", "2"], ["1", "2", "inf", "nan"]),
        (["NA", "None", "null", "0"], ["0", "NA", "None", "null"]),
    ],
)
def test_labels_may_be_numbers(tmp_path, table, labels, classes):
    names = [f"{number}.png" for number in range(4)]
    put(tmp_path / "root", names)
    if table.endswith("csv"):  # which pandas writes so
        labels = [int(label) if isinstance(label, float) and label.is_integer() else label for label in labels]
    write(tmp_path / "root" / table, ["path", "label"], list(zip(names, labels, strict=True)))
    index = prepared(tmp_path, table=table)
    assert index.classes == classes
    texts = [str(int(label)) if isinstance(label, float) and label.is_integer() else str(label) for label in labels]
    assert [index.classes[label] for (label,) in index.labels] == texts


def test_several_labels_or_none(tmp_path):
    names = ["1.png", "2.png", "3.png"]
    put(tmp_path / "root", names)
    write(tmp_path / "root" / "labels.csv", ["path", "label"], zip(names, ["b | a|b", "", "c"], strict=True))
    index = prepared(tmp_path, separator="|")
    assert index.multilabel and index.classes == ["a", "b", "c"] and index.labels == [[0, 1], [], [2]]


def test_unlabelled(tmp_path):
    put(tmp_path / "root", ["1.png", "2.png"])
    write(tmp_path / "root" / "labels.csv", ["path"], [("2.png",), ("1.png",)])
    index = prepared(tmp_path, labels=None)
    assert (index.classes, index.labels, index.split) == ([], [[], []], ["train", "train"])


def test_divided_at_random(tmp_path):
    names = [f"{number:02d}.png" for number in range(15)]
    put(tmp_path / "root", names)
    labels = ["a"] * 10 + ["b"] * 5
    write(tmp_path / "root" / "labels.csv", ["path", "label"], zip(names, labels, strict=True))
    index = prepared(tmp_path, test_share=0.2)
    tested = [index.labels[row][0] for row in index.rows("test")]
    assert tested == [0, 0, 1]
    assert prepared(tmp_path, test_share=0.2) == index
    assert prepared(tmp_path, test_share=0.2, split_seed=2).split != index.split
    # Several labels: of all images alike.
    assert prepared(tmp_path, test_share=0.2, separator="|").split.count("test") == 3


EVIL = ["/etc/passwd", "../secret.png", "a/../../secret.png", "..", ".", "", "link.png", "linked/secret.png", "a\0.png"]


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize("path", EVIL)
def test_no_path_leaves_the_root(tmp_path, table, path):
    put(tmp_path, ["secret.png", "elsewhere/secret.png"])
    put(tmp_path / "root", ["1.png"])
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "root" / table, ["path", "label"], [("1.png", "a"), (path, "a")])
    said = refusal(tmp_path, table=table)
    assert repr(path) in said and table in said and str(tmp_path / "root") in said


def test_a_link_that_stays_in_the_root_is_followed(tmp_path):
    put(tmp_path / "root", ["a/1.png"])
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "root" / "a" / "1.png")
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [("link.png", "a")])
    assert prepared(tmp_path).ids == ["link.png"]


@pytest.mark.parametrize(
    ("head", "rows", "keys", "says"),
    [
        (["path", "label"], [], {}, "has no rows"),
        (["path", "label"], [("1.png", "a"), ("./1.png", "b")], {}, "names 1 images more than once (1.png)"),
        (["path", "label"], [("1.png", "a"), ("9.png", "b")], {}, "names 1 images that are no files below"),
        (["path", "label"], [("1.png", "a"), ("2.png", "")], {}, "has no label for 1 images (2.png)"),
        (["path", "label"], [("1.png",)], {}, "line 2 has 1 of 2 columns"),
        (["path", "Label"], [("1.png", "a")], {}, "has no column 'label'; did you mean 'Label'?"),
        (["x", "y"], [("1.png", "a")], {}, "has no column 'path'; it has: x, y."),
        (["path;label"], [("1.png;a",)], {}, "has no column 'path'; did you mean 'path;label'?"),
        ([], [], {}, "has no column 'path'"),
        (["path", "label", "s"], [("1.png", "a", "train"), ("2.png", "a", "dev")], {"split": "s"}, "(2.png)"),
        (["path", "label", "s"], [("1.png", "a", "val"), ("2.png", "a", "test")], {"split": "s"}, "both test and val"),
        (["path", "label", "s"], [("1.png", "a", "train")], {"split": "s"}, "has no test images"),
    ],
)
def test_a_bad_table_gets_one_clear_sentence(tmp_path, head, rows, keys, says):
    put(tmp_path / "root", ["1.png", "2.png"])
    write(tmp_path / "root" / "labels.csv", head, rows)
    said = refusal(tmp_path, **keys)
    assert says in said and str(tmp_path / "root") in said and "\n" not in said


def test_many_missing_files_are_counted_and_the_first_named(tmp_path):
    put(tmp_path / "root", ["1.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(f"{number}.png", "a") for number in range(1, 9)])
    said = refusal(tmp_path)
    assert "names 7 images that are no files" in said and "(2.png, 3.png, 4.png and 4 more)" in said


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("labels.csv", None, "is no file; set datasets.mine.table"),
        ("labels.xlsx", b"PK", "is no .csv, .tsv or .parquet file"),
        ("labels.csv", b"path,label\n\xff.png,a\n", "cannot be read as a table in UTF-8"),
        ("labels.parquet", b"PAR1 not", "cannot be read as a Parquet table"),
        ("labels.csv", b"", "has no column 'path'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, says):
    put(tmp_path / "root", ["1.png"])
    if content is not None:
        (tmp_path / "root" / name).write_bytes(content)
    said = refusal(tmp_path, table=name)
    assert says in said and str(tmp_path / "root" / name) in said


def test_a_parquet_column_of_lists_is_refused(tmp_path):
    put(tmp_path / "root", ["1.png"])
    write(tmp_path / "root" / "labels.parquet", ["path", "label"], [("1.png", ["a", "b"])])
    assert "table of texts and numbers" in refusal(tmp_path, table="labels.parquet")
