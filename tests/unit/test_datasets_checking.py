"""What is said of an image: odd ones pass or are named, exactly as they do where they are read later."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import xxhash
from PIL import Image

from wecolora.datasets.checking import examine
from wecolora.errors import BadInput
from wecolora.images import decode


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
    assert seen == (xxhash.xxh3_128_hexdigest(GOOD[kind]), kind, "")
    assert decode(GOOD[kind], "a.png").mode == "RGB"


@pytest.mark.parametrize(
    "content", [turned(), picture("JPEG", progressive=True), picture("JPEG", size=(3, 2)), picture("JPEG", size=(1, 1))]
)
def test_turned_progressive_and_tiny_photographs(content):
    assert examine(content, "a.jpg")[1:] == ("JPEG RGB", "")


BAD = {
    "empty": b"",
    "text": b"<html>404 not found</html>",
    "header alone": b"\xff\xd8\xff",
    "zeros": bytes(1000),
    "a huge PNG": bomb(60_000, 60_000),
    "a large PNG": bomb(9_460, 9_460),
    "a huge JPEG": wide_jpeg(65_000, 65_000),
    "a large JPEG": wide_jpeg(9_460, 9_460),
    "floats": picture("TIFF", "F"),
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
