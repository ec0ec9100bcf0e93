"""What is said of an image: odd ones pass or are named, exactly as they do where they are read later."""

from __future__ import annotations

import io
import logging
import struct
import zlib

import numpy as np
import pytest
import xxhash
from PIL import Image

from wecolora.config.datasets import Folder
from wecolora.core.errors import BadInput
from wecolora.data.checking import examine
from wecolora.data.images import NoMemory, decode, read_index
from wecolora.data.prepare import prepare


def picture(kind, mode="RGB", size=(48, 40), **options):
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    file = io.BytesIO()
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(values, dtype, kind="PNG"):
    """A file of these values."""
    file = io.BytesIO()
    Image.fromarray(np.array(values).astype(dtype)).save(file, kind)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("JPEG", exif=exif)


def bomb(width, height):
    """A PNG that claims to be huge."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def wide_jpeg(width, height):
    """A JPEG whose header claims another size."""
    content = picture("JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


GOOD = {
    "JPEG RGB": picture("JPEG"),
    "JPEG L": picture("JPEG", "L"),
    "JPEG CMYK": picture("JPEG", "CMYK"),
    "PNG P": picture("PNG", "P"),
    "PNG RGBA": picture("PNG", "RGBA"),
    "PNG LA": picture("PNG", "LA"),
    "PNG 1": picture("PNG", "1"),
    "PNG I;16": picture("PNG", "I;16"),
    "TIFF I;16": picture("TIFF", "I;16"),
    "GIF P": picture("GIF", "P"),
    "BMP RGB": picture("BMP"),
    "WEBP RGB": picture("WEBP"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_odd_images_are_what_they_are(kind):
    seen = examine(GOOD[kind], "a.png")
    assert seen[:3] == (xxhash.xxh3_128_hexdigest(GOOD[kind]), kind, "")
    assert (seen.values is None) == kind.startswith("JPEG")
    assert decode(GOOD[kind], "a.png").mode == "RGB"


@pytest.mark.parametrize(
    "content", [turned(), picture("JPEG", progressive=True), picture("JPEG", size=(3, 2)), picture("JPEG", size=(1, 1))]
)
def test_turned_progressive_and_tiny_photographs(content):
    assert examine(content, "a.jpg")[1:] == ("JPEG RGB", "", None, ())


BAD = {
    "empty": b"",
    "text": b"<html>404 not found</html>",
    "header alone": b"\xff\xd8\xff",
    "zeros": bytes(1000),
    "a huge PNG": bomb(60_000, 60_000),
    "a large PNG": bomb(9_460, 9_460),
    "a huge JPEG": wide_jpeg(65_000, 65_000),
    "a large JPEG": wide_jpeg(9_460, 9_460),
    "numbers that are none": pixels([[0.5, np.nan]], np.float32, "TIFF"),
}


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_named(what):
    seen = examine(BAD[what], "folder/a.jpg")
    assert seen.digest == xxhash.xxh3_128_hexdigest(BAD[what]) and seen.kind == ""
    assert seen.problem.startswith("folder/a.jpg: ")
    with pytest.raises(BadInput):
        decode(BAD[what], "folder/a.jpg")


@pytest.mark.parametrize(
    "content", [picture("JPEG"), picture("JPEG", progressive=True), picture("JPEG", "CMYK"), turned()]
)
def test_a_photograph_that_is_cut_anywhere_is_found(content):
    """At an eighth of its size too: not even the last byte may be missing."""
    assert [length for length in range(len(content)) if not examine(content[:length], "a.jpg").problem] == []


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of the same
@pytest.mark.parametrize(("kind", "tail"), [("PNG", 24), ("WEBP", 4), ("BMP", 0), ("TIFF", 200)])
def test_other_images_that_are_cut_are_found_where_pixels_are_missing(kind, tail):
    """What Pillow does not need, such as a PNG's end mark, may be missing."""
    content = picture(kind)
    assert [n for n in range(len(content) - tail) if not examine(content[:n], "a").problem] == []


