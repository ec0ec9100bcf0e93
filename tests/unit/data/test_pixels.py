"""Values in a file against greys by hand: known ranges, given ones, and those that nobody knows."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import wecolora.data.pixels
from wecolora.core.errors import BadInput
from wecolora.data.images import decode, look
from wecolora.data.pixels import deep_kind, range_of


def tiff(content, width, height, *, bits=(16,), photometric=1, sample=1, planes=1):
    """A little-endian TIFF file of one strip a plane, uncompressed."""
    count, strips = len(bits), len(bits) if planes == 2 else 1
    bytes_each = len(content) // strips
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, bits), (259, 3, [1]), (262, 3, [photometric]),
        (273, 4, [8 + number * bytes_each for number in range(strips)]), (277, 3, [count]), (278, 4, [height]),
        (279, 4, [bytes_each] * strips), (284, 3, [planes]), (339, 3, [sample] * count),
    ]  # fmt: skip
    start = 8 + len(content)
    behind = start + 2 + 12 * len(entries) + 4
    directory, further = struct.pack("<H", len(entries)), b""
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            packed, further = struct.pack("<I", behind + len(further)), further + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + content + directory + bytes(4) + further


def deep(values, kind="<u2", **options):
    """A TIFF file of these values."""
    found = np.asarray(values)
    types = {"u": 1, "i": 2, "f": 3}
    options = {"bits": (8 * int(kind[2]),), "sample": types[kind[1]], **options}
    return tiff(found.astype(kind).tobytes(), found.shape[1], found.shape[0], **options)


def png(values, depth, colour, *chunks):
    """A PNG file of rows of packed bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows, (width, height) = values
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def png16(values, *chunks):
    """Of greys."""
    found = np.asarray(values).astype(">u2")
    return png(([row.tobytes() for row in found], found.shape[::-1]), 16, 0, *chunks)


def greys(content, grey_range=None):
    """One channel of three equal ones."""
    pixels = np.asarray(decode(content, "a", grey_range))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def nearest(values, black, white):
    """By whole numbers; no value lies between two greys here."""
    levels = [Fraction(255 * (int(value) - black), white - black) for value in np.ravel(values)]
    rounded = [min(255, max(0, int(level + Fraction(1, 2)))) for level in levels]
    return np.array(rounded).reshape(np.shape(values))


SIXTEEN = np.arange(65536).reshape(256, 256)
TWELVE = np.arange(4096).reshape(64, 64)


@pytest.mark.parametrize("make", [png16, deep])
def test_sixteen_bits_are_scaled_by_their_types_range(make):
    np.testing.assert_array_equal(greys(make(SIXTEEN)), nearest(SIXTEEN, 0, 65535))


@pytest.mark.parametrize("make", [png16, deep, lambda values: deep(values, "<i4"), lambda values: deep(values, "<f4")])
def test_twelve_bits_of_more_fill_the_range_that_is_given(make):
    shown = greys(make(TWELVE), (0, 4095))
    np.testing.assert_array_equal(shown, nearest(TWELVE, 0, 4095))
    assert shown.min() == 0 and shown.max() == 255


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<f4"])
def test_what_lies_beyond_the_range_is_clipped(kind):
    values = np.array([[-1000, -200, -199, 0, 817, 818, 30000]])
    np.testing.assert_array_equal(greys(deep(values, kind), (-200, 817)), nearest(values, -200, 817))


@pytest.mark.parametrize("sample", [1, None])
def test_thirty_two_bits_without_a_sign_are_none_below_zero(sample):
    """By whole numbers. ``sample`` None: a file without the tag, whose numbers have no sign either."""
    values = np.array([[0, 1, 2**31 - 1, 2**31, 3_000_000_000, 2**32 - 1]])
    content = deep(values, "<u4")
    if sample is None:
        content = content.replace(struct.pack("<HHI", 339, 3, 1), struct.pack("<HHI", 65000, 3, 1))
    assert look(content, "a")[:2] == ("TIFF I", (0, 2**32 - 1))
    wanted = nearest(values, 0, 2**32 - 1)
    assert wanted.tolist() == [[0, 0, 127, 128, 178, 255]]
    np.testing.assert_array_equal(greys(content, (0, 2**32 - 1)), wanted)
    with pytest.raises(BadInput, match=r"its greys \(TIFF I, 0 to 4\.29497e\+09\)"):
        decode(content, "a")
    if sample == 1:  # compressed, Pillow's libtiff reads it
        file = io.BytesIO()
        Image.fromarray(values.astype(np.uint32).view(np.int32)).save(file, "TIFF", compression="tiff_lzw")
        signed, unsigned = (struct.pack("<HHIH", 339, 3, 1, number) for number in (2, 1))
        assert file.getvalue().count(signed) == 1
        packed = file.getvalue().replace(signed, unsigned)
        np.testing.assert_array_equal(greys(packed, (0, 2**32 - 1)), wanted)


