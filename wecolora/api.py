"""The project as a notebook calls it: models are timm's, images a folder, a list of paths or a torch Dataset.

Everything is in memory, without Snakemake. The same images and settings give the same student as the workflow, to the
byte, where its teacher runs online (`distill.teacher: online`).
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.layers import GELUTanh, LayerNorm, QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.functional import to_pil_image

from wecolora.campaign.from_images import VIEWS, distillation, write_table
from wecolora.campaign.revisions import REVISIONS
from wecolora.config.datasets import SOURCES
from wecolora.config.methods import METHODS, Layers
from wecolora.config.reading import parse
from wecolora.config.recipes import DistillRecipe, ProbeRecipe, TeacherInput
from wecolora.config.runs import RunSpec
from wecolora.config.teachers import Architecture
from wecolora.core import hardware
from wecolora.core.errors import BadInput
from wecolora.core.progress import Progress
from wecolora.data.images import Index, Picture, Room, read_index
from wecolora.data.loader import Loader
from wecolora.data.prepare import prepare
from wecolora.data.subset import ordered
from wecolora.evaluation.features import extract
from wecolora.evaluation.probe import ProbeResult, targets, train_probe
from wecolora.models import vit, weight_copy
from wecolora.models.forms import preprocessing
from wecolora.models.lora import add_lora, merge
from wecolora.models.shapes import from_shapes
from wecolora.training.batches import OnlineBatches
from wecolora.training.fit import JobContext, fit

__all__ = ["Distilled", "add_lora", "copy_weights", "distill", "linear_probe", "merge"]
Images = str | Path | Sequence[str | Path] | Dataset


@dataclass(frozen=True)
class Distilled:
    """A student, a plain model of timm's, with the record of each epoch and the warnings of all."""

    student: VisionTransformer
    history: list[dict[str, Any]]
    warnings: list[str]


def distill(
    teacher: VisionTransformer,
    images: Images,
    method: str = "wecolora",
    r: int = 2,
    k: int = 64,
    log: Callable[[str], None] = print,
    **settings: Any,
) -> Distilled:
    """Distil a student of floor(L / r) blocks from a teacher, on images whose labels nobody reads.

    Args:
        teacher: a VisionTransformer of timm's; it stays as it is. Its ``pretrained_cfg`` tells mean and std.
        images: a folder, a list of paths, or a Dataset of PIL images, of tensors (3, H, W) that are uint8 or lie in
            [0, 1], or of tuples that begin with one. They are cropped and normalised here.
        method: as in docs/methods.md. A method that reads labels takes the class folders', or a tuple's second value.
        r: the reduction ratio.
        k: the rank of the adapters, for methods with adapters.
        log: takes a line an epoch.
        settings: keys of the config's ``distill`` (epochs, batch, accumulate, lr, layers, loss_point, ...), and
            ``seed``, ``views`` and ``workers`` (processes that decode images). What is not given is the config's
            default, but for ``batch`` (64, or fewer where there are few images) and ``accumulate`` (1).

    Returns:
        The student, in eval mode, on the CPU.

    Raises:
        BadInput: a sentence that says which argument is wrong, and what to do.
    """
    model, given = own_copy(teacher)
    run = RunSpec("teacher", method, r, k, 100, settings.pop("seed", 0))
    workers, reads_labels = settings.pop("workers", 0), METHODS[method].reads_labels
    with tempfile.TemporaryDirectory() as folder, _as_it_was():
        index = index_of(images, Path(folder), reads_labels)
        positions = list(range(len(index.ids))) if reads_labels else index.rows("train")
        recipe = recipe_of(given, len(positions), run, settings)
        positions, _ = ordered(index, positions, recipe.images.corpus_seed)
        labels = torch.tensor(index.single_labels(positions)) if reads_labels else None
        device = hardware.device(torch.get_num_threads())
        running = model if METHODS[method].reads_tokens else None
        batches = OnlineBatches(index, positions, running, recipe, labels, device, workers)
        context = JobContext(device=device, workers=workers, log=log, progress=Progress)
        student, history = fit(model, batches, recipe, context)
    warnings = list(dict.fromkeys(warning for epoch in history for warning in epoch["signs"]))
    return Distilled(_told(student.cpu(), given), history, warnings)


def copy_weights(teacher: VisionTransformer, r: int = 2, layers: Layers | Sequence[int] = "paper") -> VisionTransformer:
    """Return a student of every r-th block of a teacher (section 3.1), untrained; see models.weight_copy."""
    model, given = own_copy(teacher)
    return _told(weight_copy.copy_weights(model, given.architecture.model_dump(), r, layers).eval(), given)


