"""Files that Pillow does not read, named by what they are."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.test_pixels import deep, tiff
from wecolora.core.errors import BadInput
from wecolora.data.formats import name_of
from wecolora.data.images import decode


def array():
    file = io.BytesIO()
    np.save(file, np.zeros((2, 3)))
    return file.getvalue()


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("a", "b")
    return file.getvalue()


def damaged(form):
    """The picture's first bytes."""
    file = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(file, form)
    return file.getvalue()[:14]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FILES = {
    "a Git LFS pointer: get the image itself by `git lfs pull`": [LFS],
    "an HTML page: its download failed": [b"<!DOCTYPE html><html>Not found", b"\n <HTML lang='en'>", b"<html>"],
    "an SVG drawing": [b"<svg xmlns=", b"<?xml version='1.0'?>\n<svg", b"<?xml?><!DOCTYPE svg PUBLIC 'x'>\n<svg"],
    "a HEIC file": [b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"],
    "a video": [b"\0\0\0\x18ftypisom\0\0\0\0"],
    "a JPEG XL file": [b"\xff\x0a\xfa\x1f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "a DICOM file": [bytes(128) + b"DICM" + bytes(100), bytes(range(128)) + b"DICM"],
    "an OpenEXR file": [b"\x76\x2f\x31\x01" + bytes(100)],
    "a Radiance file": [b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"],
    "a NumPy array": [array()],
    "a zip archive": [archive()],
    "a gzip archive": [b"\x1f\x8b\x08" + bytes(20)],
    "a PDF document": [b"%PDF-1.4\n"],
    "a damaged PNG file": [damaged("PNG")],
    "a damaged JPEG file": [b"\xff\xd8\xff"],
    "a BigTIFF file in big-endian order": [b"MM\0+\0\x08\0\0" + bytes(20)],
    "a damaged TIFF file": [damaged("TIFF"), b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + bytes(9)],
    "a TIFF file of 1 floating-point band of 64 bits": [deep([[0.5, 1]], "<f8")],
    "a TIFF file of 1 floating-point band of 16 bits": [deep([[0.5, 1]], "<f2")],
    "a TIFF file of 1 band of 64 bits": [deep([[5, 1]], "<u8")],
    "a TIFF file of 13 bands of 16 bits": [tiff(bytes(13 * 2 * 6), 3, 2, bits=(16,) * 13)],
    "a TIFF file of 4 bands of 8 bits": [tiff(bytes(4 * 6), 3, 2, bits=(8,) * 4)],
    "a TIFF file of 3 bands of 16 bits": [tiff(bytes(3 * 2 * 6), 3, 2, bits=(16,) * 3)],
    "a TIFF file of 3 bands of 32 bits": [tiff(bytes(3 * 4 * 6), 3, 2, bits=(32,) * 3, photometric=2)],
    "a TIFF file of 3 floating-point bands of 32 bits": [
        tiff(bytes(3 * 4 * 6), 3, 2, bits=(32,) * 3, photometric=2, sample=3)
    ],
    "a TIFF file of 1 band of 8 bits, compressed in an unknown way (34712)": [
        deep([[5, 1]], "<u1").replace(struct.pack("<HHIH", 259, 3, 1, 1), struct.pack("<HHIH", 259, 3, 1, 34712))
    ],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of damaged files
@pytest.mark.parametrize(("name", "content"), [(name, each) for name, files in FILES.items() for each in files])
def test_what_is_no_picture_is_named(name, content):
    with pytest.raises(BadInput) as caught:
        decode(content, "the/file.jpg")
    assert str(caught.value) == (
        f"the/file.jpg: cannot be read as an image (it is {name}); replace it, or leave it out (`skip_unreadable`)."
    )


@pytest.mark.parametrize("content", [b"", b"no picture", bytes(1000), b"html", b"ftypheic", b"DICM", b"version 2"])
def test_what_is_not_known_is_not_named(content):
    assert name_of(content) == ""
    with pytest.raises(BadInput, match=r"\(no picture of a known format\); replace it"):
        decode(content, "a")


def test_a_bigtiff_file_is_named_by_its_tags():
    entries = [(256, 4, 2), (257, 4, 1), (258, 3, 64), (259, 3, 1), (262, 3, 1), (277, 3, 1), (339, 3, 3)]
    directory = struct.pack("<Q", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHQQ", tag, kind, 1, value)
    content = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + directory + bytes(8)
    assert name_of(content) == "a TIFF file of 1 floating-point band of 64 bits"
