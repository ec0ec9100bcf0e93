"""Indexes and pixels: what is written reads back, what cannot be read is named, what is cut is the centre."""

from __future__ import annotations

import dataclasses
import errno
import io
import math
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import xxhash
from PIL import ExifTags, Image

from wecolora.core.errors import BadInput
from wecolora.data.images import Index, NoMemory, Picture, _thin_crop, decode, read_index, write_index
from wecolora.data.images import centre_crop as crop_of


def smooth(width, height, seed=0):
    """A picture in which resampling matters, but not wildly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def centre_crop(image, size):
    return crop_of(Picture(image, *image.size), size)


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
    with pytest.raises(BadInput, match=r"missing\.parquet: cannot be read \(No such file or directory\); restore it"):
        read_index(tmp_path / "missing.parquet")


def test_another_table_is_no_index(array_index, tmp_path):
    from wecolora.data.subset import write_subset

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
    with pytest.raises(BadInput, match=r"other/images\.npy: is no array of images .*; delete the index beside it"):
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


# Between Pillow's warning and its error, and beyond both.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 9_000), (30_000, 30_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, size, monkeypatch):
    Image.new("1", size).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 150_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(BadInput, match=rf"a\.png.*{size[0] * size[1]} pixels"):
        file_index(tmp_path, "a.png").image(0)


def test_the_largest_allowed_picture_is_read(tmp_path, monkeypatch):
    smooth(300, 200).save(tmp_path / "a.png")
    monkeypatch.setattr("wecolora.data.images.MAX_PIXELS", 60_000)
    assert file_index(tmp_path, "a.png").image(0).size == (300, 200)
    monkeypatch.setattr("wecolora.data.images.MAX_PIXELS", 59_999)
    with pytest.raises(BadInput, match=r"a\.png.*60000 pixels, more than 59999"):
        file_index(tmp_path, "a.png").image(0)


# Odd pictures

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def corners(mode="RGB", colours=(RED, GREEN, WHITE, (0, 0, 0)), side=8):
    """A picture of four squares: top left, top right, bottom left, bottom right."""
    picture = Image.new(mode, (2 * side, 2 * side))
    for number, colour in enumerate(colours):
        picture.paste(
            colour, (number % 2 * side, number // 2 * side, (number % 2 + 1) * side, (number // 2 + 1) * side)
        )
    return picture


def palette(**options):
    picture = corners("P", (0, 1, 2, 3))
    picture.putpalette([*RED, *GREEN, *WHITE, 0, 0, 0])
    return picture, {"format": "PNG", **options}


def sixteen(dtype, suffix):
    values = np.repeat(np.repeat(np.array([[0, 257 * 100], [257 * 200 + 128, 65535]]), 8, 0), 8, 1)
    return Image.fromarray(values.astype(dtype)), {"format": suffix}


GREYS = [(0,) * 3, (100,) * 3, (200,) * 3, (255,) * 3]
ODD = {
    "grey": ((corners("L", (0, 100, 200, 255)), {"format": "PNG"}), GREYS),
    "grey and alpha": ((corners("LA", ((0, 255), (100, 255), (0, 0), (255, 255))), {"format": "PNG"}), [
        (0,) * 3, (100,) * 3, WHITE, WHITE
    ]),
    "bits": ((corners("1", (0, 1, 1, 0)), {"format": "PNG"}), [(0,) * 3, WHITE, WHITE, (0,) * 3]),
    "palette": (palette(), [RED, GREEN, WHITE, (0, 0, 0)]),
    "palette with a transparent colour": (palette(transparency=3), [RED, GREEN, WHITE, WHITE]),
    "GIF": (palette(format="GIF"), [RED, GREEN, WHITE, (0, 0, 0)]),
    "alpha": ((corners("RGBA", ((*RED, 255), (*GREEN, 255), (9, 9, 9, 0), (255, 0, 0, 128))), {"format": "PNG"}), [
        RED, GREEN, WHITE, (255, 127, 127)
    ]),
    "a transparent colour": ((corners(), {"format": "PNG", "transparency": GREEN}), [RED, WHITE, WHITE, (0, 0, 0)]),
    "CMYK": ((corners("CMYK", ((0, 255, 255, 0), (255, 0, 255, 0), (0,) * 4, (0, 0, 0, 255))), {"format": "TIFF"}), [
        RED, GREEN, WHITE, (0, 0, 0)
    ]),
    "16 bits, PNG": (sixteen(np.uint16, "PNG"), GREYS),
    "16 bits, TIFF": (sixteen(np.uint16, "TIFF"), GREYS),
    "16 bits, big-endian": (sixteen(">u2", "TIFF"), GREYS),
    "WebP": ((corners(), {"format": "WEBP", "lossless": True}), [RED, GREEN, WHITE, (0, 0, 0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "bîldchen 图 (1).tar", "a.PNG"])
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_picture_comes_as_what_one_sees(tmp_path, kind, name):
    """Whatever its name says. Colours by hand: a corner each."""
    (picture, options), colours = ODD[kind]
    picture.save(tmp_path / name, **options)
    found = file_index(tmp_path, name).image(0)
    assert found.mode == "RGB" and found.size == (16, 16)
    pixels = np.asarray(found).astype(int)
    for square, colour in zip((pixels[:8, :8], pixels[:8, 8:], pixels[8:, :8], pixels[8:, 8:]), colours, strict=True):
        assert np.abs(square - colour).max() <= 1, (kind, square[0, 0])


# EXIF's orientations (TIFF 6.0, tag 274): where the stored rows and columns belong.
TURNS = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}


def stored_as(tmp_path, form, orientation):
    """Save a picture with this orientation, and return its pixels as they are stored."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation  # 9 is none
    smooth(40, 24).save(tmp_path / "a", form, exif=exif)
    if form == "TIFF":  # which Pillow turns by itself when it opens one
        return np.asarray(smooth(40, 24))
    with Image.open(tmp_path / "a") as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "MPO"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation, form):
    stored = stored_as(tmp_path, form, orientation)
    wanted = TURNS.get(orientation, lambda pixels: pixels)(stored)
    picture = file_index(tmp_path, "a").picture(0)
    np.testing.assert_array_equal(np.asarray(picture.image), wanted)
    assert (picture.width, picture.height) == ((24, 40) if 5 <= orientation <= 8 else (40, 24))


