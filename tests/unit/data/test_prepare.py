"""Making an index and its report: of folders in the layouts that people have, and of the bundled sets."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import xxhash
from PIL import Image

from wecolora.config.datasets import Bundled, Folder
from wecolora.core.errors import BadInput
from wecolora.core.folders import folder_state
from wecolora.data.bundled import BUNDLED
from wecolora.data.images import read_index
from wecolora.data.prepare import prepare


def put(root, *names, colour=(9, 99, 200)):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), colour).save(path)


def prepared(root, tmp_path, threads=1, **keys):
    folder = Folder(label="", source="folder", root=str(root), **keys)
    report = prepare("mine", folder, tmp_path / "out" / "index.parquet", threads)
    (tmp_path / "report.json").write_text(json.dumps(report))
    return read_index(tmp_path / "out" / "index.parquet")


def report(tmp_path):
    return json.loads((tmp_path / "report.json").read_text())


def prepare_bundled(name, bundled, train, test, seed, index):
    data = Bundled(label="", source="bundled", bundled=bundled, train=train, test=test, seed=seed)
    prepare(name, data, index)


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


@pytest.mark.parametrize("stray", ["logo.png", "train/1.png", "test/1.png", "extra/cat/1.png"])
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
    prepared(tmp_path / "pictures", tmp_path)
    before = index.read_bytes()
    prepared(tmp_path / "pictures", tmp_path)
    assert index.read_bytes() == before
    put(tmp_path / "pictures", LABELLED[0], colour=(0, 0, 0))
    prepared(tmp_path / "pictures", tmp_path)
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


def test_an_unreadable_picture_is_named(tmp_path, caplog):
    put(tmp_path / "pictures", *LABELLED)
    (tmp_path / "pictures" / "train" / "cat" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(
        BadInput, match=r"mine: 1 of 6 images cannot be read: train/cat/1\.png; .*skip_unreadable: true\)"
    ):
        prepared(tmp_path / "pictures", tmp_path)
    assert "train/cat/1.png: cannot be read as an image (no picture of a known format)" in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_unreadable_picture_is_left_out_on_request(tmp_path):
    put(tmp_path / "pictures", *LABELLED)
    (tmp_path / "pictures" / "train" / "cat" / "1.png").write_bytes(b"")
    index = prepared(tmp_path / "pictures", tmp_path, skip_unreadable=True)
    assert sorted(index.ids) == sorted(set(LABELLED) - {"train/cat/1.png"})
    found = report(tmp_path)
    assert found["unreadable"] == {"count": 1, "images": {"train/cat/1.png": "train/cat/1.png: is empty."}}
    assert found["counts"] == {"train": 3, "test": 2, "classes": 3}


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


# Layouts of folders


def test_val_takes_the_place_of_test(tmp_path):
    names = [name.replace("test/", "val/") for name in LABELLED]
    put(tmp_path / "pictures", *names)
    index = prepared(tmp_path / "pictures", tmp_path)
    assert dict(zip(index.ids, index.split, strict=True)) == {
        name: "test" if name.startswith("val/") else "train" for name in names
    }


def test_class_folders_are_divided_at_random(tmp_path):
    """10 and 5 images and a single one: round(0.3 * n) of each are test images, never all and never none of several."""
    names = [f"{label}/{number}.png" for label, count in {"a": 10, "b": 5, "c": 1}.items() for number in range(count)]
    put(tmp_path / "pictures", *names)
    index = prepared(tmp_path / "pictures", tmp_path, test_share=0.3)
    assert index.classes == ["a", "b", "c"]
    assert [name.split("/")[0] for name in index.ids] == [index.classes[label] for (label,) in index.labels]
    tested = [index.ids[row] for row in index.rows("test")]
    assert [sum(name.startswith(label) for name in tested) for label in "abc"] == [3, 2, 0]
    assert prepared(tmp_path / "pictures", tmp_path, test_share=0.3) == index
    assert prepared(tmp_path / "pictures", tmp_path, test_share=0.3, split_seed=1).split != index.split
    few = prepared(tmp_path / "pictures", tmp_path, test_share=0.1)
    assert {few.ids[row] for row in few.rows("test")} < set(tested)


def test_a_picture_outside_the_classes_that_are_divided_is_refused(tmp_path):
    put(tmp_path / "pictures", "a/1.png", "a/2.png", "b.png")
    with pytest.raises(BadInput, match=r"pictures/b\.png: lies in no class folder.* into <class>/"):
        prepared(tmp_path / "pictures", tmp_path, test_share=0.5)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["train/a/1.png", "test/b/1.png"], "has no training images of 1 of its 2 classes \\(b\\)"),
        (["train/a/1.png", "test/"], "has no test images"),
        (["train/", "test/a/1.png"], "has no training images"),
    ],
)
def test_an_empty_split_or_class_is_refused(tmp_path, names, says):
    for name in names:
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name.split("/")[0]).mkdir(exist_ok=True)
    put(tmp_path / "pictures", *[name for name in names if name.endswith("png")])
    with pytest.raises(BadInput, match=f"mine: {says}"):
        prepared(tmp_path / "pictures", tmp_path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        # Both keep images for tests; taking one of them would leave the other out, or learn from it.
        ([*LABELLED, "val/cat/1.png"], "has test/ and val/, of which data set mine can have one; move the other out"),
        (["train/a/1.png", "val/a/1.png", "validation/a/1.png", "Dev/a/1.png"], "Dev/, val/ and validation/"),
        (["train/a/1.png", "training/a/1.png", "test/a/1.png"], "has train/ and training/, of which"),
        # Split, and not spelt as one: all would be one unlabelled heap.
        (["Train/a/1.png", "Test/a/1.png"], "Train/ and Test/ there may be meant as splits .* rename them as train/"),
        (["training/a/1.png", "testing/a/1.png"], "rename them"),
        (["train/a/1.png", "eval/a/1.png"], "train/ and eval/ there may be meant as splits"),
        (["TRN/a/1.png", "valid/a/1.png"], "TRN/ and valid/ there"),
        (["Training/a/1.png", "Training/b/1.png"], "Training/ there may be meant"),
        # Class folders whose labels would be dropped.
        (
            ["train/a/1.png", "train/b/1.png", "extra/1.png"],
            r"extra/1.png: lies in no class folder of train/.*rename tr",
        ),
        (["train/a/1.png", "train/1.png"], r"train/1\.png: lies in no class folder of train/"),
        (["train/a/1.png", "logo.png"], r"logo\.png: lies in no class folder of train/"),
        # What an archive unpacked into.
        (
            ["photos/train/a/1.png", "photos/test/a/1.png"],
            "has one folder, photos/, and in it the splits .* set datasets",
        ),
    ],
)
def test_a_root_that_can_be_read_in_two_ways_is_refused(tmp_path, names, says):
    put(tmp_path / "pictures", *names)
    with pytest.raises(BadInput, match=says):
        prepared(tmp_path / "pictures", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "bus/1.png", "car/1.png"],  # of vehicles
        ["train/1.png", "bus/a/1.png"],
        ["training/a/1.png", "match/a/1.png"],
        ["test/a/1.png", "b/1.png"],
        ["Train/1.png", "Train/2.png"],
        ["all/train/1.png", "all/test/1.png"],
    ],
)
def test_a_root_with_a_single_reading_stays_unlabelled(tmp_path, names):
    put(tmp_path / "pictures", *names)
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.ids == sorted(names) and index.classes == [] and set(index.split) == {"train"}


@pytest.mark.parametrize("held_out", ["val", "valid", "validation"])
def test_other_names_of_the_test_images(tmp_path, held_out):
    put(tmp_path / "pictures", "train/a/1.png", "train/b/1.png", f"{held_out}/a/1.png")
    (tmp_path / "pictures" / "notes").mkdir()
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.classes == ["a", "b"]
    assert dict(zip(index.ids, index.split, strict=True)) == {
        "train/a/1.png": "train",
        "train/b/1.png": "train",
        f"{held_out}/a/1.png": "test",
    }


@pytest.mark.parametrize(
    ("names", "which"),
    [
        (["train/a/1.png", "test/a/1.png"], "test/ and train/"),
        (["train/a/1.png", "train/b/1.png"], "train/"),
        (["Training/1.png", "Dev/1.png", "other/1.png"], "Dev/ and Training/"),
    ],
)
def test_splits_are_not_divided_as_classes(tmp_path, names, which):
    put(tmp_path / "pictures", *names)
    with pytest.raises(BadInput, match=f"{which} there look like splits .*datasets.mine.test_share.*take that key out"):
        prepared(tmp_path / "pictures", tmp_path, test_share=0.5)


@pytest.mark.parametrize(
    ("folders", "which"),
    [
        (["cars_train", "cars_test"], "cars_test/ and cars_train/"),
        (["split_train", "split_val", "split_test"], "split_test/, split_train/ and split_val/"),
        (["train2017", "val2017"], "train2017/ and val2017/"),
        (["a", "my Training set", "my Dev set"], "my Dev set/ and my Training set/"),
    ],
)
def test_splits_of_longer_names_are_not_divided_as_classes(tmp_path, folders, which):
    put(tmp_path / "pictures", *(f"{folder}/{number}.png" for folder in folders for number in range(2)))
    with pytest.raises(BadInput, match=f"{which} there look like splits .*take that key out"):
        prepared(tmp_path / "pictures", tmp_path, test_share=0.5)


@pytest.mark.parametrize(
    ("folders", "told"), [(["cars_train", "cars_test"], True), (["train2017", "val2017"], True), (["Train"], False)]
)
def test_splits_of_longer_names_that_are_all_learned_from_are_told(tmp_path, folders, told):
    put(tmp_path / "pictures", *(f"{folder}/1.png" for folder in folders))
    assert prepared(tmp_path / "pictures", tmp_path).split == ["train"] * len(folders)
    first, *second = sorted(folders)
    said = f"{first}/ and {''.join(second)}/ look like splits, and all their images are to be learned from."
    assert (said in report(tmp_path)["remarks"]) == told


def test_names_with_a_word_of_splits_may_be_classes(tmp_path, caplog):
    folders = ["bullet_train", "steam_train", "test_tube", "contest", "dev board"]
    put(tmp_path / "pictures", *(f"{folder}/{number}.png" for folder in folders for number in range(2)))
    assert prepared(tmp_path / "pictures", tmp_path, test_share=0.5).classes == sorted(folders)
    assert "as splits do" not in caplog.text


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["fold1/a", "fold1/b", "fold2/a", "fold2/b", "fold2/c", "other/d"], True),
        (["cat/a", "cat/b", "dog/a", "dog/c"], False),
        (["cat/a", "cat/b", "dog/c", "dog/d"], False),
    ],
)
def test_classes_with_the_same_folders_in_them_are_told(tmp_path, caplog, names, told):
    put(tmp_path / "pictures", *(f"{name}/{number}.png" for name in names for number in range(2)))
    prepared(tmp_path / "pictures", tmp_path, test_share=0.5)
    said = "fold1/ and fold2/ are taken for classes, and hold folders of the same names, as splits do"
    assert (said in caplog.text) == told and ("as splits do" in caplog.text) == told


@pytest.mark.parametrize("share", [0.4, 0.5, 0.99])
def test_the_only_image_of_a_class_is_learned_from(tmp_path, share):
    put(tmp_path / "pictures", "a/1.png", "a/2.png", "b/1.png")
    index = prepared(tmp_path / "pictures", tmp_path, test_share=share)
    assert [index.split[row] for row, name in enumerate(index.ids) if name == "b/1.png"] == ["train"]
    assert index.split.count("test") == 1


def test_classes_of_one_image_leave_none_to_test(tmp_path):
    put(tmp_path / "pictures", "a/1.png", "b/1.png")
    with pytest.raises(BadInput, match=r"no test images in .*too few for datasets\.mine\.test_share to leave one; add"):
        prepared(tmp_path / "pictures", tmp_path, test_share=0.5)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (["test/cat/1.png", "test/dog/1.webp"], "has no test images in .*all 2 of them cannot be read"),
        (["train/ant/1.tif"], r"no training images of 1 of its 3 classes \(ant: 1 that cannot be read\)"),
    ],
)
def test_what_lacks_because_it_cannot_be_read_is_told_so(tmp_path, broken, says):
    put(tmp_path / "pictures", *LABELLED)
    for name in broken:
        (tmp_path / "pictures" / name).write_bytes(b"")
    with pytest.raises(BadInput, match=says):
        prepared(tmp_path / "pictures", tmp_path, skip_unreadable=True)


@pytest.fixture
def deep(tmp_path):
    """A folder of nested folders, deeper than Python's calls may be, and their number."""
    depth = sys.getrecursionlimit() + 100
    put(tmp_path / "pictures", "a.png")
    here = os.open(tmp_path / "pictures", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(above)
    os.close(here)
    yield tmp_path / "pictures", depth
    # Python's own rmtree, by which pytest tidies up, would end here.
    subprocess.run(["rm", "-rf", tmp_path / "pictures" / "d"], check=True)


def test_folders_nested_deeper_than_pythons_calls_are_read(tmp_path, deep):
    root, depth = deep
    (root / ("d/" * depth) / "b.png").write_bytes((root / "a.png").read_bytes())
    before = folder_state.__wrapped__(str(root))
    assert prepared(root, tmp_path).ids == ["a.png", "d/" * depth + "b.png"]
    (root / ("d/" * depth) / "c.txt").write_text("new")
    assert folder_state.__wrapped__(str(root)) != before


def test_a_root_too_high_is_refused_before_its_one_folder_becomes_the_class(tmp_path):
    put(tmp_path / "pictures", "photos/train/a/1.png", "photos/val/a/1.png")
    with pytest.raises(BadInput, match=f"set datasets.mine.root to {tmp_path}/pictures/photos"):
        prepared(tmp_path / "pictures", tmp_path, test_share=0.5)


def test_a_class_may_be_called_as_a_split(tmp_path):
    put(tmp_path / "pictures", *(f"{label}/{number}.png" for label in ("train", "bus") for number in range(2)))
    assert prepared(tmp_path / "pictures", tmp_path, test_share=0.5).classes == ["bus", "train"]


# Classes and files that would vanish


@pytest.mark.parametrize(("share", "part"), [(None, "train/"), (0.5, "")])
@pytest.mark.parametrize(
    ("files", "says"), [([], r"\(owl\)"), (["1.heic", "a/2.HEIC", "3.txt"], "owl: 2 .heic, 1 .txt")]
)
def test_a_class_without_an_image_to_read_is_refused(tmp_path, share, part, files, says):
    put(tmp_path / "pictures", *(f"{part}{label}/{number}.png" for label in ("cat", "dog") for number in range(2)))
    (tmp_path / "pictures" / part / "owl" / "a").mkdir(parents=True)
    for file in files:
        (tmp_path / "pictures" / part / "owl" / file).write_text("no picture")
    with pytest.raises(BadInput, match=f"no training images of 1 of its 3 classes .*{says}.* add some, or take"):
        prepared(tmp_path / "pictures", tmp_path, test_share=share)


def test_files_that_are_left_out_are_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    put(tmp_path / "pictures", *LABELLED)
    for name in ("train/cat/9.heic", "train/dog/9.HEIC", "notes.txt", "README", ".DS_Store", "test/cat/._1.png"):
        (tmp_path / "pictures" / name).write_text("no picture")
    (tmp_path / "pictures" / "train" / "cat" / "10.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "pictures" / os.fsdecode(b"1.\xe9")).write_text("no picture")
    assert prepared(tmp_path / "pictures", tmp_path).ids == sorted(LABELLED)
    found = report(tmp_path)
    assert found["left_out"] == {".heic": 2, ".txt": 1, "without suffix": 1, ".\ufffd": 1}
    assert found["skipped"] == {"hidden files": 2, "broken links": 1}
    assert "1 links in its folders lead to nothing, and are left out." in found["remarks"]
    assert "mine: files left out, by suffix: 2 .heic, 1" in caplog.text
    assert "mine: skipped in its folders: 2 hidden files, 1 broken links." in caplog.text


def test_a_root_of_other_files_says_which(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.heic").write_text("x")
    with pytest.raises(
        BadInput, match=r"no image files \(.*\.pgm.*\) below the root of data set mine \(it has 1 .heic\)"
    ):
        prepared(tmp_path / "pictures", tmp_path)


def test_a_pipe_is_no_broken_link(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    put(tmp_path / "pictures", *LABELLED)
    os.mkfifo(tmp_path / "pictures" / "train" / "cat" / "9.png")
    (tmp_path / "pictures" / "train" / "cat" / "10.png").symlink_to(tmp_path / "pictures" / "train" / "cat" / "9.png")
    prepared(tmp_path / "pictures", tmp_path)
    assert report(tmp_path)["skipped"] == {"pipes, sockets and devices": 2}
    assert "lead to nothing" not in caplog.text


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "ppm", "pgm", "pbm", "pnm"])
def test_further_suffixes_of_what_pillow_reads(tmp_path, suffix):
    image = Image.new({"pgm": "L", "pbm": "1"}.get(suffix, "RGB"), (8, 6))
    image.save(tmp_path / "image", "JPEG" if suffix.startswith("j") else "PPM")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "image").rename(tmp_path / "pictures" / f"1.{suffix}")
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.ids == [f"1.{suffix}"] and index.image(0).size == (8, 6)


FOREIGN = ["@eaDir", "#recycle", ".thumbnails", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information",
           ".ipynb_checkpoints", "__pycache__"]  # fmt: skip


@pytest.mark.parametrize("share", [None, 0.5])
def test_folders_of_programs_are_no_classes_and_never_opened(tmp_path, caplog, monkeypatch, share):
    caplog.set_level(logging.INFO)
    names = [f"train/{label}/{number}.png" for label in ("cat", "dog") for number in range(2)]
    put(tmp_path / "pictures", *names)
    for folder in FOREIGN:
        put(tmp_path / "pictures", f"train/{folder}/1.png", f"train/cat/{folder}/x.png", f"{folder}/x.png")
    forbid(monkeypatch, *FOREIGN)
    root = tmp_path / "pictures" / "train" if share else tmp_path / "pictures"
    index = prepared(root, tmp_path, test_share=share)
    assert index.classes == ["cat", "dog"] and len(index.ids) == len(names)
    assert report(tmp_path)["skipped"] == dict.fromkeys(FOREIGN, 2 if share else 3)
    assert "@eaDir" in caplog.text and "System Volume Information" in caplog.text


def forbid(monkeypatch, *names):
    """Folders of these names cannot be listed, also by root, who runs these tests in a container."""
    scandir = os.scandir

    def listed(path):
        if os.path.basename(path) in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path / "pictures", *LABELLED)
    forbid(monkeypatch, "deep")
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path / "pictures", tmp_path)
    folder = tmp_path / "pictures" / "train" / "dog" / "deep"
    said = f"{folder}: cannot be read for data set mine (Permission denied); let it be read, or take it out."
    assert str(caught.value) == said