def linear_probe(
    model: VisionTransformer, train: Images, test: Images, workers: int = 0, **settings: Any
) -> ProbeResult:
    """Train a linear probe on a model's features, and score it (section 4.1).

    Args:
        model: a VisionTransformer of timm's, such as a student; its ``pretrained_cfg`` tells mean and std.
        train: labelled images: a folder of class folders, or a Dataset of (image, class number).
        test: the same for the test, with the same classes.
        workers: processes that decode images.
        settings: keys of the config's ``probe`` (epochs, batch, base_lr, ...), and ``seed``.

    Returns:
        The accuracy in percent of the last and of the best epoch, of each class, and of every epoch.

    Raises:
        BadInput: if images have no labels, or a setting is wrong.
    """
    own, given = own_copy(model)
    recipe = _checked(lambda: ProbeRecipe(**settings))
    with tempfile.TemporaryDirectory() as folder, _as_it_was():
        device = hardware.device(torch.get_num_threads())
        own = own.to(device)
        indexes = [index_of(images, Path(folder) / name, True) for name, images in (("a", train), ("b", test))]
        if indexes[0].classes != indexes[1].classes:
            raise BadInput("linear_probe: train and test have other classes; give both the same class folders.")

        def forward(pixels: Tensor) -> Tensor:
            return vit.pooled(own, vit.normalise(pixels.to(device), given.mean, given.std))

        parts = []
        for index in indexes:
            loader = Loader(partial(index.crop, size=given.architecture.img_size), workers, device)
            positions = list(range(len(index.ids)))
            features = torch.from_numpy(np.concatenate(list(extract(forward, loader, positions))))
            parts.append((features, targets(index.labels, len(index.classes), index.multilabel)))
        return train_probe(parts[0], parts[1], len(indexes[0].classes), recipe, device)


# Models


def own_copy(model: VisionTransformer) -> tuple[VisionTransformer, TeacherInput]:
    """Return a frozen copy of a model as this project builds it, with its architecture and what its pixels are
    normalised with.

    Raise BadInput for a model that is no plain VisionTransformer: one that this project cannot build again.
    """
    what = f"teacher: a {type(model).__name__}"
    if not isinstance(model, VisionTransformer):
        raise BadInput(f"{what} is no VisionTransformer of timm's; give one, such as vit_base_patch16_224.")
    state = model.state_dict()
    first: Any = model.blocks[0]
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    told = {
        **from_shapes(shapes, what),
        "num_heads": first.attn.num_heads,
        "norm_eps": first.norm1.eps,
        "norm_layer": "layernorm" if isinstance(first.norm1, nn.LayerNorm | LayerNorm) else "rmsnorm",
        "act_layer": _activation(first.mlp.act),
        "global_pool": model.global_pool or "token",
        "pool_include_prefix": getattr(model, "pool_include_prefix", False),
    }
    architecture = _checked(lambda: Architecture(**told))
    with torch.random.fork_rng():  # the caller's random numbers stay where they are
        own = vit.build(architecture.model_dump())
        if "head.weight" in state:
            own.reset_classifier(len(state["head.weight"]))
    try:
        own.load_state_dict(copy.deepcopy(state))
    except RuntimeError as error:
        raise BadInput(
            f"{what} has other parts than a plain one ({vit.mismatch(error)}); give another model."
        ) from error
    own.requires_grad_(False).eval()
    _refuse_another(model, own, architecture.img_size, what)
    config = getattr(model, "pretrained_cfg", None) or {}
    half = (0.5, 0.5, 0.5)
    return own, TeacherInput(
        architecture=architecture, mean=tuple(config.get("mean", half)), std=tuple(config.get("std", half))
    )


def _activation(layer: nn.Module) -> str:
    if isinstance(layer, GELUTanh) or getattr(layer, "approximate", "") == "tanh":
        return "gelu_tanh"
    if isinstance(layer, QuickGELU):
        return "quick_gelu"
    return "silu" if isinstance(layer, nn.SiLU) else "gelu"


@torch.no_grad()
def _refuse_another(model: VisionTransformer, own: VisionTransformer, size: int, what: str) -> None:
    """Raise BadInput if a model's copy gives other features, as one with parts of its own would."""
    parameter = next(model.parameters())
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    was = model.training
    found = model.eval().forward_features(images.to(parameter.device, parameter.dtype)).float().cpu()
    model.train(was)
    if not torch.allclose(found, own.forward_features(images), rtol=1e-2, atol=1e-2):
        raise BadInput(f"{what} computes something else than a plain one of its shape; give a plain model.")