def test_thirty_two_bits_with_a_sign_keep_it():
    values = np.array([[-(2**31), -1, 0, 2**31 - 1]])
    content = deep(values, "<i4")
    assert look(content, "a")[:2] == ("TIFF I", (-(2**31), 2**31 - 1))
    np.testing.assert_array_equal(greys(content, (-(2**31), 2**31 - 1)), nearest(values, -(2**31), 2**31 - 1))


def test_a_range_of_fractions():
    values = np.array([[0.0, 0.25, 0.5, 1.0]])
    assert greys(deep(values, "<f4"), (0.0, 0.5)).tolist() == [[0, 128, 255, 255]]  # 127.5, to the even one


def test_a_range_changes_no_greys_of_eight_bits():
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, "PNG")
    np.testing.assert_array_equal(greys(file.getvalue(), (0, 100)), np.arange(256).reshape(16, 16))


def test_a_tiff_file_of_twelve_bits_has_their_range():
    packed = b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in TWELVE.reshape(-1, 2).tolist())
    content = tiff(packed, 64, 64, bits=(12,))
    np.testing.assert_array_equal(greys(content), nearest(TWELVE, 0, 4095))
    np.testing.assert_array_equal(greys(content, (0, 255)), nearest(TWELVE, 0, 255))
    assert look(content, "a")[:2] == ("TIFF I;12", (0, 4095))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("highest", [1023, 4095, 65535])
def test_a_pgm_file_says_itself_what_is_white(highest, plain):
    values = np.arange(0, highest + 1, 31)[None]
    head = b"P%d %d 1 %d\n" % (2 if plain else 5, values.size, highest)
    content = b" ".join(b"%d" % value for value in values.ravel()) if plain else values.astype(">u2").tobytes()
    assert np.abs(greys(head + content).astype(int) - nearest(values, 0, highest)).max() <= 1


def test_white_is_zero_where_a_tiff_file_says_so():
    """As Pillow does it itself for 8 bits, where 16 and 32 hold the same times 257."""
    eight = np.random.default_rng(0).integers(0, 200, (9, 7))
    wanted = greys(deep(eight, "<u1", photometric=0))
    np.testing.assert_array_equal(wanted, 255 - eight)
    np.testing.assert_array_equal(greys(deep(257 * eight, photometric=0)), wanted)
    np.testing.assert_array_equal(greys(deep(eight, photometric=0), (0, 255)), wanted)
    np.testing.assert_array_equal(greys(deep(eight, "<f4", photometric=0), (0, 255)), wanted)
    file = io.BytesIO()
    with Image.open(io.BytesIO(deep(257 * eight))) as picture:
        picture.save(file, "TIFF", compression="tiff_lzw", tiffinfo={262: 0})
    np.testing.assert_array_equal(greys(file.getvalue()), wanted)


def fits(values):
    """Of 16 bits, which are signed there."""
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
             f"NAXIS1  = {values.shape[1]:20}", f"NAXIS2  = {values.shape[0]:20}", "END"]  # fmt: skip
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + values.astype(">u2").tobytes().ljust(2880)


UNKNOWN = {
    "TIFF I": [deep([[3, 200]], "<i4"), deep([[3, 200]], "<u4"), deep([[3, 200]], "<i2")],
    "TIFF F": [deep([[3, 200]], "<f4"), deep([[3, 200]], "<f4", photometric=0)],
    "PPM F": [b"Pf\n2 1\n-1.0\n" + np.array([3, 200], "<f4").tobytes()],
    "FITS I;16": [fits(np.array([[3, 200]]))],
}


