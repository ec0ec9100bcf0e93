"""Data sets that a table names: what its columns give, and what is said of a bad one."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from wecolora.config.datasets import Listed
from wecolora.core.errors import BadInput
from wecolora.data.columns import read_columns
from wecolora.data.images import read_index
from wecolora.data.prepare import prepare

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


def test_one_column_may_serve_twice(tmp_path):
    put(tmp_path / "root", ["a.png", "b.png"])
    for table in ("labels.csv", "labels.parquet"):
        write(tmp_path / "root" / table, ["path", "x"], [("b.png", 1), ("a.png", 2)])
        index = prepared(tmp_path, table=table, labels="path")
        assert found(index) == {name: ([name], "train") for name in ("a.png", "b.png")}


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


EVIL = [
    "/etc/passwd",
    "/etc\0/../passwd",
    "../secret.png",
    "a/../../secret.png",
    "..",
    ".",
    "link.png",
    "linked/secret.png",
    "a\0.png",
]


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
        (
            ["path", "label"],
            [("1.png", "a"), ("./1.png", "b")],
            {},
            "names 1 images more than once (1.png: lines 2, 3)",
        ),
        (["path", "label"], [("1.png", "a"), ("9.png", "b")], {}, "names 1 images that are no files below"),
        (["path", "label"], [("1.png", "a"), ("2.png", "")], {}, "has no label for 1 images (2.png)"),
        (["path", "label"], [("1.png",)], {}, "line 2 has 1 of 2 columns"),
        (["path", "Label"], [("1.png", "a")], {}, "has no column 'label'; did you mean 'Label'?"),
        (["x", "y"], [("1.png", "a")], {}, "has no column 'path'; it has: x, y."),
        (["path;lable"], [("1.png;a",)], {}, "has no column 'label'; did you mean 'lable'?"),
        (["path", "label", "label "], [("1.png", "a", "b")], {}, "has 2 columns 'label'; rename all but one"),
        (["path", "label"], [("1.png", "a"), ("2.png", "b", "")], {}, "line 3 has 3 columns, where the header has 2"),
        (["path", "label"], [(), ("1.png", "a"), ("", "b")], {}, "labels.csv: line 4 has no path in column 'path'"),
        (["path", "label"], [("1.png", "a"), ("2.png", "b\tc")], {}, "line 3 has the label 'b\\tc', with a character"),
        (
            ["path", "label", "s"],
            [("1.png", "a", "valid"), ("2.png", "a", "val")],
            {"split": "s"},
            "both val and valid",
        ),
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


def test_a_parquet_column_of_lists_is_refused_unless_it_is_that_of_several_labels(tmp_path):
    put(tmp_path / "root", ["1.png"])
    write(tmp_path / "root" / "labels.parquet", ["path", "label"], [("1.png", ["a", "b"])])
    said = refusal(tmp_path, table="labels.parquet")
    assert "table of texts and numbers" in said and "`separator` to be set" in said
    keys = {"table": "labels.parquet", "separator": "|"}
    assert "a column of lists" in refusal(tmp_path, path="label", labels="path", **keys)
    assert found(prepared(tmp_path, **keys)) == {"1.png": (["a", "b"], "train")}


@pytest.mark.parametrize(
    ("lists", "kind", "labels"),
    [
        ([["b|c", " a "], ["a", "a", None, ""], [], None], pa.string(), [["a", "b|c"], ["a"], [], []]),
        ([[2, 10], [10], [], None], pa.int64(), [["2", "10"], ["10"], [], []]),
        ([[1.0, 0.1], [0.1], [], None], pa.float32(), [["0.1", "1"], ["0.1"], [], []]),
    ],
)
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list])
def test_parquet_lists_are_several_labels(tmp_path, caplog, lists, kind, labels, listed):
    names = [f"{number}.png" for number in range(1, 5)]
    put(tmp_path / "root", names)
    rows = pa.table({"path": [*names, None], "label": pa.array([*lists, None], listed(kind))})
    pq.write_table(rows, tmp_path / "root" / "labels.parquet")
    index = prepared(tmp_path, table="labels.parquet", separator="|")
    assert found(index) == {name: (given, "train") for name, given in zip(names, labels, strict=True)}
    assert index.multilabel and "which divides" not in caplog.text


# Quotes and commas


def table_of(tmp_path, text, name="labels.csv"):
    put(tmp_path / "root", [f"{number}.png" for number in range(1, 9)])
    (tmp_path / "root" / name).write_bytes(text.encode())


def swallowing(head, opens, closes, row):
    """A table of eight rows, two of which have a quote at the second place of ``row``; the number is at the first."""
    rows = [row.format(number, '"' if number in (opens, closes) else "") for number in range(1, 9)]
    return "\n".join([head, *rows, ""])


@pytest.mark.parametrize(
    ("text", "keys", "says"),
    [
        # From line 3 to line 6, in a column that is read and in one that is not.
        (swallowing("path,label", 2, 5, "{0}.png,{1}cat"), {}, "cannot be read as a row up to line 6"),
        (swallowing("path,label", 2, 5, "{0}.png,{1}"), {}, "line 3: a quote opens there and closes at line 6"),
        (
            swallowing("path,label,note", 2, 5, "{0}.png,cat,{1}"),
            {},
            "line 3: a quote opens there and closes at line 6",
        ),
        (
            swallowing("path,note,label", 2, 3, "{0}.png,{1},cat"),
            {},
            "line 3: a quote opens there and closes at line 4",
        ),
        (swallowing("path,a,note,label", 2, 3, "{0}.png,1,{1},cat"), {}, "line 3: a quote opens"),
        (
            swallowing("note,path,label", 2, 5, "{1},{0}.png,cat"),
            {},
            "line 3: a quote opens there and closes at line 6",
        ),
        (swallowing("path,label,note", 2, 5, "{0}.png,cat,{1}"), {"labels": None}, "line 3: a quote opens"),
        # In the header: no row would be left of the first five.
        ('path,"label\n1.png,cat\n2.png,"\n3.png,dog\n', {"labels": None}, "line 1: a quote opens there and closes"),
        # That never closes.
        (swallowing("path,label,note", 4, 4, "{0}.png,cat,{1}"), {}, "line 5: a quote opens there and does not close"),
        (swallowing("path,note", 4, 4, "{0}.png,{1}"), {"labels": None}, "line 5: a quote opens there and does not"),
        # A label of two lines, and a path.
        ('path,label\n1.png,"a\nb"\n', {}, "line 2: a quote opens there and closes at line 3"),
        ('path,label\n1.png,a\n"2.png\n",b\n', {}, "line 3: a quote opens there and closes at line 4"),
        # A comma in a label.
        ("path,label\n1.png,cat\n2.png,retriever, golden\n", {}, "line 3 has 3 columns, where the header has 2; put"),
    ],
)
def test_no_row_is_swallowed_and_no_label_cut(tmp_path, text, keys, says):
    table_of(tmp_path, text)
    said = refusal(tmp_path, **keys)
    assert f"{tmp_path / 'root' / 'labels.csv'}: " in said and says in said


@pytest.mark.parametrize(
    ("head", "row", "wanted"),
    [
        ("path,label,note", "{0}.png,c{0},n", ["path", "label"]),
        ("path,note,label", "{0}.png,,c{0}", ["path", "label"]),
        ("note,path,x,label", "n,{0}.png,,c{0}", ["path", "label"]),
        ("path,note", "{0}.png,n", ["path"]),
    ],
)
def test_two_quotes_anywhere_lose_no_row(tmp_path, head, row, wanted):
    """Wherever they stand, the table is refused or says the same as without them."""
    lines = [head, *(row.format(number) for number in range(1, 4)), ""]
    text, columns = "\n".join(lines), head.split(",")
    expected = {column: [line.split(",")[columns.index(column)] for line in lines[1:-1]] for column in wanted}
    table, counts = tmp_path / "labels.csv", Counter()
    for first, second in itertools.combinations_with_replacement(range(len(head) + 1, len(text) + 1), 2):
        table.write_text(f'{text[:first]}"{text[first:second]}"{text[second:]}')
        try:
            read = read_columns(table, "mine", wanted).texts
        except BadInput as error:
            assert str(error).startswith(f"{table}: line ")
            counts["refused"] += 1
        else:
            plain = {column: [cell.replace('"', "") for cell in cells] for column, cells in read.items()}
            assert plain == expected, table.read_text()
            counts["read"] += 1
    assert min(counts["refused"], counts["read"]) > 50


def test_quotes_as_they_should_be(tmp_path):
    table_of(
        tmp_path,
        'path,label,"a\nnote"\r\n1.png,"retriever, golden","first line\nsecond, short\n"\r\n"2.png",5" tall,\r\n'
        '3.png,"say ""hi""","one, two\nthree"\r\n',
    )
    assert found(prepared(tmp_path)) == {
        "1.png": (["retriever, golden"], "train"),
        "2.png": (['5" tall'], "train"),
        "3.png": (['say "hi"'], "train"),
    }


