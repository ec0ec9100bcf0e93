"""Fixtures that several unit tests share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch: one thread, before anything imports it

from pathlib import Path

import pytest

# Tiny models and images (weight copy, LoRA, distillation, features, probe)


@pytest.fixture
def tiny_architecture():
    """timm arguments of a vision transformer that is built in milliseconds."""
    from wecolora.config.teachers import Architecture

    return Architecture(img_size=16, patch_size=8, embed_dim=32, depth=4, num_heads=2).model_dump()


@pytest.fixture
def tiny_teacher(tiny_architecture):
    """A frozen teacher no two of whose tensors are alike: biases and norms are random too."""
    import torch

    from wecolora.models import vit

    generator = torch.Generator().manual_seed(7)
    model = vit.build(tiny_architecture).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.copy_(centre + 0.15 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def headed_teacher(tiny_teacher):
    """The tiny teacher with a head of 5 classes, as vit.load(head=True) gives it."""
    import copy

    import torch

    model = copy.deepcopy(tiny_teacher)
    model.reset_classifier(5)
    generator = torch.Generator().manual_seed(8)
    for parameter in model.head.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False).eval()


def ends(model, images, point):
    """Tokens by timm's own forward_features; before the norm, the norm is taken out."""
    import torch

    if point == "after_norm":
        return model.forward_features(images)
    norm, model.norm = model.norm, torch.nn.Identity()
    try:
        return model.forward_features(images)
    finally:
        model.norm = norm


@pytest.fixture(scope="session")
def unlabelled_folder(tmp_path_factory) -> Path:
    """36 small PNG files of smooth random pictures, without labels."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for number in range(36):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((24, 20), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def unlabelled_index(unlabelled_folder, tmp_path):
    """The index of these pictures, as rule prepare makes it. Whoever reads its labels fails."""
    import dataclasses

    from wecolora.config.datasets import Folder
    from wecolora.data.images import read_index
    from wecolora.data.prepare import prepare

    class Secret(list):
        def _refuse(self, *_):
            raise AssertionError("distillation has read a label")

        __getitem__ = __iter__ = __len__ = _refuse

        def __reduce_ex__(self, protocol):
            return Secret, ()  # on the way to another process, too

    folder = Folder(label="", source="folder", root=str(unlabelled_folder))
    prepare("pictures", folder, tmp_path / "index.parquet")
    return dataclasses.replace(read_index(tmp_path / "index.parquet"), labels=Secret())


@pytest.fixture
def distill_recipe(tiny_architecture):
    """A recipe of a small distillation; keyword arguments replace its values."""
    from wecolora.config.recipes import DistillRecipe

    def make(**changes):
        values = {
            "method": "wecolora",
            "teacher": "tiny",
            "architecture": tiny_architecture,
            "mean": (0.5, 0.4, 0.6),
            "std": (0.25, 0.3, 0.2),
            "corpus": "pictures",
            "corpus_seed": 5,
            "views": 2,
            "cache_revision": 1,
            "r": 2,
            "k": 4,
            "alpha": 100.0,
            "seed": 0,
            "epochs": 3,
            "warmup_epochs": 1,
            "batch": 6,
            "accumulate": 2,
            "leftover": "use",
            "lr": 5e-3,
            "weight_decay": 0.05,
            "layers": "paper",
            "loss_point": "after_norm",
            "online": True,
            "revision": 1,
        }
        return DistillRecipe(**{**values, **changes})

    return make


@pytest.fixture
def online_batches(tiny_teacher, unlabelled_index, distill_recipe):
    """The pictures, last first, and the tiny teacher's tokens, computed in each step; ``calls``: (rows, view)."""
    from wecolora.training.batches import OnlineBatches

    class Recording(OnlineBatches):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.calls = []

        def read(self, rows, view):
            for batch in rows:
                self.calls.append((list(batch), view))
                yield from super().read([batch], view)

    return Recording(unlabelled_index, range(len(unlabelled_index.ids))[::-1], tiny_teacher, distill_recipe())


# A small campaign (config, workflow) and labelled images (images, cache, sources)


