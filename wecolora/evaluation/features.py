"""Pooled features of a data set, extracted once: what the probe reads (final norm, then class token)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from wecolora.core.checkpoint import RowsCheckpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.files import atomic_write, unreadable
from wecolora.core.progress import Starting, silent
from wecolora.data.images import Index
from wecolora.data.loader import Loader
from wecolora.evaluation.probe import targets

SPLITS = ("train", "test")
BATCH = 256  # images
SAVED_ROWS = 65536  # saved at a time: a minute or so of a GPU


@torch.no_grad()
def extract(
    forward: Callable[[Tensor], Tensor], decoder: Loader, positions: list[int], batch: int = BATCH
) -> Iterator[np.ndarray]:
    """Batches of features (n, width) float32 of the pixels that the decoder makes of these positions; ``forward`` takes
    pixels (n, size, size, 3) uint8."""
    for pixels in decoder(positions[start : start + batch] for start in range(0, len(positions), batch)):
        yield forward(pixels).float().cpu().numpy()


def write_features(
    path: str | Path,
    forward: Callable[[Tensor], Tensor],
    index: Index,
    size: int,
    width: int,
    weights_sha256: str,
    device: str = "cpu",
    workers: int = 0,
    progress: Starting = silent,
    resume: RowsCheckpoint | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """One row an image of each split: ``<split>/features`` float32, ``/targets``, ``/ids``; ``classes``; attributes:
    the data set and the sha256 of the model's weights. The images are decoded by ``workers`` processes (see Loader)
    for that device. ``stopping``: asked after each batch whether to save what there is and to raise Stopped."""
    resume = resume or RowsCheckpoint(None, "")
    if not index.classes:
        raise BadInput(f"data set {index.name}: has no labels to probe; use it as the corpus only.")
    decoder = Loader(partial(index.crop, size=size), workers, device, 3 * size**2 * BATCH)
    # What is saved on the way takes as much again.
    size = 4 * width * len(index.ids) * (2 if len(index.ids) > SAVED_ROWS else 1)
    with atomic_write(path, size) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(dataset=index.name, weights_sha256=weights_sha256)
        # No attribute, which holds 64 KiB at most: some data sets have thousands of classes.
        file.create_dataset("classes", data=index.classes, dtype=h5py.string_dtype())
        saved: dict[str, int] = {}  # rows of each split

        def save(split: str, stop: int) -> None:
            if saved[split] < stop:
                fresh = file[split]["features"][saved[split] : stop]
                resume.save(split, saved[split], torch.from_numpy(fresh))
                saved[split] = stop

        for number, split in enumerate(SPLITS):
            positions = index.rows(split)
            if not positions:
                raise BadInput(f"data set {index.name}: has no {split} images.")
            labels = targets([index.labels[p] for p in positions], len(index.classes), index.multilabel)
            group = file.create_group(split)
            group["targets"] = labels.numpy()
            group.create_dataset("ids", data=[index.ids[p] for p in positions], dtype=h5py.string_dtype())
            rows = group.create_dataset("features", (len(positions), width), np.float32)
            start = 0
            for piece in resume.load(split):
                rows[start : start + len(piece)] = piece.numpy()
                start += len(piece)
            resumed = saved[split] = start
            told = progress(len(positions) - resumed, f"{split} images of {index.name}")
            # A piece ends with a batch, so that the batches, on which last bits may depend, stay the same.
            for part in extract(forward, decoder, positions[start:]):
                if not np.isfinite(part).all():
                    raise BadInput(
                        f"data set {index.name}: a feature is no number; the student is broken, so distil "
                        "it again with a lower distill.lr."
                    )
                rows[start : start + len(part)] = part
                start += len(part)
                told(start - resumed)
                if start - saved[split] >= SAVED_ROWS:
                    save(split, start)
                if stopping():
                    save(split, start)
                    for finished in SPLITS[:number]:
                        save(finished, len(file[finished]["targets"]))
                    raise Stopped(f"{start} of {len(positions)} {split} images of {index.name}")


def read_features(
    path: str | Path, dataset: str | None = None
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str], str]:
    """({split: (features, targets)}, classes, sha256 of the model's weights); BadInput where they are not of
    ``dataset``."""
    try:
        with h5py.File(path, "r") as file:
            data = {
                split: (torch.from_numpy(file[split]["features"][:]), torch.from_numpy(file[split]["targets"][:]))
                for split in SPLITS
            }
            classes = [name.decode() for name in file["classes"][:]]
            for split, (features, labels) in data.items():
                known = (
                    labels.shape[1] == len(classes)
                    if labels.ndim > 1
                    else 0 <= labels.min() <= labels.max() < len(classes)
                )
                if len(features) != len(labels) or not known:
                    raise ValueError(f"its {split} labels do not fit its features and classes")
                if not features.isfinite().all():
                    raise ValueError(f"a {split} feature is no number")
            if dataset not in (None, file.attrs["dataset"]):
                raise ValueError(f"they are of {file.attrs['dataset']}, not of {dataset}")
            return data, classes, str(file.attrs["weights_sha256"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:  # whatever HDF5 makes of it
        raise unreadable(path, error, "is no whole file of features", "delete it to extract them again") from error
