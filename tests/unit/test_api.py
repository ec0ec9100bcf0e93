"""The calls of a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import TensorDataset

import wecolora
from wecolora.api import own_copy
from wecolora.campaign.selection import Campaign
from wecolora.core.errors import BadInput
from wecolora.core.process_group import ProcessGroup
from wecolora.models import vit
from workflow_scripts import distill as distill_script
from workflow_scripts import prepare as prepare_script
from workflow_scripts import subset as subset_script

SETTINGS = {"epochs": 2, "batch": 8, "lr": 5e-3}


@pytest.fixture
def teacher():
    torch.manual_seed(3)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=3
    )
    model.pretrained_cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    return model


@pytest.fixture
def classes(tmp_path) -> Path:
    """60 images of two classes, dark and bright, in class folders."""
    rng = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "classes" / ("bright" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (40, 36, 3), dtype=np.uint8) + (150 if number % 2 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return tmp_path / "classes"


def quiet(line):
    pass


def distilled(teacher, images, **changes):
    return wecolora.distill(teacher, images, **{"k": 4, "log": quiet, **SETTINGS, **changes})


def workflows(tmp_path, teacher, folder, method):
    """The student of the same settings as the workflow's own scripts make it."""
    own, given = own_copy(teacher)
    vit.save_weights(own, tmp_path / "teacher.safetensors", {})
    entry = {"label": "T", "weights": str(tmp_path / "teacher.safetensors"), "mean": given.mean, "std": given.std}
    runs = {"teacher": ["t"], "method": [method], "r": [2], "k": [4], "alpha": [100]}
    campaign = Campaign(
        {
            "name": "by_hand",
            "title": "By hand",
            "corpus": {"dataset": "pictures", "views": 2},
            "teachers": {"t": {**entry, "architecture": given.architecture.model_dump()}},
            "datasets": {"pictures": {"label": "P", "source": "folder", "root": str(folder)}},
            "distill": {**SETTINGS, "lr": {2: 5e-3}, "warmup_epochs": 0.4, "accumulate": 1, "teacher": "online"},
            "artifacts": {"s": {"kind": "students", "title": "S", "caption": "S.", "runs": runs}},
        }
    )
    (run,) = campaign.trained()
    index, subset, student = (tmp_path / name for name in ("index.parquet", "subset.parquet", "student.safetensors"))
    report = tmp_path / "report.json"
    prepare_script.main(index=index, report=report, recipe=campaign.prepare_recipe("pictures"), threads=1)
    subset_script.main(index=index, subset=subset, recipe=campaign.subset_recipe())
    distill_script.main(
        index=index,
        subset=subset,
        weights=tmp_path / "teacher.safetensors",
        shards=[],
        blocks=[],
        student=student,
        provenance=tmp_path / "circumstances.json",
        resume=str(tmp_path / "resume"),
        recipe=campaign.distill_recipe(run),
        threads=1,
        group=ProcessGroup(),
    )
    return load_file(student), json.loads(student.with_suffix(".json").read_text())


@pytest.mark.parametrize("method", ["wecolora", "weco_kd", "scratch_kd", "minivit"])
def test_a_student_is_the_workflows_to_the_byte(tmp_path, teacher, unlabelled_folder, method):
    wanted, record = workflows(tmp_path, teacher, unlabelled_folder, method)
    found = distilled(teacher, unlabelled_folder, method=method)
    state = found.student.state_dict()
    assert state.keys() == wanted.keys() and all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert found.history == record["history"]


