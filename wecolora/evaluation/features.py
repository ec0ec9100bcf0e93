"""Pooled features of a data set (final norm, then class token), which are extracted once for the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
BATCH = 256  # images at a time
SAVED_ROWS = 65536  # rows that are saved at a time: about a minute of a GPU


@dataclass(frozen=True)
class Extractor:
    """A model as a function of pixels, and what a file of its features says about it.

    ``forward`` takes pixels (n, size, size, 3) uint8 and returns features (n, width); it runs on ``device``.
    """

    forward: Callable[[Tensor], Tensor]
    size: int
    width: int
    weights_sha256: str
    device: str = "cpu"


@torch.no_grad()
def extract(
    forward: Callable[[Tensor], Tensor], loader: Loader, positions: list[int], batch: int = BATCH
) -> Iterator[np.ndarray]:
    """Yield batches of features (n, width) float32 of the images at these positions, whose pixels the loader makes.

    ``forward`` takes pixels (n, size, size, 3) uint8.
    """
    for pixels in loader(positions[start : start + batch] for start in range(0, len(positions), batch)):
        yield forward(pixels).float().cpu().numpy()


class _Rows:
    """The rows of one split in an open file, of which ``done`` are written and ``saved`` can be resumed from."""

    def __init__(self, rows: h5py.Dataset, split: str, resume: RowsCheckpoint) -> None:
        self.rows, self.split, self.resume = rows, split, resume
        self.done = 0
        for piece in resume.load(split):
            self.add(piece.numpy())
        self.saved = self.done

    def add(self, part: np.ndarray) -> None:
        """Write the next rows."""
        self.rows[self.done : self.done + len(part)] = part
        self.done += len(part)

    def save(self) -> None:
        """Save the rows that are written and not saved yet."""
        if self.saved < self.done:
            fresh = self.rows[self.saved : self.done]
            self.resume.save(self.split, self.saved, torch.from_numpy(fresh))
            self.saved = self.done


def write_features(
    path: str | Path,
    model: Extractor,
    index: Index,
    workers: int = 0,
    progress: Starting = silent,
    resume: RowsCheckpoint | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write the features of a data set, one row for each image of each split.

    The file holds ``<split>/features`` float32, ``<split>/targets``, ``<split>/ids`` and ``classes``; its attributes
    are the data set and the sha256 of the model's weights. ``workers`` processes decode the images (see Loader).
    ``stopping`` is asked after each batch; if it says yes, save what there is and raise Stopped. Raise BadInput if the
    data set has no labels or lacks a split, or if a feature is no number.
    """
    resume = resume or RowsCheckpoint(None, "")
    if not index.classes:
        raise BadInput(f"data set {index.name}: has no labels to probe; use it as the corpus only.")
    loader = Loader(partial(index.crop, size=model.size), workers, model.device, 3 * model.size**2 * BATCH)
    # Rows that are saved on the way take as much space again.
    least = 4 * model.width * len(index.ids) * (2 if len(index.ids) > SAVED_ROWS else 1)
    with atomic_write(path, least) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(dataset=index.name, weights_sha256=model.weights_sha256)
        # Not an attribute, which holds at most 64 KiB: some data sets have thousands of classes.
        file.create_dataset("classes", data=index.classes, dtype=h5py.string_dtype())
        begun: list[_Rows] = []
        for split in SPLITS:
            positions = index.rows(split)
            rows = _Rows(_new_split(file, split, positions, index, model.width), split, resume)
            begun.append(rows)
            told, resumed = progress(len(positions) - rows.done, f"{split} images of {index.name}"), rows.done
            # A piece ends with a batch, so that a resumed run has the same batches, on which last bits may depend.
            for part in extract(model.forward, loader, positions[rows.done :]):
                _refuse_broken(part, index.name)
                rows.add(part)
                told(rows.done - resumed)
                if rows.done - rows.saved >= SAVED_ROWS:
                    rows.save()
                if stopping():
                    for each in reversed(begun):
                        each.save()
                    raise Stopped(f"{rows.done} of {len(positions)} {split} images of {index.name}")


def _new_split(file: h5py.File, split: str, positions: list[int], index: Index, width: int) -> h5py.Dataset:
    """Write the targets and ids of a split, and return its features, which are still empty."""
    if not positions:
        raise BadInput(f"data set {index.name}: has no {split} images.")
    labels = targets([index.labels[p] for p in positions], len(index.classes), index.multilabel)
    group = file.create_group(split)
    group["targets"] = labels.numpy()
    group.create_dataset("ids", data=[index.ids[p] for p in positions], dtype=h5py.string_dtype())
    return group.create_dataset("features", (len(positions), width), np.float32)


def _refuse_broken(features: np.ndarray, dataset: str) -> None:
    """Raise BadInput if a feature is no number."""
    if not np.isfinite(features).all():
        raise BadInput(
            f"data set {dataset}: a feature is no number; the student is broken, so distil "
            "it again with a lower distill.lr."
        )


def read_features(
    path: str | Path, dataset: str | None = None
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str], str]:
    """Return ({split: (features, targets)}, classes, sha256 of the model's weights).

    Raise BadInput if the file is not whole, or if it is not of ``dataset``.
    """
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
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:  # HDF5 raises each of these
        raise unreadable(path, error, "is no whole file of features", "delete it to extract them again") from error