@pytest.mark.parametrize(("kind", "content"), [(kind, each) for kind, files in UNKNOWN.items() for each in files])
def test_greys_of_no_known_range_are_refused_with_their_values(kind, content):
    with pytest.raises(BadInput) as caught:
        decode(content, "a.tif")
    assert str(caught.value).startswith(f"a.tif: its greys ({kind}, 3 to 200) have no known range; ")
    assert "`grey_range: [lowest, highest]`" in str(caught.value)
    assert look(content, "a.tif")[:2] == (kind, (3, 200)) and range_of(kind) is None
    assert sorted(greys(content, (3, 200)).ravel()) == [0, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    content = deep([[0.5, value]], "<f4")
    for read in (lambda: decode(content, "a", (0, 1)), lambda: look(content, "a")):
        with pytest.raises(BadInput, match="floating-point values that are not finite"):
            read()


COLOURS = np.random.default_rng(1).integers(0, 65536, (3, 5, 4))


def test_what_pillow_would_misread_is_refused():
    with pytest.raises(BadInput, match="signed 8-bit greys"):
        decode(deep([[-3, 5]], "<i1"), "a")
    planes = {"bits": (16, 16, 16), "photometric": 2, "planes": 2}
    with pytest.raises(BadInput, match="16-bit colours in separate planes"):
        decode(tiff(COLOURS.astype("<u2").tobytes(), 4, 5, **planes), "a")
    eight = tiff((COLOURS >> 8).astype(np.uint8).tobytes(), 4, 5, **{**planes, "bits": (8, 8, 8)})
    np.testing.assert_array_equal(np.asarray(decode(eight, "a")), (COLOURS >> 8).transpose(1, 2, 0))


def colours16(values, colour, *chunks):
    """A PNG file of 16 bits of each of the last axis."""
    rows = [row.astype(">u2").tobytes() for row in values]
    return png((rows, (values.shape[1], values.shape[0])), 16, colour, *chunks)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (colours16(COLOURS.transpose(1, 2, 0), 2), "PNG RGB;16"),
        (colours16(COLOURS[:2].transpose(1, 2, 0), 4), "PNG LA;16"),
        (colours16(COLOURS[[0, 1, 2, 0]].transpose(1, 2, 0), 6), "PNG RGBA;16"),
        (tiff(COLOURS.transpose(1, 2, 0).astype("<u2").tobytes(), 4, 5, bits=(16,) * 3, photometric=2), "TIFF RGB;16"),
    ],
)
def test_sixteen_bits_of_colour_are_known_by_their_kind(content, kind):
    """And their values are of the high byte, of the colours alone."""
    colours = COLOURS[:1] if "LA;" in kind else COLOURS
    assert look(content, "a")[:2] == (kind, ((colours >> 8).min(), (colours >> 8).max()))
    assert range_of(kind) == (0, 255) and not deep_kind(kind)


def test_other_kinds_are_in_pillows_words():
    for name, mode in (("PNG", "RGB"), ("PNG", "1"), ("GIF", "P"), ("BMP", "L"), ("WEBP", "RGBA"), ("TIFF", "CMYK")):
        file = io.BytesIO()
        Image.new(mode, (4, 4)).save(file, name, lossless=True)
        assert look(file.getvalue(), "a")[0] == f"{name} {mode}"
    assert look(png16([[1, 2]]), "a")[0] == "PNG I;16" and deep_kind("PNG I;16")


def test_a_bmp_file_of_five_bits_a_colour_is_not_of_sixteen():
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + head + struct.pack("<HH", 0x7FFF, 0)
    assert look(content, "a")[:2] == ("BMP RGB", (0, 255))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (png16([[9, 265, 30000]], (b"tRNS", b"\x01\x09")), [0, 255, 117]),
        (png(([bytes([0b00011011])], (4, 1)), 2, 0, (b"tRNS", b"\0\1")), [0, 255, 170, 255]),
        (png(([bytes([0x13, 0x7F])], (4, 1)), 4, 0, (b"tRNS", b"\0\3")), [17, 255, 119, 255]),
        (png(([bytes([0b01000000])], (2, 1)), 1, 0, (b"tRNS", b"\0\0")), [255, 255]),
        (png(([bytes([9, 8, 200])], (3, 1)), 8, 0, (b"tRNS", b"\0\x09")), [255, 8, 200]),
    ],
)
def test_the_transparent_grey_of_a_png_file_is_white_at_any_depth(content, wanted):
    assert greys(content).tolist() == [wanted]


def test_the_transparent_colour_of_a_png_file_is_white_at_sixteen_bits():
    colours = np.array([[[257, 2570, 25700], [257, 2570, 10000]]])
    content = colours16(colours, 2, (b"tRNS", colours[0, 0].astype(">u2").tobytes()))
    assert np.asarray(decode(content, "a")).tolist() == [[[255] * 3, [1, 10, 39]]]


@pytest.mark.parametrize("tile", [1, 5, 7, 100])
def test_tiles_of_any_size_make_the_same_picture(tile, monkeypatch):
    rng = np.random.default_rng(2)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (6, 7, 4), dtype=np.uint8)).save(file, "PNG")
    contents = [file.getvalue(), png16(rng.integers(0, 4096, (6, 7)), (b"tRNS", b"\0\x09"))]
    whole = [np.asarray(decode(content, "a", (0, 4095))) for content in contents]
    assert [look(content, "a")[1] for content in contents][1][1] > 255
    seen = [look(content, "a") for content in contents]
    monkeypatch.setattr(wecolora.data.pixels, "TILE", tile)
    for content, wanted, values in zip(contents, whole, seen, strict=True):
        np.testing.assert_array_equal(np.asarray(decode(content, "a", (0, 4095))), wanted)
        assert look(content, "a") == values