def test_a_note_of_several_lines_with_commas_brings_no_row_along(tmp_path):
    note = "FINDINGS:\nThe heart, lungs, and mediastinum are normal.\nNo change, as before."
    table_of(tmp_path, f'path,label,report\n1.png,a,"{note}"\n2.png,b,short\n3.png,a,"one,\n two, three, four"\n')
    assert [labels for labels, _ in found(prepared(tmp_path)).values()] == [["a"], ["b"], ["a"]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_than_the_suffixs_is_found(tmp_path, caplog, delimiter):
    caplog.set_level("INFO")
    rows = [("1.png", "a, b"), ("2.png", "c")]
    put(tmp_path / "root", ["1.png", "2.png"])
    write(tmp_path / "root" / "labels.csv", ["label ", " path"], [row[::-1] for row in rows], delimiter=delimiter)
    assert found(prepared(tmp_path)) == {path: ([label], "train") for path, label in rows}
    assert f"labels.csv: its columns are divided by {delimiter!r}, and are read so." in caplog.text


QUOTINGS = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "tab"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", QUOTINGS)
def test_every_table_that_pandas_writes_is_read_as_by_pandas(tmp_path, suffix, delimiter, quoting):
    random = np.random.default_rng([ord(delimiter), quoting])
    signs = list("ab9 .,;|'\"\t/\u00e9")
    table = tmp_path / f"labels.{suffix}"
    for _ in range(40):
        texts = {
            name: ["x" + "".join(random.choice(signs, random.integers(0, 8))) + "x" for _ in range(4)]
            for name in random.permutation(["path", "label", "a note", "b; or, c|d"])
        }
        head = pd.DataFrame(texts).assign(number=[1, 2, 3, 4])
        head.to_csv(table, sep=delimiter, quoting=quoting, index=bool(random.integers(2)))
        with open(table, "r+", encoding="utf-8") as file:
            content = file.read()
            start = random.choice(["", f"sep={delimiter}\n", "\n\n"])
            file.seek(0)
            file.write(start + content)
        expected = pd.read_csv(table, sep=delimiter, skiprows=start.count("\n"), dtype=str, keep_default_na=False)
        read = read_columns(table, "mine", ["path", "label", "number"])
        assert read.texts == {column: expected[column].tolist() for column in ("path", "label", "number")}
        assert read.numbers == [start.count("\n") + number for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"path";"lable"\n"1.png";"a"\n', "has no column 'label'; did you mean 'lable'?"),
        ('"file";"class"\n"1.png";"a"\n', "has no column 'path'; it has: file, class."),
        ('path,"lab"el\n1.png,a\n', "line 1: cannot be read as a row"),
        ('path,"lab;x"el\n1.png,a\n', "line 1: cannot be read as a row"),
        ("# made by hand\npath,label\n1.png,a\n", "line 1 begins with #, where the header has to stand"),
        ("\n#path,label\n1.png,a\n", "line 2 begins with #, where the header has to stand"),
        ('"path","label"\n"1","1.png","a"\n', "line 2 has 3 columns, where the header has 2; name the rows' names"),
        ('path,label\n1.png, "x, y"\n', "line 2 has 3 columns, where the header has 2"),
        (
            'path,label,note\n1.png,a,"one, two, three\n2.png, five, six"\n',
            "take out the quote, or the line breaks between, or save the table as Parquet.",
        ),
    ],
)
def test_what_is_wrong_with_a_head_is_told(tmp_path, text, says):
    table_of(tmp_path, text)
    assert says in refusal(tmp_path)


