"""The official data sets, from miniature copies in their own layouts (tests/layouts.py)."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from tests import layouts
from wecolora.config.datasets import SOURCES
from wecolora.core.errors import BadInput
from wecolora.data.images import read_index
from wecolora.data.prepare import prepare

OFFICIAL = ["imagenet", "cifar100", "chestxray14", "inat2019", "resisc45"]
LAYOUTS = {
    "imagenet folders": ("imagenet", layouts.imagenet_folders, {}),
    "imagenet tars": ("imagenet", layouts.imagenet_tars, {}),
    "imagenet tars, devkit unpacked": ("imagenet", lambda root: layouts.imagenet_tars(root, False), {}),
    "imagenet tars of classes": ("imagenet", layouts.imagenet_inner_tars, {}),
    "cifar100": ("cifar100", layouts.cifar100, {}),
    "cifar100 packed": ("cifar100", lambda root: layouts.cifar100(root, packed=True), {}),
    "chestxray14 nih": ("chestxray14", layouts.chestxray14_nih, {}),
    "chestxray14 nih, 15": ("chestxray14", lambda root: layouts.chestxray14_nih(root, 15), {"classes": 15}),
    "chestxray14 kaggle": ("chestxray14", layouts.chestxray14_kaggle, {}),
    "chestxray14 kaggle, 15": ("chestxray14", lambda root: layouts.chestxray14_kaggle(root, 15), {"classes": 15}),
    "inat2019": ("inat2019", layouts.inat2019, {}),
    "resisc45": ("resisc45", layouts.resisc45, {}),
}


def prepared(tmp_path, source, root="data", **keys):
    data = SOURCES[source](label="", source=source, root=str(tmp_path / root), **keys)
    report = prepare("mine", data, tmp_path / "out" / "index.parquet")
    (tmp_path / "report.json").write_text(json.dumps(report))
    return read_index(tmp_path / "out" / "index.parquet")


def report(tmp_path):
    return json.loads((tmp_path / "report.json").read_text())


def refusal(tmp_path, source, **keys):
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path, source, **keys)
    assert not (tmp_path / "out" / "index.parquet").exists()
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_splits_and_pixels_are_those_that_were_written(tmp_path, layout):
    source, build, keys = LAYOUTS[layout]
    expected = build(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    index = prepared(tmp_path, source, **keys)
    assert index.ids == sorted(expected.images)
    assert index.classes == expected.classes and index.multilabel == (source == "chestxray14")
    for position, name in enumerate(index.ids):
        labels, split, pixels = expected.images[name]
        assert tuple(index.classes[label] for label in index.labels[position]) == labels
        assert split in ("", index.split[position])
        shown = np.asarray(index.image(position))
        if pixels is not None:
            np.testing.assert_array_equal(shown, pixels)
    left = {path for path in tmp_path.rglob("*") if path not in before}
    array = {tmp_path / "out" / "images.npy"} if source == "cifar100" else set()
    assert left == {tmp_path / "report.json", tmp_path / "out", tmp_path / "out" / "index.parquet"} | array
    about = report(tmp_path)
    assert about["agrees"] is False and about["unreadable"]["count"] == about["absent"]["count"] == 0


@pytest.mark.parametrize(
    ("source", "published"),
    [
        ("imagenet", {"train": 1_281_167, "test": 50_000, "classes": 1000}),
        ("cifar100", {"train": 50_000, "test": 10_000, "classes": 100}),
        ("chestxray14 nih", {"train": 86_524, "test": 25_596, "classes": 14}),
        ("chestxray14 kaggle, 15", {"train": 86_524, "test": 25_596, "classes": 15}),
        ("inat2019", {"train": 265_213, "test": 3_030, "classes": 1010}),
        ("resisc45", {"train": 6_300, "test": 25_200, "classes": 45}),
    ],
)
def test_counts_are_compared_with_the_published_ones(tmp_path, caplog, source, published):
    source, build, keys = LAYOUTS["imagenet tars" if source == "imagenet" else source]
    expected = build(tmp_path / "data")
    prepared(tmp_path, source, **keys)
    about = report(tmp_path)
    assert about["published"] == published
    assert about["counts"]["train"] + about["counts"]["test"] == len(expected.images)
    assert f"training images, where {published['train']:,} are published." in caplog.text
    assert f"test images, where {published['test']:,} are published." in caplog.text


@pytest.mark.parametrize("source", OFFICIAL)
def test_an_empty_folder_ends_with_what_is_missing_and_where_it_is(tmp_path, source):
    (tmp_path / "data").mkdir()
    said = refusal(tmp_path, source)
    place = {
        "imagenet": ("ILSVRC2012_img_train.tar", "image-net.org"),
        "cifar100": ("cifar-100-python.tar.gz", "cs.toronto.edu/~kriz/cifar.html"),
        "chestxray14": ("Data_Entry_2017.csv", "nihcc.app.box.com"),
        "inat2019": ("train2019.json", "github.com/visipedia/inat_comp"),
        "resisc45": ("airplane/airplane_001.jpg", "gcheng-nwpu.github.io"),
    }[source]
    assert str(tmp_path / "data") in said and all(words in said for words in place)


@pytest.mark.parametrize("source", OFFICIAL)
def test_a_missing_folder_is_named(tmp_path, source):
    said = refusal(tmp_path, source)
    start = f"{tmp_path / 'data'}: the root of data set mine is no folder; set datasets.mine.root, or get "
    assert said.startswith(start) and "http" in said


PARTS = [
    ("imagenet tars", "ILSVRC2012_img_train.tar", "nor ILSVRC2012_img_train.tar"),
    ("imagenet tars", "ILSVRC2012_img_val.tar", "nor ILSVRC2012_img_val.tar"),
    ("imagenet tars", "ILSVRC2012_devkit_t12.tar.gz", "nor ILSVRC2012_devkit_t12.tar.gz"),
    ("imagenet folders", "train", "has neither train/<wnid>/"),
    ("imagenet folders", "val", "has neither val/ with images"),
    ("imagenet tars of classes", "ILSVRC2012_devkit_t12/data/meta.mat", "no ILSVRC2012_devkit_t12/data/meta.mat"),
    ("cifar100", "cifar-100-python/train", "no cifar-100-python/train"),
    ("cifar100", "cifar-100-python/meta", "no cifar-100-python/meta"),
    ("chestxray14 nih", "Data_Entry_2017.csv", "no Data_Entry_2017_v2020.csv or Data_Entry_2017.csv"),
    ("chestxray14 kaggle", "test_list.txt", "no test_list.txt"),
    ("chestxray14 nih", "images", "unpack images_0NN.tar.gz"),
    ("inat2019", "val2019.json", "val2019.json: there is no such file"),
    ("inat2019", "train_val2019", "none of the images that train2019.json lists"),
]


@pytest.mark.parametrize(("layout", "part", "says"), PARTS, ids=[f"{layout}: {part}" for layout, part, _ in PARTS])
def test_a_missing_part_is_named_with_where_it_is(tmp_path, layout, part, says):
    source, build, keys = LAYOUTS[layout]
    build(tmp_path / "data")
    (shutil.rmtree if (tmp_path / "data" / part).is_dir() else type(tmp_path).unlink)(tmp_path / "data" / part)
    said = refusal(tmp_path, source, **keys)
    assert says in said and "get" in said and "http" in said and str(tmp_path / "data") in said


# ImageNet-1K


def test_imagenets_layouts_give_one_index(tmp_path):
    """The same ids, labels, splits and digests: a subset is the same wherever it is drawn."""
    found = []
    for name in ("imagenet folders", "imagenet tars", "imagenet tars of classes"):
        LAYOUTS[name][1](tmp_path / name)
        index = prepared(tmp_path, "imagenet", root=name)
        found.append((index.ids, index.labels, index.split, index.digests, index.pixels_digest))
    assert found[0] == found[1] == found[2]


def test_imagenets_images_are_read_where_they_lie_in_the_tar(tmp_path):
    layouts.imagenet_tars(tmp_path / "data")
    layouts.imagenet_folders(tmp_path / "folders")
    index = prepared(tmp_path, "imagenet")
    for name, path, offset, size in zip(index.ids, index.paths, index.offsets, index.sizes, strict=True):
        assert path == ("ILSVRC2012_img_train.tar" if name.startswith("train") else "ILSVRC2012_img_val.tar")
        content = (tmp_path / "data" / path).read_bytes()[offset : offset + size]
        assert content == (tmp_path / "folders" / name).read_bytes()


def test_imagenets_folders_and_tars_mix(tmp_path):
    layouts.imagenet_folders(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "val")
    layouts.imagenet_tars(tmp_path / "tars")
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        shutil.move(tmp_path / "tars" / name, tmp_path / "data" / name)
    index = prepared(tmp_path, "imagenet")
    assert set(index.paths) == {name for name in index.ids if name.startswith("train")} | {"ILSVRC2012_img_val.tar"}


def test_some_of_imagenets_classes_are_unpacked(tmp_path):
    """A folder of images is taken before the tar of its class; an empty one is not."""
    layouts.imagenet_folders(tmp_path / "folders")
    layouts.imagenet_inner_tars(tmp_path / "data")
    train = tmp_path / "data" / "train"
    unpacked, empty, packed = sorted(path.stem for path in train.iterdir())
    shutil.copytree(tmp_path / "folders" / "train" / unpacked, train / unpacked)
    (train / empty).mkdir()
    whole, index = prepared(tmp_path, "imagenet", root="folders"), prepared(tmp_path, "imagenet")
    assert (index.ids, index.labels, index.digests) == (whole.ids, whole.labels, whole.digests)
    paths = {path for path, name in zip(index.paths, index.ids, strict=True) if name.startswith("train/")}
    images = {name for name in index.ids if name.startswith(f"train/{unpacked}/")}
    assert paths == images | {f"train/{empty}.tar", f"train/{packed}.tar"}
    # One tar is not read, and is told.
    assert report(tmp_path)["left_out"] == {".tar": 1}
    (train / f"{unpacked}.tar").unlink()
    assert prepared(tmp_path, "imagenet") == index and report(tmp_path)["left_out"] == {}


@pytest.mark.parametrize("part", ["train", "val"])
def test_imagenets_tar_beside_folders_of_some_classes_is_named(tmp_path, part):
    tar = f"ILSVRC2012_img_{part}.tar"
    layouts.imagenet_folders(tmp_path / "data")
    layouts.imagenet_tars(tmp_path / "tars")
    shutil.move(tmp_path / "tars" / tar, tmp_path / "data")
    whole = prepared(tmp_path, "imagenet")
    assert tar not in whole.paths
    shutil.rmtree(tmp_path / "out")
    gone = sorted((tmp_path / "data" / part).iterdir())[1]
    shutil.rmtree(gone)
    said = refusal(tmp_path, "imagenet")
    assert f"{part}/ has images of 2 classes, and none of 1 others ({gone.name}); {tar} is not read beside it" in said
    assert f"unpack the others there, or move {part}/ away." in said
    (tmp_path / "data" / tar).unlink()
    if part == "train":
        assert f"no training images of 1 of its 3 classes ({gone.name})" in refusal(tmp_path, "imagenet")
    else:
        prepared(tmp_path, "imagenet")
        assert f"1 of 3 classes have no test images: {gone.name}." in report(tmp_path)["remarks"]


def tar_with(path, name, kind=tarfile.REGTYPE, content=b"x" * 600, link=""):
    """A tar file, made by hand, with one member."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, len(content) if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "kind", "link", "says"),
    [
        ("../ILSVRC2012_val_00000001.JPEG", tarfile.REGTYPE, "", "leads out of its folder"),
        ("/etc/ILSVRC2012_val_00000001.JPEG", tarfile.REGTYPE, "", "leads out of its folder"),
        ("a/../../ILSVRC2012_val_00000001.JPEG", tarfile.REGTYPE, "", "leads out of its folder"),
        ("ILSVRC2012_val_00000001.JPEG", tarfile.SYMTYPE, "/etc/passwd", "no plain file"),
        ("ILSVRC2012_val_00000001.JPEG", tarfile.LNKTYPE, "/etc/passwd", "no plain file"),
        ("ILSVRC2012_val_00000001.JPEG", tarfile.CHRTYPE, "", "no plain file"),
        ("ILSVRC2012_val_00000007.JPEG", tarfile.REGTYPE, "", "none of the 6 images"),
        ("ILSVRC2012_val_00000000.JPEG", tarfile.REGTYPE, "", "none of the 6 images"),
        ("cat.jpg", tarfile.REGTYPE, "", "none of the 6 images"),
    ],
)
def test_a_tar_with_a_member_that_does_not_belong_is_refused(tmp_path, name, kind, link, says):
    layouts.imagenet_tars(tmp_path / "data")
    tar_with(tmp_path / "data" / "ILSVRC2012_img_val.tar", name, kind, link=link)
    said = refusal(tmp_path, "imagenet")
    assert says in said and name in said and "ILSVRC2012_img_val.tar" in said


