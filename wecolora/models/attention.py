"""Attention with a transform over its heads, which weight multiplexing adds to a shared layer (MiniViT)."""

from __future__ import annotations

from timm.layers import Attention
from torch import Tensor, nn


class TransformedAttention(Attention):
    """Attention as timm has it, with a bias-free 1 x 1 convolution over the heads before the softmax and one after it.

    See Zhang et al. 2022, eq. 6 and 7. Both convolutions start as the identity, so the layer starts as the plain one.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        self.fused_attn = False  # type: ignore[misc]  # a fused kernel has no room for the transforms
        self.before, self.after = (nn.Conv2d(num_heads, num_heads, 1, bias=False) for _ in range(2))
        for transform in (self.before, self.after):
            nn.init.dirac_(transform.weight)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Apply the layer: (batch, tokens, width) -> (batch, tokens, width).

        The blocks of newer versions of timm hand on the other arguments, but never set them.
        """
        assert attn_mask is None and not is_causal
        batch, tokens, width = x.shape
        parts = self.qkv(x).view(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = self.before(q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        weights = self.attn_drop(self.after(weights))
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))
