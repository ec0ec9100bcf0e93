"""The values that a picture holds, as Pillow opens it, and the same picture as RGB with 8 bits a colour."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from PIL import Image, TiffImagePlugin

Range = tuple[float, float]
# The number of pixels that are worked on at a time; it takes little memory beside any picture.
TILE = 1 << 18
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF's numbers of these tags


def kind_of(image: Image.Image) -> str:
    """Return the format and the mode of a picture in Pillow's words, before its pixels are loaded.

    The kind is "PNG RGB;16" if Pillow keeps only the high byte of 16 bits, and "TIFF I;12" if the values have 12 bits.
    """
    raw, mode = _raw(image), image.mode
    if raw == "I;12":
        mode = raw
    elif not is_deep(image.mode) and (high := re.fullmatch(r"(\w+;16)[BLN]", raw)):
        mode = high[1]
    return f"{image.format} {mode}"


def _raw(image: Image.Image) -> str:
    """Return how the file holds its pixels, in Pillow's words."""
    tiles = getattr(image, "tile", [])
    found = tiles[0].args if tiles else ""
    return str(found[0]) if isinstance(found, tuple) and found else str(found)


def is_deep(mode: str) -> bool:
    """Return whether a mode means greys deeper than 8 bits, with the values that the file has."""
    return mode in ("I", "F") or mode.startswith("I;1")


def deep_kind(kind: str) -> bool:
    """Return whether a kind (see kind_of) means greys deeper than 8 bits."""
    return is_deep(kind.partition(" ")[2])


def range_of(kind: str) -> Range | None:
    """Return the values of this kind that are black and white, or None if the format does not say."""
    form, _, mode = kind.partition(" ")
    if mode == "I;12":
        return 0, 4095
    known = ("PNG", "TIFF", "JPEG2000")
    if kind == "PPM I" or (mode.startswith("I;16") and form in known):  # Pillow scales a PPM file to this range
        return 0, 65535
    return None if deep_kind(kind) else (0, 255)


def extremes(image: Image.Image) -> Range:
    """Return the lowest and the highest value of a picture: of deep greys as they are in the file, else of its
    colours."""
    if not is_deep(image.mode):
        bands = np.array((image if image.mode in ("L", "RGB") else image.convert("RGB")).getextrema())
        return bands.min().item(), bands.max().item()
    unsigned = _is_unsigned(image)
    values = (_values(tile, unsigned) for _, tile in _tiles(image))
    found = [(each.min().item(), each.max().item()) for each in values]
    return min(low for low, _ in found), max(high for _, high in found)


def correct(image: Image.Image) -> None:
    """Correct what Pillow says about some files, before their pixels are loaded.

    Raise ValueError for files that Pillow would misread.
    """
    raw = _raw(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.mode == "L" and image.tag_v2.get(_SAMPLE_FORMAT) == (2,):
            raise ValueError("signed 8-bit greys, which are not read; store them unsigned")
        if len(raw) == 1 and raw != image.mode and max(image.tag_v2.get(_BITS, (8,))) > 8:
            raise ValueError("16-bit colours in separate planes, which are not read; store them pixel by pixel")
    if image.format == "PNG" and (clear := image.info.get("transparency")) is not None:
        # Pillow scales the pixels to 8 bits, but not the value that means transparent.
        if raw in ("L;2", "L;4"):
            image.info["transparency"] = clear * {"L;2": 85, "L;4": 17}[raw]
        elif raw == "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in clear)


def rgb(image: Image.Image, shown: Range) -> Image.Image:
    """Return the picture as RGB, on white where it is transparent.

    Of deep greys, the values ``shown`` become 0 and 255; those between are rounded to the nearest level, and those
    beyond are clipped. Black and white change places if a TIFF file says that white is 0.
    """
    if is_deep(image.mode):
        if _white_is_zero(image):
            shown = shown[1], shown[0]
        unsigned = _is_unsigned(image)
        return _by_tiles(image, lambda tile: _grey(_values(tile, unsigned), tile.info.get("transparency"), shown))
    # If the alpha of a BMP file is 0 everywhere, it is no alpha; browsers and Windows read it so, too.
    if image.has_transparency_data and not (image.format == "BMP" and highest_alpha(image) == 0):
        return _by_tiles(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def highest_alpha(image: Image.Image) -> int:
    """Return the highest alpha of a picture of 8 bits with transparency; 0 means that nothing of it is visible."""
    highest = 0
    for _, tile in _tiles(image):
        highest = max(highest, int(np.asarray(tile.convert("RGBA").getchannel("A")).max()))
        if highest == 255:
            break
    return highest


def oddities(image: Image.Image) -> tuple[str, ...]:
    """Return what is odd about a picture that is loaded.

    It is "transparent" if each of its pixels shows more of the white below it than of itself. It is "several_pictures"
    if the file holds several, of which the first is taken. Most pictures share one empty tuple.
    """
    found = []
    if image.has_transparency_data and not is_deep(image.mode):
        highest = highest_alpha(image)
        if highest < 128 and not (image.format == "BMP" and highest == 0):
            found.append("transparent")
    with suppress(Exception):  # Pillow now looks for the next picture of a GIF file, which may be damaged
        if getattr(image, "is_animated", False):
            found.append("several_pictures")
    return tuple(found)


def _is_unsigned(image: Image.Image) -> bool:
    """Return whether a TIFF file has unsigned values of 32 bits, which Pillow takes for signed ones."""
    if image.mode != "I" or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return set(image.tag_v2.get(_SAMPLE_FORMAT, (1,))) == {1}


def _white_is_zero(image: Image.Image) -> bool:
    """Return whether a TIFF file says that white is 0.

    Pillow itself turns greys of 8 bits, and takes a missing tag for 0.
    """
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC, 0) == 0


def _by_tiles(image: Image.Image, paint: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the picture in RGB, painted tile by tile, without further copies of the whole."""
    painted = Image.new("RGB", image.size)
    for (left, top, _, _), tile in _tiles(image):
        painted.paste(paint(tile), (left, top))
    return painted


def _tiles(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    width, height = image.size
    columns, rows = min(width, TILE), max(1, TILE // width)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            box = (left, top, min(left + columns, width), min(top + rows, height))
            yield box, image.crop(box)


def _on_white(tile: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", tile.size, "white"), tile.convert("RGBA"))


def _grey(values: np.ndarray, clear: int | None, shown: Range) -> Image.Image:
    black, white = shown
    levels = np.clip((values.astype(np.float64) - black) * 255 / (white - black), 0, 255)
    greys = np.rint(levels).astype(np.uint8)
    if clear is not None:
        greys[values == clear] = 255
    return Image.fromarray(greys)


def _values(tile: Image.Image, unsigned: bool) -> np.ndarray:
    values = np.asarray(tile)
    if unsigned:
        values = values.view(np.uint32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("floating-point values that are not finite")
    return values