def test_a_picture_is_turned_though_its_exif_cannot_be_written_again(tmp_path, monkeypatch):
    stored = stored_as(tmp_path, "JPEG", 6)
    monkeypatch.setattr(Image.Exif, "tobytes", lambda *_: 1 / 0)
    np.testing.assert_array_equal(np.asarray(file_index(tmp_path, "a").picture(0).image), TURNS[6](stored))


def in_mode(mode):
    """257 x 256 pixels. Pillow maps such a TIFF file, uncompressed and in one strip, into memory by its name."""
    picture = smooth(257, 256)
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return picture.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA", "CMYK"])
def test_a_tiff_file_is_read_as_its_bytes_are_and_as_a_png_file_that_is_turned(tmp_path, mode, orientation):
    from PIL import ImageOps

    in_mode(mode).save(tmp_path / "a.tif", exif=exif(orientation))
    like = in_mode(mode).convert("RGB") if mode == "CMYK" else in_mode(mode)
    like.save(tmp_path / "a.png", exif=exif(orientation))
    with Image.open(tmp_path / "a.png") as stored:
        turned = ImageOps.exif_transpose(stored)
    turned.save(tmp_path / "turned.png")  # without its EXIF
    wanted = np.asarray(decode((tmp_path / "turned.png").read_bytes(), "turned"))
    assert wanted.shape == ((257, 256, 3) if orientation > 4 else (256, 257, 3))
    content = (tmp_path / "a.tif").read_bytes()
    for found in (
        decode(content, "a"), decode(tmp_path / "a.tif", "a"), decode(str(tmp_path / "a.tif"), "a"),
        file_index(tmp_path, "a.tif").image(0), file_index(tmp_path, "a.png").image(0),
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(found), wanted)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_beside_a_whole_picture_is_passed_over(tmp_path):
    smooth(40, 24).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert file_index(tmp_path, "a.jpg").image(0).size == (40, 24)