def test_what_passes_here_is_read_later():
    """And what does not, is not: on photographs with broken bytes in any place."""
    rng = np.random.default_rng(2)
    for content in (picture("JPEG"), picture("PNG"), picture("WEBP")):
        for _ in range(60):
            broken = bytearray(content)
            broken[rng.integers(len(content))] = rng.integers(256)
            try:
                decode(bytes(broken), "a")
            except BadInput:
                assert examine(bytes(broken), "a").problem
            else:
                assert not examine(bytes(broken), "a").problem


def test_want_of_memory_is_no_fault_of_an_image(tmp_path, monkeypatch):
    """Which is therefore not left out, but named."""

    def fails(*arguments, **options):
        raise MemoryError

    contents = picture("PNG"), picture("JPEG")
    place(tmp_path, a_png=contents[0], b_jpg=contents[1])
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    for content in contents:
        with pytest.raises(NoMemory, match=r"^a: takes more memory than there is"):
            examine(content, "a")
    with pytest.raises(NoMemory, match=r"^a\.png: takes more memory than there is"):
        prepared(tmp_path, skip_unreadable=True)


# The values of a whole set


def place(folder, **contents):
    for name, content in contents.items():
        path = folder / "pictures" / name.replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def prepared(folder, **keys):
    data = Folder(label="", source="folder", root=str(folder / "pictures"), **keys)
    return prepare("mine", data, folder / "index.parquet")


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def test_the_values_of_deep_greys_are_told_by_kind(tmp_path, told):
    place(tmp_path, a_png=pixels([[3, 4000]], np.uint16), b_png=pixels([[9, 4012]], np.uint16),
          c_tif=pixels([[70, 65000]], np.uint16, "TIFF"), d_jpg=picture("JPEG"))  # fmt: skip
    found = prepared(tmp_path)
    assert found["greys"] == {
        "PNG I;16": {"images": 2, "lowest": 3, "highest": 4012},
        "TIFF I;16": {"images": 1, "lowest": 70, "highest": 65000},
    }
    assert found["brightest"] == {} and found["clipped"] == 0 and found["grey_range"] is None
    assert "mine: 2 images are of deep greys (PNG I;16), from 3 to 4012." in told.text
    # One range for both kinds.
    assert "WARNING: mine: the brightest value of its PNG I;16 images is 4012, and 65535 is white" in told.text
    assert "if they are too dark: convert them, or change grey_range." in told.text
    assert "TIFF I;16 images is" not in told.text


@pytest.mark.parametrize(
    ("highest", "proposed"), [(1, 1), (2, 3), (200, 255), (255, 255), (256, 511), (4095, 4095), (32767, 32767), (0, 1)]
)
def test_dark_greys_are_warned_of_with_the_next_number_of_bits(tmp_path, told, highest, proposed):
    place(tmp_path, a_png=pixels([[0, highest]], np.uint16))
    prepared(tmp_path)
    wanted = f"{highest}, and 65535 is white; if they are too dark: datasets.mine.grey_range: [0, {proposed}]."
    assert wanted in told.text


def test_greys_that_reach_the_upper_half_are_not_warned_of(tmp_path, told):
    place(tmp_path, a_png=pixels([[0, 100]], np.uint16), b_png=pixels([[0, 32768]], np.uint16))
    prepared(tmp_path)
    assert "WARNING" not in told.text


