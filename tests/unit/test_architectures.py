"""Every kind of VisionTransformer that a teacher may be, in timm's shape but narrower: tokens, students and methods.

The weights are random. What is compared is timm's own model, built by its name.
"""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from wecolora.config.methods import METHODS
from wecolora.config.recipes import CacheRecipe, StudentShape
from wecolora.config.teachers import Architecture
from wecolora.config.timm_catalogue import lookup
from wecolora.models import vit
from wecolora.models.lora import add_lora, merge
from wecolora.models.weight_copy import copy_weights
from wecolora.results.computation import bytes_per_view, counts
from wecolora.results.rollout import attentions, rollout
from wecolora.training.cache import CacheReader, write_shard
from wecolora.training.deit import DeiT
from wecolora.training.dmae import DMAE
from wecolora.training.minivit import MiniViT
from wecolora.training.objectives import TokenObjective

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3}
# (timm's name, what the config changes, tokens before the patches)
CASES = [
    ("vit_base_patch16_224.mae", {"img_size": 48}, 1),
    ("vit_base_patch16_224.dino", {"img_size": 48, "global_pool": "avg"}, 1),
    ("vit_base_patch32_224.augreg_in21k", {"img_size": 96}, 1),
    ("deit_small_patch16_224.fb_in1k", {"img_size": 48}, 1),
    ("deit3_small_patch16_224.fb_in1k", {"img_size": 48}, 1),  # LayerScale, positions of the patches alone
    ("vit_small_patch14_reg4_dinov2.lvd142m", {"img_size": 56}, 5),  # registers, LayerScale
    ("vit_medium_patch16_gap_240.sw_in12k", {"img_size": 48}, 0),  # no class token, a norm after pooling
    ("vit_base_patch32_clip_quickgelu_224.openai", {"img_size": 96}, 1),  # a norm before the blocks, another eps
    ("vit_base_patch16_siglip_224.webli", {"img_size": 48}, 0),  # pooled by attention
    ("beit3_base_patch16_224.in22k_ft_in1k", {"img_size": 48}, 1),  # norms within the blocks
    ("vit_base_patch16_radio_v3", {"img_size": 48}, 8),  # no final norm
]
STAND_INS = pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].split(".")[0])


def shape_of(case):
    name, changes, _ = case
    return Architecture(**{**lookup(name).architecture, **SMALL, **changes})


def timms(case, **changes):
    """timm's model of that name, without a head, and no two of its numbers alike."""
    shape = shape_of(case)
    torch.manual_seed(0)
    size_and_pool = {"img_size": shape.img_size, "global_pool": shape.global_pool, "fc_norm": shape.fc_norm}
    model = timm.create_model(case[0], num_classes=0, **{**SMALL, **size_and_pool, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1 if parameter.ndim == 1 else 0, 0.2)
    return model.requires_grad_(False)


def ours(case):
    model = vit.build(shape_of(case).model_dump())
    model.load_state_dict(timms(case).state_dict())
    return model.requires_grad_(False).eval()


def images(case, count=2):
    size = shape_of(case).img_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@STAND_INS
@torch.no_grad()
def test_the_model_is_timms_to_the_bit(case):
    wanted, found, pixels = timms(case), ours(case), images(case)
    assert torch.equal(vit.pooled(found, pixels), wanted(pixels))
    tokens = vit.tokens_before_norm(found, pixels)
    assert tokens.shape == (2, shape_of(case).tokens, 48)
    assert found.num_prefix_tokens == wanted.num_prefix_tokens == case[2]
    assert torch.equal(found.norm(tokens), wanted.forward_features(pixels))
    assert torch.equal(vit.block_outputs(found, pixels, [3])[0], tokens)


@STAND_INS
@torch.no_grad()
def test_a_student_copies_every_second_block_and_loads_in_timm_alone(case, tmp_path):
    teacher, shape, pixels = ours(case), shape_of(case), images(case)
    student = copy_weights(teacher, shape.model_dump(), 2).eval()
    # Through the teacher's own blocks: the student is these and nothing else.
    hidden = vit.embedded(teacher, pixels)
    for block in (teacher.blocks[1], teacher.blocks[3]):
        hidden = block(hidden)
    assert torch.equal(vit.tokens_before_norm(student, pixels), hidden)
    vit.save_weights(student, tmp_path / "student.safetensors", {})
    state = load_file(tmp_path / "student.safetensors")
    plain = timms(case, depth=2)
    plain.load_state_dict(state, strict=True)
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-5)
    close(plain(pixels), vit.pooled(student, pixels))
    again = VisionTransformer(**{**vit.timm_arguments(shape.model_dump()), "depth": 2}).eval()
    again.load_state_dict(state, strict=True)
    close(again(pixels), plain(pixels))
    loaded = vit.load_student(shape.model_dump(), tmp_path / "student.safetensors")
    close(vit.pooled(loaded, pixels), plain(pixels))