def test_a_cell_may_be_as_long_as_a_mask(tmp_path):
    table_of(tmp_path, f"path,mask,label\n1.png,{'1 2 ' * 250_000},a\n2.png,,b\n")
    assert found(prepared(tmp_path)) == {"1.png": (["a"], "train"), "2.png": (["b"], "train")}


def test_the_suffixs_delimiter_is_taken_where_it_serves(tmp_path, caplog):
    caplog.set_level("INFO")
    table_of(tmp_path, "path,label;x,label\n1.png,b,a;b\n")
    assert prepared(tmp_path).classes == ["a;b"]
    assert "divided" not in caplog.text


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
def test_rows_of_empty_cells_are_left_out_and_told(tmp_path, caplog, table):
    caplog.set_level("INFO")
    put(tmp_path / "root", ["1.png", "2.png"])
    rows = [("1.png", "a", "x"), ("", "", " "), ("2.png", "b", ""), ("", "", "")]
    write(tmp_path / "root" / table, ["path", "label", "note"], rows)
    assert found(prepared(tmp_path, table=table)) == {"1.png": (["a"], "train"), "2.png": (["b"], "train")}
    assert "mine: 2 rows of empty cells are left out." in caplog.text


@pytest.mark.parametrize(("table", "where"), [("labels.csv", "line 3"), ("labels.parquet", "row 2")])
def test_a_row_without_a_path_is_refused(tmp_path, table, where):
    put(tmp_path / "root", ["1.png"])
    write(tmp_path / "root" / table, ["path", "label", "note"], [("1.png", "a", ""), ("", "", "x")])
    said = refusal(tmp_path, table=table)
    assert f"{tmp_path / 'root' / table}: {where} has no path in column 'path'; add it, or take out the row." in said


