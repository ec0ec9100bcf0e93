"""One call for every method: what the entry names is what makes the student, wherever it runs."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType

import pytest
import torch

from wecolora.config.methods import METHODS
from wecolora.models.weight_copy import copy_weights
from wecolora.training.fit import JobContext, fit


def test_in_a_notebook_four_words_are_enough(tiny_teacher, online_batches, distill_recipe, capsys):
    recipe = distill_recipe(method="weco_kd", epochs=2)
    student, history = fit(tiny_teacher, online_batches, recipe)
    assert len(student.blocks) == 2 and len(history) == 2 and history[1]["loss"] < history[0]["loss"]
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == ["the loss has these terms", "epoch 1/2", "epoch 2/2"]


def test_a_method_may_be_fitted_by_other_means_than_gradients(
    tiny_teacher, online_batches, distill_recipe, monkeypatch
):
    """A function that its entry names is given all that fit is given, and its answer is fit's."""
    given = []

    def copied(*arguments):
        given.append(arguments)
        return copy_weights(tiny_teacher, distill_recipe().input.architecture.model_dump(), 2), [{"error": 0.5}]

    module = ModuleType("wecolora.training.copied")
    module.copied = copied
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = dataclasses.replace(METHODS["weco_kd"], fitted_by="training.copied:copied")
    monkeypatch.setitem(METHODS, "copied", entry)
    recipe, context = distill_recipe(method="copied"), JobContext(device="cpu", workers=3)
    student, history = fit(tiny_teacher, online_batches, recipe, context)
    assert given == [(tiny_teacher, online_batches, recipe, context)]
    assert len(student.blocks) == 2 and history == [{"error": 0.5}] and not online_batches.calls


@pytest.mark.parametrize("method", ["dmae", "deit_hard"])
def test_labels_come_with_the_batches(headed_teacher, online_batches, distill_recipe, method):
    """One that reads none is not disturbed by them."""
    online_batches.labels = torch.arange(online_batches.images) % 3
    _, history = fit(headed_teacher, online_batches, distill_recipe(method=method, epochs=1))
    assert len(history) == 1