def _told(model: VisionTransformer, given: TeacherInput) -> VisionTransformer:
    """Return a model that tells timm.data.resolve_data_config how its images are prepared."""
    model.pretrained_cfg = preprocessing(given)  # type: ignore[assignment]
    return model


# Images


def index_of(images: Images, folder: Path, labelled: bool = False) -> Index:
    """Return the images as an index, whose files, if it has any, lie in ``folder``.

    Raise BadInput for images that cannot be read, or have no labels if they are ``labelled``.
    """
    folder.mkdir(exist_ok=True)
    if isinstance(images, str | Path):
        root = os.path.expanduser(images)
        share = {"test_share": 0.5} if labelled else {}  # which takes class folders; both parts are used
        values = {"label": "images", "source": "folder", "root": root, **share}
        prepare("images", SOURCES["folder"].model_validate(values), folder / "index.parquet")
    elif isinstance(images, Dataset):
        return _InMemory.of(images, labelled)
    else:
        paths = [os.path.abspath(path) for path in images]
        if not paths:
            raise BadInput("images: the list is empty; give paths of images.")
        table = folder / "images.csv"
        root = write_table([(path,) for path in paths], table, ["path"])
        values = {"label": "images", "source": "table", "root": root, "table": str(table), "labels": None}
        prepare("images", SOURCES["table"].model_validate(values), folder / "index.parquet")
    index = read_index(folder / "index.parquet")
    if labelled and not all(index.labels):
        raise BadInput(f"{images}: has no labels; give a folder of class folders, or a Dataset of (image, class).")
    return index


class _InMemory(Index):
    """The items of a Dataset: PIL images or tensors, or tuples of one and a class number."""

    dataset: Any

    @classmethod
    def of(cls, dataset: Any, labelled: bool) -> _InMemory:
        """Return the index of a Dataset; its items are read for their labels alone, if it is ``labelled``."""
        count = len(dataset)
        if not count:
            raise BadInput("images: the Dataset is empty; give one with images.")
        ids = [str(position) for position in range(count)]
        labels: list[list[int]] = [[] for _ in ids]
        if labelled:
            try:
                labels = [[int(dataset[position][1])] for position in range(count)]
            except (TypeError, ValueError, IndexError) as error:
                raise BadInput("images: items have no class number; give tuples of (image, class).") from error
        classes = [str(number) for number in range(max((label[0] for label in labels if label), default=-1) + 1)]
        index = cls("images", "", classes, False, ids, ids, [0] * count, labels, ["train"] * count)
        object.__setattr__(index, "dataset", dataset)
        return index

    def picture(self, position: int, room: Room = lambda width, height: 1) -> Picture:
        """Return an item as a picture; raise BadInput for one that is none."""
        item = self.dataset[position]
        item = item[0] if isinstance(item, tuple | list) else item
        if isinstance(item, Tensor) and item.is_floating_point() and not 0 <= item.min() <= item.max() <= 1:
            raise BadInput(f"images: item {position} has values outside [0, 1]; give images before normalisation.")
        try:
            image = item if isinstance(item, Image.Image) else to_pil_image(item)
        except (TypeError, ValueError) as error:
            raise BadInput(f"images: item {position} is no image ({error}); give PIL images or tensors.") from error
        image = image.convert("RGB")
        return Picture(image, *image.size)


# Settings


def recipe_of(given: TeacherInput, images: int, run: RunSpec, settings: dict[str, Any]) -> DistillRecipe:
    """Return the recipe that the workflow would give to this run; raise BadInput for settings that are wrong."""
    views = settings.pop("views", None)
    chosen = distillation(images, run.r, settings)
    runs = {"teacher": ["teacher"], "method": [run.method], "r": [run.r], "alpha": [100]}
    if run.k is not None:
        runs["k"] = [run.k]
    values = {
        "name": "notebook",
        "title": "Notebook",
        "corpus": {"dataset": "images", "views": views or min(chosen["epochs"], VIEWS)},
        "seeds": [run.seed],
        "teachers": {
            "teacher": {"label": "teacher", "weights": "in memory", **given.model_dump()},
        },
        "datasets": {"images": {"label": "images", "source": "folder", "root": "."}},
        "distill": {**chosen, "teacher": "online"},
        "artifacts": {"student": {"kind": "students", "title": "S", "caption": "S.", "runs": runs}},
    }
    return DistillRecipe.of(parse(values), REVISIONS, run)


def _checked(make: Callable[[], Any]) -> Any:
    """Return what ``make`` makes, or raise its complaint as BadInput."""
    try:
        return make()
    except ValueError as error:
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.".removeprefix(": ")) from error


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave torch's random numbers, and its choice of deterministic algorithms, as they were."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