def test_a_parquet_column_twice_is_refused(tmp_path):
    put(tmp_path / "root", ["1.png"])
    rows = pa.table([["1.png"], ["a"], ["b"], ["c"], ["d"]], names=["path", "label", "label", "x", "x"])
    pq.write_table(rows, tmp_path / "root" / "labels.parquet")
    assert "labels.parquet: has 2 columns 'label'; rename all but one." in refusal(tmp_path, table="labels.parquet")
    assert prepared(tmp_path, table="labels.parquet", labels=None).ids == ["1.png"]


# Labels, written in several ways


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1", "1.0", "1.00", "2"], ["1", "1", "1", "2"]),
        (["-0.0", "0", "0.0", "-0"], ["0"] * 4),
        (["10.0", "10", "100", "-3.0"], ["10", "10", "100", "-3"]),
        # As text: no whole numbers, or not alone.
        (["1.5", "1.50", "01", "1.0a"], ["1.5", "1.50", "01", "1.0a"]),
        (["v1.0", "1e3", "1_0.0", "+1"], ["v1.0", "1e3", "1_0.0", "+1"]),
        (["caf\u00e9", "cafe\u0301", "\u212b", "a"], ["caf\u00e9", "caf\u00e9", "\u00c5", "a"]),
    ],
)
def test_a_whole_number_and_an_accent_have_one_spelling(tmp_path, table, cells, labels):
    names = [f"{number}.png" for number in range(1, 5)]
    put(tmp_path / "root", names)
    write(tmp_path / "root" / table, ["path", "label"], list(zip(names, cells, strict=True)))
    expected = dict(zip(names, labels, strict=True))
    assert found(prepared(tmp_path, table=table)) == {path: ([label], "train") for path, label in expected.items()}


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_short_floats_are_the_classes_that_pandas_writes(tmp_path, kind):
    put(tmp_path / "root", [f"{number}.png" for number in range(1, 7)])
    values = np.array([0.1, 1 / 3, 7, 2.5, -0.2, np.nan], kind)
    rows = pd.DataFrame({"path": [f"{number}.png" for number in range(1, 7)], "label": values})
    rows.to_csv(tmp_path / "root" / "labels.csv", index=False)
    pq.write_table(pa.table({"path": rows.path, "label": pa.array(values)}), tmp_path / "root" / "labels.parquet")
    one, other = (
        found(prepared(tmp_path, table=table, separator="|", path="path")) for table in ("labels.csv", "labels.parquet")
    )
    assert one == other and one["1.png"] == (["0.1"], "train")