def test_nothing_of_the_callers_changes(teacher, unlabelled_folder):
    teacher.train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    distilled(teacher, unlabelled_folder, epochs=1)
    assert torch.equal(torch.rand(3), wanted) and not torch.are_deterministic_algorithms_enabled()
    assert teacher.training and all(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_paths_are_the_folders_images(teacher, unlabelled_folder):
    paths = sorted(unlabelled_folder.iterdir())
    found, same = distilled(teacher, paths), distilled(teacher, unlabelled_folder)
    assert found.history == same.history


@pytest.mark.parametrize("kind", ["pil", "float", "uint8", "pairs"])
def test_items_of_a_dataset_give_the_same_student_in_each_form(teacher, kind):
    pixels = torch.randint(0, 256, (20, 3, 40, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(pixels)

        def __getitem__(self, position):
            item = pixels[position]
            if kind == "pil":
                return Image.fromarray(item.permute(1, 2, 0).numpy())
            return {"float": item / 255, "uint8": item, "pairs": (item, position % 2)}[kind]

    plain = distilled(teacher, TensorDataset(pixels))
    found = distilled(teacher, Pictures())
    assert found.history == plain.history and len(found.history) == 2


def test_a_student_tells_timm_how_images_are_prepared(teacher, unlabelled_folder):
    student = distilled(teacher, unlabelled_folder).student
    config = timm.data.resolve_data_config(model=student)
    assert config["mean"] == (0.4, 0.5, 0.6) and config["input_size"] == (3, 32, 32)
    assert len(student.blocks) == 2 and not student.training


def test_a_method_that_reads_labels_takes_the_folders(teacher, classes):
    lines = []
    found = distilled(teacher, classes, method="deit_hard", log=lines.append)
    assert len(found.history) == 2 and any("2/2" in line for line in lines)


def test_weights_are_copied(teacher):
    student = wecolora.copy_weights(teacher, r=2, layers=[1, 2])
    for own, block in zip(student.blocks, teacher.blocks[1:3], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own.parameters(), block.parameters(), strict=True))
    adapted = wecolora.add_lora(student, 4)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    # A and B of rank 4 beside Q, K, V and O (32 x 32) and both feed-forward layers (32 x 128), in two blocks.
    assert trained == 2 * 4 * (4 * (32 + 32) + 2 * (32 + 128))
    assert not any("lora" in name.lower() for name, _ in wecolora.merge(adapted).named_modules())


def test_a_probe_tells_bright_from_dark(teacher, classes):
    found = wecolora.linear_probe(teacher, classes, classes, epochs=30, batch=20, base_lr=8)
    assert found.metric == "top-1" and found.last > 90 and found.n_train == 60


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": torch.nn.Linear(2, 2)}, "is no VisionTransformer"),
        ({"method": "wecolara"}, "method 'wecolara': unknown"),
        ({"r": 5}, "more than the 4 blocks"),
        ({"k": 64}, "32"),
        ({"epohcs": 3}, "unknown key; allowed here are epochs"),
        ({"batch": 100}, "do not fill one update"),
        ({"images": "nowhere"}, "nowhere"),
        ({"images": []}, "the list is empty"),
        ({"images": TensorDataset(torch.full((20, 3, 8, 8), 2.0))}, r"outside \[0, 1\]"),
        ({"images": TensorDataset(torch.zeros(20, 7))}, "is no image"),
        ({"method": "deit_hard"}, "no class folders|single label|class"),
    ],
)
def test_what_is_wrong_is_one_sentence(teacher, unlabelled_folder, changes, said):
    changes = dict(changes)
    arguments = [changes.pop("teacher", teacher), changes.pop("images", unlabelled_folder)]
    with pytest.raises(BadInput, match=said) as error:
        distilled(*arguments, **changes)
    assert "\n" not in str(error.value)


def test_a_model_with_parts_of_its_own_is_refused(teacher):
    class Other(type(teacher)):
        def forward_features(self, x, **kwargs):
            return 2 * super().forward_features(x, **kwargs)

    teacher.__class__ = Other
    with pytest.raises(BadInput, match="computes something else than a plain one"):
        own_copy(teacher)


@pytest.mark.parametrize(
    "name", ["vit_base_patch32_clip_quickgelu_224", "vit_small_patch14_reg4_dinov2", "vit_medium_patch16_gap_240"]
)
def test_models_of_timms_are_copied_with_all_that_they_have(name):
    size = 28 if "14" in name else 64
    model = timm.create_model(name, img_size=size, depth=2, num_classes=0).eval()
    own, given = own_copy(model)
    images = torch.randn(2, 3, size, size)
    assert given.architecture.depth == 2
    with torch.no_grad():
        torch.testing.assert_close(vit.pooled(own, images), model(images))


def test_importing_the_project_imports_no_torch():
    code = "import sys, wecolora; print('torch' in sys.modules, wecolora.distill.__name__, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "distill", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        wecolora.distil  # noqa: B018
