"""Indexes and pixels: what is written reads back, what cannot be read is named, what is cut is the centre."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from wecolora.errors import BadInput
from wecolora.images import Index, centre_crop, read_index, write_index


def smooth(width, height, seed=0):
    """A picture in which resampling matters, but not wildly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def file_index(folder, name):
    return Index("pictures", str(folder), [], False, [name], [name], [0], [[]], ["train"])


# The index


def test_an_index_reads_back(array_index, tmp_path):
    index = dataclasses.replace(
        array_index,
        multilabel=True,
        classes=["ä", "b", "c"],
        ids=[f"träin/{number}" for number in range(12)],
        labels=[[], [0], [0, 2], *[[1]] * 9],
    )
    write_index(index, tmp_path / "a" / "index.parquet")
    assert read_index(tmp_path / "a" / "index.parquet") == index
    write_index(index, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a" / "index.parquet").read_bytes()


def test_a_relative_root_moves_with_its_index(array_index, tmp_path):
    write_index(dataclasses.replace(array_index, root="."), tmp_path / "index.parquet")
    pixels = read_index(tmp_path / "index.parquet").pixels([3], 20)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("index.parquet", "images.npy"):
        (tmp_path / name).rename(moved / name)
    np.testing.assert_array_equal(read_index(moved / "index.parquet").pixels([3], 20), pixels)


def test_rows_of_a_split(array_index):
    assert array_index.rows("train") == list(range(9))
    assert array_index.rows("test") == [9, 10, 11]
    assert array_index.rows("validation") == []


def test_single_labels_come_in_the_order_asked_for(array_index):
    assert array_index.single_labels([5, 0, 10, 4]) == [2, 0, 1, 1]
    assert array_index.single_labels([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [[number % 3] for number in range(11)] + [[]]},
        {"labels": [[number % 3] for number in range(11)] + [[0, 2]]},
        {"multilabel": True},
        {"labels": [[]] * 12},
    ],
)
def test_images_without_one_label_each_are_refused_where_it_is_read(array_index, changes):
    index = dataclasses.replace(array_index, **changes)
    with pytest.raises(BadInput, match="data set coarse: has no single label an image, which a method needs"):
        index.single_labels(range(12))


def test_a_label_that_is_missing_elsewhere_does_not_matter(array_index):
    index = dataclasses.replace(array_index, labels=[[0]] * 9 + [[]] * 3)
    assert index.single_labels(range(9)) == [0] * 9


# Examples


def labels_of(index, positions):
    return [tuple(index.labels[position]) for position in positions]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_examples_are_of_different_classes_where_there_are_enough(array_index, count):
    found = array_index.examples("train", count)
    assert len(found) == len(set(labels_of(array_index, found))) == count


def test_further_examples_are_other_images_of_the_split(array_index):
    found = array_index.examples("train", 7)
    assert len(set(found)) == 7 and set(found) <= set(range(9))
    assert len(set(labels_of(array_index, found[:3]))) == 3
    assert set(array_index.examples("test", 100)) == {9, 10, 11}
    assert array_index.examples("validation", 2) == []


def test_examples_are_fixed_and_fewer_are_the_first_of_more(array_index):
    many = array_index.examples("train", 9)
    assert many == array_index.examples("train", 9) and sorted(many) == list(range(9)) != many
    assert all(array_index.examples("train", count) == many[:count] for count in range(9))


def test_examples_of_several_labels_differ_in_their_combination(array_index):
    labels = [[0], [0], [0, 1], [0], [0, 1], [1], [0], [0], [0], *[[2]] * 3]
    index = dataclasses.replace(array_index, multilabel=True, labels=labels)
    assert set(labels_of(index, index.examples("train", 3))) == {(0,), (0, 1), (1,)}


def test_an_image_without_a_label_is_no_example(array_index):
    index = dataclasses.replace(array_index, labels=[[], [1], []] * 4)
    assert set(index.examples("train", 9)) == {1, 4, 7}


def test_a_broken_index_is_named(array_index, tmp_path):
    path = tmp_path / "index.parquet"
    write_index(array_index, path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-9], b"not parquet"):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match=r"index\.parquet: is no index"):
            read_index(path)
    with pytest.raises(BadInput, match="is no index"):
        read_index(tmp_path / "missing.parquet")


def test_another_table_is_no_index(array_index, tmp_path):
    from wecolora.subset import write_subset

    write_subset(array_index, 0, "balanced", tmp_path / "subset.parquet")
    with pytest.raises(BadInput, match=r"subset\.parquet: is no index"):
        read_index(tmp_path / "subset.parquet")


# Pictures


def test_array_rows_are_read_at_their_offset(array_index, tmp_path):
    stored = np.load(tmp_path / "images.npy")
    index = dataclasses.replace(array_index, offsets=list(reversed(range(12))))
    for position in (0, 5, 11):
        np.testing.assert_array_equal(np.asarray(index.image(position)), stored[11 - position])


