"""An index (Parquet) and the pixels behind it: rows of one array file, or image files below a root."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write, not_given, unreadable
from wecolora.data.formats import name_of
from wecolora.data.pixels import Range, correct, deep_kind, extremes, kind_of, oddities, range_of, rgb

_META = b"wecolora"
_COLUMNS = ("id", "path", "offset", "labels", "split", "size", "digest")
ARRAY = "images.npy"  # lies beside the index of a data set whose images are not files

Room = Callable[[int, int], float]
# Pillow warns of pictures that are larger. In RGB this is a quarter of a gigabyte.
MAX_PIXELS = 89_478_485
# Bytes of text and colour profiles, which nothing here reads. Pillow stops at 1 MB, but editors store whole histories.
MAX_TEXT = 1 << 26
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT
# The whole picture, resized, may have at most so many times the area of a crop.
WHOLE = 16
# What to do if an image is not what was indexed; and the same for the array, which only this project writes.
REMEDY = "restore it, or delete the data set's index.parquet to index the set again"
ARRAY_REMEDY = "delete the index beside it to prepare the data set again"


class NoMemory(BadInput):
    """An image for which there is too little memory; it is not the image's fault, so no image is left out for it."""


@dataclass(frozen=True)
class Index:
    """The images of a data set, one row for each image.

    ``paths`` are relative to ``root``. The array file ARRAY is read at row ``offset``. Any other file is an image; if
    the image's size in ``sizes`` is not 0, the file (a tar file) holds it in that many bytes from byte ``offset``.

    ``labels`` holds class numbers: several for an image of a multi-label set, none for an unlabelled one. ``digests``
    are those of the images' bytes (hex xxh3_128), "" where not known; an image of other bytes is refused.
    """

    name: str
    root: str
    classes: list[str]
    multilabel: bool
    ids: list[str]
    paths: list[str]
    offsets: list[int]
    labels: list[list[int]]
    split: list[str]
    # A digest of the image files' bytes. If it changes, all that was made from the index is made again.
    pixels_digest: str = ""
    sizes: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    grey_range: Range | None = None  # the values of deep greys that are black and white, if the config says so

    def __post_init__(self) -> None:
        # A frozen class allows no plain assignment.
        object.__setattr__(self, "sizes", self.sizes or [0] * len(self.ids))
        object.__setattr__(self, "digests", self.digests or [""] * len(self.ids))

    def rows(self, split: str) -> list[int]:
        """Return the positions of the images of a split."""
        return [position for position, part in enumerate(self.split) if part == split]

    def single_labels(self, positions: Sequence[int]) -> list[int]:
        """Return the class number of each of these images; raise BadInput if one has none, or several."""
        if self.multilabel or any(len(self.labels[position]) != 1 for position in positions):
            raise BadInput(
                f"data set {self.name}: has no single label an image, which a method needs that reads labels; "
                "take another method, or a data set that has."
            )
        return [self.labels[position][0] for position in positions]

    def examples(self, split: str, count: int) -> list[int]:
        """Return the positions of up to ``count`` labelled images of a split, drawn with a fixed seed.

        The first images are of different classes.
        """
        labelled = [position for position in self.rows(split) if self.labels[position]]
        drawn = np.random.default_rng(0).permutation(labelled).tolist()
        first = {tuple(self.labels[position]): position for position in reversed(drawn)}
        different = set(first.values())
        return sorted(drawn, key=lambda position: position not in different)[:count]

    def image(self, position: int) -> Image.Image:
        """Return the picture at a position as RGB.

        Raise BadInput, with its name, if it cannot be read (see decode) or has changed since it was indexed.
        """
        return self.picture(position).image

    def picture(self, position: int, room: Room = lambda width, height: 1) -> Picture:
        """Return the picture at a position, perhaps reduced as far as ``room`` allows (see open_picture).

        Raise BadInput as ``image`` does.
        """
        path, offset, size = Path(self.root) / self.paths[position], self.offsets[position], self.sizes[position]
        # A user's own file may have the array's name; then its id is that name, too.
        if self.paths[position] == ARRAY != self.ids[position]:
            try:
                row = np.ascontiguousarray(_rows_of(str(path))[offset])
                image = Image.fromarray(row)
            except (OSError, EOFError, ValueError, IndexError, TypeError) as error:
                raise unreadable(path, error, "is no array of images", ARRAY_REMEDY) from error
            self._refuse_changed(position, row.data, str(path), ARRAY_REMEDY)
            return Picture(image, *image.size)
        name = f"{path}, image {self.ids[position]}" if size else str(path)
        name = f"{name} (data set {self.name})"
        content = _content(path, name, offset, size)
        self._refuse_changed(position, content, name, REMEDY)
        return open_picture(content, name, room, self.grey_range)

    def _refuse_changed(self, position: int, content: bytes | memoryview, name: str, remedy: str) -> None:
        """Raise BadInput if the bytes are not those that were indexed; a file's size and time alone do not tell."""
        known = self.digests[position]
        if known and xxhash.xxh3_128_hexdigest(content) != known:
            raise BadInput(f"{name}: has changed since its data set was indexed; {remedy}.")

    def pixels(self, positions: Sequence[int], size: int) -> np.ndarray:
        """Return the pixels of these images without augmentation, (n, size, size, 3) uint8 (see crop)."""
        return np.stack([self.crop(position, size) for position in positions])

    def crop(self, position: int, size: int) -> np.ndarray:
        """Return the pixels of an image without augmentation, (size, size, 3) uint8.

        An image of this size stays as it is. Any other is resized (bicubic) to size * 256 / 224 on its shorter side,
        and its centre is cut out.
        """
        return centre_crop(self.picture(position, lambda width, height: min(width, height) / shorter_side(size)), size)


