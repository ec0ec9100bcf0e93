"""The computation study: counts of ViT-B as recipes.md, section 3, gives them or by hand, and what is timed."""

from __future__ import annotations

import time

import pandas as pd
import pytest
import timm
import torch

from tests import markup
from tests.markup import NASTY
from wecolora.config.methods import METHODS
from wecolora.config.recipes import ComputationRecipe, StudentShape
from wecolora.config.teachers import Architecture
from wecolora.models.lora import add_lora
from wecolora.models.vit import build, load_student, save_weights
from wecolora.results import computation
from wecolora.results.computation import (
    bytes_per_view,
    counts,
    macs,
    parameters,
    saved,
    speed,
    write_counts,
    write_speed,
)
from wecolora.training.minivit import multiplexed

VIT_B = Architecture()
TEACHER = StudentShape(method="teacher")
D, TOKENS, PATCHES = 768, 197, 196
EMBEDDING = PATCHES * D * D  # a patch has 16 x 16 x 3 = 768 values
LAYERS = 12 * D * D  # of a block, a token: Q, K, V, O of d x d, two feed-forward layers of 4 d x d
HEAD = 1000 * (D + 1)


def shape(method, r=2, k=128):
    return StudentShape(method=method, r=r, k=k if "k" in METHODS[method].axes else None)


def attention(tokens, width=D):
    """Q K^T and the product with V, of a block."""
    return 2 * tokens * tokens * width


# The teacher, and what starts from its blocks


@pytest.mark.parametrize(
    ("student", "depth", "backbone", "linear", "with_attention"),
    [
        (TEACHER, 12, 85_798_656, 16.85, 17.56),
        (shape("wecolora"), 6, 43_271_424, 8.48, 8.84),
        (shape("weco_kd", r=3), 4, 29_095_680, 5.69, 5.93),
        (shape("top_kd", r=3), 4, 29_095_680, 5.69, 5.93),
        (shape("weco_dora"), 6, 43_271_424, 8.48, 8.84),
        (shape("dmae"), 6, 43_271_424, 8.48, 8.84),
    ],
    ids=lambda value: getattr(value, "method", None),
)
def test_vit_b_counts_as_recipes_md_does(student, depth, backbone, linear, with_attention):
    found = counts(VIT_B, student)
    assert (found["blocks"], found["parameters"], found["parameters_saved"]) == (depth, backbone, backbone)
    assert round(found["macs"] / 1e9, 2) == linear
    assert round(found["macs_with_attention"] / 1e9, 2) == with_attention


def test_a_teacher_is_not_trained():
    found = counts(VIT_B, TEACHER, 1000)
    assert not any(value for name, value in found.items() if name in computation.TRAINING)


@pytest.mark.parametrize(("method", "k", "trained"), [("wecolora", 128, 10_616_832), ("weco_lora_qv", 64, 1_179_648)])
def test_adapters_count_in_training_alone(method, k, trained):
    found = counts(VIT_B, shape(method, k=k))
    assert (found["parameters"], found["trained"], found["teacher_macs_with_attention"]) == (43_271_424, trained, 0)
    assert round(found["macs"] / 1e9, 2) == 8.48
    if method == "wecolora":
        assert round(found["training_macs"] / 1e9, 2) == 10.57
        assert round(found["training_macs_with_attention"] / 1e9, 2) == 10.93


@pytest.mark.parametrize("method", ["scratch_kd", "top_kd", "weco_kd"])
def test_distillation_without_adapters_trains_everything(method):
    found = counts(VIT_B, shape(method, r=3))
    assert found["trained"] == found["parameters"] == 29_095_680
    assert found["training_macs"] == found["macs"] and found["teacher_macs"] == 0


def test_dora_makes_its_weights_once_a_batch():
    """Beside WeCoLoRA's adapters: a magnitude an output row, and B A of every weight for the norms of their rows."""
    lora = counts(VIT_B, shape("wecolora"))
    assert counts(VIT_B, shape("weco_dora"))["trained"] == lora["trained"] + 6 * (3 + 1 + 4 + 1) * D
    norms = 6 * 128 * LAYERS
    for batch in (1, 128):
        found = counts(VIT_B, shape("weco_dora"), batch=batch)
        assert found["training_macs"] == lora["training_macs"] + norms // batch
    assert counts(VIT_B, shape("wecolora"), batch=128) == lora


