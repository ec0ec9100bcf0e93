"""Attention rollout: the attention, the arithmetic, the figure."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from tests.markup import NASTY
from wecolora.config.recipes import ArtifactRecipe
from wecolora.core.errors import BadInput
from wecolora.data.images import Index
from wecolora.models import vit
from wecolora.results import rollout as module
from wecolora.results.rollout import (
    attentions,
    clearest,
    draw_rollout,
    examples,
    overlay,
    rollout,
    transition,
    write_rollout,
)

RECIPE = ArtifactRecipe(
    name="figure3",
    title="Figure 3",
    caption="Rollout.",
    rows=[],
    x=None,
    datasets={"photos": "Photos"},
    teachers={"sup": "ViT"},
    methods=["weco_kd", "wecolora"],
    revision=1,
)


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_attentions(blocks=3, batch=2, heads=2, tokens=5):
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(blocks, batch, heads, tokens, tokens, generator=generator, dtype=torch.float64)
    return list(logits.softmax(dim=-1))


# Attention


def test_attention_is_that_of_the_weights(tiny_teacher, images):
    model = tiny_teacher.double()
    found = attentions(model, images)
    heads, width = 2, 16
    entering = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    inputs = [entering, *vit.block_outputs(model, images, range(len(model.blocks)))[:-1]]
    assert len(found) == len(model.blocks) == 4
    for attention, hidden, block in zip(found, inputs, model.blocks, strict=True):
        weight, bias = block.attn.qkv.weight.numpy(), block.attn.qkv.bias.numpy()
        tokens = block.norm1(hidden).numpy()
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            query, key = (
                tokens @ weight[start : start + 32][part].T + bias[start : start + 32][part] for start in (0, 32)
            )
            scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(width))
            expected = scores / scores.sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(attention[:, head].numpy(), expected, atol=1e-12)


def test_the_model_is_left_as_it_was(tiny_teacher, images):
    model = tiny_teacher.double()
    for number, block in enumerate(model.blocks):
        block.attn.fused_attn = number % 2 == 0
    before = model(images)
    during = []
    with_hook = model.register_forward_hook(lambda module, inputs, output: during.append(output))
    attentions(model, images)
    with_hook.remove()
    torch.testing.assert_close(during[0], before, rtol=0, atol=1e-12)
    with pytest.raises(AssertionError, match="height"):  # timm refuses the size
        attentions(model, images[..., :8, :8])
    assert [block.attn.fused_attn for block in model.blocks] == [True, False, True, False]
    assert not any(block.attn.attn_drop._forward_hooks for block in model.blocks)
    assert torch.equal(model(images), before)


def test_attention_is_taken_before_dropout_and_without_gradients(tiny_architecture, images):
    model = vit.build({**tiny_architecture, "attn_drop_rate": 0.5}).double().train()
    for attention in attentions(model, images):
        assert not attention.requires_grad
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, 2, 5, dtype=torch.float64))


# Rollout


def test_an_example_worked_by_hand():
    first = [
        [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]],
        [[0.2, 0.45, 0.35], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1]],
    ]
    second = [
        [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.05, 0.05, 0.9]],
        [[0.05, 0.35, 0.6], [0.3, 0.2, 0.5], [0.25, 0.15, 0.6]],
    ]
    blocks = [torch.tensor([heads], dtype=torch.float64) for heads in (first, second)]
    # Five of nine entries stay: 0.8 0.6 0.6 0.5 0.45 of the first block; 0.9 0.7 0.5 0.5 0.4 of the second, and its
    # 0.1, class to class.
    step1 = [[10 / 13, 3 / 13, 0], [0, 1, 0], [0, 1 / 3, 2 / 3]]
    step2 = [[11 / 18, 0, 7 / 18], [5 / 24, 14 / 24, 5 / 24], [0, 0, 1]]
    for block, step in zip(blocks, (step1, step2), strict=True):
        np.testing.assert_allclose(transition(block, 0.5)[0].numpy(), step, atol=1e-15)
    # The class token's row of step2 @ step1 is (110/234, 190/702, 182/702).
    np.testing.assert_allclose(rollout(blocks, keep=0.5).numpy(), [[1, 182 / 190]], atol=1e-15)


def test_keeping_all_is_plain_rollout():
    blocks = random_attentions()
    for image in range(2):
        joint = np.eye(5)
        for block in blocks:
            step = np.zeros((5, 5))
            for query in range(5):
                for key in range(5):
                    step[query, key] = max(block[image, head, query, key].item() for head in range(2)) + (query == key)
            joint = np.diag(1 / step.sum(axis=1)) @ step @ joint
        expected = joint[0, 1:] / joint[0, 1:].max()
        np.testing.assert_allclose(rollout(blocks, keep=1)[image].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 1])
def test_rows_sum_to_one(keep):
    for block in random_attentions():
        step = transition(block, keep)
        torch.testing.assert_close(step.sum(dim=-1), torch.ones(2, 5, dtype=torch.float64), rtol=0, atol=1e-14)
        assert (step >= 0).all()


def test_the_highest_share_is_kept_of_each_image():
    (block,) = random_attentions(blocks=1, tokens=10)
    for image in range(2):
        kept = (transition(block, 0.1)[image] - torch.eye(10, dtype=torch.float64)).abs()
        joined = block[image].amax(dim=0)
        off_diagonal = joined.masked_fill(torch.eye(10, dtype=torch.bool), -1)
        highest = joined.flatten().sort(descending=True).values[:10]
        expected = {divmod(place, 10) for place in range(100) if off_diagonal.flatten()[place] >= highest[-1]}
        assert {(row, column) for row, column in kept.nonzero().tolist() if row != column} == expected


def test_class_to_class_is_always_kept():
    block = torch.full((1, 1, 4, 4), 0.2, dtype=torch.float64)
    block[0, 0, 0] = torch.tensor([0.05, 0.05, 0.05, 0.85])
    # Highest 0.85 alone: row (0.05 + 1, 0, 0, 0.85) / 1.9.
    np.testing.assert_allclose(transition(block, 1 / 16)[0, 0].numpy(), [1.05 / 1.9, 0, 0, 0.85 / 1.9])


def test_images_do_not_mix():
    blocks = random_attentions()
    together = rollout(blocks, keep=0.3)
    for image in range(2):
        assert torch.equal(together[image], rollout([block[image : image + 1] for block in blocks], keep=0.3)[0])
        assert together[image].max() == 1


def test_equal_attention_is_equal_everywhere():
    blocks = [torch.full((1, 2, 5, 5), 0.2)] * 3
    torch.testing.assert_close(rollout(blocks), torch.ones(1, 4))


def test_prefix_tokens_are_no_patches():
    blocks = random_attentions()
    whole = rollout(blocks, keep=1, prefix=1)
    registers = rollout(blocks, keep=1, prefix=3)
    assert registers.shape == (2, 2)
    torch.testing.assert_close(registers, whole[:, 2:] / whole[:, 2:].amax(dim=1, keepdim=True))


def test_no_attention_on_patches_is_zero():
    block = torch.tensor([[[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]]])
    assert torch.equal(rollout([block, block]), torch.zeros(1, 2))


# Which images


def stripes(contrast, colour=(1, 1, 1)):
    """8 x 8 pixels: columns that are darker and lighter than 100 by that much, in a colour."""
    signs = np.tile([-1, 1], (8, 4))[..., None]
    return (100 + contrast * signs * np.array(colour)).astype(np.uint8)


def test_the_images_of_the_most_contrast_are_shown_one_a_class():
    pixels = np.stack([stripes(contrast) for contrast in (0, 40, 90, 80, 30)])
    classes = ["a", "b", "c", "c", "a"]
    assert clearest(pixels, classes, 3) == [2, 1, 4]
    assert clearest(pixels, classes, 4) == [2, 1, 4, 3]  # a second of a class, where there are no more
    assert clearest(pixels, classes, 9) == [2, 1, 4, 3, 0]
    assert clearest(pixels, [0, 1, 2, 3, 4], 3) == [2, 3, 1]
    assert clearest(pixels[[1, 1, 1]], "abc", 2) == [0, 1]  # level: in the order given


def test_contrast_is_of_grey_levels():
    """Red and green against each other by 0.587 / 0.299: many colours, one grey; the same of blue alone: some."""
    equal = stripes(50, (1, -0.299 / 0.587, 0))
    assert clearest(np.stack([equal, stripes(10), stripes(100, (0, 0, 1))]), "abc", 3) == [2, 1, 0]


# Figure


@pytest.fixture
def drawn():
    """Three images of 8 x 8 pixels and maps of 2 x 2 patches that look at one patch each."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    return pixels, ["cat", "a very long name of a dog", "cat"], {"A": np.eye(4)[:3], "B": np.eye(4)[[3, 2, 1]]}


