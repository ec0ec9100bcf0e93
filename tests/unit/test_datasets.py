"""Making an index: folders of pictures in the layouts that people have, and the bundled sets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wecolora.bundled import BUNDLED
from wecolora.datasets import prepare_bundled, prepare_folder
from wecolora.errors import BadInput
from wecolora.images import read_index


def put(root, *names, colour=(9, 99, 200)):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), colour).save(path)


def prepared(root, tmp_path):
    prepare_folder("mine", root, tmp_path / "out" / "index.parquet")
    return read_index(tmp_path / "out" / "index.parquet")


LABELLED = [
    "train/cat/1.png",
    "train/cat/2.JPG",
    "train/dog/deep/er/1.bmp",
    "train/ant/1.tif",
    "test/cat/1.png",
    "test/dog/1.webp",
]


def test_a_folder_of_classes(tmp_path):
    put(tmp_path / "pictures", *LABELLED)
    (tmp_path / "pictures" / "train" / "cat" / "notes.txt").write_text("not a picture")
    index = prepared(tmp_path / "pictures", tmp_path)
    assert sorted(index.ids) == sorted(LABELLED)
    assert index.classes == ["ant", "cat", "dog"] and not index.multilabel and index.name == "mine"
    for name, labels, split in zip(index.ids, index.labels, index.split, strict=True):
        assert [index.classes[label] for label in labels] == [name.split("/")[1]]
        assert split == name.split("/")[0]
    assert all(index.image(position).size == (8, 6) for position in range(len(LABELLED)))


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["x/a.png", "y/z/b.png"], ["cats/1.png", "dogs/1.png"]])
def test_a_folder_in_any_other_layout_is_unlabelled(tmp_path, names):
    put(tmp_path / "pictures", *names)
    index = prepared(tmp_path / "pictures", tmp_path)
    assert sorted(index.ids) == sorted(names)
    assert index.labels == [[], []] and index.classes == [] and index.split == ["train", "train"]


@pytest.mark.parametrize("stray", ["logo.png", "train/1.png", "test/1.png", "val/cat/1.png"])
def test_a_picture_beside_the_class_folders_is_refused(tmp_path, stray):
    """Taking the folder for an unlabelled one instead would drop every label without a word."""
    put(tmp_path / "pictures", *LABELLED, stray)
    with pytest.raises(BadInput, match="class folder") as caught:
        prepared(tmp_path / "pictures", tmp_path)
    assert str(tmp_path / "pictures" / stray) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_whose_pictures_change_gives_another_index(tmp_path):
    put(tmp_path / "pictures", *LABELLED)
    index = tmp_path / "out" / "index.parquet"
    prepare_folder("mine", tmp_path / "pictures", index)
    before = index.read_bytes()
    prepare_folder("mine", tmp_path / "pictures", index)
    assert index.read_bytes() == before
    put(tmp_path / "pictures", LABELLED[0], colour=(0, 0, 0))
    prepare_folder("mine", tmp_path / "pictures", index)
    assert index.read_bytes() != before


def test_other_pixels_give_another_index(tmp_path):
    """Else, what is made from an index would not be made again when its pixels have changed."""
    for number, seed in enumerate([0, 0, 1]):
        (tmp_path / str(number)).mkdir()
        prepare_bundled("photos", "photos", 40, 20, seed, tmp_path / str(number) / "index.parquet")
    first, same, other = ((tmp_path / str(number) / "index.parquet").read_bytes() for number in range(3))
    assert first == same != other
    assert read_index(tmp_path / "0" / "index.parquet").ids == read_index(tmp_path / "2" / "index.parquet").ids


def test_the_order_does_not_depend_on_the_file_system(tmp_path):
    put(tmp_path / "one", *LABELLED)
    put(tmp_path / "two", *reversed(LABELLED))
    one, two = prepared(tmp_path / "one", tmp_path), prepared(tmp_path / "two", tmp_path)
    assert (one.ids, one.labels, one.split) == (two.ids, two.labels, two.split)
    assert one.ids == sorted(one.ids)


def test_ids_do_not_depend_on_where_the_folder_lies(tmp_path, monkeypatch):
    put(tmp_path / "pictures", *LABELLED)
    monkeypatch.chdir(tmp_path)
    assert prepared("pictures", tmp_path) == prepared(tmp_path / "pictures", tmp_path)


@pytest.mark.parametrize("make", [None, "empty", "file"])
def test_a_root_without_pictures_is_refused(tmp_path, make):
    root = tmp_path / "pictures"
    if make == "empty":
        root.mkdir()
        (root / "readme.txt").write_text("nothing here")
    elif make == "file":
        root.write_text("a file")
    with pytest.raises(BadInput) as caught:
        prepared(root, tmp_path)
    assert str(root) in str(caught.value) and "mine" in str(caught.value)
    assert not (tmp_path / "out" / "index.parquet").exists()


def test_an_unreadable_picture_is_found_where_it_is_read(tmp_path):
    put(tmp_path / "pictures", "train/a/1.png", "train/a/2.png")
    (tmp_path / "pictures" / "train" / "a" / "2.png").write_bytes(b"\x89PNG broken")
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.image(index.ids.index("train/a/1.png")).size == (8, 6)
    with pytest.raises(BadInput, match=r"train/a/2\.png.*mine"):
        index.pixels(range(2), 8)


@pytest.mark.parametrize("source", ["digits", "tags"])
def test_a_bundled_set_is_written_beside_its_index(tmp_path, source):
    drawn = BUNDLED[source](30, 20, 5)
    prepare_bundled("marks", source, 30, 20, 5, tmp_path / "a" / "index.parquet")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["images.npy", "index.parquet"]
    index = read_index(tmp_path / "a" / "index.parquet")
    assert (index.name, index.classes, index.multilabel) == ("marks", drawn.classes, source == "tags")
    assert [tuple(labels) for labels in index.labels] == drawn.labels and index.split == drawn.split
    assert len(set(index.ids)) == len(drawn.images) == 50
    for split in ("train", "test"):
        rows = index.rows(split)
        np.testing.assert_array_equal(index.pixels(rows, 32), drawn.images[rows])
    prepare_bundled("marks", source, 30, 20, 5, tmp_path / "b" / "index.parquet")
    for name in ("images.npy", "index.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