@pytest.mark.parametrize("name", ["../n01440764.tar", "n0144.tar", "readme.txt"])
def test_a_training_tar_with_another_member_than_the_classes_is_refused(tmp_path, name):
    layouts.imagenet_tars(tmp_path / "data")
    tar_with(tmp_path / "data" / "ILSVRC2012_img_train.tar", name)
    assert name in refusal(tmp_path, "imagenet")


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"])
@pytest.mark.parametrize("share", [0, 0.001, 0.4, 0.6])
def test_a_truncated_archive_is_named(tmp_path, name, share):
    layouts.imagenet_tars(tmp_path / "data")
    path = tmp_path / "data" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    said = refusal(tmp_path, "imagenet")
    assert name in said or "img_train" in said or "training images" in said or "ILSVRC2012_img_val" in said


def test_a_tar_that_claims_more_than_its_own_part_is_refused(tmp_path):
    """An inner tar cut within its last image would otherwise read on in the next."""
    inner = layouts.tar_of({"n01440764_1.JPEG": b"x" * 4000})
    (tmp_path / "data").mkdir()
    layouts.put(
        tmp_path / "data" / "ILSVRC2012_img_train.tar",
        layouts.tar_of({"n01440764.tar": inner[:3000], "n01443537.tar": inner}),
    )
    said = refusal(tmp_path, "imagenet")
    assert "n01440764.tar: ends within 'n01440764_1.JPEG'; download it again" in said


