"""An index (Parquet) and the pixels behind it: rows of one array file, or image files below a root."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from wecolora.errors import BadInput
from wecolora.files import atomic_write

_META = b"wecolora"


@dataclass(frozen=True)
class Index:
    """One row an image. ``path`` is relative to ``root``; an array file (.npy) is read at row ``offset``.

    ``labels`` holds class numbers, several for a multi-label set, none for an unlabelled one.
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

    def rows(self, split: str) -> list[int]:
        """Positions of the images of a split."""
        return [position for position, part in enumerate(self.split) if part == split]

    def single_labels(self, positions: Sequence[int]) -> list[int]:
        """The class number of each of these images; BadInput where one has none, or several."""
        if self.multilabel or any(len(self.labels[position]) != 1 for position in positions):
            raise BadInput(
                f"data set {self.name}: has no single label an image, which a method needs that reads labels."
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
        """The picture at a position, as RGB."""
        path = Path(self.root) / self.paths[position]
        if path.suffix == ".npy":
            return Image.fromarray(_rows_of(str(path))[self.offsets[position]])
        try:
            with Image.open(path) as opened:
                return opened.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # whatever Pillow makes of it
            raise BadInput(f"{path}: the image of data set {self.name} cannot be read ({error}).") from error

    def pixels(self, positions: Sequence[int], size: int) -> np.ndarray:
        """(n, size, size, 3) uint8, without augmentation: as they are where they fit, else resized to size * 256 / 224
        on the shorter side (bicubic) and centre-cropped."""
        return np.stack([centre_crop(self.image(position), size) for position in positions])


def centre_crop(image: Image.Image, size: int) -> np.ndarray:
    """The evaluation transform of the paper's probes (Resize 256, CenterCrop 224), scaled to ``size``."""
    if image.size != (size, size):
        scale = round(size * 256 / 224) / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


_ARRAYS: dict[str, np.ndarray] = {}


def _rows_of(path: str) -> np.ndarray:
    if path not in _ARRAYS:
        try:
            _ARRAYS[path] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: cannot be read as an array of images ({error}); prepare it again.") from error
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
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_META])
        columns = {name: table.column(name).to_pylist() for name in ("id", "path", "offset", "labels", "split")}
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise BadInput(f"{path}: is no index of a data set ({error!r}); prepare the data set again.") from error
    return Index(
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
    )
