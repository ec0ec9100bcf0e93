"""An index (Parquet) and the pixels behind it: rows of one array file, or image files below a root."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ExifTags, Image, UnidentifiedImageError

from wecolora.errors import BadInput
from wecolora.files import atomic_write, unreadable

_META = b"wecolora"
_COLUMNS = ("id", "path", "offset", "labels", "split", "size", "digest")


Room = Callable[[int, int], float]
# Pillow's own limit between a warning and none: as RGB, a quarter of a gigabyte.
MAX_PIXELS = 89_478_485


@dataclass(frozen=True)
class Index:
    """One row an image. ``path`` is relative to ``root``. An array file (.npy) is read at row ``offset``. Any other
    file is an image, or holds one of ``sizes`` bytes from byte ``offset`` (a tar file) where this is not 0.

    ``labels`` holds class numbers, several for a multi-label set, none for an unlabelled one. ``digests`` are of the
    images' bytes (hex xxh3_128), "" where not known.
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
    # Of the image files' bytes; what follows an index of other pixels is then made again.
    pixels_digest: str = ""
    sizes: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Frozen, hence this way.
        object.__setattr__(self, "sizes", self.sizes or [0] * len(self.ids))
        object.__setattr__(self, "digests", self.digests or [""] * len(self.ids))

    def rows(self, split: str) -> list[int]:
        """Positions of the images of a split."""
        return [position for position, part in enumerate(self.split) if part == split]

    def single_labels(self, positions: Sequence[int]) -> list[int]:
        """The class number of each of these images; BadInput where one has none, or several."""
        if self.multilabel or any(len(self.labels[position]) != 1 for position in positions):
            raise BadInput(
                f"data set {self.name}: has no single label an image, which a method needs that reads labels; "
                "take another method, or a data set that has."
            )
        return [self.labels[position][0] for position in positions]

    def examples(self, split: str, count: int) -> list[int]:
        """Positions of that many labelled images of a split, drawn with a fixed seed; one a class at first."""
        labelled = [position for position in self.rows(split) if self.labels[position]]
        drawn = np.random.default_rng(0).permutation(labelled).tolist()
        first = {tuple(self.labels[position]): position for position in reversed(drawn)}
        different = set(first.values())
        return sorted(drawn, key=lambda position: position not in different)[:count]

    def image(self, position: int) -> Image.Image:
        """The picture at a position, as RGB; BadInput, with its name, where it cannot be read (see decode)."""
        return self.picture(position).image

    def picture(self, position: int, room: Room = lambda width, height: 1) -> Picture:
        """The same, perhaps reduced (see open_picture)."""
        path, offset, size = Path(self.root) / self.paths[position], self.offsets[position], self.sizes[position]
        if path.suffix == ".npy":
            try:
                image = Image.fromarray(_rows_of(str(path))[offset])
            except (OSError, EOFError, ValueError, IndexError, TypeError) as error:
                remedy = "delete the index beside it to prepare the data set again"
                raise unreadable(path, error, "is no array of images", remedy) from error
            return Picture(image, *image.size)
        name = f"{path}, image {self.ids[position]}" if size else str(path)
        source = _part(path, offset, size, name) if size else path
        return open_picture(source, f"{name} (data set {self.name})", room)

    def pixels(self, positions: Sequence[int], size: int) -> np.ndarray:
        """(n, size, size, 3) uint8, without augmentation (see crop)."""
        return np.stack([self.crop(position, size) for position in positions])

    def crop(self, position: int, size: int) -> np.ndarray:
        """(size, size, 3) uint8, without augmentation: as it is where it fits, else resized to size * 256 / 224 on the
        shorter side (bicubic) and centre-cropped."""
        return centre_crop(self.picture(position, lambda width, height: min(width, height) / _shorter(size)), size)


@dataclass(frozen=True)
class Picture:
    """An RGB image, upright, of ``width`` x ``height`` pixels, of which ``image`` holds 1 / ``scale`` in each direction
    (rounded up)."""

    image: Image.Image
    width: int
    height: int
    scale: int = 1


