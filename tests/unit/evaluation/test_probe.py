"""Linear probing: its head, its metrics against scikit-learn, a reference that forwards the backbone every epoch."""

import json
import math

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from timm.optim import Lars
from torch import nn
from torch.nn import functional as F

from wecolora.config.recipes import ProbeJob, ProbeRecipe
from wecolora.core.errors import BadInput
from wecolora.evaluation import probe
from wecolora.evaluation.probe import _score, auc, largest_class, probe_head, targets, train_probe
from wecolora.models import vit
from workflow_scripts import probe as job

# LARS moves a matrix by about lr x trust of its norm: a trust of 0.02 learns in tens of steps what 0.001 does in 1000.
RECIPE = ProbeRecipe(epochs=8, warmup_epochs=2, batch=16, base_lr=16.0, trust=0.02, seed=3)


def clusters(n, classes=3, width=8, spread=0.3, seed=0):
    """Features around a centre for each class, with their class numbers."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % classes
    return centres[labels] + spread * torch.randn(n, width, generator=generator), labels


# The head


def test_the_head_is_a_batch_norm_without_parameters_and_a_linear_layer():
    norm, linear = probe_head(64, 50, seed=0)
    assert isinstance(norm, nn.BatchNorm1d) and not norm.affine and norm.eps == 1e-6
    assert isinstance(linear, nn.Linear) and linear.weight.shape == (50, 64)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05) and abs(linear.weight.mean()) < 0.001
    assert not linear.bias.any()


def test_the_seed_decides_the_heads_weights():
    one, again, other = (probe_head(8, 3, seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


# Targets and metrics


def test_targets_are_class_numbers_or_a_matrix_of_zeros_and_ones():
    numbers = targets([[2], [0]], 3, multilabel=False)
    assert numbers.dtype == torch.int64 and numbers.tolist() == [2, 0]
    matrix = targets([[2, 0], [], [1]], 3, multilabel=True)
    assert matrix.dtype == torch.float32 and matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@given(data=st.data(), n=st.integers(2, 40), levels=st.integers(1, 30))
@settings(deadline=None)
def test_auc_is_scikit_learns_ties_included(data, n, levels):
    def column(values):
        return data.draw(st.lists(values, min_size=n, max_size=n))

    logits = np.array([column(st.integers(-levels, levels)) for _ in range(3)], dtype=np.float32).T / 7
    labels = np.array([column(st.booleans()) for _ in range(3)], dtype=np.float32).T
    found = auc(torch.from_numpy(logits), torch.from_numpy(labels))
    for i in range(3):
        if labels[:, i].min() == labels[:, i].max():
            assert math.isnan(found[i])
        else:
            assert found[i] == pytest.approx(roc_auc_score(labels[:, i], logits[:, i]), abs=1e-12)


def test_several_labels_are_scored_by_the_mean_auc_of_the_classes_that_have_one():
    logits = torch.tensor([[0.1, 5.0, 3.0], [0.4, 5.0, 2.0], [0.35, 5.0, 1.0], [0.8, 5.0, 0.0]])
    labels = torch.tensor([[0.0, 1, 1], [0, 1, 0], [1, 1, 1], [1, 1, 0]])
    per_class, score = _score(logits, labels, 3)
    assert per_class[0] == pytest.approx(75) and math.isnan(per_class[1]) and per_class[2] == pytest.approx(75)
    assert score == pytest.approx(75)


def test_top1_and_recall_are_scikit_learns_and_an_absent_class_has_none():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 6, generator=generator), torch.randint(0, 5, (200,), generator=generator)
    answers = logits.argmax(1)
    per_class, score = _score(logits, labels, 6)
    assert score == pytest.approx(100 * accuracy_score(labels, answers), rel=1e-5)
    wanted = recall_score(labels, answers, labels=range(5), average=None)
    assert per_class[:5] == pytest.approx(100 * wanted, rel=1e-5)
    assert math.isnan(per_class[5])


def test_the_largest_class_is_its_share_of_the_images():
    assert largest_class(torch.tensor([0, 0, 0, 2])) == 75
    assert largest_class(torch.ones(4, 2)) == 0


# Training


def reference_probe(backbone, train, test, labels, classes, recipe):
    """As the paper trains it: the backbone runs in every step; timm's LARS and plain SGD; a schedule written out."""
    head = probe_head(32, classes, recipe.seed)
    lars = Lars([head[1].weight], lr=1.0, momentum=0.9, trust_coeff=recipe.trust, weight_decay=0, always_adapt=True)
    sgd = torch.optim.SGD([head[1].bias], lr=1.0, momentum=0.9)
    accuracy, losses = [], []
    steps = len(train) // recipe.batch
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch))
        head.train()
        running = 0.0
        for step in range(steps):
            at = epoch + step / steps
            factor = at / 2 if at < 2 else 0.5 * (1 + math.cos(math.pi * (at - 2) / (recipe.epochs - 2)))
            rows = order[step * recipe.batch : (step + 1) * recipe.batch]
            with torch.no_grad():
                features = backbone(train[rows])
            loss = F.cross_entropy(head(features), labels[0][rows])
            for optimiser in (lars, sgd):
                optimiser.param_groups[0]["lr"] = recipe.base_lr * recipe.batch / 256 * factor
                optimiser.zero_grad()
            loss.backward()
            lars.step()
            sgd.step()
            running += loss.item()
        losses.append(running / steps)
        head.eval()
        with torch.no_grad():
            accuracy.append(100 * (head(backbone(test)).argmax(1) == labels[1]).double().mean().item())
    return accuracy, losses