def test_a_missing_or_broken_array_is_named(array_index, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    index = dataclasses.replace(array_index, root=str(other))
    with pytest.raises(BadInput, match=r"other/images\.npy: cannot be read"):
        index.image(0)
    (other / "images.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:500])
    with pytest.raises(BadInput, match=r"other/images\.npy: cannot be read"):
        index.image(0)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "RGB", "I;16"])
def test_every_kind_of_picture_comes_as_rgb(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "I;16") else "png"
    if mode == "I;16":
        picture = Image.fromarray(np.arange(80, dtype=np.uint16).reshape(8, 10))
    else:
        picture = smooth(10, 8).convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    found = file_index(tmp_path, f"a.{suffix}").image(0)
    assert found.mode == "RGB" and found.size == (10, 8)
    if mode in ("L", "RGB"):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(picture.convert("RGB")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif"])
def test_an_unreadable_picture_is_named(tmp_path, suffix):
    name = f"train/cat/one.{suffix}"
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    smooth(30, 30).save(path)
    whole = path.read_bytes()
    index = file_index(tmp_path, name)
    assert index.image(0).size == (30, 30)
    for broken in (b"", b"some text", whole[:10], whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(BadInput) as caught:
            index.image(0)
        assert str(path) in str(caught.value) and "pictures" in str(caught.value)
    path.unlink()
    with pytest.raises(BadInput, match=f"one.{suffix}"):
        index.image(0)


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_wrong_with_a_picture_no_other_error_comes(tmp_path, monkeypatch):
    """Damaged files: each is read, or refused by its name."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # Pillow's guard; lower, so that no huge picture is made
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for suffix in ("png", "bmp", "tif", "jpg"):
        path = tmp_path / f"a.{suffix}"
        smooth(12, 10).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
            damaged[rng.integers(min(len(whole), 60))] = rng.integers(256)
            path.write_bytes(damaged.tobytes())
            try:
                file_index(tmp_path, path.name).image(0)
                outcomes["read"] += 1
            except BadInput as error:
                assert path.name in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


def test_a_broken_chunk_of_a_png_is_refused(tmp_path):
    """Pillow raises SyntaxError for it, as for a mistake in a program."""
    path = tmp_path / "a.png"
    smooth(200, 150).save(path)
    damaged = bytearray(path.read_bytes())
    length = damaged.index(b"IDAT") - 4
    damaged[length : length + 4] = (1000).to_bytes(4, "big")  # the rest is then read as a chunk without a name
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match=r"a\.png"):
        file_index(tmp_path, "a.png").image(0)


def test_a_picture_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    smooth(300, 200).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    with pytest.raises(BadInput, match=r"a\.png.*60000 pixels"):
        file_index(tmp_path, "a.png").image(0)


# The centre crop


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (600, 400), (256, 256), (300, 200)])
def test_the_centre_crop_at_224_is_torchvisions(size):
    from torchvision import transforms

    theirs = transforms.Compose(
        [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    )
    image = smooth(*size)
    np.testing.assert_array_equal(centre_crop(image, 224), np.asarray(theirs(image)))


def test_a_picture_of_the_right_size_is_left_as_it_is(array_index, tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(stored), 20), stored)


def test_a_small_centre_crop_by_hand():
    # 16 x 256 / 224 = 18.3: the shorter side of 24 x 20 becomes 18, the longer 21.6, rounded.
    resized = np.asarray(smooth(24, 20).resize((22, 18), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(centre_crop(smooth(24, 20), 16), resized[1:17, 3:19])


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (32, 500), (7, 3), (1, 1), (2000, 31)])
@pytest.mark.parametrize("side", [16, 32, 224])
def test_the_centre_crop_has_its_size_whatever_the_picture(size, side):
    assert centre_crop(smooth(*size), side).shape == (side, side, 3)


def test_the_centre_crop_is_centred():
    # A picture that is its own mirror image gives a crop that is, to the rounding of an odd margin.
    half = np.asarray(smooth(40, 60)).astype(int)
    image = np.concatenate([half, half[:, ::-1]], axis=1)
    image = np.concatenate([image, image[::-1]], axis=0).astype(np.uint8)  # 120 x 80
    crop = centre_crop(Image.fromarray(image), 28).astype(int)  # resized to 48 x 32
    np.testing.assert_allclose(crop, crop[::-1, ::-1], atol=1)


def test_pixels_are_stacked_in_the_order_asked_for(array_index):
    found = array_index.pixels([4, 0, 4], 16)
    assert found.shape == (3, 16, 16, 3) and found.dtype == np.uint8
    for row, position in zip(found, (4, 0, 4), strict=True):
        np.testing.assert_array_equal(row, centre_crop(array_index.image(position), 16))
    assert (found[0] != found[1]).any()