def test_a_range_is_told_with_what_it_clips(tmp_path, told):
    place(tmp_path, a_png=pixels([[0, 4095]], np.uint16), b_png=pixels([[0, 4096]], np.uint16),
          c_tif=pixels([[-1, 5]], np.int32, "TIFF"), d_png=pixels([[0, 255]], np.uint8))  # fmt: skip
    found = prepared(tmp_path, grey_range=(0, 4095))
    assert found["clipped"] == 2 and found["grey_range"] == (0, 4095)
    assert "mine: grey_range clips greys of 2 images." in told.text
    assert read_index(tmp_path / "index.parquet").grey_range == (0, 4095)
    # Of the TIFF file alone, which ends at 5.
    assert told.text.count("WARNING:") == 1 and "TIFF I images is 5, and 4095 is white" in told.text


def test_a_range_that_changes_nothing_is_told(tmp_path, told):
    place(tmp_path, a_png=picture("PNG"), b_jpg=picture("JPEG"))
    prepared(tmp_path, grey_range=(0, 4095))
    assert "WARNING: mine: grey_range has no effect: no image has greys deeper than 8 bits." in told.text


def test_a_range_is_part_of_what_the_pixels_are(tmp_path):
    place(tmp_path, a_png=pixels([[0, 4095]], np.uint16))
    digests = set()
    for keys in ({}, {"grey_range": (0, 4095)}, {"grey_range": (0, 1000)}):
        prepared(tmp_path, **keys)
        digests.add(read_index(tmp_path / "index.parquet").pixels_digest)
    assert len(digests) == 3
    prepared(tmp_path)
    of_bytes = xxhash.xxh3_128_hexdigest(pixels([[0, 4095]], np.uint16))
    digest = xxhash.xxh3_128_hexdigest(f"a.png {of_bytes}\n".encode())
    assert read_index(tmp_path / "index.parquet").pixels_digest == digest  # as before there was the key


def test_the_kind_of_what_was_shown_otherwise_once_is_part_of_what_the_pixels_are(tmp_path):
    content = pixels([[0, 4095]], np.uint16, "TIFF")
    place(tmp_path, a_tif=content)
    prepared(tmp_path)
    digest = xxhash.xxh3_128_hexdigest(f"a.tif {xxhash.xxh3_128_hexdigest(content)} TIFF I;16\n".encode())
    assert read_index(tmp_path / "index.parquet").pixels_digest == digest


@pytest.mark.parametrize("skip", [False, True])
def test_greys_of_no_known_range_are_refused_for_the_whole_set(tmp_path, skip):
    place(tmp_path, a_png=pixels([[0, 4095]], np.uint16), b_tif=pixels([[0, 0.5]], np.float32, "TIFF"),
          c_tif=pixels([[-3, 200]], np.int32, "TIFF"))  # fmt: skip
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path, skip_unreadable=skip)
    assert str(caught.value) == (
        "data set mine: 2 images have greys of no known range, such as b.tif (TIFF F, 0 to 0.5), and -3 to 200 in all; "
        "say which values are black and white (datasets.mine.grey_range: [lowest, highest])."
    )
    assert not (tmp_path / "index.parquet").exists()


def colours16(values):
    """A PNG file of 16 bits a colour, of one pixel."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = zlib.compress(b"\0" + struct.pack(">3H", *values))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def labels():
    """Class numbers as a palette's, of colours by which nothing is seen."""
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([0, 0, 0, 1, 1, 1, 15, 2, 2])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("PNG L", pixels([[0, 15]], np.uint8)),
        ("PNG RGB", pixels([[[0, 3, 15]]], np.uint8)),
        ("PNG RGBA", pixels([[[15, 3, 15, 255], [9, 9, 9, 0]]], np.uint8)),  # white is what is behind, not in it
        ("PNG P", labels()),
        ("BMP L", pixels([[0, 15]], np.uint8, "BMP")),
        ("PNG RGB;16", colours16((0, 4095, 17))),
    ],
)
def test_dark_images_of_eight_bits_are_warned_of(tmp_path, told, kind, content):
    """Masks, values of 4 bits, and values of 12 in 16, of which Pillow keeps the high byte. A bright one ends it."""
    place(tmp_path, a_png=content, b_jpg=picture("JPEG"))
    assert prepared(tmp_path)["brightest"] == {kind: 15}
    assert f"WARNING: mine: the brightest value of its {kind} images is 15, and 255 is white; convert them" in told.text