def test_a_probe_on_stored_features_equals_one_that_forwards_the_backbone_every_epoch(tiny_teacher):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(n, 3, 16, 16, generator=generator) for n in (70, 50)]
    labels = [torch.randint(0, 4, (len(part),), generator=generator) for part in images]
    for part, numbers in zip(images, labels, strict=True):
        part += 0.4 * numbers.view(-1, 1, 1, 1)  # a difference to learn
    with torch.no_grad():
        stored = [vit.pooled(tiny_teacher, part) for part in images]
    found = train_probe((stored[0], labels[0]), (stored[1], labels[1]), 4, RECIPE)
    accuracy, losses = reference_probe(tiny_teacher, *images, labels, 4, RECIPE)
    assert found.train_loss == pytest.approx(losses, rel=1e-4)
    assert found.history == pytest.approx(accuracy, abs=100 / 50 + 1e-6)  # an image whose two best classes tie
    assert losses[-1] < 0.9 * losses[0] and len(set(found.history)) > 1


def test_a_separable_problem_is_learnt():
    result = train_probe(clusters(120), clusters(60, seed=1), 3, RECIPE)
    assert result.metric == "top-1" and result.last == 100 and result.per_class == [100, 100, 100]
    assert result.train_loss[-1] < result.train_loss[0]
    assert (result.n_train, result.n_test) == (120, 60)


def test_features_that_say_nothing_are_not_learnt():
    features, labels = clusters(120, spread=0)
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(5))
    test = torch.randn(300, 8, generator=torch.Generator().manual_seed(6)), torch.arange(300) % 3
    assert train_probe((noise, labels), test, 3, RECIPE).last < 45


def test_several_labels_an_image_are_learnt_and_a_class_without_positives_has_no_score():
    def data(n, seed):
        features = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
        labels = torch.stack([features[:, 0] > 0, features[:, 1] > 0.3, torch.zeros(n, dtype=torch.bool)], 1)
        return features, labels.float()

    result = train_probe(data(200, 0), data(100, 1), 3, RECIPE)
    assert result.metric == "mean AUC" and result.per_class[2] is None
    assert result.last > 95 and result.last == pytest.approx(np.mean(result.per_class[:2]))