def test_an_index_says_which_greys_are_black_and_white(tmp_path):
    """To all that read pixels by it, and when it was read back."""
    Image.fromarray(np.array([[0, 2048, 4095, 9000]], np.int32)).save(tmp_path / "a.tif")
    unknown = file_index(tmp_path, "a.tif")
    with pytest.raises(BadInput, match=r"a\.tif \(data set pictures\): its greys \(TIFF I, 0 to 9000\) have no known"):
        unknown.image(0)
    write_index(dataclasses.replace(unknown, grey_range=(0.0, 4095.0)), tmp_path / "index.parquet")
    index = read_index(tmp_path / "index.parquet")
    assert index.grey_range == (0.0, 4095.0)
    assert np.asarray(index.image(0))[0, :, 0].tolist() == [0, 128, 255, 255]
    np.testing.assert_array_equal(index.crop(0, 32), centre_crop(index.image(0), 32))


def test_an_index_without_a_range_of_greys_has_none(array_index, tmp_path):
    """As those that were written before there was such a range, with whose bytes it is written still."""
    write_index(array_index, tmp_path / "index.parquet")
    assert b"grey_range" not in (tmp_path / "index.parquet").read_bytes()
    assert read_index(tmp_path / "index.parquet").grey_range is None


# Of several pictures, the first; of a text, nothing


def frames(form, **options):
    file = io.BytesIO()
    first, *others = (Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN, WHITE))
    first.save(file, form, save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("PNG", {"default_image": True}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("MPO", {}),
        ("AVIF", {}),
    ],
)
def test_of_several_pictures_the_first_is_shown(form, options):
    content = frames(form, **options)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.n_frames >= 2 and picture.format == form
    found = np.asarray(decode(content, "a")).astype(int)
    assert np.abs(found - RED).max() <= (0 if form not in ("MPO", "AVIF") else 4)


def with_chunks(*chunks, after=False):
    """A PNG file with these before its pixels, or after them."""
    file = io.BytesIO()
    smooth(24, 20).save(file, "PNG")
    content = file.getvalue()
    at = content.index(b"IEND") - 4 if after else content.index(b"IDAT") - 4
    for kind, data in chunks:
        packed = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        content, at = content[:at] + packed + content[at:], at + len(packed)
    return content


TEXT = bytes(60_000_000)
LONG = {
    "text": (b"tEXt", b"Comment\0" + b"x" * 60_000_000),
    "compressed text": (b"zTXt", b"Comment\0\0" + zlib.compress(TEXT, 1)),
    "international text": (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(TEXT, 1)),
    "colour profile": (b"iCCP", b"profile\0\0" + zlib.compress(TEXT, 1)),
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", LONG)
def test_a_long_text_in_a_png_file_does_not_matter(kind, after):
    if after and kind == "colour profile":
        pytest.skip("a profile comes first")
    found = decode(with_chunks(LONG[kind], after=after), "a")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(smooth(24, 20)))


@pytest.mark.parametrize("chunks", [["compressed text"] * 2, ["text"] * 2, ["international text", "text"]])
def test_more_text_than_any_has_is_refused_in_words(chunks):
    with pytest.raises(BadInput, match=r"a\.png: .*\(more than 64 MB of text or colour profile\); replace it"):
        decode(with_chunks(*(LONG[kind] for kind in chunks)), "a.png")