@pytest.mark.parametrize("values", [[1.0, 2.5, 3.0], [1e16, 1e22, -0.0], [0.1, float("inf"), 7.0]])
def test_numbers_are_the_same_classes_in_both_kinds_of_tables(tmp_path, values):
    put(tmp_path / "root", ["1.png", "2.png", "3.png"])
    rows = [(f"{place + 1}.png", value) for place, value in enumerate(values)]
    for table in ("labels.csv", "labels.parquet"):
        write(tmp_path / "root" / table, ["path", "label"], rows)
    one, other = (found(prepared(tmp_path, table=table)) for table in ("labels.csv", "labels.parquet"))
    assert one == other


def test_labels_are_put_in_one_spelling_after_they_are_divided(tmp_path):
    table_of(tmp_path, "path,label\n1.png,1.0|2\n2.png,1 | 2.0\n")
    index = prepared(tmp_path, separator="|")
    assert index.classes == ["1", "2"] and index.labels == [[0, 1], [0, 1]]


def test_labels_that_may_not_be_meant_so_are_told(tmp_path, caplog):
    table_of(
        tmp_path,
        "path,label\n1.png,Dog\n2.png,dog\n3.png,1.5\n4.png,1.50\n5.png,n/a\n6.png,none\n7.png,a b\n8.png,a\u00a0b\n",
    )
    assert len(prepared(tmp_path).classes) == 8
    assert "mine: classes are one number, spelt differently: '1.5' and '1.50'." in caplog.text
    assert "invisible characters alone: 'Dog' and 'dog', 'a b' and 'a\\xa0b'." in caplog.text
    assert "mine: classes look like missing values: n/a, none." in caplog.text


@pytest.mark.parametrize(
    ("label", "other", "told"),
    [
        ("'cat'", "cat", "quotes, white space or invisible characters alone: \"'cat'\" and 'cat'"),
        ("\u201ccat\u201d", "cat", "alone: 'cat' and '\u201ccat\u201d'"),
        ('""" cat"""', "Cat", "alone: '\" cat\"' and 'Cat'"),
        ('"1,0"', "1", "one number, spelt differently: '1' and '1,0'"),
        ('"0,50"', "0.5", "one number, spelt differently: '0,50' and '0.5'"),
        ("?", "cat", "missing values: ?."),
        ("-", "cat", "missing values: -."),
        ("Unknown", "undefined", "missing values: Unknown, undefined."),
        ("a|b", "b|a", "several labels of an image: 'a|b', 'b|a'; `separator` divides"),
        ("a / b", "b;a", "several labels of an image: 'a / b', 'b;a'"),
        ("[1]", "2", "look like lists: [1]; `separator` divides"),
    ],
)
def test_spellings_that_may_not_be_meant_so_are_told(tmp_path, caplog, label, other, told):
    table_of(tmp_path, f"path,label\n1.png,{label}\n2.png,{other}\n")
    assert len(prepared(tmp_path).classes) == 2
    assert told in caplog.text


@pytest.mark.parametrize(("label", "other"), [("a|b", "a"), ("a/b", "a/c"), ("5'", "5"), ("w/o", "n/o"), ("a|b", "c")])
def test_spellings_that_are_meant_so_are_not(tmp_path, caplog, label, other):
    table_of(tmp_path, f"path,label\n1.png,{label}\n2.png,{other}\n")
    assert len(prepared(tmp_path).classes) == 2
    assert "mine: classes" not in caplog.text