def test_a_loss_after_every_block_runs_the_teacher_in_every_step():
    found, teacher = counts(VIT_B, shape("wecolora_blocks")), counts(VIT_B, TEACHER)
    assert found["teacher_macs"] == teacher["macs"]
    assert found["teacher_macs_with_attention"] == teacher["macs_with_attention"]
    assert found["training_macs"] == counts(VIT_B, shape("wecolora"))["training_macs"]


def test_macs_are_those_of_the_matrices_counted_by_hand(tiny_architecture):
    """2 x 2 patches of 8 x 8 and a class token: T = 5 tokens of width d = 32, MLP 4 d."""
    architecture = Architecture.model_validate(tiny_architecture)
    d, tokens, patches = architecture.embed_dim, 5, 4
    block = tokens * (3 * d * d + d * d + 2 * 4 * d * d)
    found = counts(architecture, shape("weco_kd"))
    assert found["macs"] == patches * 3 * 8 * 8 * d + 2 * block
    assert found["macs_with_attention"] == found["macs"] + 2 * 2 * tokens * tokens * d


# DeiT


def test_deit_of_all_blocks_is_timms_distilled_deit():
    with torch.device("meta"):
        published = timm.create_model("deit_base_distilled_patch16_224")
    found = counts(VIT_B, shape("deit_hard", r=1), 1000)
    assert found["trained"] == parameters(published)[0] == 87_338_192
    assert found["parameters"] == 87_338_192 - 2 * HEAD


@pytest.mark.parametrize("method", ["deit", "deit_hard", "deit_soft"])
def test_deit_has_a_token_more_and_in_two_forms_heads(method):
    found = counts(VIT_B, shape(method), 1000)
    heads = 0 if method == "deit" else 2
    assert found["parameters"] == found["parameters_saved"] == 43_271_424 + 2 * D  # the token and its position
    assert found["trained"] == found["parameters"] + heads * HEAD
    assert found["macs"] == EMBEDDING + 6 * 198 * LAYERS
    assert found["macs_with_attention"] == found["macs"] + 6 * attention(198)
    assert found["training_macs"] == found["macs"] + heads * 1000 * D
    assert found["teacher_macs"] == (1000 * D if heads else 0)  # its head, on cached tokens


# MiniViT

TRANSFORMS = 2 * 12 * 12  # 1 x 1 convolutions over the heads, an application
QKV = TOKENS * 3 * D * D  # taken a second time, of the last block
RELATIONS = 10 * TOKENS * TOKENS * D  # nine of Q, K and V, and the Gram matrix of the output


def test_shared_blocks_count_once_and_their_applications_each():
    found, teacher = counts(VIT_B, shape("minivit"), 1000), counts(VIT_B, TEACHER)
    assert found["blocks"] == 12
    assert found["parameters"] == 43_271_424 + 6 * 4 * D + 12 * TRANSFORMS
    assert round(found["trained"] / 1e6, 2) == 44.06 and found["trained"] == found["parameters"] + HEAD
    assert found["parameters_saved"] == 85_798_656 + 12 * TRANSFORMS
    assert found["macs"] == teacher["macs"] + 12 * TRANSFORMS * TOKENS**2
    assert found["macs_with_attention"] - found["macs"] == 12 * attention(TOKENS)
    assert found["training_macs"] == found["macs"] + QKV + 1000 * D
    assert found["teacher_macs"] == teacher["macs"] + QKV + 1000 * D
    assert found["teacher_macs_with_attention"] == found["teacher_macs"] + 12 * attention(TOKENS)
    # The losses compare relations of both.
    assert found["training_macs_with_attention"] == found["training_macs"] + 12 * attention(TOKENS) + 2 * RELATIONS


def test_blocks_applied_once_have_transforms_alone():
    found, plain = counts(VIT_B, shape("minivit_depth")), counts(VIT_B, shape("weco_kd"))
    assert found["blocks"] == 6
    assert found["parameters"] == found["parameters_saved"] == found["trained"] == 43_271_424 + 6 * TRANSFORMS
    assert found["macs"] == plain["macs"] + 6 * TRANSFORMS * TOKENS**2
    assert counts(VIT_B, shape("minivit_depth"), 1000)["trained"] == found["trained"] + HEAD