@pytest.fixture
def small_config() -> dict:
    """A config that is right, as YAML would give it, for tests to spoil: a teacher, two data sets, two artifacts."""
    runs = {"teacher": ["one"], "method": ["weco_kd", "wecolora"], "r": [2, 3], "k": [4], "alpha": [1, 10]}
    bundled = {"source": "bundled", "train": 60, "test": 30}
    return {
        "name": "small",
        "title": "A small campaign",
        "corpus": {"dataset": "shapes"},
        "teachers": {
            "one": {
                "label": "The one",
                "weights": "one.safetensors",
                "architecture": {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2},
            }
        },
        "datasets": {
            "shapes": {"label": "Shapes", "bundled": "photos", **bundled},
            "marks": {"label": "Marks", "bundled": "digits", **bundled},
        },
        "distill": {"epochs": 2, "lr": {2: 1e-3, 3: 1e-4}},
        "probe": {"epochs": 3, "warmup_epochs": 1},
        "artifacts": {
            "table1": {
                "kind": "table",
                "title": "Table 1",
                "caption": "All of it.",
                "rows": ["alpha", "r", "method"],
                "runs": runs,
                "datasets": ["shapes", "marks"],
            },
            "figure5": {
                "kind": "figure",
                "title": "Figure 5",
                "caption": "Shapes over alpha.",
                "x": "alpha",
                "runs": {**runs, "alpha": [1, 2, 10]},
                "datasets": ["shapes"],
            },
        },
    }


@pytest.fixture
def array_index(tmp_path):
    """The index of 12 labelled pictures of 24 x 20 pixels in one array file; the last three are test images."""
    import numpy as np
    from PIL import Image

    from wecolora.data.images import Index

    rng = np.random.default_rng(11)
    coarse = [Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)) for _ in range(12)]
    pictures = np.stack([np.asarray(picture.resize((24, 20), Image.Resampling.BICUBIC)) for picture in coarse])
    np.save(tmp_path / "images.npy", pictures)
    return Index(
        name="coarse",
        root=str(tmp_path),
        classes=["a", "b", "c"],
        multilabel=False,
        ids=[f"coarse/{number:02d}" for number in range(12)],
        paths=["images.npy"] * 12,
        offsets=list(range(12)),
        labels=[[number % 3] for number in range(12)],
        split=["train"] * 9 + ["test"] * 3,
    )


# Scores written by hand (scores, tables, figures)


@pytest.fixture
def score_files(tmp_path):
    """A function that writes score files as rule probe does, from (teacher, method, r, k, alpha, seed, dataset, last);
    keyword arguments replace or add what else a file says."""
    import json

    def write(*scores, loss_point="after_norm", layers="paper", **changes):
        paths = []
        for teacher, method, r, k, alpha, seed, dataset, last in scores:
            run = {"teacher": teacher, "method": method, "r": r, "k": k, "alpha": alpha, "seed": seed}
            run["loss_point"] = loss_point
            score = {
                "run": {**run, "dataset": dataset, "slug": "whatever"},
                "metric": "mean AUC" if dataset == "tags" else "top-1",
                "last": last,
                "best": last + 1,
                "best_epoch": 7,
                "n_train": 100,
                "n_test": 50,
                "student_sha256": "ab" * 32,
                "signs": [],
                "per_class": [1.0, 2.0],
                "recipe": {"distill": None if method == "teacher" else {"method": method, "layers": layers}},
                **changes,
            }
            folder = tmp_path / "written"
            folder.mkdir(exist_ok=True)
            path = folder / f"{len(list(folder.iterdir()))}.json"
            path.write_text(json.dumps(score))
            paths.append(path)
        return paths

    return write


# Finished students (export)


@pytest.fixture
def student_folder(distill_recipe, tmp_path):
    """A function that writes a run's folder as rule distill does, of a random student of two blocks.

    Keyword arguments are those of Architecture, for its teacher; no two tensors are alike.
    """
    import torch

    from wecolora.config.teachers import Architecture
    from wecolora.models import vit

    def make(form="plain", depth=2, method="wecolora", **shape):
        small = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
        architecture = Architecture(**{**small, **shape}).model_dump()
        generator = torch.Generator().manual_seed(5)
        model = vit.build(architecture, depth, form).requires_grad_(False).eval()
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.15 * torch.randn(parameter.shape, generator=generator))
        recipe = distill_recipe(architecture=architecture, method=method)
        record = {"loss": 0.5, "relative_loss": 0.25, "signs": ["the loss did not fall"]}
        facts = {"recipe": recipe.model_dump(mode="json"), "teacher_sha256": "ab" * 32, "images": 36}
        folder = tmp_path / "runs" / "tiny" / method
        vit.save_weights(model, folder / "student.safetensors", {**facts, "history": [record]})
        return folder

    return make