@STAND_INS
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("targets", ["enhanced", "qv"])
@torch.no_grad()
def test_adapters_start_as_the_plain_model_and_merge_into_one(case, kind, targets):
    pixels = images(case)
    plain = vit.pooled(ours(case), pixels)
    model = add_lora(ours(case), 4, targets, kind).eval()
    torch.testing.assert_close(vit.pooled(model, pixels), plain, rtol=1e-4, atol=1e-4)
    for name, parameter in model.named_parameters():
        if ".B." in name:
            parameter.normal_(std=0.05)
    adapted = vit.pooled(model, pixels)
    assert not torch.allclose(adapted, plain, atol=1e-3)
    merged = merge(model)
    torch.testing.assert_close(vit.pooled(merged, pixels), adapted, rtol=1e-4, atol=1e-4)
    assert set(merged.state_dict()) == set(ours(case).state_dict())


@STAND_INS
def test_the_cache_holds_every_token(case, array_index, tmp_path):
    shape, teacher = shape_of(case), ours(case)
    recipe = CacheRecipe(
        teacher="t", corpus="c", architecture=shape, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0, views=2, low=0, high=100,
        revision=1,
    )  # fmt: skip
    write_shard(tmp_path / "0.h5", array_index, [0, 1, 2], teacher, "ab", recipe)
    crops, tokens = CacheReader([tmp_path / "0.h5"], recipe.of_all_shards(), "ab").read([0, 2], 1)
    assert tokens.shape == (2, shape.tokens, 48)
    with torch.no_grad():
        inputs = vit.normalise(torch.from_numpy(crops), recipe.input.mean, recipe.input.std)
        wanted = vit.tokens_before_norm(teacher, inputs)
    torch.testing.assert_close(torch.from_numpy(tokens).float(), wanted, rtol=2e-3, atol=2e-2)


@STAND_INS
def test_every_method_that_the_config_allows_takes_a_step(case, distill_recipe):
    """The config's own rules (config.Config._unfit) say which."""
    shape, teacher, pixels = shape_of(case), ours(case), images(case)
    kinds = {"deit": DeiT, "minivit": MiniViT, "minivit_depth": MiniViT, "dmae": DMAE}
    taken = set()
    for name, method in METHODS.items():
        random_pool = method.start == "random" and shape.global_pool == "map"
        no_class_token = name.startswith("deit") and (shape.global_pool != "token" or not shape.class_token)
        norm_within = name.startswith("minivit") and shape.scale_attn_norm
        if method.trains == "nothing" or method.reads_labels or random_pool or no_class_token or norm_within:
            continue
        recipe = distill_recipe(method=name, architecture=shape.model_dump())
        objective = kinds.get(name, TokenObjective)(teacher, recipe)
        objective.start_epoch(0, 0)
        with torch.no_grad():
            tokens = vit.tokens_before_norm(teacher, pixels)
        step = objective(pixels, tokens, None)
        step.loss.backward()
        assert torch.isfinite(step.loss) and step.student.shape == step.teacher.shape == (2, 48), name
        trained = [p for p in objective.student.parameters() if p.grad is not None]
        assert trained and all(torch.isfinite(p.grad).all() for p in trained), name
        exported = objective.exported()
        assert torch.isfinite(vit.pooled(exported, pixels)).all()
        taken.add(name)
    assert {"weco_kd", "wecolora", "top_kd"} <= taken


@STAND_INS
@torch.no_grad()
def test_a_rollout_is_of_the_patches_alone(case):
    shape = shape_of(case)
    if not shape.class_token:
        pytest.skip("refused by the config: no class token")
    model = ours(case)
    found = attentions(model, images(case))
    assert len(found) == 4 and found[0].shape == (2, 3, shape.tokens, shape.tokens)
    maps = rollout(found, prefix=model.num_prefix_tokens)
    assert maps.shape == (2, (shape.img_size // shape.patch_size) ** 2) and maps.max() == 1


@STAND_INS
def test_counts_are_of_the_model_that_is_built(case):
    shape = shape_of(case)
    found = counts(shape, StudentShape(method="top_kd", r=2))
    assert found["parameters"] == found["trained"] == sum(p.numel() for p in timms(case, depth=2).parameters())
    assert bytes_per_view(shape) == shape.tokens * 48 * 2 + shape.img_size**2 * 3


def test_every_model_of_the_table_is_built_as_timm_builds_it():
    """Names and shapes of the parameters, without memory for them; a sample, a model of each kind of shape."""
    from wecolora.config.timm_catalogue import table

    seen: list[set[str]] = []
    for name, entry in table()["models"].items():
        kind = entry["architecture"].keys() - {"img_size", "embed_dim", "depth", "num_heads"}
        if kind in seen:
            continue
        seen.append(kind)
        with torch.device("meta"):
            wanted = timm.create_model(name, num_classes=0, depth=2).state_dict()
            found = vit.build(Architecture(**entry["architecture"]).model_dump(), depth=2).state_dict()
        assert {key: tensor.shape for key, tensor in found.items()} == {key: t.shape for key, t in wanted.items()}, name
    assert len(seen) > 20
