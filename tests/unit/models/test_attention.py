"""Attention with transforms over its heads: timm's own at the start, equations 6 and 7 of MiniViT after it."""

import pytest
import torch
from timm.layers import Attention

from wecolora.models.attention import TransformedAttention


@pytest.fixture
def x():
    return torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def layer():
    """Three heads of width four, no two weights alike; the transforms are still the identity."""
    torch.manual_seed(1)
    layer = TransformedAttention(12, 3).double().requires_grad_(False)
    for parameter in (*layer.qkv.parameters(), *layer.proj.parameters()):
        parameter.normal_(std=0.5)
    return layer


def by_hand(layer, x):
    """Loops over images, heads and tokens."""
    heads, width = 3, x.shape[-1]
    size = width // heads
    out = torch.zeros_like(x)
    for image in range(len(x)):
        joined = x[image] @ layer.qkv.weight.T + layer.qkv.bias
        q, k, v = joined[:, :width], joined[:, width : 2 * width], joined[:, 2 * width :]
        scores = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores.append(torch.stack([(k[:, own] * row).sum(1) for row in q[:, own]]) / size**0.5)
        before, after = (transform.weight[:, :, 0, 0] for transform in (layer.before, layer.after))
        mixed = [sum(before[head, other] * scores[other] for other in range(heads)) for head in range(heads)]
        shares = [part.exp() / part.exp().sum(1, keepdim=True) for part in mixed]
        weights = [sum(after[head, other] * shares[other] for other in range(heads)) for head in range(heads)]
        attended = [weights[head] @ v[:, head * size : (head + 1) * size] for head in range(heads)]
        out[image] = torch.cat(attended, 1) @ layer.proj.weight.T + layer.proj.bias
    return out


@pytest.mark.parametrize("fused", [True, False])
def test_with_identity_transforms_it_is_timms_attention(layer, x, fused):
    plain = Attention(12, 3, qkv_bias=True).double()
    plain.fused_attn = fused
    missing, unexpected = plain.load_state_dict(layer.state_dict(), strict=False)
    assert missing == [] and set(unexpected) == {"before.weight", "after.weight"}
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("moved", [("before",), ("after",), ("before", "after")])
def test_with_other_transforms_it_is_equations_6_and_7(layer, x, moved):
    plain = layer(x)
    for name in moved:
        getattr(layer, name).weight.normal_()
    torch.testing.assert_close(layer(x), by_hand(layer, x), rtol=1e-12, atol=1e-12)
    assert (layer(x) - plain).abs().max() > 0.1


def test_the_transforms_mix_heads_alone_and_have_no_bias(layer):
    for transform in (layer.before, layer.after):
        assert transform.weight.shape == (3, 3, 1, 1) and transform.bias is None
        assert torch.equal(transform.weight[:, :, 0, 0], torch.eye(3, dtype=torch.float64))


def test_gradients_reach_both_transforms(layer, x):
    layer.requires_grad_(True)
    layer(x).square().sum().backward()
    assert all(transform.weight.grad.abs().min() > 0 for transform in (layer.before, layer.after))


@pytest.mark.parametrize("mask", [{"attn_mask": torch.ones(5, 5)}, {"is_causal": True}])
def test_a_mask_is_not_silently_ignored(layer, x, mask):
    with pytest.raises(AssertionError):
        layer(x, **mask)