@dataclass(frozen=True)
class Picture:
    """An upright RGB image of ``width`` x ``height`` pixels; ``image`` holds 1 / ``scale`` of them in each direction.

    The size of ``image`` is rounded up.
    """

    image: Image.Image
    width: int
    height: int
    scale: int = 1


def centre_crop(picture: Picture, size: int) -> np.ndarray:
    """Return a picture after the evaluation transform of the paper's probes, (size, size, 3) uint8.

    The transform is Resize 256, CenterCrop 224, scaled to ``size``.
    """
    full = (picture.width, picture.height)
    if full == (size, size):
        return np.asarray(picture.image)
    scale = shorter_side(size) / min(full)
    width, height = (max(size, round(side * scale)) for side in full)
    if width * height > WHOLE * size**2:
        return _thin_crop(picture, size, scale)
    box = (0, 0, picture.width / picture.scale, picture.height / picture.scale)
    image = picture.image.resize((width, height), Image.Resampling.BICUBIC, box)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _thin_crop(picture: Picture, size: int, scale: float) -> np.ndarray:
    """Return what centre_crop returns, up to two grey levels, for a very long picture.

    The whole picture, resized, would not fit into memory, so only the part that the crop shows is resized.
    """
    columns, rows = (_part_shown(side, scale, size, picture.scale) for side in (picture.width, picture.height))
    # Pillow takes a box in single precision. So all pixels that its filter reads are cut out first: small numbers stay.
    left, right = _around(*columns, size, picture.image.width)
    top, bottom = _around(*rows, size, picture.image.height)
    cut = picture.image.crop((left, top, right, bottom))
    # The part is resized across, then down, as the whole is. Pillow itself would choose the order by the part's shape,
    # and it clips values in between.
    across = (columns[0] - left, 0, columns[1] - left, cut.height)
    cut = cut.resize((size, cut.height), Image.Resampling.BICUBIC, across)
    down = (0, rows[0] - top, size, rows[1] - top)
    return np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC, down))


def _part_shown(side: int, scale: float, size: int, reduced: int) -> tuple[float, float]:
    """Return where the middle ``size`` pixels of a resized side begin and end, in pixels of the reduced picture."""
    resized = max(size, round(side * scale))
    begin = (resized - size) // 2
    a_pixel = side / reduced / resized
    return begin * a_pixel, min((begin + size) * a_pixel, side / reduced)


def _around(begin: float, end: float, size: int, stored: int) -> tuple[int, int]:
    """Return the range of whole pixels that a bicubic filter reads for a part: two of its steps beyond either end."""
    further = 2 * max(1.0, (end - begin) / size) + 1
    return max(0, math.floor(begin - further)), min(stored, math.ceil(end + further))