def test_big_endian_values_are_read_as_they_are():
    values = np.array([[3, 4000], [9, 65535]])
    file = io.BytesIO()
    Image.fromarray(values.astype(">u2")).save(file, "TIFF")
    assert look(file.getvalue(), "a")[:2] == ("TIFF I;16B", (3, 65535))
    np.testing.assert_array_equal(greys(file.getvalue(), (0, 4095)), nearest(values, 0, 4095))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_greys_are_turned_once_as_others_are(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    eight, found = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, []
    for values in (eight, eight.astype(np.uint16) * 257):
        file = io.BytesIO()
        Image.fromarray(values).save(file, form, exif=exif)
        found.append(greys(file.getvalue()))
    corners = {1: 0, 2: 60, 3: 220, 4: 160, 5: 0, 6: 160, 7: 220, 8: 60}  # what comes first, by the standard
    assert found[0].shape == ((4, 3) if orientation > 4 else (3, 4)) and found[0][0, 0] == corners[orientation]
    np.testing.assert_array_equal(found[0], found[1])


# What is odd about a picture


def saved(form, picture, *others, **options):
    file = io.BytesIO()
    picture.save(file, form, **options, **({"save_all": True, "append_images": others} if others else {}))
    return file.getvalue()


def with_alpha(alpha):
    """12 x 9 coloured pixels of such an alpha: a number, or an array."""
    values = np.random.default_rng(4).integers(0, 200, (9, 12, 4), dtype=np.uint8)
    values[..., 3] = alpha
    return values


def bmp32(values, header):
    """A BMP file of 32 bits a pixel with the header of that many bytes, which says that the fourth byte is alpha."""
    height, width = values.shape[:2]
    rows = np.ascontiguousarray(values[::-1, :, [2, 1, 0, 3]]).tobytes()
    about = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, len(rows), 2835, 2835, 0, 0)
    about += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(header - 56)
    return b"BM" + struct.pack("<IHHI", 14 + len(about) + len(rows), 0, 0, 14 + len(about)) + about + rows


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bmp_file_of_no_alpha_at_all_is_opaque(header):
    values = with_alpha(0)
    content = bmp32(values, header)
    np.testing.assert_array_equal(np.asarray(decode(content, "a")), values[..., :3])
    assert look(content, "a").odd == ()
    values[0, 0, 3] = 255  # alpha then, as the header says
    shown = np.asarray(decode(bmp32(values, header), "a"))
    assert shown[0, 0].tolist() == values[0, 0, :3].tolist() and (shown.reshape(-1, 3)[1:] == 255).all()


@pytest.mark.parametrize("tile", [5, 1 << 18])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("highest", "odd"), [(0, True), (1, True), (127, True), (128, False), (255, False)])
def test_a_picture_that_shows_mostly_white_everywhere_is_transparent(form, highest, odd, tile, monkeypatch):
    monkeypatch.setattr(wecolora.data.pixels, "TILE", tile)
    alpha = np.zeros((9, 12))
    alpha[5, 7] = highest
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    content = saved(form, Image.fromarray(with_alpha(alpha)), **options)
    assert look(content, "a").odd == (("transparent",) if odd else ())
    if highest == 0:
        assert (np.asarray(decode(content, "a")) == 255).all()


def test_colours_of_a_palette_may_all_be_transparent():
    picture = Image.fromarray(np.array([[0, 1, 1]], np.uint8), "P")
    picture.putpalette([9, 9, 9, 20, 20, 20])
    assert look(saved("PNG", picture, transparency=bytes([0, 0])), "a").odd == ("transparent",)
    assert look(saved("PNG", picture, transparency=bytes([0, 255])), "a").odd == ()
    assert look(saved("PNG", picture), "a").odd == ()


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG", "MPO", "AVIF"])
def test_several_pictures_in_a_file_are_told(form):
    first, *others = (Image.new("RGB", (20, 16), colour) for colour in ("red", "lime", "blue"))
    assert look(saved(form, first, *others), "a").odd == ("several_pictures",)
    assert look(saved(form, first), "a").odd == ()


def test_a_damaged_second_picture_changes_nothing():
    """It is not read later either."""
    first, second = (Image.fromarray(with_alpha(255)[..., :3]).quantize(), Image.new("P", (12, 9), 3))
    whole = saved("GIF", first, second)
    wanted = np.asarray(decode(saved("GIF", first), "a"))
    start = whole.index(b"\x21\xf9", whole.index(b"\x2c") + 1)  # of what belongs to the second
    for length in range(start, len(whole)):
        np.testing.assert_array_equal(np.asarray(decode(whole[:length], "a")), wanted)
        assert look(whole[:length], "a")[:2] == look(whole, "a")[:2]
