"""The names of files that Pillow does not read as pictures, found by their first bytes, for the words of a refusal."""

from __future__ import annotations

import re
from contextlib import suppress
from io import BytesIO

from PIL import TiffImagePlugin

# The first bytes of a file, and what it is then. Formats that Pillow reads come here if they are damaged.
_NAMES = {
    rb"version https://git-lfs": "a Git LFS pointer: get the image itself by `git lfs pull`",
    rb"\s*<(!doctype\s+html|html)": "an HTML page: its download failed",
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype\s+svg[^>]*>\s*)?<svg": "an SVG drawing",
    rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)": "a HEIC file",
    rb"....ftypavif": "a damaged AVIF file",
    rb"....ftyp": "a video",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL file",
    rb".{128}DICM": "a DICOM file",
    rb"v/1\x01": "an OpenEXR file",
    rb"#\?RADIANCE": "a Radiance file",
    rb"\x93NUMPY": "a NumPy array",
    rb"PK\x03\x04": "a zip archive",
    rb"\x1f\x8b": "a gzip archive",
    rb"%PDF-": "a PDF document",
    rb"\x89PNG\r\n\x1a\n": "a damaged PNG file",
    rb"\xff\xd8\xff": "a damaged JPEG file",
    rb"GIF8[79]a": "a damaged GIF file",
    rb"RIFF....WEBP": "a damaged WebP file",
}
_BITS, _COMPRESSION, _BANDS, _SAMPLE_FORMAT = 258, 259, 277, 339  # TIFF's numbers of these tags
_NUMBERS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}


def name_of(content: bytes) -> str:
    """Return what these bytes are, such as "a HEIC file", or "" if that is not known."""
    if content.startswith(tuple(TiffImagePlugin.PREFIXES)):
        return _tiff(content)
    start = content[:1024]
    return next((name for magic, name in _NAMES.items() if re.match(magic, start, re.DOTALL | re.IGNORECASE)), "")


def _tiff(content: bytes) -> str:
    """Return what a TIFF file says about itself: how many bands it has, of which numbers."""
    if content.startswith(b"MM\0+"):
        return "a BigTIFF file in big-endian order"
    with suppress(Exception):  # a damaged file may say anything
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if content[2] == 43 else 8])  # 43: BigTIFF
        file = BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        bands = tags.get(_BANDS, 1)
        numbers = _NUMBERS.get(max(tags.get(_SAMPLE_FORMAT, (1,))), "")
        found = f"a TIFF file of {bands} {numbers}band{'s' * (bands > 1)} of {max(tags[_BITS])} bits"
        compression = tags.get(_COMPRESSION, 1)
        known = compression in TiffImagePlugin.COMPRESSION_INFO
        return found if known else f"{found}, compressed in an unknown way ({compression})"
    return "a damaged TIFF file"
