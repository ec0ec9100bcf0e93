"""Copied blocks alone: the teacher's weights, and the loss that is recorded of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wecolora.models import vit
from wecolora.models.weight_copy import layers
from wecolora.training.fit import JobContext, fit
from wecolora.training.untrained import divided


@pytest.mark.parametrize("rule", ["paper", "authors_code", "first"])
def test_the_blocks_are_the_teachers_bit_by_bit(tiny_teacher, online_batches, distill_recipe, rule):
    recipe = distill_recipe(method="weight_copy", layers=rule)
    student, (record,) = fit(tiny_teacher, online_batches, recipe, JobContext(log=lambda line: None))
    for own, copied in zip(student.blocks, layers(4, 2, rule), strict=True):
        for name, tensor in own.state_dict().items():
            assert torch.equal(tensor, tiny_teacher.blocks[copied].state_dict()[name])
    assert not any(parameter.requires_grad for parameter in student.parameters()) and not student.training
    assert record["lr"] == 0.0


def test_the_recorded_loss_is_equation_5_over_every_fifth_image(tiny_teacher, online_batches, distill_recipe):
    recipe, lines = distill_recipe(method="weight_copy"), []
    student, (record,) = fit(tiny_teacher, online_batches, recipe, JobContext(log=lines.append))
    distances = []
    rows = [row for row in range(36) if row % 5 == 4]
    for at in range(0, len(rows), 6):  # the mean over batches of six, as in training
        pixels, _ = next(online_batches.read([rows[at : at + 6]], 0))
        images = vit.normalise(pixels, recipe.input.mean, recipe.input.std)
        with torch.no_grad():
            one, other = (vit.tokens_before_norm(model, images).numpy() for model in (student, tiny_teacher))
        distances.append(np.abs(one - other).mean())
    assert record["loss"] == pytest.approx(np.mean(distances), rel=1e-5)
    assert lines[0] == f"loss {record['loss']:.5f} over every fifth image"


@pytest.mark.parametrize(("images", "held"), [(1, [0]), (2, [1]), (4, [3]), (5, [4]), (12, [4, 9])])
def test_every_fifth_image_is_held_out_and_of_fewer_the_last(images, held):
    parts = divided(images, 3)
    assert [row for part in parts if part.held_out for row in part.rows] == held
    assert sorted(row for part in parts for row in part.rows) == list(range(images))
    assert max(len(part.rows) for part in parts) <= 3
