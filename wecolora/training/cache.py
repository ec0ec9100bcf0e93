"""The teacher cache: HDF5 shards of recorded views and the teacher's tokens for them; the format, a writer, a reader.

One file holds, for n images in subset order and V views: ``tokens`` (n, V, tokens, width) float16, the last block's
output before the final norm; ``crops`` (n, V, size, size, 3) uint8, the pixels that teacher and student see; ``ids``
(n,); ``checksum`` (n, V) uint64, xxh3 over a view's crop and tokens; and the attributes ``recipe`` (JSON),
``teacher_sha256`` and ``software`` (JSON). Data sets are contiguous (no chunks, no compression), so that a reader maps
them into memory: a random batch is then read at the speed of memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xxhash

from wecolora.config.recipes import CacheRecipe
from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write, unreadable
from wecolora.data.images import Index
from wecolora.data.loader import Loader
from wecolora.data.views import apply_view, draw_view, room
from wecolora.models.vit import VisionTransformer, normalise, tokens_before_norm


def software() -> dict[str, str]:
    """Return the versions that a cache's numbers depend on."""
    return {name: version(name) for name in ("torch", "timm", "pillow")}


def view_pixels(index: Index, position: int, numbers: Iterable[int], seed: int, size: int) -> np.ndarray:
    """Return the wanted views of one image, (views, size, size, 3) uint8; the image is decoded once."""
    picture = index.picture(position, partial(room, size=size))
    views = (draw_view(seed, index.ids[position], number, picture.width, picture.height) for number in numbers)
    return np.stack([apply_view(picture, view, size) for view in views])


@dataclass(frozen=True)
class Recording:
    """How a job records a shard; none of this belongs to the recipe.

    The teacher runs on ``device``, on ``batch`` views at a time. ``workers`` processes decode the images (see Loader).
    ``progress`` is called with the number of images that are recorded.
    """

    device: str = "cpu"
    batch: int = 256
    workers: int = 0
    progress: Callable[[int], None] = lambda done: None