def test_a_text_that_unpacks_to_a_bomb_is_refused():
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1))
    with pytest.raises(BadInput, match=r"more than 64 MB of text or colour profile"):
        decode(with_chunks(bomb), "a.png")


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a"])
def test_a_jpeg_file_of_another_suffix_is_one(tmp_path, name):
    smooth(40, 24).save(tmp_path / name, "JPEG")
    assert file_index(tmp_path, name).image(0).size == (40, 24)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_of_no_pixels_is_refused(size):
    head = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    for one in (
        content,
        b"P5 %d %d 255\n" % size,
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, *size, 1, 24, *[0] * 6),
    ):
        with pytest.raises(BadInput, match="a: cannot be read as an image"):
            decode(one, "a")


@pytest.mark.parametrize("source", [b"", b"no picture", "missing.png"])
def test_what_is_no_picture_is_one_sentence(source):
    with pytest.raises(BadInput) as caught:
        decode(source, "the third of them")
    assert str(caught.value).startswith("the third of them: cannot be read ")
    assert " object at " not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 200)])
def test_tiny_and_long_pictures_have_crops_and_views(tmp_path, size):
    from wecolora.training.cache import view_pixels

    smooth(*size).save(tmp_path / "a.jpg")
    index = file_index(tmp_path, "a.jpg")
    assert index.pixels([0], 32).shape == (1, 32, 32, 3)
    assert view_pixels(index, 0, range(3), 0, 32).shape == (3, 32, 32, 3)


# Files that are not what was indexed


def indexed(folder, *names, root="pictures"):
    """The index that prepare makes of a table of these files."""
    from wecolora.config.datasets import Listed
    from wecolora.data.prepare import prepare

    (folder / root / "labels.csv").write_text("path,label\n" + "".join(f"{name},a\n" for name in names))
    data = Listed(label="", source="table", root=str(folder / root), table="labels.csv")
    prepare("pictures", data, folder / "index.parquet")
    return read_index(folder / "index.parquet")