def test_an_empty_image_in_a_tar_is_empty(tmp_path, caplog):
    """And not the rest of the tar."""
    layouts.imagenet_tars(tmp_path / "data")
    path = tmp_path / "data" / "ILSVRC2012_img_val.tar"
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    path.write_bytes(layouts.tar_of({**files, "ILSVRC2012_val_00000002.JPEG": b""}))
    assert "1 of 18 images cannot be read: val/" in refusal(tmp_path, "imagenet")
    assert "ILSVRC2012_val_00000002.JPEG: is empty." in caplog.text
    assert len(prepared(tmp_path, "imagenet", skip_unreadable=True).ids) == 17


@pytest.mark.parametrize("file", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"1\n2\n9999\n", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_a_damaged_devkit_is_refused(tmp_path, file, content):
    layouts.imagenet_inner_tars(tmp_path / "data")
    layouts.put(tmp_path / "data" / "ILSVRC2012_devkit_t12" / "data" / file, content)
    assert "image-net.org" in refusal(tmp_path, "imagenet")


@pytest.mark.parametrize("part", ["train", "val"])
def test_imagenets_images_that_are_half_sorted_are_refused(tmp_path, part):
    """Those in no class folder would be left out without a word."""
    layouts.imagenet_folders(tmp_path / "data")
    layouts.devkit(tmp_path / "data", packed=False)
    folder = tmp_path / "data" / part
    image = sorted(folder.rglob("*.JPEG"))[0]
    image.rename(folder / image.name)
    (folder / "unsorted").mkdir()
    image = sorted(folder.rglob("n*/*.JPEG"))[0]
    image.rename(folder / "unsorted" / image.name)
    count = len(list(folder.rglob("*.JPEG")))
    said = refusal(tmp_path, "imagenet")
    assert f"lies in no class folder, and neither do 1 other images, where {count - 2} do" in said
    assert f"move them into {part}/<wnid>/, or out of {folder}." in said


def test_a_class_of_imagenet_without_images_is_refused(tmp_path):
    layouts.imagenet_folders(tmp_path / "data")
    (tmp_path / "data" / "train" / "n09999999").mkdir()
    (tmp_path / "data" / "train" / "n09999999" / "1.heic").write_text("x")
    assert "no training images of 1 of its 4 classes (n09999999: 1 .heic)" in refusal(tmp_path, "imagenet")


def test_an_empty_tar_of_a_class_is_refused(tmp_path):
    layouts.imagenet_inner_tars(tmp_path / "data")
    layouts.put(tmp_path / "data" / "train" / "n09999999.tar", layouts.tar_of({}))
    assert "no training images of 1 of its 4 classes (n09999999)" in refusal(tmp_path, "imagenet")


def test_files_that_programs_left_in_imagenets_folders_are_no_images(tmp_path):
    layouts.imagenet_inner_tars(tmp_path / "data")
    for name in ("val/._ILSVRC2012_val_00000001.JPEG", "val/@eaDir/x.JPEG", "val/readme.txt"):
        layouts.put(tmp_path / "data" / name, b"x")
    assert prepared(tmp_path, "imagenet").split.count("test") == 6
    about = report(tmp_path)
    assert about["left_out"] == {".txt": 1} and about["skipped"] == {"hidden files": 1, "@eaDir": 1}


# CIFAR-100


def test_the_miniature_pickle_is_one_that_python_reads():
    """Else, its test would be of nothing."""
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    content = layouts.pickle_of_python2({"data": pixels, "fine_labels": [3, 1]})
    for encoding in ("latin1", "bytes"):
        read = pickle.loads(content, encoding=encoding)
        values = {key if isinstance(key, str) else key.decode(): value for key, value in read.items()}
        np.testing.assert_array_equal(values["data"], pixels)
        assert values["fine_labels"] == [3, 1]


@pytest.mark.parametrize("protocol", range(5))
def test_cifars_files_may_have_been_written_anew(tmp_path, protocol):
    """By Python 3, whose pickles of arrays look otherwise; protocols 3 and 4 have bytes, 0 to 2 spell them."""
    expected = layouts.cifar100(tmp_path / "data")
    for path in (tmp_path / "data" / "cifar-100-python").iterdir():
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes(), encoding="latin1"), protocol=protocol))
    index = prepared(tmp_path, "cifar100")
    for position, name in enumerate(index.ids):
        np.testing.assert_array_equal(np.asarray(index.image(position)), expected.images[name][2])


