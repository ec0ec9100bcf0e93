"""The table of timm's models: that it says what the installed timm does, and what is refused, in words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.timm_catalogue import dumped, make_table
from wecolora.config.teachers import Architecture, Teacher
from wecolora.config.timm_catalogue import TABLE, lookup, table, weights_file
from wecolora.core.errors import BadInput


def test_the_table_is_what_the_installed_timm_says():
    """All of it, without building a model: seconds."""
    import timm

    if table()["timm"] != timm.__version__:
        pytest.skip(f"the table is of timm {table()['timm']}")
    found = make_table()
    for part in ("models", "refused", "families"):
        assert found[part] == table()[part], "make models"
    assert dumped(found) == TABLE.read_text(encoding="utf-8")


def test_every_model_of_the_table_has_a_shape_that_is_ours():
    models = table()["models"]
    assert len(models) == 150
    for name, entry in models.items():
        shape = Architecture(**entry["architecture"])
        for tag in entry["tags"]:
            assert lookup(f"{name}.{tag}").architecture == entry["architecture"]
        assert shape.tokens == shape.class_token + shape.reg_tokens + (shape.img_size // shape.patch_size) ** 2


def test_looking_up_loads_no_torch():
    code = "import sys; from wecolora.config.timm_catalogue import lookup; lookup('deit_tiny_patch16_224')"
    code += "; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_name_without_a_tag_is_timms_default():
    from timm.models import get_pretrained_cfg

    for name in ("vit_base_patch16_224", "vit_small_patch14_dinov2", "deit3_small_patch16_224"):
        assert lookup(name).name == f"{name}.{get_pretrained_cfg(name).tag}"


def test_statistics_and_classes_are_the_weights_own():
    mae, augreg = lookup("vit_base_patch16_224.mae"), lookup("vit_base_patch16_224.augreg_in21k")
    assert mae.mean == [0.485, 0.456, 0.406] and mae.num_classes == 0
    assert augreg.mean == [0.5, 0.5, 0.5] and augreg.num_classes == 21843


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("swin_tiny_patch4_window7_224", ["timm's SwinTransformer", "change width between stages", "vit_*"]),
        ("swinv2_base_window8_256.ms_in1k", ["SwinTransformerV2", "change width"]),
        ("convnext_tiny", ["timm's ConvNeXt", "convolutions in the place of attention"]),
        ("resnet50.a1_in1k", ["timm's ResNet", "convolutions"]),
        ("eva02_base_patch14_224", ["timm's Eva", "not those of a plain VisionTransformer"]),
        ("deit_base_distilled_patch16_224", ["distillation tokens"]),
        ("vit_giant_patch14_dinov2", ["feed-forward layers are gated (GluMlp)"]),
        ("vit_base_r50_s16_224", ["convolutional network (HybridEmbed)"]),
        ("vit_base_patch16_xp_224", ["blocks are ParallelScalingBlock"]),
        ("vit_dwee_patch16_reg1_gap_256", ["attention", "diff"]),
        ("vit_base_patch16_224.mea", ["no weights 'mea'", "dino, mae"]),
        ("vit_bsae_patch16_224.mae", ["no model of timm", "did you mean vit_base_patch16_224.mae"]),
        ("vit_base_patch16_224_dino", ["did you mean vit_base_patch16_224.dino"]),
        ("timm/vit_base_patch16_224.dino", ["did you mean vit_base_patch16_224.dino"]),
    ],
)
def test_what_cannot_be_copied_is_refused_with_the_reason(name, words):
    with pytest.raises(ValueError) as caught:
        lookup(name)
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


# As a teacher of a config


def test_a_teacher_is_filled_in_from_the_table():
    teacher = Teacher(label="T", timm="vit_small_patch14_reg4_dinov2")
    assert teacher.timm == "vit_small_patch14_reg4_dinov2.lvd142m" and teacher.weights is None
    shape = teacher.architecture
    assert (shape.img_size, shape.patch_size, shape.reg_tokens, shape.init_values) == (518, 14, 4, 1e-5)
    assert shape.tokens == 1 + 4 + 37**2 and teacher.mean == (0.485, 0.456, 0.406)


def test_its_size_pooling_and_statistics_can_be_others():
    name = "vit_base_patch16_224.mae"
    teacher = Teacher(label="T", timm=name, img_size=96, global_pool="avg", mean=(0.1, 0.2, 0.3))
    assert teacher.architecture == Architecture(img_size=96, global_pool="avg")
    assert not teacher.architecture.fc_norm  # the norm that the weights have stays where it is
    assert teacher.mean == (0.1, 0.2, 0.3) and teacher.std == (0.229, 0.224, 0.225)


def test_a_teacher_that_was_written_back_is_the_same():
    teacher = Teacher(label="T", timm="vit_small_patch14_dinov2", img_size=224, weights="file.pth")
    assert Teacher.model_validate(json.loads(teacher.model_dump_json())) == teacher


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "give `timm`, or both `weights` and `architecture`"),
        ({"weights": "w.safetensors"}, "give `timm`, or both"),
        ({"weights": "w", "architecture": {}, "img_size": 96}, "img_size: belongs to `timm`"),
        ({"timm": "vit_small_patch14_dinov2", "img_size": 225}, "patch_size 14 must divide img_size 225"),
        ({"timm": "vit_tiny_patch16_224", "architecture": {}}, "architecture: follows from `timm`"),
        ({"timm": "vit_medium_patch16_gap_240", "global_pool": "token"}, "there is no class token"),
        ({"timm": "vit_giant_patch14_224"}, "nobody has published any"),
        ({"timm": "vit_huge_patch14_gap_224.in1k_ijepa"}, "load https://dl.fbaipublicfiles.com"),
        ({"timm": "swin_tiny_patch4_window7_224"}, "change width"),
    ],
)
def test_a_teacher_that_is_none_is_refused(values, words):
    with pytest.raises(ValueError, match=words.replace("`", ".")):
        Teacher(label="T", **values)


def test_weights_that_the_hub_has_not_may_be_a_file():
    assert Teacher(label="T", timm="vit_giant_patch14_224", weights="mine.pth").architecture.depth == 40


# Files and folders


def test_the_file_of_a_folder_is_the_hubs_or_its_only_one(tmp_path):
    assert weights_file("somewhere/there.is/none.safetensors") == "somewhere/there.is/none.safetensors"
    (tmp_path / "readme.md").touch()
    with pytest.raises(BadInput, match=f"{tmp_path}: has no file that ends in .safetensors, .pth"):
        weights_file(str(tmp_path))
    (tmp_path / "mine.pth").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/mine.pth"
    (tmp_path / "other.pth").touch()
    with pytest.raises(BadInput, match=r"has mine.pth, other.pth; name the one file"):
        weights_file(str(tmp_path))
    (tmp_path / "pytorch_model.bin").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/model.safetensors"


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(BadInput, match=r"weights.npz: is no file of weights; give one that ends in .safetensors"):
        weights_file("weights.npz")


@pytest.mark.parametrize("name", ["last.ckpt", "W.PTH", "w.SafeTensors", "w.pth.tar"])
def test_suffixes_are_known_in_any_case(tmp_path, name):
    (tmp_path / name).touch()
    assert weights_file(str(tmp_path / name)) == weights_file(str(tmp_path)) == str(tmp_path / name)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_refused_until_they_are_merged(tmp_path, kind):
    for name in (
        f"a-00001-of-00002.{kind}",
        f"a-00002-of-00002.{kind}",
        f"model.{kind}.index.json",
        "training_args.bin",
    ):
        (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / f"a-00002-of-00002.{kind}", tmp_path / f"model.{kind}.index.json"):
        with pytest.raises(BadInput, match="is a part of weights in shards; merge the shards into one file"):
            weights_file(str(path))
    (tmp_path / "model.safetensors").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/model.safetensors"


def test_the_only_shard_is_a_whole_file(tmp_path):
    (tmp_path / "model-00001-of-00001.safetensors").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/model-00001-of-00001.safetensors"


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_folder_of_adapters_is_refused(tmp_path, kind):
    for name in (f"adapter_model.{kind}", "adapter_config.json", "optimizer.pt", "training_args.bin"):
        (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / f"adapter_model.{kind}"):
        with pytest.raises(BadInput, match=rf"adapter_model.{kind}: holds adapters alone; merge them into their model"):
            weights_file(str(path))
    (tmp_path / "pytorch_model.bin").touch()
    assert weights_file(str(tmp_path)) == f"{tmp_path}/pytorch_model.bin"


def test_the_page_on_teachers_counts_and_parses():
    page = (Path(__file__).parents[3] / "docs" / "teachers.md").read_text()
    weights = sum(len(entry["tags"]) for entry in table()["models"].values())
    assert f"{len(table()['models'])} models with {weights} weights of\ntimm {table()['timm']}" in page
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    teachers = {name: Teacher(**values) for name, values in yaml.safe_load(block)["teachers"].items()}
    assert teachers["dinov2"].architecture.tokens == 1 + 4 + 16**2