def test_a_root_that_cannot_be_read_is_named_where_the_error_does_not(tmp_path, monkeypatch):
    def listing(name, data):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("wecolora.data.sources.folder.listing", listing)
    with pytest.raises(
        BadInput, match=rf"^{tmp_path}/pictures: cannot be read for data set mine \(Input/output error\)"
    ):
        prepared(tmp_path / "pictures", tmp_path)


# Names of classes


def test_a_class_has_one_name_however_its_folders_spell_it(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    put(tmp_path / "pictures", f"train/{decomposed}/1.png", "train/a/1.png", f"test/{composed}/1.png")
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.classes == ["a", composed]
    assert dict(zip(index.ids, index.labels, strict=True)) == {
        f"train/{decomposed}/1.png": [1],
        "train/a/1.png": [0],
        f"test/{composed}/1.png": [1],
    }


def test_classes_that_may_not_be_meant_so_are_told(tmp_path, caplog):
    put(tmp_path / "pictures", *(f"train/{label}/1.png" for label in ("Cat", "cat", "1.5", "1.50", "NaN", "none")))
    put(tmp_path / "pictures", *(f"test/{label}/1.png" for label in ("Cat", "cat", "1.5", "1.50", "NaN")))
    assert len(prepared(tmp_path / "pictures", tmp_path).classes) == 6
    remarks = [
        "classes are one number, spelt differently: '1.5' and '1.50'.",
        "classes differ in case, quotes, white space or invisible characters alone: 'Cat' and 'cat'.",
        "classes look like missing values: NaN, none.",
        "1 of 6 classes have no test images: none.",
    ]
    assert report(tmp_path)["remarks"] == remarks
    assert all(f"WARNING: mine: {remark}" in caplog.text for remark in remarks)


def test_a_class_folder_with_a_control_character_is_refused(tmp_path):
    put(tmp_path / "pictures", "train/cat/1.png", "train/ca\tt/1.png")
    with pytest.raises(BadInput, match=r"'train/ca\\tt' of data set mine has a character that cannot be printed"):
        prepared(tmp_path / "pictures", tmp_path)


def test_linked_folders_are_followed_and_never_in_a_circle(tmp_path):
    put(tmp_path / "elsewhere", "1.png", "2.png")
    put(tmp_path / "pictures", "a/3.png", "a/.ipynb_checkpoints/3.png", "a/._3.png")
    (tmp_path / "pictures" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures" / "a" / "round").symlink_to(tmp_path / "pictures")
    (tmp_path / "pictures" / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert prepared(tmp_path / "pictures", tmp_path).ids == ["a/3.png", "b/1.png", "b/2.png"]


def test_names_in_other_scripts(tmp_path):
    names = ["train/Käfer/ñandú 1.png", "train/猫/Ωμέγα.png", "test/Käfer/1,2;3.png"]
    put(tmp_path / "pictures", *names)
    index = prepared(tmp_path / "pictures", tmp_path)
    assert sorted(index.ids) == sorted(names) and index.classes == ["Käfer", "猫"]
    assert index.pixels(range(3), 8).shape == (3, 8, 8, 3)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    put(tmp_path / "pictures", "1.png")
    os.rename(tmp_path / "pictures" / "1.png", os.fsencode(tmp_path / "pictures") + b"/caf\xe9.png")
    with pytest.raises(BadInput, match="not in UTF-8; rename it"):
        prepared(tmp_path / "pictures", tmp_path)


def test_training_classes_alone_keep_their_labels(tmp_path):
    """A corpus is balanced over them, and methods that read labels learn from them."""
    put(tmp_path / "pictures", "train/cat/1.png", "train/dog/2.png")
    index = prepared(tmp_path / "pictures", tmp_path)
    assert index.classes == ["cat", "dog"] and index.labels == [[0], [1]] and index.split == ["train", "train"]


@pytest.mark.parametrize(
    ("names", "share", "says"),
    [
        (["cat/1.png", "dog/1.png"], None, "no labels: class folders need `test_share`"),
        (["train/cat/1.png", "train/dog/1.png"], None, "no test images: add test/"),
        (["deep/cat/1.png", "deep/dog/2.png"], 0.5, "one class only, 'deep': is its root a folder too high"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_any_student_is_trained(tmp_path, names, share, says):
    put(tmp_path / "pictures", *names)
    data = Folder(label="M", source="folder", root=str(tmp_path / "pictures"), test_share=share)
    prepare("mine", data, tmp_path / "out/index.parquet")
    with pytest.raises(BadInput, match=f"data set mine: is to be probed, and has {says}"):
        prepare("mine", data, tmp_path / "other/index.parquet", probed=True)
    assert not (tmp_path / "other").exists()


# What is told


def test_the_report_and_the_log_say_what_is_there(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    put(tmp_path / "pictures", *LABELLED[:5])
    put(tmp_path / "pictures", "test/dog/1.webp", "test/dog/2.webp", colour=(200, 0, 0))
    (tmp_path / "pictures" / "test" / "dog" / "copy.png").write_bytes(
        (tmp_path / "pictures" / "train" / "cat" / "1.png").read_bytes()
    )
    Image.new("L", (8, 6)).save(tmp_path / "pictures" / "train" / "cat" / "grey.png")
    prepared(tmp_path / "pictures", tmp_path)
    found = report(tmp_path)
    # PNG files of one colour are the same bytes: train/cat/1.png, test/cat/1.png and the copy.
    pairs = [["train/cat/1.png", "test/cat/1.png"], ["train/cat/1.png", "test/dog/copy.png"]]
    assert found == {
        "dataset": "mine",
        "source": "folder",
        "counts": {"train": 5, "test": 4, "classes": 3},
        "published": None,
        "agrees": None,
        "kinds": {"BMP RGB": 1, "JPEG RGB": 1, "PNG L": 1, "PNG RGB": 3, "TIFF RGB": 1, "WEBP RGB": 2},
        "absent": {"count": 0, "images": []},
        "unreadable": {"count": 0, "images": {}},
        "repeated": {"train": 0, "test": 2},
        "in_train_and_test": {"count": 2, "pairs": pairs},
        "left_out": {},
        "skipped": {},
        "remarks": ["1 of 3 classes have no test images: ant."],
        "grey_range": None,
        "greys": {},
        "clipped": 0,
        "brightest": {"BMP RGB": 200, "PNG L": 0, "PNG RGB": 200, "TIFF RGB": 200, "WEBP RGB": 200},
        "transparent": {"count": 0, "images": []},
        "several_pictures": {"count": 0, "images": []},
    }
    assert "mine: 5 training and 4 test images, 3 classes." in caplog.text
    assert "2 test images are repeated, byte for byte" in caplog.text
    assert "2 test images are training images too, byte for byte: train/cat/1.png = test/cat/1.png" in caplog.text


def test_the_index_has_the_digest_of_every_image(tmp_path):
    put(tmp_path / "pictures", *LABELLED)
    index = prepared(tmp_path / "pictures", tmp_path)
    for name, digest in zip(index.ids, index.digests, strict=True):
        assert digest == xxhash.xxh3_128_hexdigest((tmp_path / "pictures" / name).read_bytes())
    assert prepared(tmp_path / "pictures", tmp_path, threads=3) == index


def test_many_images_and_several_processes(tmp_path):
    names = [f"{number:03d}.png" for number in range(200)]
    for number, name in enumerate(names):
        put(tmp_path / "pictures", name, colour=(number, 0, 0))
    (tmp_path / "pictures" / names[150]).write_bytes(b"")
    one = prepared(tmp_path / "pictures", tmp_path, skip_unreadable=True)
    assert prepared(tmp_path / "pictures", tmp_path, threads=2, skip_unreadable=True) == one
    assert one.ids == [*names[:150], *names[151:]]
    assert [int(np.asarray(one.image(position))[0, 0, 0]) for position in (0, 149, 150)] == [0, 149, 151]
