"""CIFAR-100, python version. Its images become rows of an array that `prepare` writes beside the index (180 MiB): with
the bundled sets, the only images that are copied, so that no other stage reads a pickle."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from wecolora.config.datasets import Cifar100
from wecolora.core.errors import BadInput
from wecolora.data.images import ARRAY
from wecolora.data.listing import Entry, Listing, root_of
from wecolora.data.sources.tars import file_in

FOLDER = "cifar-100-python"
WHERE = f"get {FOLDER}.tar.gz at https://www.cs.toronto.edu/~kriz/cifar.html"


def listing(name: str, data: Cifar100) -> Listing:
    """Training and test images in their order, with the fine labels."""
    root = root_of(name, data, WHERE)
    classes = _column(root, "meta", _read(root, "meta"), "fine_label_names", str)
    entries: list[Entry] = []
    images = []
    for split in ("train", "test"):
        content = _read(root, split)
        labels, pixels = _column(root, split, content, "fine_labels", int), content.get("data")
        if not isinstance(pixels, _Array) or pixels.values.shape != (len(labels), 3072):
            raise BadInput(f"{root}: {FOLDER}/{split} has no 3072 bytes for each of its labels; {WHERE}.")
        if not all(0 <= label < len(classes) for label in labels):
            raise BadInput(f"{root}: {FOLDER}/{split} has a label that {FOLDER}/meta does not name; {WHERE}.")
        entries += [
            Entry(f"{split}/{number:05d}", ARRAY, (label,), split, offset=len(entries) + number)
            for number, label in enumerate(labels)
        ]
        images.append(pixels.values.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Listing(root, classes, entries, pixels=np.concatenate(images))


def _read(root: Path, file: str) -> dict[Any, Any]:
    """Return the dictionary in one of the three files."""
    path = next((path for path in (root / FOLDER / file, root / file) if path.is_file()), None)
    archive = root / f"{FOLDER}.tar.gz"
    if path is not None:
        content = path.read_bytes()
    elif archive.is_file():
        content = file_in(archive, f"{FOLDER}/{file}")
    else:
        raise BadInput(f"{root}: has no {FOLDER}/{file}, no {file} and no {archive.name}; {WHERE}.")
    try:
        found = _Reader(io.BytesIO(content), encoding="latin1").load()
        if isinstance(found, dict):
            return found
        reason = "it holds no dictionary"
    except Exception as error:  # a damaged or forged pickle may end in any
        reason = str(error) or repr(error)
    raise BadInput(f"{path or archive}: cannot be read as CIFAR-100's {file} ({reason}); {WHERE}.")


def _column(root: Path, file: str, content: dict[Any, Any], key: str, kind: type) -> list[Any]:
    column = content.get(key)
    if not isinstance(column, list) or not column or not all(type(value) is kind for value in column):
        raise BadInput(f"{root}: {FOLDER}/{file} has no list {key!r} of {kind.__name__}; {WHERE}.")
    return column


# A pickle names functions to call. This reader knows four names and gives each a harmless stand-in, so that not even
# numpy's own functions are called with arguments from outside.


class _Kind:
    """The stand-in for numpy.dtype: it takes unsigned bytes and nothing else."""

    def __init__(self, name: str, *flags: Any) -> None:
        if name not in ("u1", "|u1", "uint8"):
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which single bytes do not have."""


class _Array:
    """The stand-in for numpy.ndarray."""

    values: np.ndarray = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("it holds an array of an unknown kind")
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def _array(*about: Any) -> _Array:
    """Stand in for numpy's _reconstruct, which makes an empty array; its state follows."""
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for _codecs.encode, by which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


class _Reader(pickle.Unpickler):
    KNOWN = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _array,
        ("numpy._core.multiarray", "_reconstruct"): _array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and may run code")
        return self.KNOWN[module, name]