def test_another_separator_among_them_is_told(tmp_path, caplog):
    table_of(tmp_path, "path,label\n1.png,a|b\n2.png,b;a\n3.png,a\n")
    assert prepared(tmp_path, separator="|").classes == ["a", "b", "b;a"]
    assert "mine: classes look like several labels of an image: 'b;a'" in caplog.text


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("\"['cat', 'dog']\"", "['cat', 'dog']"),
        ('"[""cat"",""dog""]"', '["cat","dog"]'),
        ("[]", "[]"),
        ("\"('cat', ('dog', 'owl'))\"", "('cat', ('dog', 'owl'))"),
        ("\"{'cat'}\"", "{'cat'}"),
    ],
)
def test_lists_of_python_and_json_are_no_labels(tmp_path, cell, shown):
    table_of(tmp_path, f"path,label\n1.png,cat\n2.png,{cell}\n3.png,{cell}\n")
    said = refusal(tmp_path, separator=",")
    assert f"line 3 gives labels as a list of Python or JSON, {shown!r}, as do 1 other rows; divide" in said


def test_labels_in_brackets_are_labels(tmp_path):
    table_of(tmp_path, "path,label\n1.png,(a)|(b)\n2.png,[a] b|c\n3.png,a (b)\n")
    assert prepared(tmp_path, separator="|").classes == ["(a)", "(b)", "[a] b", "a (b)", "c"]


def test_a_rare_label_that_chance_takes_for_tests_is_told(tmp_path):
    labels = "".join(f"{number}.png,{'ab'[number % 2]}{'|rare' * (number == 5)}\n" for number in range(1, 9))
    table_of(tmp_path, f"path,label\n{labels}")
    said = {seed: "" for seed in range(8)}
    for seed in said:
        try:
            index = prepared(tmp_path, separator="|", test_share=0.5, split_seed=seed)
        except BadInput as error:
            said[seed] = str(error)
        else:
            assert index.split[index.ids.index("5.png")] == "train"
    refused = [text for text in said.values() if text]
    assert 0 < len(refused) < len(said)
    assert all(
        "1 of its 3 classes (rare)" in text and "datasets.mine.split_seed or a smaller" in text for text in refused
    )


def test_a_separator_that_no_cell_holds_is_told(tmp_path, caplog):
    table_of(tmp_path, "path,label\n1.png,a;b\n2.png,c\n")
    assert prepared(tmp_path, separator="|").classes == ["a;b", "c"]
    assert "mine: no cell of column 'label' holds '|', which divides its labels." in caplog.text
    caplog.clear()
    assert prepared(tmp_path, separator=";").classes == ["a", "b", "c"]
    assert "holds" not in caplog.text


def test_a_class_without_test_images_is_told(tmp_path, caplog):
    table_of(tmp_path, "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,a,validation\n")
    assert prepared(tmp_path, split="split").split == ["train", "train", "test"]
    assert "mine: 1 of 2 classes have no test images: b." in caplog.text


# Paths, written in several ways


@pytest.mark.parametrize("linked", [False, True])
def test_an_absolute_path_below_the_root_is_taken_from_there(tmp_path, linked):
    put(tmp_path / "real", ["a/1.png", "a/2.png"])
    (tmp_path / "root").symlink_to(tmp_path / "real") if linked else (tmp_path / "real").rename(tmp_path / "root")
    root = tmp_path / "root"
    paths = [f"{root}/a/../a//1.png", f"{root.resolve()}/a/2.png"]
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(path, "x") for path in paths])
    assert prepared(tmp_path).ids == ["a/1.png", "a/2.png"]