def shorter_side(size: int) -> int:
    """Return to what the shorter side of a picture is resized before its centre of this size is cut out."""
    return round(size * 256 / 224)


_SIDEWAYS = (5, 6, 7, 8)  # the orientations of EXIF in which width and height change places


def decode(source: bytes | str | Path, name: str, grey_range: Range | None = None) -> Image.Image:
    """Return the picture in these bytes, or in the file of this path, as upright RGB (EXIF).

    Its content, not its suffix, decides what the file is. Transparent pixels become white. If there are several
    pictures, the first is taken. ``grey_range`` says which values of greys deeper than 8 bits are black and white;
    without it, they are the lowest and the highest of 16 bits, or of 12.

    Raise BadInput, with ``name``, for a file that cannot be read whole, for greys of no known range, and for more than
    MAX_PIXELS (a decompression bomb). Besides the file, decoding takes up to 16 bytes of memory a pixel for usual
    formats and shapes, and never more than 40 (3.6 GB for the largest picture). Raise NoMemory if there is less.
    """
    content = source if isinstance(source, bytes) else _content(Path(source), name)
    return open_picture(content, name, lambda width, height: 1, grey_range).image


def open_picture(content: bytes, name: str, room: Room, grey_range: Range | None = None) -> Picture:
    """Decode a picture as ``decode`` does, but a JPEG file perhaps at 1/2, 1/4 or 1/8 of its size, which is faster.

    ``room`` takes a width and a height, in either order, and returns how many times smaller the picture may be.
    """
    with _reading(content, name) as opened:
        (width, height), kind, scale = opened.size, kind_of(opened), 1
        if opened.format in ("JPEG", "MPO"):
            scale = next((each for each in (8, 4, 2) if each <= room(width, height)), 1)
            opened.draft(None, (width // scale, height // scale))
        opened.load()
        shown = grey_range or range_of(kind)
        if shown is None:
            lowest, highest = extremes(opened)
            raise BadInput(
                f"{name}: its greys ({kind}, {lowest:g} to {highest:g}) have no known range; say which values are "
                "black and white (`grey_range: [lowest, highest]` of its data set)."
            )
        orientation = _orientation(opened)
        if orientation != 1:
            _turn_upright(opened)
        image = rgb(opened, shown)
    full = (height, width) if orientation in _SIDEWAYS else (width, height)
    return Picture(image, *full, scale)


class Look(NamedTuple):
    """What an image is: its kind, its lowest and its highest value, and what is odd about it (see pixels)."""

    kind: str
    values: Range
    odd: tuple[str, ...]


def look(content: bytes, name: str) -> Look:
    """Return what an image is that ``decode`` can read, or raise BadInput; greys of unknown range are not refused."""
    with _reading(content, name) as opened:
        kind = kind_of(opened)
        opened.load()
        found = extremes(opened)
        if not deep_kind(kind):
            rgb(opened, found)
        return Look(kind, found, oddities(opened))


@contextmanager
def _reading(content: bytes, name: str) -> Iterator[Image.Image]:
    """Yield the picture before it is decoded, and turn whatever goes wrong with it into BadInput.

    Pillow gets the bytes, never the file's name: it maps named files into memory, and misreads those that it turns.
    """
    try:
        with Image.open(BytesIO(content)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width * opened.height} pixels, more than {MAX_PIXELS}")
            correct(opened)
            yield opened
            return
    except BadInput:
        raise
    except MemoryError as error:
        raise NoMemory(f"{name}: takes more memory than there is; give the job more, or shrink the image.") from error
    except UnidentifiedImageError:
        found = name_of(content)
        reason = f"it is {found}" if found else "no picture of a known format"
    except Exception as error:  # Pillow raises errors of many classes for damaged files
        reason = str(error) or repr(error)
        if "MAX_TEXT" in reason:
            reason = f"more than {MAX_TEXT >> 20} MB of text or colour profile"
    raise BadInput(f"{name}: cannot be read as an image ({reason}); replace it, or leave it out (`skip_unreadable`).")


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF, which it writes again after it has turned the picture
        pass


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the picture may be whole though its EXIF is damaged
        return 1


@lru_cache(64)  # a file is closed when it leaves the cache
def _opened(path: Path) -> BinaryIO:
    return open(path, "rb", buffering=0)


def _content(path: Path, name: str, offset: int = 0, size: int = 0) -> bytes:
    """Return the bytes of a file, or ``size`` bytes from ``offset`` of a file that stays open.

    Raise BadInput, with ``name``, if the system does not give them.
    """
    try:
        # Unlike read, pread shares no position with other threads or with a forked process.
        content = os.pread(_opened(path).fileno(), size, offset) if size else path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{name}: cannot be read ({error.strerror}); {REMEDY}.") from error
    except OSError as error:
        raise not_given(name, error.errno or 0) from error
    except MemoryError as error:
        raise NoMemory(f"{name}: takes more memory than there is; give the job more.") from error
    if len(content) < size:
        raise BadInput(f"{name}: the file ends before it; {REMEDY}.")
    return content


_ARRAYS: dict[str, np.ndarray] = {}


def _rows_of(path: str) -> np.ndarray:
    if path not in _ARRAYS:
        _ARRAYS[path] = np.load(path, mmap_mode="r", allow_pickle=False)
    return _ARRAYS[path]


def write_index(index: Index, path: str | Path) -> None:
    """Write the index as Parquet; its name, root and classes, and whether it is multi-label, stand in the metadata."""
    table = pa.table(
        {
            "id": pa.array(index.ids, pa.string()),
            "path": pa.array(index.paths, pa.string()),
            "offset": pa.array(index.offsets, pa.int64()),
            "labels": pa.array(index.labels, pa.list_(pa.int32())),
            "split": pa.array(index.split, pa.string()),
            "size": pa.array(index.sizes, pa.int64()),
            "digest": pa.array(index.digests, pa.string()),
        }
    )
    about = {
        "name": index.name,
        "root": index.root,
        "classes": index.classes,
        "multilabel": index.multilabel,
        "pixels_digest": index.pixels_digest,
    }
    if index.grey_range is not None:  # without it, an index has the same bytes as before there was such a range
        about["grey_range"] = index.grey_range
    table = table.replace_schema_metadata({_META: json.dumps(about).encode()})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_index(path: str | Path) -> Index:
    """Read an index; a relative root is taken from the index's own folder.

    Raise BadInput if the file is no whole index.
    """
    try:
        # These columns have few distinct words; each becomes one object in memory.
        table = pq.read_table(path, read_dictionary=["path", "split"])
        about = json.loads(table.schema.metadata[_META])
        columns = {name: _values(table.column(name)) for name in _COLUMNS}
        index = Index(
            name=about["name"],
            root=str(Path(path).parent / about["root"]),
            classes=about["classes"],
            multilabel=about["multilabel"],
            ids=columns["id"],
            paths=columns["path"],
            offsets=columns["offset"],
            labels=columns["labels"],
            split=columns["split"],
            pixels_digest=about["pixels_digest"],
            sizes=columns["size"],
            digests=columns["digest"],
            grey_range=tuple(about["grey_range"]) if "grey_range" in about else None,
        )
        if max(map(max, filter(None, index.labels)), default=-1) >= len(index.classes):
            raise ValueError("it has labels of more classes than it names")
    except (OSError, KeyError, TypeError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise _no_index(path, error) from error
    return index


def read_columns(path: str | Path, columns: list[str]) -> pa.Table:
    """Return only these columns of an index, as they are stored; raise BadInput as read_index does."""
    try:
        return pq.read_table(path, columns=columns).select(columns)
    except (OSError, KeyError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise _no_index(path, error) from error


def _no_index(path: str | Path, error: Exception) -> BadInput:
    return unreadable(path, error, "is no index of a data set", "delete it to prepare the data set again")


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return what to_pylist returns, in a fraction of its time (a corpus has a million rows).

    Equal words, and equal single labels, are one object.
    """
    joined = column.combine_chunks()
    if pa.types.is_dictionary(joined.type):
        words = joined.dictionary.to_pylist()
        return [words[number] for number in joined.indices.to_pylist()]
    if pa.types.is_list(joined.type):
        values, ends = joined.flatten().to_pylist(), joined.offsets.to_numpy()
        if (np.diff(ends) == 1).all():
            alone = {value: [value] for value in set(values)}
            return [alone[value] for value in values]
        return [values[start:end] for start, end in pairwise((ends - ends[0]).tolist())]
    return joined.to_numpy(zero_copy_only=False).tolist()