# DMAE


def test_dmae_trains_a_decoder_and_sees_a_quarter_of_the_patches():
    """The decoder of MAE: width 512, 8 blocks, 26.0 M parameters; 50 tokens enter the student, 197 the decoder."""
    found = counts(VIT_B, shape("dmae"))
    width, seen = 512, 50
    decoder = (D + 1) * width + width + 8 * (12 * width**2 + 13 * width) + 2 * width + (width + 1) * D
    assert round(decoder / 1e6, 1) == 26.0
    assert found["trained"] == 43_271_424 + decoder + D * (D + 1)  # and the projection of what is aligned
    student = EMBEDDING + 6 * seen * LAYERS + seen * D * D
    decoding = seen * D * width + TOKENS * (8 * 12 * width**2 + width * D)
    assert found["training_macs"] == student + decoding
    products = 6 * attention(seen) + 8 * attention(TOKENS, width)
    assert found["training_macs_with_attention"] == student + decoding + products
    assert found["teacher_macs"] == EMBEDDING + 9 * seen * LAYERS  # up to the block that is aligned
    assert found["teacher_macs_with_attention"] == found["teacher_macs"] + 9 * attention(seen)


# All


@pytest.mark.parametrize("method", METHODS)
def test_what_is_counted_is_what_a_run_would_save(method, tiny_architecture, tmp_path):
    architecture = Architecture.model_validate(tiny_architecture)
    student = shape(method, k=4) if METHODS[method].axes else TEACHER
    save_weights(saved(architecture, student, 5), tmp_path / "student.safetensors", {})
    loaded = load_student(tiny_architecture, tmp_path / "student.safetensors")
    found = counts(architecture, student, 5)
    assert found["parameters_saved"] == sum(p.numel() for p in loaded.parameters())
    assert found["blocks"] == len(loaded.blocks)


def test_what_happens_within_a_model_is_told_apart():
    """However its parts are called: as a whole, a part alone, a part of a part."""
    with torch.device("meta"):
        inner = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Sequential(torch.nn.Linear(5, 7)))
        outer = torch.nn.Linear(7, 2)
        x = torch.empty(1, 3)

    def work():
        inner[1][0](inner[0](x))
        return outer(inner(x)) @ torch.empty(2, 11, device="meta")

    outside, within = macs(work, inner)
    assert within.tolist() == [2 * (3 * 5 + 5 * 7)] * 2
    assert outside.tolist() == [7 * 2 + 2 * 11] * 2
    assert macs(work)[0].tolist() == (outside + within).tolist() and not macs(work)[1].any()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in inner.modules())


def test_a_shared_parameter_counts_once(tiny_teacher, tiny_architecture, distill_recipe):
    shared = multiplexed(tiny_teacher, distill_recipe(method="minivit"), [1, 3], 2)
    assert (
        parameters(shared)[0] == counts(Architecture.model_validate(tiny_architecture), shape("minivit"))["parameters"]
    )


def test_parameters_that_train_are_told_apart(tiny_architecture):
    model = add_lora(build(tiny_architecture), 4)
    adapters = sum(p.numel() for name, p in model.named_parameters() if ".A." in name or ".B." in name)
    assert parameters(model)[1] == adapters
    assert parameters(model)[0] == sum(p.numel() for p in build(tiny_architecture).parameters()) + adapters


def test_a_view_takes_its_tokens_and_its_crop():
    assert bytes_per_view(VIT_B) == 197 * 768 * 2 + 224 * 224 * 3


def recipe(tiny_architecture, students):
    return ComputationRecipe(
        title="Study",
        caption="Of small models.",
        teachers={"one": Architecture.model_validate(tiny_architecture)},
        labels={"one": "The one"},
        classes={"one": 5},
        students=[StudentShape(method=method, r=r, k=k) for method, r, k in students],
        batch=4,
        views=3,
        revision=1,
    )


