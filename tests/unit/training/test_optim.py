"""Optimisers and schedule: against hand-made numbers, AdamW's own formula and timm's LARS."""

import math
from itertools import pairwise

import pytest
import torch
from timm.optim import Lars
from torch import nn

from wecolora.models import vit
from wecolora.models.lora import add_lora
from wecolora.training.optim import LARS, adamw, set_lr, warmup_cosine


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.0),
        (0.5, 0.25),
        (1, 0.5),
        (2, 1.0),
        (4, 0.5 * (1 + math.cos(math.pi / 4))),
        (6, 0.5),
        (10, 0.0),
    ],
)
def test_ten_epochs_with_two_of_warmup_follow_the_recipe(step, factor):
    assert warmup_cosine(step, 2, 10) == pytest.approx(factor, abs=1e-12)


def test_without_warmup_the_schedule_starts_at_the_top():
    assert warmup_cosine(0, 0, 10) == 1
    assert warmup_cosine(5, 0, 10) == pytest.approx(0.5)


def test_the_schedule_rises_to_one_and_falls_without_a_jump():
    factors = [warmup_cosine(step / 100, 3, 9) for step in range(901)]
    assert max(factors) == factors[300] == 1
    assert factors[:301] == sorted(factors[:301])
    assert factors[300:] == sorted(factors[300:], reverse=True)
    assert max(abs(b - a) for a, b in pairwise(factors)) < 0.004


def test_weight_decay_spares_vectors_and_reaches_matrices(tiny_architecture):
    model = vit.build(tiny_architecture)
    optimiser = adamw(model.parameters(), 0.05)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        exempt = name.endswith("bias") or "norm" in name
        assert decay[id(parameter)] == (0.0 if exempt else 0.05), name


def test_a_and_b_decay_and_nothing_frozen_is_optimised(tiny_architecture):
    model = add_lora(vit.build(tiny_architecture), 4)
    optimiser = adamw(model.parameters(), 0.05)
    (group,) = optimiser.param_groups
    assert group["weight_decay"] == 0.05
    assert {id(p) for p in group["params"]} == {
        id(p) for name, p in model.named_parameters() if ".A." in name or ".B." in name
    }


def test_adamw_takes_the_steps_of_its_formula_with_betas_09_and_095():
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))
    optimiser = adamw([matrix, vector], 0.1)
    expected = [p.detach().double().clone() for p in (matrix, vector)]
    first = [torch.zeros_like(p) for p in expected]
    second = [torch.zeros_like(p) for p in expected]
    for step in range(1, 5):
        lr = 0.01 * step
        set_lr(optimiser, lr)
        for i, (p, decay) in enumerate([(matrix, 0.1), (vector, 0.0)]):
            p.grad = torch.randn(p.shape)
            gradient = p.grad.double()
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.95 * second[i] + 0.05 * gradient**2
            scale = (second[i] / (1 - 0.95**step)).sqrt() + 1e-8
            expected[i] = expected[i] * (1 - lr * decay) - lr * first[i] / (1 - 0.9**step) / scale
        optimiser.step()
    torch.testing.assert_close(matrix.double(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vector.double(), expected[1], rtol=1e-5, atol=1e-6)


def test_adamw_does_not_move_before_its_learning_rate_is_set():
    parameter = nn.Parameter(torch.ones(2, 2))
    optimiser = adamw([parameter], 0.5)
    parameter.grad = torch.ones(2, 2)
    optimiser.step()
    assert torch.equal(parameter, torch.ones(2, 2))


def test_lars_takes_timms_steps_on_matrices_and_momentum_sgds_on_vectors():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(5, 7)), nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2, 3, 4))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    optimiser = LARS(ours, momentum=0.9, trust=0.001)
    lars = Lars([theirs[0], theirs[2]], lr=1.0, momentum=0.9, trust_coeff=0.001, weight_decay=0, always_adapt=True)
    sgd = torch.optim.SGD([theirs[1]], lr=1.0, momentum=0.9)
    start = ours[0].detach().clone()
    for step in range(8):
        set_lr(optimiser, 0.0 if step == 0 else 3.0 / step)
        for other in (lars, sgd):
            set_lr(other, 0.0 if step == 0 else 3.0 / step)
        for p, other_p in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape) * (step + 1)
            other_p.grad = p.grad.clone()
        for o in (optimiser, lars, sgd):
            o.step()
        for p, other_p in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, other_p, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(ours[0], start, atol=1e-3)


def test_lars_starts_a_zero_matrix_with_a_plain_step():
    matrix = nn.Parameter(torch.zeros(2, 2))
    optimiser = LARS([matrix], lr=0.5)
    matrix.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    optimiser.step()
    assert torch.equal(matrix, -0.5 * matrix.grad)


def test_lars_with_weight_decay_scales_the_decayed_gradient_of_matrices_only():
    matrix, vector = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([3.0, 4.0]))
    optimiser = LARS([matrix, vector], lr=1.0, weight_decay=0.5, trust=0.01)
    matrix.grad, vector.grad = torch.tensor([[0.5, -2.0]]), torch.tensor([0.5, -2.0])
    optimiser.step()
    # gradient + 0.5 w = (2, 0); |w| = 5, |update| = 2: ratio 0.01 * 5 / 2
    torch.testing.assert_close(matrix, torch.tensor([[3.0 - 0.025 * 2, 4.0]]))
    torch.testing.assert_close(vector, torch.tensor([2.5, 6.0]))


def test_lars_leaves_a_parameter_without_gradient_alone():
    parameter = nn.Parameter(torch.ones(2, 2))
    LARS([parameter], lr=1.0).step()
    assert torch.equal(parameter, torch.ones(2, 2))