def test_one_bright_image_of_a_kind_suffices(tmp_path, told):
    place(tmp_path, a_png=pixels([[0, 15]], np.uint8), b_png=pixels([[0, 128]], np.uint8))
    assert prepared(tmp_path)["brightest"] == {"PNG L": 128}
    assert "WARNING" not in told.text


# Odd images of a whole set


def clear(alpha, form="PNG"):
    """A picture of such an alpha throughout."""
    values = np.full((5, 6, 4), 190, np.uint8)
    values[..., 3] = alpha
    return pixels(values, np.uint8, form)


def pages(form):
    file = io.BytesIO()
    first, second = Image.new("RGB", (6, 5), "red"), Image.new("RGB", (6, 5), "lime")
    first.save(file, form, save_all=True, append_images=[second])
    return file.getvalue()


def test_images_that_are_nearly_white_by_their_alpha_are_told(tmp_path, told):
    place(tmp_path, a_png=clear(0), b_png=clear(1), c_png=clear(200), d_jpg=picture("JPEG"), e_png=picture("PNG", "L"))
    found = prepared(tmp_path)
    assert found["transparent"] == {"count": 2, "images": ["a.png", "b.png"]}
    assert "WARNING: mine: 2 images are nearly white everywhere, as their alpha says; if it is none" in told.text
    assert "store the colours alone: a.png, b.png." in told.text
    assert (np.asarray(read_index(tmp_path / "index.parquet").image(0)) == 255).all()


def test_a_fourth_band_of_a_tiff_file_is_told(tmp_path, told):
    place(tmp_path, a_tif=clear(200, "TIFF"), b_png=clear(200), c_tif=picture("TIFF"))
    prepared(tmp_path)
    assert told.text.count("WARNING:") == 1
    assert "WARNING: mine: 1 images (TIFF RGBA) say that their fourth band is alpha; if it is none" in told.text


def test_files_of_several_pictures_are_told(tmp_path, told):
    place(tmp_path, a_tif=pages("TIFF"), b_gif=pages("GIF"), c_gif=picture("GIF"), d_jpg=pages("MPO"))
    found = prepared(tmp_path)
    assert found["several_pictures"] == {"count": 3, "images": ["a.tif", "b.gif", "d.jpg"]}
    assert "WARNING: mine: 3 images hold several pictures each, of which the first is taken: a.tif, b.gif" in told.text


def test_ordinary_images_are_not_odd(tmp_path, told):
    place(tmp_path, a_png=picture("PNG"), b_jpg=picture("JPEG"), c_png=picture("PNG", "RGBA"), d_gif=picture("GIF"))
    found = prepared(tmp_path)
    assert found["transparent"] == found["several_pictures"] == {"count": 0, "images": []}
    assert "WARNING" not in told.text


def test_a_report_names_the_first_hundred_odd_images(tmp_path):
    place(tmp_path, **{f"{number:03d}_png": clear(number % 2) for number in range(105)})
    found = prepared(tmp_path)["transparent"]
    assert found == {"count": 105, "images": [f"{number:03d}.png" for number in range(100)]}


@pytest.mark.parametrize(
    "words", ["it is a HEIC file", "it is a Git LFS pointer: get the image itself by `git lfs pull`"]
)
def test_the_log_says_what_a_file_is_that_is_not_read(tmp_path, told, words):
    content = b"\0\0\0\x18ftypheic\0\0\0\0" if "HEIC" in words else b"version https://git-lfs.github.com/spec/v1\n"
    place(tmp_path, a_png=content, b_png=picture("PNG"))
    found = prepared(tmp_path, skip_unreadable=True)
    assert words in found["unreadable"]["images"]["a.png"] and words in told.text