@torch.no_grad()
def write_shard(
    path: str | Path,
    index: Index,
    positions: Sequence[int],
    teacher: VisionTransformer,
    teacher_sha256: str,
    recipe: CacheRecipe,
    recording: Recording = Recording(),
) -> None:
    """Record ``recipe.views`` views of the images at these positions of the index; the file appears when it is whole.

    Raise BadInput if a token is not a number, or too large for float16.
    """
    size, views = recipe.input.architecture.img_size, recipe.views
    n, tokens, width = len(positions), recipe.input.architecture.tokens, recipe.input.architecture.embed_dim
    device = recording.device
    teacher = teacher.to(device)
    images = max(1, recording.batch // views)
    pixels_of = partial(view_pixels, index, numbers=range(views), seed=recipe.seed, size=size)
    loader = Loader(pixels_of, recording.workers, device, images * views * 3 * size**2)
    parts = [positions[start : start + images] for start in range(0, n, images)]
    least = n * views * (2 * tokens * width + 3 * size**2)
    with atomic_write(path, least) as temporary, h5py.File(temporary, "w") as file, ThreadPoolExecutor(1) as pool:
        token_set = file.create_dataset("tokens", (n, views, tokens, width), np.float16)
        crop_set = file.create_dataset("crops", (n, views, size, size, 3), np.uint8)
        checksums = file.create_dataset("checksum", (n, views), np.uint64)
        file.create_dataset("ids", data=[index.ids[p] for p in positions], dtype=h5py.string_dtype())
        file.attrs["recipe"] = json.dumps(recipe.of_all_shards(), sort_keys=True)
        file.attrs["teacher_sha256"] = teacher_sha256
        file.attrs["software"] = json.dumps(software(), sort_keys=True)

        def write(start: int, crops: np.ndarray, arriving: Callable[[], np.ndarray]) -> None:
            out = arriving().reshape(len(crops), views, tokens, width)
            if not np.isfinite(out).all():
                raise BadInput(
                    f"{path}: the tokens of teacher {recipe.teacher} overflow float16 or are no number; set "
                    "`distill.teacher: online`, or give other weights."
                )
            rows = slice(start, start + len(crops))
            crop_set[rows], token_set[rows] = crops, out
            checksums[rows] = [
                [_checksum(c, t) for c, t in zip(*pair, strict=True)] for pair in zip(crops, out, strict=True)
            ]
            recording.progress(start + len(crops))

        writing: Future[None] | None = None
        for number, crops in enumerate(loader(parts)):
            inputs = normalise(crops.flatten(0, 1).to(device, non_blocking=True), recipe.input.mean, recipe.input.std)
            arriving = _copied(tokens_before_norm(teacher, inputs).to(torch.float16))
            if writing is not None:  # a batch is written while the teacher works on the next one
                writing.result()
            writing = pool.submit(write, number * images, crops.numpy(), arriving)
        if writing is not None:
            writing.result()


def _copied(tensor: torch.Tensor) -> Callable[[], np.ndarray]:
    """Start a copy of the tensor to main memory, and return a function that waits for it.

    The device makes the copy before its next work.
    """
    copy = tensor.to("cpu", non_blocking=True)
    if not tensor.is_cuda:
        return copy.numpy
    made = torch.cuda.Event()
    made.record()

    def wait() -> np.ndarray:
        made.synchronize()
        return copy.numpy()

    return wait


def _checksum(crop: np.ndarray, tokens: np.ndarray) -> int:
    """Return the checksum of one view; both arrays must be contiguous."""
    digest = xxhash.xxh3_64(crop.data)
    digest.update(tokens.data)
    return digest.intdigest()


@dataclass
class _Shard:
    path: str
    tokens: np.ndarray
    crops: np.ndarray
    checksum: np.ndarray
    verified: np.ndarray


class CacheReader:
    """Random access to the shards of one cache, as one sequence of images in subset order.

    Raise BadInput, with the file and the shard, if a file is no whole cache, or if it was made for another teacher, for
    other views or images (``ids``: the first that are expected), or by other software. Raise it at the first read of a
    view if its bytes have changed.
    """

    def __init__(
        self, paths: Sequence[str | Path], recipe: dict[str, Any], teacher_sha256: str, ids: Sequence[str] = ()
    ) -> None:
        self.shards: list[_Shard] = []
        self.ids: list[str] = []
        for number, path in enumerate(paths):
            self.shards.append(self._open(str(path), number, recipe, teacher_sha256))
        self.starts = np.cumsum([0, *(len(shard.tokens) for shard in self.shards)])
        if len(ids) > len(self):
            raise BadInput(f"{paths[-1]}: the teacher cache ends after {len(self)} of {len(ids)} images; record more.")
        for row, (found, wanted) in enumerate(zip(self.ids, ids, strict=False)):
            if found != wanted:
                number = int(np.searchsorted(self.starts, row, side="right")) - 1
                raise BadInput(
                    f"{paths[number]} (shard {number}): holds image {found!r} where the subset has {wanted!r}; delete "
                    "the file to record it again."
                )

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _open(self, path: str, number: int, recipe: dict[str, Any], teacher_sha256: str) -> _Shard:
        where = f"{path} (shard {number})"
        try:
            with h5py.File(path, "r") as file:
                found = {
                    "recipe": json.loads(file.attrs["recipe"]),
                    "teacher's sha256": file.attrs["teacher_sha256"],
                    "software": json.loads(file.attrs["software"]),
                }
                wanted = {"recipe": recipe, "teacher's sha256": teacher_sha256, "software": software()}
                for what, value in wanted.items():
                    if found[what] != value:
                        raise BadInput(
                            f"{where}: the {what} of this teacher cache is {_difference(found[what], value)}; "
                            "delete the file to record it again."
                        )
                self.ids += [name.decode() for name in file["ids"][:]]
                maps = [_map(path, file[name]) for name in ("tokens", "crops")]
                checksum = file["checksum"][:]
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:  # HDF5 raises each of these
            remedy = "delete the file to record it again"
            raise unreadable(path, error, "is no whole teacher cache", remedy, name=where) from error
        return _Shard(path, maps[0], maps[1], checksum, np.zeros(checksum.shape, bool))

    def read(self, rows: Sequence[int], view: int, tokens: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return (crops (n, size, size, 3) uint8, tokens (n, tokens, width) float16) of these images in one view.

        Without ``tokens``, the tokens are read for the checksum alone, and the second array is empty, (0, tokens,
        width).
        """
        first = self.shards[0]
        crops = np.empty((len(rows), *first.crops.shape[2:]), np.uint8)
        grids = np.empty((len(rows) if tokens else 0, *first.tokens.shape[2:]), np.float16)
        wanted = np.asarray(rows)
        owners = np.searchsorted(self.starts, wanted, side="right") - 1
        for place, (owner, row) in enumerate(
            zip(owners.tolist(), (wanted - self.starts[owners]).tolist(), strict=True)
        ):
            shard = self.shards[owner]
            digest = None if shard.verified[row, view] else xxhash.xxh3_64()
            for kept, recorded in ((crops, shard.crops), (grids, shard.tokens)):
                part = recorded[row, view]
                if len(kept):
                    kept[place] = part
                if digest is not None:
                    digest.update((kept[place] if len(kept) else part).data)  # while the processor's cache holds it
            if digest is not None:
                if digest.intdigest() != shard.checksum[row, view]:
                    raise BadInput(
                        f"{shard.path} (shard {owner}): image {self.ids[int(self.starts[owner]) + row]}, view {view}: "
                        "the recorded bytes have changed (checksum); delete the file to record it again."
                    )
                shard.verified[row, view] = True
        return crops, grids


def _map(path: str, dataset: h5py.Dataset) -> np.ndarray:
    if not dataset.size:  # a small corpus may have a shard without images, which has no place in the file
        return np.empty(dataset.shape, dataset.dtype)
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError(f"{dataset.name} is not contiguous")
    # A plain array, because each index into a np.memmap makes another np.memmap, which costs as much as a small copy.
    return np.asarray(np.memmap(path, dataset.dtype, "r", offset, dataset.shape))


def _difference(found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
        return ", ".join(f"{key} = {found.get(key)!r}, but the run needs {wanted.get(key)!r}" for key in keys)
    return f"{found!r}, but the run needs {wanted!r}"