def test_a_file_that_was_changed_is_refused_though_its_size_and_time_are_as_before(tmp_path):
    path = tmp_path / "pictures" / "a.bmp"
    path.parent.mkdir()
    smooth(24, 20).save(path)
    index, about = indexed(tmp_path, "a.bmp"), path.stat()
    np.testing.assert_array_equal(np.asarray(index.image(0)), np.asarray(smooth(24, 20)))
    smooth(24, 20, seed=1).save(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    for read in (lambda: index.image(0), lambda: index.crop(0, 16), lambda: index.pixels([0], 16)):
        with pytest.raises(BadInput) as caught:
            read()
        assert str(caught.value) == (
            f"{path} (data set pictures): has changed since its data set was indexed; restore it, or delete the data "
            "set's index.parquet to index the set again."
        )
    smooth(24, 20).save(path)
    assert index.image(0).size == (24, 20)


def test_a_member_of_a_tar_and_a_row_of_an_array_are_compared_too(archive, array_index, tmp_path):
    packed, contents = archive
    packed = dataclasses.replace(packed, digests=[xxhash.xxh3_128_hexdigest(content) for content in contents])
    assert [packed.image(position).size for position in range(3)] == [(30, 20), (31, 20), (32, 20)]
    swapped = dataclasses.replace(packed, digests=packed.digests[::-1])
    with pytest.raises(BadInput, match=r"all\.tar, image inside/0 \(data set packed\): has changed since"):
        swapped.image(0)
    rows = np.load(tmp_path / "images.npy")
    digests = [xxhash.xxh3_128_hexdigest(row.tobytes()) for row in rows]
    index = dataclasses.replace(array_index, digests=digests)
    np.testing.assert_array_equal(np.asarray(index.image(7)), rows[7])
    with pytest.raises(BadInput, match=r"images\.npy: has changed .*; delete the index beside it to prepare"):
        dataclasses.replace(index, digests=digests[::-1]).image(7)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_nobody_is_told_to_replace_an_image_that_the_system_does_not_give(tmp_path, monkeypatch, number):
    def fails(*arguments, **options):
        raise OSError(number, os.strerror(number))

    smooth(24, 20).save(tmp_path / "a.png")
    monkeypatch.setattr("pathlib.Path.read_bytes", fails)
    with pytest.raises(BadInput) as caught:
        file_index(tmp_path, "a.png").image(0)
    message = str(caught.value)
    start = f"{tmp_path}/a.png (data set pictures): cannot be read ({os.strerror(number)}); "
    assert message.startswith(start)
    for word in ("replace", "skip_unreadable", "delete", "snakemake"):
        assert word not in message.removeprefix(start)


@pytest.mark.parametrize("moved", ["a.png", "pictures"])
def test_an_image_that_is_gone_is_to_be_restored(tmp_path, moved):
    (tmp_path / "pictures").mkdir()
    smooth(24, 20).save(tmp_path / "pictures" / "a.png")
    index = file_index(tmp_path / "pictures", "a.png")
    (tmp_path / "pictures" / "a.png" if moved == "a.png" else tmp_path / moved).rename(tmp_path / "elsewhere")
    with pytest.raises(
        BadInput, match=r"a\.png \(data set pictures\): cannot be read \(No such .*\); restore it"
    ) as told:
        index.image(0)
    assert "skip_unreadable" not in str(told.value)


@pytest.mark.parametrize("name", ["1.npy", "images.npy", "deep/images.npy"])
def test_a_picture_that_is_named_as_an_array_is_a_picture(tmp_path, name):
    path = tmp_path / "pictures" / name
    path.parent.mkdir(parents=True)
    smooth(24, 20).save(path, "PNG")
    index = Index("own", str(tmp_path / "pictures"), [], False, [name], [name], [0], [[]], ["train"])
    np.testing.assert_array_equal(np.asarray(index.image(0)), np.asarray(smooth(24, 20)))


# Pictures inside larger files


@pytest.fixture
def archive(tmp_path):
    """An index of three pictures in one tar file, and their bytes."""
    import tarfile

    contents = []
    for number, form in enumerate(("PNG", "JPEG", "WEBP")):
        file = io.BytesIO()
        smooth(30 + number, 20, number).save(file, form)
        contents.append(file.getvalue())
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number, content in enumerate(contents):
            about = tarfile.TarInfo(f"inside/{number}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    with tarfile.open(tmp_path / "all.tar") as tar:
        offsets = [member.offset_data for member in tar]
    names = [f"inside/{number}" for number in range(3)]
    sizes = [len(content) for content in contents]
    rows = (names, ["all.tar"] * 3, offsets, [[0]] * 3, ["train"] * 3)
    return Index("packed", str(tmp_path), ["a"], False, *rows, "", sizes), contents


def test_pictures_are_read_where_they_lie_in_a_tar_file(archive):
    index, contents = archive
    for position in (2, 0, 1, 2):
        with Image.open(io.BytesIO(contents[position])) as picture:
            wanted = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(np.asarray(index.image(position)), wanted)


def test_a_picture_that_cannot_be_read_from_a_tar_file_is_named_in_it(archive, tmp_path):
    index, _ = archive
    whole = (tmp_path / "all.tar").read_bytes()
    (tmp_path / "all.tar").write_bytes(whole[: index.offsets[2] + 10])
    with pytest.raises(BadInput, match=r"all\.tar, image inside/2 \(data set packed\): the file ends before it"):
        index.image(2)
    (tmp_path / "all.tar").write_bytes(whole[: index.offsets[1]] + b"x" * len(whole[index.offsets[1] :]))
    with pytest.raises(BadInput, match=r"all\.tar, image inside/1 \(data set packed\): cannot be read as an image"):
        index.image(1)
    assert index.image(0).size == (30, 20)
    moved = dataclasses.replace(index, paths=["gone.tar"] * 3)
    with pytest.raises(BadInput, match=r"gone\.tar, image inside/0 \(data set packed\): cannot be read \(No such"):
        moved.image(0)


def test_sizes_and_digests_read_back_and_default_to_none(archive, array_index, tmp_path):
    index = dataclasses.replace(archive[0], digests=["aa", "", "cc"], root=str(tmp_path))
    write_index(index, tmp_path / "index.parquet")
    assert read_index(tmp_path / "index.parquet") == index
    assert array_index.sizes == [0] * 12 and array_index.digests == [""] * 12


# Reduced decoding


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A smooth picture of three megapixels, stored once as JPEG and once without loss."""
    folder = tmp_path_factory.mktemp("large")
    smooth(2003, 1501).save(folder / "a.jpg", quality=95)
    with Image.open(folder / "a.jpg") as picture:
        picture.save(folder / "a.png", compress_level=0)
    return folder


@pytest.mark.parametrize(("size", "scale"), [(224, 4), (600, 2), (96, 8), (1313, 1), (32, 8)])
def test_a_large_jpeg_is_decoded_no_smaller_than_its_crop_needs(photograph, size, scale, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "wecolora.data.images.centre_crop", lambda picture, size: seen.append(picture) or crop_of(picture, size)
    )
    reduced = file_index(photograph, "a.jpg").pixels([0], size)[0].astype(int)
    full = file_index(photograph, "a.png").pixels([0], size)[0].astype(int)
    assert [picture.scale for picture in seen] == [scale, 1]
    assert min(seen[0].image.size) >= size * 256 / 224 and (seen[0].width, seen[0].height) == (2003, 1501)
    assert scale == 8 or min(seen[0].image.size) < 2 * (size * 256 / 224 + 1)
    assert np.abs(reduced - full).mean() < 1 and np.abs(reduced - full).max() < 12
    if scale == 1:
        np.testing.assert_array_equal(reduced, full)


@pytest.mark.parametrize("size", [(500, 375), (500, 333), (400, 300)])
def test_a_jpeg_of_imagenets_size_is_decoded_whole(tmp_path, size):
    from wecolora.training.cache import view_pixels

    smooth(*size).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        picture.save(tmp_path / "a.png")
    lossy, whole = file_index(tmp_path, "a.jpg"), dataclasses.replace(file_index(tmp_path, "a.jpg"), paths=["a.png"])
    np.testing.assert_array_equal(lossy.pixels([0], 224), whole.pixels([0], 224))
    np.testing.assert_array_equal(view_pixels(lossy, 0, range(4), 0, 224), view_pixels(whole, 0, range(4), 0, 224))


@pytest.mark.parametrize("size", [96, 224])
def test_views_of_a_large_jpeg_are_those_of_the_whole_picture(photograph, size):
    """Boxes are drawn in its own pixels. And a view is the same alone as with others."""
    from wecolora.training.cache import view_pixels

    index = file_index(photograph, "a.jpg")
    whole = dataclasses.replace(index, paths=["a.png"])
    together = view_pixels(index, 0, range(12), 3, size)
    exact = view_pixels(whole, 0, range(12), 3, size)
    for number in range(12):
        np.testing.assert_array_equal(view_pixels(index, 0, [number], 3, size)[0], together[number])
        difference = np.abs(together[number].astype(int) - exact[number])
        assert difference.mean() < 1 and difference.max() < 12
    others = np.abs(together[0].astype(int) - exact[1]).mean()
    assert others > 5  # so that the comparison can fail


def test_a_turned_jpeg_is_reduced_like_one_that_stands(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    smooth(1600, 1200).save(tmp_path / "a.jpg", quality=95, exif=exif)
    turned = file_index(tmp_path, "a.jpg").picture(0, lambda width, height: 4)
    assert turned.image.size == (300, 400) and (turned.width, turned.height, turned.scale) == (1200, 1600, 4)
    full = np.asarray(file_index(tmp_path, "a.jpg").image(0).resize((300, 400), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(turned.image) - full).mean() < 1


# The centre crop


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (600, 400), (256, 256), (300, 200)])
def test_the_centre_crop_at_224_is_torchvisions(size):
    from torchvision import transforms

    theirs = transforms.Compose(
        [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    )
    image = smooth(*size)
    np.testing.assert_array_equal(centre_crop(image, 224), np.asarray(theirs(image)))


def resized_then_cut(picture, size):
    """What the crop is, with the whole of the picture resized."""
    shorter, full = round(size * 256 / 224), (picture.width, picture.height)
    if full == (size, size):
        return np.asarray(picture.image)
    width, height = (max(size, round(side * shorter / min(full))) for side in full)
    box = (0, 0, picture.width / picture.scale, picture.height / picture.scale)
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.image.resize((width, height), Image.Resampling.BICUBIC, box)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


SHAPES = [(1, 1), (1, 300), (300, 1), (3, 1000), (2, 3), (31, 33), (32, 32), (37, 36), (36, 37), (333, 500), (500, 375),
          (224, 224), (225, 224), (256, 255), (1201, 803), (2500, 40), (4001, 3001)]  # fmt: skip


@pytest.mark.parametrize("side", [16, 32, 37, 96, 224])
@pytest.mark.parametrize("size", SHAPES)
def test_the_centre_crop_is_that_of_the_whole_picture_resized(size, side):
    """To the bit; where only what it shows is resized, to a grey level, where a sum's last digit decides (a second pass
    may add one): on noise, the worst case."""
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    shorter = round(side * 256 / 224)
    for scale in (1, 2, 4, 8):
        stored = Image.fromarray(noise[: math.ceil(size[1] / scale), : math.ceil(size[0] / scale)])
        picture = Picture(stored, *size, scale)
        whole = resized_then_cut(picture, side)
        if max(size) <= 12 * min(size):
            np.testing.assert_array_equal(crop_of(picture, side), whole)
        if size != (side, side):
            difference = np.abs(_thin_crop(picture, side, shorter / min(size)).astype(int) - whole)
            assert difference.max() <= 2 and (difference > 0).mean() < 0.02 and (difference > 1).mean() < 1e-4, scale


@pytest.mark.parametrize("size", [(2003, 1501), (1501, 2003), (1999, 1000)])
@pytest.mark.parametrize("side", [32, 96, 224])
def test_the_centre_crop_of_a_reduced_jpeg_is_that_of_the_whole_picture_resized(tmp_path, size, side):
    smooth(*size).save(tmp_path / "a.jpg")
    index = file_index(tmp_path, "a.jpg")
    picture = index.picture(0, lambda width, height: min(width, height) / round(side * 256 / 224))
    assert picture.scale > 1
    np.testing.assert_array_equal(index.crop(0, side), resized_then_cut(picture, side))


def test_the_centre_crop_of_a_thin_picture_is_its_middle():
    """Where the whole of it would be 3840 million pixels, and where single precision knows no single pixel."""
    for length in (60_000, 40_000_000):
        image = Image.new("L", (length, 1))
        middle = length // 2
        image.paste(255, (middle - 3, 0, middle + 3, 1))
        assert centre_crop(image, 224).min() == 255
        image.paste(0, (middle, 0, length, 1))
        crop = centre_crop(image, 224).astype(int)
        assert crop[:, :100].min() > 120 and crop[:, -80:].max() < 130 and (np.diff(crop[0]) <= 0).all()


# Memory

CROPPED = """
import sys
from PIL import Image
from wecolora.data.images import Index
Image.init()
index = Index("p", sys.argv[1], [], False, [sys.argv[2]], [sys.argv[2]], [0], [[]], ["train"])
highest = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
open("/proc/self/clear_refs", "w").write("5")  # from here on
before = highest()
assert index.crop(0, 224).shape == (224, 224, 3)
print((highest() - before) * 1024)
"""


def flat_png(path, size, depth, colour, *chunks):
    """A PNG file of one value, written row by row."""
    row = b"\0" + b"\x07" * math.ceil(size[0] * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] / 8)
    rows, packer = max(1, 2**20 // len(row)), zlib.compressobj(1)
    packed = [packer.compress(row * min(rows, size[1] - start)) for start in range(0, size[1], rows)]
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", b"".join(packed) + packer.flush()), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in parts:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def exif(orientation):
    about = Image.Exif()
    about[ExifTags.Base.Orientation] = orientation
    return about


def turned_chunk(orientation):
    return (b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))


CLEAR = [(b"PLTE", bytes(30)), (b"tRNS", bytes(9))]
SIDE = 1500
LARGE = {
    "1 x 60000": (40, lambda path: flat_png(path, (1, 60_000), 8, 0)),
    "60000 x 1": (40, lambda path: flat_png(path, (60_000, 1), 16, 6)),
    "one pixel wide": (40, lambda path: flat_png(path, (1, 3_000_000), 16, 6, turned_chunk(3))),
    "one pixel wide, greys": (40, lambda path: flat_png(path, (1, 3_000_000), 16, 0, turned_chunk(6))),
    "one pixel high": (40, lambda path: flat_png(path, (3_000_000, 1), 16, 6)),
    "alpha": (16, lambda path: flat_png(path, (SIDE, SIDE), 8, 6, turned_chunk(6))),
    "16 bits": (16, lambda path: flat_png(path, (SIDE, SIDE), 16, 0, turned_chunk(8))),
    "16 bits of alpha": (16, lambda path: flat_png(path, (SIDE, SIDE), 16, 6, turned_chunk(8))),
    "palette": (16, lambda path: flat_png(path, (SIDE, SIDE), 8, 3, turned_chunk(6), *CLEAR)),
    "bits": (16, lambda path: flat_png(path, (SIDE, SIDE), 1, 0)),
    "CMYK": (16, lambda path: smooth(SIDE, SIDE).convert("CMYK").save(path, "JPEG", exif=exif(6), progressive=True)),
    "WebP": (24, lambda path: smooth(SIDE, SIDE).convert("RGBA").save(path, "WEBP", method=0)),
    "JPEG 2000": (40, lambda path: smooth(SIDE, SIDE).convert("RGBA").save(path, "JPEG2000")),
    "TIFF": (16, lambda path: smooth(SIDE, SIDE).convert("RGBA").save(path, "TIFF", compression="tiff_lzw")),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the highest amount of memory")
@pytest.mark.parametrize("kind", LARGE)
def test_the_memory_that_a_picture_takes_is_bounded(tmp_path, kind):
    bytes_a_pixel, make = LARGE[kind]
    make(tmp_path / "a")
    with Image.open(tmp_path / "a") as picture:
        pixels = picture.width * picture.height
    command = [sys.executable, "-c", CROPPED, str(tmp_path), "a"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    # Beside it: tiles, and what libraries load when they are first used.
    assert int(ended.stdout) < bytes_a_pixel * pixels + (tmp_path / "a").stat().st_size + 12_000_000


LIMITED = """
import resource, sys
from wecolora.data.images import Index
index = Index("p", sys.argv[1], [], False, ["a"], ["a"], [0], [[]], ["train"])
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)
index.crop(0, 224)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
@pytest.mark.parametrize(("depth", "colour"), [(8, 2), (16, 0), (8, 6)])
def test_an_image_that_memory_does_not_suffice_for_is_named(tmp_path, depth, colour):
    flat_png(tmp_path / "a", (6000, 4000), depth, colour)
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == (
        f"wecolora.data.images.NoMemory: {tmp_path}/a (data set p): takes more memory than there is; give the job "
        "more, or shrink the image."
    )


def test_want_of_memory_is_named_wherever_it_shows(archive, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise MemoryError

    smooth(40, 24).save(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr("wecolora.data.images.os.pread", fails)
        with pytest.raises(NoMemory, match=r"all\.tar, image inside/1 \(data set packed\): takes more memory"):
            archive[0].image(1)
    for place in ("wecolora.data.images.rgb", "PIL.ImageFile.ImageFile.load", "wecolora.data.images.Image.open"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fails)
            with pytest.raises(NoMemory, match=r"a\.png \(data set pictures\): takes more memory"):
                file_index(tmp_path, "a.png").image(0)


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