def centre_crop(picture: Picture, size: int) -> np.ndarray:
    """The evaluation transform of the paper's probes (Resize 256, CenterCrop 224), scaled to ``size``."""
    image, full = picture.image, (picture.width, picture.height)
    if full != (size, size):
        scale = _shorter(size) / min(full)
        width, height = (max(size, round(side * scale)) for side in full)
        box = (0, 0, picture.width / picture.scale, picture.height / picture.scale)
        image = image.resize((width, height), Image.Resampling.BICUBIC, box)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def _shorter(size: int) -> int:
    return round(size * 256 / 224)


# Where the first row and the first column of a stored picture lie, by EXIF's number of it.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[number] for number in (5, 6, 7, 8)}


def decode(source: bytes | str | Path, name: str) -> Image.Image:
    """The picture in these bytes, or in the file of this path, as RGB and upright (EXIF); its content decides what it
    is, not its suffix. What is transparent becomes white; 16 bits of grey are scaled to 8; of several pictures, the
    first.

    Raises BadInput, with ``name``, for whatever cannot be read whole, and for more than MAX_PIXELS (a decompression
    bomb).
    """
    return open_picture(source, name, lambda width, height: 1).image


def open_picture(source: bytes | str | Path, name: str, room: Room) -> Picture:
    """As decode; and a JPEG file, which decodes sooner so, at 1/2, 1/4 or 1/8: ``room`` says of a width and a height,
    in either order, how many times smaller the picture may be."""
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"{width * height} pixels, more than {MAX_PIXELS}")
            scale = 1
            if opened.format in ("JPEG", "MPO"):
                scale = next((each for each in (8, 4, 2) if each <= room(width, height)), 1)
                opened.draft(None, (width // scale, height // scale))
            opened.load()
            turn = _UPRIGHT.get(_orientation(opened))
            image = _rgb(opened)
        if turn is not None:
            image = image.transpose(turn)
        full = (height, width) if turn in _SIDEWAYS else (width, height)
        return Picture(image, *full, scale)
    except UnidentifiedImageError:
        reason = "no picture of a known format"
    except Exception as error:  # whatever Pillow makes of a damaged file: it has no class for all of it
        reason = str(error) or repr(error)
    raise BadInput(f"{name}: cannot be read as an image ({reason}); replace it, or leave it out (`skip_unreadable`).")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF beside a whole picture
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):  # which convert("RGB") would clip
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels, of no known range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(64)  # a file is closed when it leaves the cache
def _opened(path: Path) -> BinaryIO:
    return open(path, "rb", buffering=0)


def _part(path: Path, offset: int, size: int, name: str) -> bytes:
    """Bytes of a file that stays open. pread shares no position with other threads, or with a forked process."""
    try:
        content = os.pread(_opened(path).fileno(), size, offset)
    except OSError as error:
        raise BadInput(f"{name}: cannot be read ({error}); restore the file and prepare the data set again.") from error
    if len(content) < size:
        raise BadInput(f"{name}: the file ends before it; restore the file and prepare the data set again.")
    return content


_ARRAYS: dict[str, np.ndarray] = {}


def _rows_of(path: str) -> np.ndarray:
    if path not in _ARRAYS:
        _ARRAYS[path] = np.load(path, mmap_mode="r", allow_pickle=False)
    return _ARRAYS[path]


def write_index(index: Index, path: str | Path) -> None:
    """Write the index as Parquet; name, root, classes and kind stand in its metadata."""
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
    table = table.replace_schema_metadata({_META: json.dumps(about).encode()})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_index(path: str | Path) -> Index:
    """Read an index; a relative root is taken from the index's own folder."""
    try:
        # Few distinct words, each of which is then one object in memory.
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
        )
        if max(map(max, filter(None, index.labels)), default=-1) >= len(index.classes):
            raise ValueError("it has labels of more classes than it names")
    except (OSError, KeyError, TypeError, ValueError) as error:  # pyarrow's own are ValueErrors
        remedy = "delete it to prepare the data set again"
        raise unreadable(path, error, "is no index of a data set", remedy) from error
    return index


def _values(column: pa.ChunkedArray) -> list[Any]:
    """As to_pylist gives them, in a fraction of its time (a corpus has a million rows); equal words, and equal single
    labels, are one object."""
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
