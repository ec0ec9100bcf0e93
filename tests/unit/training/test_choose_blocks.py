"""Chosen blocks: the influence by its formula, a search's first step by scikit-learn, what is kept, and resuming."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error

from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.models import vit
from wecolora.models.weight_copy import copy_weights
from wecolora.training.calibrated import STRENGTHS
from wecolora.training.choose_blocks import choose_blocks
from wecolora.training.fit import JobContext, fit, with_blocks


@pytest.fixture
def recipe(distill_recipe):
    """Of a run whose images choose its blocks, in one view."""

    def make(layers="search", method="calibrated", **changes):
        return distill_recipe(method=method, layers=layers, **{"calibration_views": 1, "views": 1, **changes})

    return make


def quiet(**context):
    return JobContext(**{"log": lambda line: None, **context})


def streams(model, batches, recipe):
    """The stream before each block and after the last, (images x tokens, width) each, and the images held out."""
    pixels, _ = next(batches.read([list(range(batches.images))], 0))
    images = vit.normalise(pixels, recipe.input.mean, recipe.input.std).double()
    with torch.no_grad():
        found = [vit.embedded(model, images), *vit.block_outputs(model, images, range(len(model.blocks)))]
    return [stream.numpy() for stream in found]


@pytest.mark.parametrize("views", [1, 2])
def test_influence_is_what_a_block_turns_of_its_tokens(tiny_teacher, online_batches, recipe, views):
    teacher, wanted = copy.deepcopy(tiny_teacher).double(), recipe("influence", calibration_views=views, views=2)
    found = choose_blocks(teacher, online_batches, wanted, quiet())
    expected = np.zeros(4)
    for view in range(views):
        pixels, _ = next(online_batches.read([list(range(online_batches.images))], view))
        images = vit.normalise(pixels, wanted.input.mean, wanted.input.std).double()
        with torch.no_grad():
            seen = [vit.embedded(teacher, images), *vit.block_outputs(teacher, images, range(4))]
        for block, (before, after) in enumerate(itertools.pairwise(seen)):
            one, other = before.flatten(0, 1).numpy(), after.flatten(0, 1).numpy()
            cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
            expected[block] += (1 - cosine.mean()) / views
    np.testing.assert_allclose(found["influence"], expected, rtol=1e-6)
    strongest = np.argsort(-expected)
    assert found["kept"] == {str(depth): sorted(strongest[:depth].tolist()) for depth in (4, 3, 2, 1)}


def test_a_search_drops_what_the_block_before_takes_over_best(tiny_teacher, online_batches, recipe):
    """The first step, in float64: from the whole teacher nothing is corrected, since nothing is lacking."""
    teacher, wanted = copy.deepcopy(tiny_teacher).double(), recipe()
    found = choose_blocks(teacher, online_batches, wanted, quiet())
    hiddens = []
    for block in teacher.blocks:
        block.mlp.fc2.register_forward_hook(lambda _, given, out: hiddens.append(given[0].detach().numpy()))
    seen = streams(teacher, online_batches, wanted)
    held = np.arange(online_batches.images) % 5 == 4
    losses = {}
    for dropped in (1, 2, 3):
        hidden, lacking = hiddens[dropped - 1], seen[dropped + 1] - seen[dropped]
        used, aims = hidden[~held].reshape(-1, hidden.shape[-1]), lacking[~held].reshape(-1, lacking.shape[-1])
        test, test_aims = hidden[held].reshape(-1, hidden.shape[-1]), lacking[held].reshape(-1, lacking.shape[-1])
        errors = [(test_aims**2).mean()]
        for strength in STRENGTHS:
            model = Ridge(alpha=strength * len(used) * used.var(0).mean(), solver="cholesky").fit(used, aims)
            errors.append(mean_squared_error(test_aims, model.predict(test)))
        losses[str(dropped)] = min(errors) / seen[dropped + 1].reshape(-1, lacking.shape[-1]).var(0).mean()
    first = found["steps"][0]
    assert first["losses"] == pytest.approx(losses, rel=1e-5)
    assert str(first["dropped"]) == min(losses, key=losses.get)
    assert found["kept"]["3"] == [block for block in range(4) if block != first["dropped"]]


def test_the_blocks_of_a_depth_are_among_those_of_a_larger_one_and_the_first_stays(
    tiny_teacher, online_batches, recipe
):
    kept = choose_blocks(tiny_teacher, online_batches, recipe(), quiet())["kept"]
    assert list(kept) == ["4", "3", "2", "1"] and kept["4"] == [0, 1, 2, 3] and kept["1"] == [0]
    for more, fewer in zip("432", "321", strict=True):
        assert (
            set(kept[fewer]) < set(kept[more]) and len(kept[fewer]) == int(fewer) and sorted(kept[fewer]) == kept[fewer]
        )


def test_a_block_that_does_nothing_goes_first(tiny_teacher, online_batches, recipe):
    """Whatever the rule: the stream after it is the stream before it."""
    with torch.no_grad():
        for layer in (tiny_teacher.blocks[2].attn.proj, tiny_teacher.blocks[2].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    for rule in ("search", "influence"):
        assert choose_blocks(tiny_teacher, online_batches, recipe(rule), quiet())["kept"]["3"] == [0, 1, 3]


@pytest.mark.parametrize("after", [1, 5, 8])
def test_a_search_that_was_stopped_goes_on_to_the_same_blocks(tiny_teacher, online_batches, recipe, tmp_path, after):
    whole = choose_blocks(tiny_teacher, online_batches, recipe(), quiet())
    asked = iter(range(1000))
    stopped = quiet(checkpoint=Checkpoint(tmp_path, "run"), stopping=lambda: next(asked) >= after * 6)
    with pytest.raises(Stopped):
        choose_blocks(tiny_teacher, online_batches, recipe(), stopped)
    again = choose_blocks(tiny_teacher, online_batches, recipe(), quiet(checkpoint=Checkpoint(tmp_path, "run")))
    assert again == whole


@pytest.mark.parametrize("rule", ["search", "influence"])
@pytest.mark.parametrize("method", ["weight_copy", "calibrated", "wecolora"])
def test_fit_copies_the_blocks_that_were_chosen(tiny_teacher, online_batches, recipe, rule, method):
    wanted = recipe(rule, method, epochs=1)
    choice = choose_blocks(tiny_teacher, online_batches, wanted, quiet())
    listed = wanted.model_copy(update={"layers": choice["kept"]["2"]})
    assert with_blocks(wanted, choice) == listed
    one, _ = fit(tiny_teacher, online_batches, wanted, quiet())
    other, _ = fit(tiny_teacher, online_batches, listed, quiet())
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    if method == "weight_copy":
        architecture = wanted.input.architecture.model_dump()
        expected = copy_weights(tiny_teacher, architecture, 2, choice["kept"]["2"]).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in one.state_dict().items())


def test_a_search_needs_an_image_to_hold_out(tiny_teacher, online_batches, recipe):
    online_batches.images = 1
    with pytest.raises(BadInput, match="two images"):
        choose_blocks(tiny_teacher, online_batches, recipe(), quiet())