def test_examples_are_named_by_all_their_labels_and_are_no_more_than_there_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    index = Index(
        name="tags",
        root=str(tmp_path),
        classes=["cat", "dog", "owl"],
        multilabel=True,
        ids=["a", "b", "c", "d"],
        paths=["images.npy"] * 4,
        offsets=[0, 1, 2, 3],
        labels=[[0], [0, 2], [], [1]],
        split=["train", "test", "test", "test"],
    )
    shown, names = examples(index, 9, 16)
    assert sorted(names) == ["cat, owl", "dog"]
    np.testing.assert_array_equal(shown[names.index("dog")], pixels[3])
    with pytest.raises(BadInput, match="data set tags: no test image has a label"):
        examples(dataclasses.replace(index, labels=[[0], [], [], []]), 2, 16)


def test_names_and_title_are_drawn_as_they_are_typed(drawn, tmp_path, monkeypatch):
    pixels, _, maps = drawn
    figures = []
    monkeypatch.setattr(module, "draw_rollout", lambda *given: figures.append(draw_rollout(*given)) or figures[0])
    files = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "png", "pdf")]
    write_rollout(pixels, [NASTY, r"$\foo$", "_b"], maps, RECIPE.model_copy(update={"title": r"$\foo$"}), *files)
    assert not any(text.get_parse_math() for text in figures[0].findobj(Text))
    labels = [axes.get_ylabel() for axes in figures[0].axes[:9:3]]
    assert "".join(labels[0].split()) == "".join(NASTY.split()) and labels[1:] == [r"$\foo$", "_b"]