def test_the_table_has_each_model(tiny_architecture, tmp_path):
    wanted = recipe(
        tiny_architecture, [("teacher", 1, None), ("weco_kd", 2, None), ("dmae", 2, None), ("wecolora", 2, 4)]
    )
    write_counts(wanted, tmp_path / "c.csv", tmp_path / "c.md")
    table = pd.read_csv(tmp_path / "c.csv")
    assert list(table["method"]) == ["teacher", "weco_kd", "dmae", "wecolora"]
    assert list(table["blocks"]) == [tiny_architecture["depth"], *[tiny_architecture["depth"] // 2] * 3]
    assert set(table["cache_bytes_per_view"]) == {5 * 32 * 2 + 16 * 16 * 3}
    assert set(table["cache_bytes_per_image"]) == {3 * (5 * 32 * 2 + 16 * 16 * 3)}
    lines = (tmp_path / "c.md").read_text().splitlines()
    assert lines[0] == "**Study.** Of small models."
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[2], *lines[4:])]
    assert [row[1] for row in cells[1:]] == ["Teacher", "WeCo+KD", "DMAE", "WeCoLoRA"]
    columns = {name: [row[place] for row in cells[1:]] for place, name in enumerate(cells[0])}
    assert [name for name, values in columns.items() if values[0] == ""] == [
        "r", "k", "trained (M)", "GMACs in training", "the teacher's"
    ]  # fmt: skip
    assert [bool(value) for value in columns["the teacher's"]] == [False, False, True, False]
    assert columns["KB an image (3 views)"] == ["3.3"] * 4
    assert not any(word in "".join(lines) for word in ("nan", "<NA>", "None"))


def test_the_markdown_shows_labels_as_they_were_typed_and_numbers_to_the_right(tiny_architecture, tmp_path):
    wanted = recipe(tiny_architecture, [("teacher", 1, None)])
    wanted = wanted.model_copy(update={"title": NASTY, "caption": NASTY, "labels": dict.fromkeys(wanted.labels, NASTY)})
    write_counts(wanted, tmp_path / "c.csv", tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text()
    assert markup.head(text) == f"{NASTY}. {NASTY}" and markup.cells(text)[1][:2] == [NASTY, "Teacher"]
    places = text.splitlines()[3].strip("|").split("|")
    assert [place.endswith(":") for place in places] == [False] * 2 + [True] * (len(places) - 2)


def test_speed_is_of_each_form_once(tiny_architecture, tmp_path):
    """DeiT's has a token more, MiniViT's have transforms and one of them more blocks; the others are plain."""
    plain = [("weco_kd", 2, None), ("wecolora", 2, 4), ("wecolora", 2, 8), ("dmae", 2, None)]
    others = [("deit_hard", 2, None), ("deit", 2, None), ("minivit", 2, None), ("minivit_depth", 2, None)]
    wanted = recipe(tiny_architecture, [("teacher", 1, None), *plain, *others, ("wecolora", 4, 4)])
    told = []
    write_speed(wanted, tmp_path / "speed.csv", "cpu", told.append)
    table = pd.read_csv(tmp_path / "speed.csv")
    assert list(zip(table["r"], table["blocks"], table["methods"], strict=True)) == [
        (1, 4, "teacher"),
        (2, 2, "weco_kd wecolora dmae"),
        (2, 2, "deit_hard deit"),
        (2, 4, "minivit"),
        (2, 2, "minivit_depth"),
        (4, 1, "wecolora"),
    ]
    assert list(table["batch"]) == [4] * 6 and len(told) == 6
    assert (table["latency_ms"] > 0).all() and (table["images_per_second"] > 0).all()
    assert table["peak_memory_mb"].isna().all()  # a GPU's alone


def test_what_is_timed_is_a_pass_without_gradients_on_all_threads():
    """A pass takes 20 ms at least; nobody knows how much more on a busy machine."""
    seen = set()

    def work():
        seen.add((torch.is_grad_enabled(), torch.get_num_threads()))
        time.sleep(0.02)

    threads = torch.get_num_threads()
    assert computation.median_seconds(work, 0.05) >= 0.02
    assert seen == {(False, threads)} and torch.is_grad_enabled()


def test_a_speed_is_of_one_image_and_of_a_batch(tiny_architecture, monkeypatch):
    batches = []
    monkeypatch.setattr(computation, "median_seconds", lambda work, seconds: work() or 0.5)
    monkeypatch.setattr(computation, "pooled", lambda model, pixels: batches.append(len(pixels)))
    found = speed(build(tiny_architecture), 16, 6, "cpu")
    assert batches == [1, 6]
    assert (found["latency_ms"], found["images_per_second"], found["peak_memory_mb"]) == (500, 12, None)