@pytest.mark.parametrize("path", ["{root}2/1.png", "{root}/../{root.name}2/1.png"])
def test_an_absolute_path_beside_the_root_is_refused(tmp_path, path):
    put(tmp_path, ["root/1.png", "root2/1.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(path.format(root=tmp_path / "root"), "x")])
    assert "which is no path below" in refusal(tmp_path)


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
def test_a_name_may_begin_or_end_with_a_space(tmp_path, table):
    put(tmp_path / "root", ["1.png", " 1.png", "a /2.png ", "3.png"])
    rows = [("1.png", "a"), (" 1.png", "b"), ("a /2.png ", "c"), ("\t3.png ", "d")]
    write(tmp_path / "root" / table, ["path", "label"], rows)
    expected = {path if path != "\t3.png " else "3.png": ([label], "train") for path, label in rows}
    assert found(prepared(tmp_path, table=table)) == expected


@pytest.mark.parametrize("start", ["", "{root}/"])
def test_a_path_does_not_climb_out_of_a_link(tmp_path, start):
    put(tmp_path / "root", ["a/1.png", "b/c/2.png", "b/1.png"])
    (tmp_path / "root" / "a" / "l").symlink_to(tmp_path / "root" / "b" / "c")
    path = f"{start.format(root=tmp_path / 'root')}a/l/../1.png"
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(path, "x")])
    said = refusal(tmp_path)
    assert "a/l/../1.png', which climbs out of a link; give its path without `..`" in said
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [("a/l/2.png", "x"), ("b/c/../1.png", "y")])
    assert prepared(tmp_path).ids == ["a/l/2.png", "b/1.png"]


def test_an_absolute_path_that_climbs_to_the_root_is_taken_from_there(tmp_path):
    put(tmp_path, ["root/a/1.png", "work/x.png"])
    write(
        tmp_path / "root" / "labels.csv",
        ["path", "label"],
        [(str(tmp_path / "work" / ".." / "root" / "a" / "1.png"), "x")],
    )
    assert prepared(tmp_path).ids == ["a/1.png"]


@pytest.mark.parametrize("path", [".cache/1.png", "a/@eaDir/1.png", "__pycache__/a/1.png", ".1.png"])
def test_images_where_no_change_is_noticed_are_refused(tmp_path, path):
    put(tmp_path / "root", [path, "2.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(path, "x"), ("2.png", "y")])
    assert f"names 1 images that are hidden or lie in folders of programs ({path})" in refusal(tmp_path)


def test_an_image_named_as_an_array_is_refused(tmp_path):
    """An index takes such a file for an array of images."""
    put(tmp_path / "root", ["1.npy"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [("1.npy", "x")])
    assert "names the image '1.npy', whose suffix is that of arrays" in refusal(tmp_path)


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("there", "written"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_path_is_found_in_either_spelling_of_its_accents(tmp_path, there, written):
    put(tmp_path / "root", [f"{there}/{there}.png", "b.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(f"{written}/{written}.png", "x"), ("b.png", "y")])
    assert found(prepared(tmp_path)) == {f"{there}/{there}.png": (["x"], "train"), "b.png": (["y"], "train")}


def test_two_spellings_of_one_path_are_one_image(tmp_path):
    put(tmp_path / "root", [f"{COMPOSED}.png"])
    rows = [(f"{COMPOSED}.png", "x"), (f"{DECOMPOSED}.png", "y")]
    write(tmp_path / "root" / "labels.csv", ["path", "label"], rows)
    assert "names 1 images more than once" in refusal(tmp_path)
    put(tmp_path / "root", [f"{DECOMPOSED}.png"])
    assert found(prepared(tmp_path)) == {path: ([label], "train") for path, label in rows}


def test_a_link_in_the_other_spelling_does_not_lead_out(tmp_path):
    put(tmp_path, ["elsewhere/1.png", "root/2.png"])
    (tmp_path / "root" / COMPOSED).symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(f"{DECOMPOSED}/1.png", "x")])
    assert "which a link leads out of" in refusal(tmp_path)


def test_an_image_that_is_in_neither_spelling_is_absent(tmp_path):
    put(tmp_path / "root", [f"{COMPOSED}/1.png"])
    write(tmp_path / "root" / "labels.csv", ["path", "label"], [(f"{DECOMPOSED}/2.png", "x")])
    assert "names 1 images that are no files below" in refusal(tmp_path)