def test_the_overlay_is_brightest_where_attention_lies(drawn):
    pixels, _, maps = drawn
    added = overlay(pixels, maps["A"]) - overlay(pixels, np.zeros((3, 4)))
    for image, (top, left) in enumerate([(0, 0), (0, 4), (4, 0)]):
        gain = added[image].sum(axis=-1)
        corner = gain[top : top + 4, left : left + 4].mean()
        assert corner > 2 * (gain.sum() - 16 * corner) / 48
        # Bilinear: between the centres of two patches, no step.
        assert np.abs(np.diff(gain, axis=0)).max() < 0.5 * gain.max()
    both = overlay(pixels, maps["A"])
    assert both.min() >= 0 and both.max() <= 1


def test_the_overlay_still_shows_the_image(drawn):
    pixels, _, maps = drawn
    lighter = overlay(np.full_like(pixels, 200), maps["A"]) - overlay(np.full_like(pixels, 100), maps["A"])
    np.testing.assert_allclose(lighter, 0.3 * 100 / 255)


def test_the_figure_has_a_row_an_image_and_a_column_a_label(drawn):
    pixels, names, maps = drawn
    figure = draw_rollout(pixels, names, maps, RECIPE)
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    assert [one.get_title() for one in axes[0]] == ["Image", "A", "B"]
    assert [one.get_ylabel().replace("\n", " ") for one in axes[:, 0]] == names
    for row in range(3):
        shown = [one.get_images()[0].get_array() for one in axes[row]]
        np.testing.assert_array_equal(shown[0], pixels[row])
        for picture, label in zip(shown[1:], maps, strict=True):
            np.testing.assert_array_equal(picture, overlay(pixels, maps[label])[row])


def test_the_csv_has_the_maps(drawn, tmp_path):
    pixels, names, maps = drawn
    files = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "png", "pdf")]
    write_rollout(pixels, names, maps, RECIPE, *files)
    with open(files[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 4
    for row in rows:
        image, patch = int(row["image"]), 2 * int(row["row"]) + int(row["column"])
        assert row["name"] == names[image] and float(row["attention"]) == maps[row["label"]][image, patch]
    assert len({(row["image"], row["label"], row["row"], row["column"]) for row in rows}) == len(rows)


def test_files_are_the_same_each_time(drawn, tmp_path, monkeypatch):
    files = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "png", "pdf")]
    write_rollout(*drawn, RECIPE, *files)
    first = [path.read_bytes() for path in files]
    assert first[1].startswith(b"\x89PNG") and first[2].startswith(b"%PDF-") and b"FontFile2" in first[2]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    write_rollout(*drawn, RECIPE, *files)
    assert [path.read_bytes() for path in files] == first
    assert set(tmp_path.iterdir()) == set(files)
