"""The computation study: counts of ViT-B as recipes.md, section 3, gives them, and what is timed."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from wecolora import computation
from wecolora.computation import bytes_per_view, counts, parameters, speed, write_counts, write_speed
from wecolora.lora import add_lora
from wecolora.recipes import Architecture, ComputationRecipe, StudentShape
from wecolora.vit import build, pooled

VIT_B = Architecture()


@pytest.mark.parametrize(
    ("depth", "backbone", "linear", "with_attention"),
    [(12, 85_798_656, 16.85, 17.56), (6, 43_271_424, 8.48, 8.84), (4, 29_095_680, 5.69, 5.93)],
)
def test_vit_b_counts_as_recipes_md_does(depth, backbone, linear, with_attention):
    found = counts(VIT_B, depth)
    assert (found["blocks"], found["parameters"], found["trained"]) == (depth, backbone, 0)
    assert round(found["macs"] / 1e9, 2) == linear
    assert round(found["macs_with_attention"] / 1e9, 2) == with_attention


@pytest.mark.parametrize(("method", "k", "trained"), [("wecolora", 128, 10_616_832), ("weco_lora_qv", 64, 1_179_648)])
def test_adapters_count_in_training_alone(method, k, trained):
    found = counts(VIT_B, 6, method, k)
    assert (found["parameters"], found["trained"]) == (43_271_424, trained)
    assert round(found["macs"] / 1e9, 2) == 8.48
    if method == "wecolora":
        assert round(found["training_macs"] / 1e9, 2) == 10.57
        assert round(found["training_macs_with_attention"] / 1e9, 2) == 10.93


def test_distillation_without_adapters_trains_everything():
    found = counts(VIT_B, 4, "weco_kd")
    assert found["trained"] == found["parameters"] == 29_095_680
    assert found["training_macs"] == found["macs"]


def test_macs_are_those_of_the_matrices_counted_by_hand(tiny_architecture):
    """2 x 2 patches of 8 x 8 and a class token: T = 5 tokens of width d = 32, MLP 4 d."""
    architecture = Architecture.model_validate(tiny_architecture)
    d, tokens, patches = architecture.embed_dim, 5, 4
    block = tokens * (3 * d * d + d * d + 2 * 4 * d * d)
    found = counts(architecture, 2)
    assert found["macs"] == patches * 3 * 8 * 8 * d + 2 * block
    assert found["macs_with_attention"] == found["macs"] + 2 * 2 * tokens * tokens * d


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
        students=[StudentShape(method=method, r=r, k=k) for method, r, k in students],
        batch=4,
        revision=1,
    )


def test_the_table_has_the_teacher_and_each_student(tiny_architecture, tmp_path):
    wanted = recipe(tiny_architecture, [("weco_kd", 2, None), ("wecolora", 2, 4)])
    write_counts(wanted, tmp_path / "c.csv", tmp_path / "c.md")
    table = pd.read_csv(tmp_path / "c.csv")
    assert list(table["method"]) == ["teacher", "weco_kd", "wecolora"]
    assert list(table["blocks"]) == [tiny_architecture["depth"], *[tiny_architecture["depth"] // 2] * 2]
    lines = (tmp_path / "c.md").read_text().splitlines()
    assert lines[0] == "**Study.** Of small models."
    assert [line.split("|")[2].strip() for line in lines[4:]] == ["Teacher", "WeCo+KD", "WeCoLoRA"]
    assert not any(word in "".join(lines) for word in ("nan", "<NA>", "None"))


def test_speed_is_of_each_shape_once(tiny_architecture, tmp_path):
    wanted = recipe(tiny_architecture, [("weco_kd", 2, None), ("wecolora", 2, 4), ("wecolora", 4, 4)])
    told = []
    write_speed(wanted, tmp_path / "speed.csv", "cpu", told.append)
    table = pd.read_csv(tmp_path / "speed.csv")
    assert list(table["r"]) == [1, 2, 4] and list(table["batch"]) == [4, 4, 4] and len(told) == 3
    assert (table["latency_ms"] > 0).all() and (table["images_per_second"] > 0).all()
    assert table["peak_memory_mb"].isna().all()  # a GPU's alone


def test_what_is_timed_is_the_median_pass_after_the_warm_up(tiny_architecture, monkeypatch):
    clock, batches = iter(range(10**6)), []
    durations = iter([100.0] * computation.WARM_UP + [1.0, 9.0] * (computation.REPEATS // 2) + [2.0] * 100)
    now = 0.0

    def perf_counter():
        nonlocal now
        now += next(durations) if next(clock) % 2 else 0.0
        return now

    def recorded(model, pixels):
        batches.append(len(pixels))
        return pooled(model, pixels)

    monkeypatch.setattr(computation.time, "perf_counter", perf_counter)
    monkeypatch.setattr(computation, "pooled", recorded)
    found = speed(Architecture.model_validate(tiny_architecture), 2, 6, "cpu")
    assert found["latency_ms"] == 5000 and found["images_per_second"] == 3
    assert batches == [1] * (computation.WARM_UP + computation.REPEATS) + [6] * (
        computation.WARM_UP + computation.REPEATS
    )
    assert torch.is_grad_enabled()