class Evil:
    """Leaves a file when a plain unpickler reads it."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("file", ["meta", "train", "test"])
@pytest.mark.parametrize("name", ["os.system", "exec", "numpy.load", "numpy.fromfile"])
def test_a_pickle_that_would_run_code_runs_none(tmp_path, file, name):
    import os

    layouts.cifar100(tmp_path / "data")
    trace = tmp_path / "trace"
    call = {
        "os.system": (os.system, (f"touch {trace}",)),
        "exec": (exec, (f"open({str(trace)!r}, 'w')",)),
        "numpy.load": (np.load, (str(trace),)),
        "numpy.fromfile": (np.fromfile, (str(trace),)),
    }[name]
    layouts.put(tmp_path / "data" / "cifar-100-python" / file, pickle.dumps({"data": Evil(*call)}, protocol=2))
    said = refusal(tmp_path, "cifar100")
    assert "may run code" in said and f"cifar-100-python/{file}" in said
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"fine_label_names": "apple"}),
        pickle.dumps({"fine_label_names": [1, 2]}),
        pickle.dumps({"fine_label_names": []}),
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",  # numpy.dtype of objects
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",  # another encoding
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of 2 ** 63 bytes
    ],
)
def test_a_file_that_is_no_cifar_is_refused(tmp_path, content):
    layouts.cifar100(tmp_path / "data")
    layouts.put(tmp_path / "data" / "cifar-100-python" / "meta", content)
    said = refusal(tmp_path, "cifar100")
    assert "cifar-100-python/meta" in said and "cs.toronto.edu" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"fine_labels": [0] * 9},
        {"fine_labels": [5] * 10},
        {"fine_labels": [-1] * 10},
        {"fine_labels": ["0"] * 10},
        {"data": np.zeros((10, 3071), np.uint8)},
        {"data": [0] * 10},
    ],
)
def test_cifars_labels_and_pixels_have_to_fit(tmp_path, changes):
    layouts.cifar100(tmp_path / "data")
    path = tmp_path / "data" / "cifar-100-python" / "train"
    whole = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(pickle.dumps({**whole, **changes}, protocol=2))
    assert "cifar-100-python/train has" in refusal(tmp_path, "cifar100")


def test_a_packed_cifar_that_unpacks_without_end_is_refused(tmp_path):
    member = tarfile.TarInfo("cifar-100-python/meta")
    member.size = 2**40
    (tmp_path / "data").mkdir()
    import gzip

    packed = gzip.compress(member.tobuf() + bytes(5000))
    layouts.put(tmp_path / "data" / "cifar-100-python.tar.gz", packed)
    assert "claims to have 1099511627776 bytes" in refusal(tmp_path, "cifar100")


# ChestX-ray14


def test_chestxray14s_newer_table_is_taken(tmp_path):
    layouts.chestxray14_nih(tmp_path / "data")
    old = (tmp_path / "data" / "Data_Entry_2017.csv").read_text()
    layouts.put(tmp_path / "data" / "Data_Entry_2017_v2020.csv", old.replace("Mass|Nodule", "Fibrosis"))
    index = prepared(tmp_path, "chestxray14")
    assert index.labels[index.ids.index("00000004_000.png")] == [11]


def test_chestxray14s_lists_may_be_written_otherwise(tmp_path):
    layouts.chestxray14_kaggle(tmp_path / "data")
    for old, new in {"train_val_list.txt": "Train_Val_List.txt", "test_list.txt": "TEST_LIST.TXT"}.items():
        (tmp_path / "data" / old).rename(tmp_path / "data" / new)
    assert prepared(tmp_path, "chestxray14").split.count("train") == 4


def test_images_of_chestxray14_that_are_not_there_are_told(tmp_path, caplog):
    layouts.chestxray14_kaggle(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images_003")
    index = prepared(tmp_path, "chestxray14")
    assert "00000006_000.png" not in index.ids
    about = report(tmp_path)
    assert about["absent"] == {"count": 1, "images": ["00000006_000.png"]}
    assert "1 images that its lists name are not there: 00000006_000.png." in caplog.text


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("Data_Entry_2017.csv", "Finding Labels", "Findings", "has no column 'Finding Labels'"),
        ("Data_Entry_2017.csv", "Mass|Nodule", "Mass|Flu", "none of the 14 (Flu)"),
        ("test_list.txt", "00000004_000.png", "00000009_000.png", "lists '00000009_000.png', which the table"),
        ("test_list.txt", "00000004_000.png", "00000001_000.png", "both list 00000001_000.png"),
    ],
)
def test_chestxray14s_tables_have_to_agree(tmp_path, file, old, new, says):
    layouts.chestxray14_nih(tmp_path / "data")
    path = tmp_path / "data" / file
    path.write_text(path.read_text().replace(old, new))
    assert says in refusal(tmp_path, "chestxray14")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # A plain reader takes the last of two rows, and an empty finding.
        (
            "2_000.png,No Finding,",
            "1_001.png,No Finding,",
            "line 4 gives 00000001_001.png the findings 'No Finding', and",
        ),
        ("2_000.png,No Finding,", "2_000.png\n", "line 4 does not tell the findings of one image; get"),
        ("2_000.png,No Finding,", "2_000.png,,", "line 4 does not tell the findings of one image; get"),
        (
            "2_000.png,No Finding,",
            '2_000.png,"No Finding,',
            "line 4: a quote opens there and does not close; take it out",
        ),
        ("View Position", "Finding Labels", "has several columns 'Finding Labels'; get"),
    ],
)
def test_a_bad_row_of_chestxray14s_table_is_refused(tmp_path, old, new, says):
    layouts.chestxray14_nih(tmp_path / "data")
    path = tmp_path / "data" / "Data_Entry_2017.csv"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    assert f"{path}: {says}" in refusal(tmp_path, "chestxray14")


def test_a_quote_that_takes_rows_of_chestxray14s_table_is_refused(tmp_path):
    layouts.chestxray14_nih(tmp_path / "data")
    path = tmp_path / "data" / "Data_Entry_2017.csv"
    lines = path.read_text().splitlines()
    lines[2], lines[4] = lines[2].replace(",M,", ',",'), lines[4].replace(",M,", ',",')
    path.write_text("\n".join(lines))
    assert "line 3 does not tell the findings of one image" in refusal(tmp_path, "chestxray14")


def test_a_row_twice_with_the_same_findings_is_one(tmp_path):
    expected = layouts.chestxray14_nih(tmp_path / "data")
    path = tmp_path / "data" / "Data_Entry_2017.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], ",,,"]))
    assert prepared(tmp_path, "chestxray14").ids == sorted(expected.images)


def test_an_image_of_chestxray14_that_is_there_twice_is_refused(tmp_path):
    layouts.chestxray14_kaggle(tmp_path / "data")
    shutil.copytree(tmp_path / "data" / "images_003", tmp_path / "data" / "images_004")
    said = refusal(tmp_path, "chestxray14")
    path = "images/00000006_000.png"
    assert f"has 00000006_000.png as images_003/{path} and as images_004/{path}; keep one of them." in said


def test_what_chestxray14s_lists_leave_out_is_told(tmp_path, caplog):
    layouts.chestxray14_kaggle(tmp_path / "data")
    folder = tmp_path / "data" / "images_003" / "images"
    for name in ("00000006_009.png", "x.jpg", "x.txt", "._00000006_000.png"):
        shutil.copy(folder / "00000006_000.png", folder / name)
    prepared(tmp_path, "chestxray14")
    about = report(tmp_path)
    assert about["left_out"] == {".jpg": 1, ".txt": 1} and about["skipped"] == {"hidden files": 1}
    remark = "1 images are in none of its lists, and are left out: 00000006_009.png."
    assert remark in about["remarks"] and f"WARNING: mine: {remark}" in caplog.text


def test_a_name_with_a_space_in_a_list_is_one_name(tmp_path):
    layouts.chestxray14_nih(tmp_path / "data")
    path = tmp_path / "data" / "test_list.txt"
    path.write_text(path.read_text().replace("00000004_000.png", "00000004 000.png"))
    assert "lists '00000004 000.png', which the table" in refusal(tmp_path, "chestxray14")


# iNaturalist 2019


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (
            "train2019.json",
            lambda found: found["annotations"].append({**found["annotations"][0], "category_id": 0}),
            "train2019.json: annotates image 8 with categories 10 and 0, and may with one",
        ),
        (
            "val2019.json",
            lambda found: found["categories"][1].update(name="Geese"),
            "train2019.json and val2019.json name category 9 both 'Ducks' and 'Geese'",
        ),
        (
            "train2019.json",
            lambda found: found["images"][1].update(id=0),
            "train2019.json: has several images of one id (0)",
        ),
    ],
)
def test_lists_of_inat_that_contradict_themselves_are_refused(tmp_path, file, change, says):
    """The last of two would have counted."""
    layouts.inat2019(tmp_path / "data")
    content = json.loads((tmp_path / "data" / file).read_text())
    change(content)
    (tmp_path / "data" / file).write_text(json.dumps(content))
    said = refusal(tmp_path, "inat2019")
    assert says in said and "github.com/visipedia" in said


def test_a_path_of_inat_is_found_in_either_spelling_of_its_accents(tmp_path):
    layouts.inat2019(tmp_path / "data")
    (tmp_path / "data" / "train_val2019" / "Birds").rename(tmp_path / "data" / "train_val2019" / "O\u0308gel")
    for name in ("train2019.json", "val2019.json"):
        path = tmp_path / "data" / name
        path.write_text(path.read_text().replace("train_val2019/Birds", "train_val2019/\u00d6gel"))
    index = prepared(tmp_path, "inat2019")
    assert len(index.ids) == 12 and sum("/O\u0308gel/" in name for name in index.ids) == 8


def test_an_annotation_twice_is_one(tmp_path):
    layouts.inat2019(tmp_path / "data")
    path = tmp_path / "data" / "train2019.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": content["annotations"] * 2}))
    assert len(prepared(tmp_path, "inat2019").ids) == 12


@pytest.mark.parametrize("given", ["/etc/passwd", "../outside.jpg", "train_val2019/../../outside.jpg", "linked/x.jpg"])
def test_a_path_that_leads_out_of_inats_folder_is_refused(tmp_path, given):
    layouts.inat2019(tmp_path / "data")
    layouts.put(tmp_path / "outside.jpg", b"x")
    layouts.put(tmp_path / "elsewhere" / "x.jpg", b"x")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    path = tmp_path / "data" / "val2019.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = given
    path.write_text(json.dumps(content))
    said = refusal(tmp_path, "inat2019")
    assert repr(given) in said and "val2019.json" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": 3}', "[" * 100_000])
def test_a_damaged_list_of_inat_is_refused(tmp_path, content):
    layouts.inat2019(tmp_path / "data")
    (tmp_path / "data" / "train2019.json").write_text(content)
    assert "train2019.json: cannot be read as a list in COCO's format" in refusal(tmp_path, "inat2019")


def test_categories_of_one_name_keep_their_numbers(tmp_path):
    layouts.inat2019(tmp_path / "data")
    for name in ("train2019.json", "val2019.json"):
        path = tmp_path / "data" / name
        path.write_text(path.read_text().replace("Gulls", "Ducks"))
    assert prepared(tmp_path, "inat2019").classes == ["0 Frogs", "9 Ducks", "10 Ducks"]


# NWPU-RESISC45


@pytest.mark.parametrize(("share", "each"), [(0.2, 2), (0.1, 1), (0.25, 3)])
def test_resisc45_is_divided_alike_in_every_class(tmp_path, share, each):
    layouts.resisc45(tmp_path / "data")
    index = prepared(tmp_path, "resisc45", train_share=share)
    train = [index.ids[row] for row in index.rows("train")]
    assert [sum(name.startswith(label) for name in train) for label in index.classes] == [each] * 3
    assert prepared(tmp_path, "resisc45", train_share=share).split == index.split
    assert prepared(tmp_path, "resisc45", train_share=share, split_seed=1).split != index.split
    # The images of one class say nothing about those of another.
    numbers = [{name[-7:-4] for name in train if name.startswith(label)} for label in index.classes]
    assert len(set(map(frozenset, numbers))) > 1
    inner = prepared(tmp_path, "resisc45", root="data/NWPU-RESISC45", train_share=share)
    assert (inner.ids, inner.split) == (index.ids, index.split)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_the_only_image_of_a_class_of_resisc45_is_learned_from(tmp_path, share):
    layouts.resisc45(tmp_path / "data")
    for image in sorted((tmp_path / "data" / "NWPU-RESISC45" / "airplane").iterdir())[1:]:
        image.unlink()
    index = prepared(tmp_path, "resisc45", train_share=share)
    assert [index.split[row] for row, name in enumerate(index.ids) if name.startswith("airplane")] == ["train"]


def test_resisc45s_published_counts_follow_the_share(tmp_path):
    layouts.resisc45(tmp_path / "data")
    prepared(tmp_path, "resisc45", train_share=0.1)
    about = report(tmp_path)
    assert about["published"] == {"train": 3_150, "test": 28_350, "classes": 45}


def test_what_resisc45_leaves_out_is_told(tmp_path, caplog):
    layouts.resisc45(tmp_path / "data")
    folder = tmp_path / "data" / "NWPU-RESISC45" / "airplane"
    for name in ("airplane_001 (1).jpg", "airplane_011.heic", "._airplane_001.jpg"):
        shutil.copy(folder / "airplane_001.jpg", folder / name)
    prepared(tmp_path, "resisc45")
    about = report(tmp_path)
    assert about["left_out"] == {".heic": 1} and about["skipped"] == {"hidden files": 1}
    remark = "1 images are not named as their class, and are left out: airplane/airplane_001 (1).jpg."
    assert about["remarks"] == [remark] and f"WARNING: mine: {remark}" in caplog.text


def test_a_class_of_resisc45_without_images_is_refused(tmp_path):
    layouts.resisc45(tmp_path / "data")
    (tmp_path / "data" / "NWPU-RESISC45" / "zoo").mkdir()
    assert "no training images of 1 of its 4 classes (zoo)" in refusal(tmp_path, "resisc45")