def test_several_labels_are_trained_by_binary_cross_entropy():
    """At the start every logit is about 0, so the loss is log 2; a cross-entropy would give log of the classes."""
    features = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    labels = (torch.rand(32, 5, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    result = train_probe((features, labels), (features, labels), 5, RECIPE.model_copy(update={"batch": 32}))
    assert result.train_loss[0] == pytest.approx(math.log(2), abs=0.01)


def test_the_best_epoch_is_the_first_of_the_best_and_the_last_is_the_last(monkeypatch):
    scores = iter([(([value] * 3), value) for value in (10.0, 40.0, 30.0, 40.0, 20.0)])
    monkeypatch.setattr(probe, "_score", lambda *_: next(scores))
    result = train_probe(clusters(60), clusters(6), 3, RECIPE.model_copy(update={"epochs": 5}))
    assert result.history == [10, 40, 30, 40, 20] and len(result.train_loss) == 5
    assert (result.best, result.best_epoch, result.last) == (40, 2, 20)
    assert result.per_class == [20, 20, 20]  # of the last epoch


def test_a_probe_whose_loss_is_no_number_is_refused():
    features = torch.full((8, 4), float("nan"))
    data = (features, torch.tensor([0, 1] * 4))
    with pytest.raises(BadInput, match=r"loss is no number in epoch 1; lower probe\.base_lr"):
        train_probe(data, data, 2, ProbeRecipe(epochs=2, warmup_epochs=0, batch=4))


def test_the_same_recipe_gives_the_same_numbers_and_another_seed_others():
    data = clusters(60, spread=2.5), clusters(60, spread=2.5, seed=1)
    one, again = (train_probe(*data, 3, RECIPE) for _ in range(2))
    assert one == again
    assert train_probe(*data, 3, RECIPE.model_copy(update={"seed": 4})).train_loss != one.train_loss


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [16, 16]), (False, [16, 16, 8])])
def test_an_incomplete_last_batch_is_dropped_or_used(drop_last, sizes, monkeypatch):
    seen = []
    forward = nn.Linear.forward

    def spy(self, x):
        if torch.is_grad_enabled():
            seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Linear, "forward", spy)
    train_probe(clusters(40), clusters(6), 3, RECIPE.model_copy(update={"drop_last": drop_last}))
    assert seen == sizes * RECIPE.epochs


@pytest.mark.parametrize("drop_last", [True, False])
def test_fewer_features_than_a_batch_are_one_batch_and_its_size_scales_the_learning_rate(drop_last):
    data = clusters(10), clusters(6)
    large = train_probe(*data, 3, RECIPE.model_copy(update={"batch": 512, "drop_last": drop_last}))
    assert large == train_probe(*data, 3, RECIPE.model_copy(update={"batch": 10}))


def test_a_last_batch_of_a_single_feature_is_left_out():
    """A batch norm cannot be trained on one."""
    result = train_probe(clusters(33), clusters(6), 3, RECIPE.model_copy(update={"drop_last": False}))
    assert result == train_probe(clusters(33), clusters(6), 3, RECIPE)


def test_a_test_set_on_which_no_class_has_an_auc_is_refused():
    train = clusters(32)[0], torch.eye(2)[torch.arange(32) % 2]
    with pytest.raises(BadInput, match="no class"):
        train_probe(train, (clusters(6)[0], torch.ones(6, 2)), 2, RECIPE)


@pytest.mark.parametrize(("n", "batch"), [(1, 512), (20, 1)])
def test_a_step_on_a_single_feature_is_refused(n, batch):
    with pytest.raises(BadInput, match=f"probe.batch = {batch} with {n} training images"):
        train_probe(clusters(n), clusters(6), 3, RECIPE.model_copy(update={"batch": batch}))


def test_classes_without_an_auc_are_told(tmp_path, caplog, monkeypatch):
    """The mean is of the others: whoever compares two data sets' has to know."""
    monkeypatch.setattr(job.job.log, "propagate", True)  # as in a process of its own
    rng = np.random.default_rng(0)
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], dtype=np.float32)
    with h5py.File(tmp_path / "tags.h5", "w") as file:
        file.attrs.update(dataset="tags", weights_sha256="0" * 64)
        file.create_dataset("classes", data=["some", "none", "every"], dtype=h5py.string_dtype())
        for split in ("train", "test"):
            file[f"{split}/targets"], file[f"{split}/features"] = targets, rng.normal(size=(4, 8)).astype(np.float32)
    recipe = ProbeJob(recipes={"tags": RECIPE.model_copy(update={"batch": 4})}, revision=1).canonical()
    with caplog.at_level("INFO"):
        job.main(
            about=[],
            features=[tmp_path / "tags.h5"],
            scores=[tmp_path / "tags.json"],
            provenance=tmp_path / "circumstances.json",
            recipe=recipe,
            teacher="one",
            run="teacher",
            threads=1,
        )
    score = json.loads((tmp_path / "tags.json").read_text())
    assert score["per_class"] == [score["last"], None, None]
    assert "WARNING: tags: the mean AUC leaves out 2 of 3 classes, which no test image has, or every one" in caplog.text
