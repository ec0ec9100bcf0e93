"""Enhanced low-rank adaptation: f(x) = W x + B A x on every linear layer of a block (section 3.1, eq. 1, 3, 4).

DoRA (Liu et al. 2024) on the same layers is a method to compare with.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from wecolora.core.errors import BadInput

TargetSet = Literal["enhanced", "qv"]
AdapterKind = Literal["lora", "dora"]
# timm fuses W_Q, W_K and W_V into one layer of three parts. Each part has its own adapters.
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "enhanced": {
        "attn.qkv": ("q", "k", "v"),
        "attn.proj": ("o",),
        "mlp.fc1": ("f1",),
        "mlp.fc2": ("f2",),
    },
    "qv": {"attn.qkv": ("q", "v")},
}


class LoRALinear(nn.Module):
    """A frozen linear layer and, for each adapted part of its output, A (k x d_in) and B (d_part x k).

    The output of a part is W x + b + B A x, without a scale (the authors' form, not alpha / k). A starts
    Kaiming-uniform with a = sqrt(5) and B starts at zero, so the layer starts as the plain one.
    """

    def __init__(self, base: nn.Linear, rank: int, parts: dict[str, int], count: int) -> None:
        """Adapt the layer ``base``; raise BadInput if the rank does not fit it.

        ``parts`` gives each adapted part's position among ``count`` equal parts of the output, by name.
        """
        super().__init__()
        width = base.out_features // count
        if not 1 <= rank <= min(base.in_features, width):
            raise BadInput(f"k = {rank}: the rank must lie in 1..{min(base.in_features, width)} (k <= min(d1, d2)).")
        self.base = base.requires_grad_(False)
        self.parts, self.count = parts, count
        self.A = nn.ParameterDict({name: nn.Parameter(torch.empty(rank, base.in_features)) for name in parts})
        self.B = nn.ParameterDict({name: nn.Parameter(torch.zeros(width, rank)) for name in parts})
        for matrix in self.A.values():
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def _low_rank(self, name: str, x: Tensor) -> Tensor:
        """Return B A x of one part."""
        return F.linear(F.linear(x, self.A[name]), self.B[name])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., d_in) -> (..., d_out)."""
        out = self.base(x)
        if self.count == 1:
            (name,) = self.parts
            return out + self._low_rank(name, x)
        deltas: list[Tensor | None] = [None] * self.count
        for name, position in self.parts.items():
            deltas[position] = self._low_rank(name, x)
        chunks = out.chunk(self.count, dim=-1)
        return torch.cat([c if d is None else c + d for c, d in zip(chunks, deltas, strict=True)], dim=-1)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base layer with B A added to W (step 16 of Algorithm 1); the sum is computed in float64."""
        rows = self.base.out_features // self.count
        weight = self.base.weight.double()
        for name, position in self.parts.items():
            weight[position * rows : (position + 1) * rows] += self.B[name].double() @ self.A[name].double()
        self.base.weight.copy_(weight)
        return self.base


class DoRALinear(LoRALinear):
    """Weight-decomposed low-rank adaptation: W' = m (W + B A) / ||W + B A||, with the norm of each output row.

    This is the form of the DoRA paper (eq. 5 and 11) and of PEFT. m (d_part) trains beside A and B and starts as ||W||,
    so the layer starts as the plain one up to rounding. The norm counts as a constant in the gradient. The bias is not
    scaled.
    """

    def __init__(self, base: nn.Linear, rank: int, parts: dict[str, int], count: int) -> None:
        super().__init__(base, rank, parts, count)
        self.magnitude = nn.ParameterDict(
            {name: nn.Parameter(self._rows(position).norm(dim=1)) for name, position in parts.items()}
        )

    def _rows(self, position: int) -> Tensor:
        return self.base.weight.detach().chunk(self.count)[position]

    def _scale(self, name: str, position: int) -> Tensor:
        norm = (self._rows(position) + self.B[name].detach() @ self.A[name].detach()).norm(dim=1)
        return self.magnitude[name] / norm

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., d_in) -> (..., d_out)."""
        chunks = list(F.linear(x, self.base.weight).chunk(self.count, dim=-1))
        for name, position in self.parts.items():
            chunks[position] = self._scale(name, position) * (chunks[position] + self._low_rank(name, x))
        out = torch.cat(chunks, dim=-1)
        return out if self.base.bias is None else out + self.base.bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base layer with W replaced by W'."""
        scales = {name: self._scale(name, position) for name, position in self.parts.items()}
        base = super().merged()
        for name, position in self.parts.items():
            self._rows(position).mul_(scales[name].unsqueeze(1))
        return base


ADAPTERS: dict[AdapterKind, type[LoRALinear]] = {"lora": LoRALinear, "dora": DoRALinear}


def _equal_parts(path: str) -> int:
    """Return how many layers of equal size timm has fused into the one of that path."""
    return 3 if path.endswith("qkv") else 1


def add_lora(
    model: VisionTransformer, rank: int, targets: TargetSet = "enhanced", kind: AdapterKind = "lora"
) -> VisionTransformer:
    """Freeze the model and put adapters of the given rank on the target layers of every block, in place."""
    model.requires_grad_(False)
    for block in model.blocks:
        for path, parts in TARGETS[targets].items():
            owner, attribute = block.get_submodule(path.rsplit(".", 1)[0]), path.rsplit(".", 1)[1]
            count = _equal_parts(path)
            positions = {name: "qkv".index(name) if count > 1 else 0 for name in parts}
            adapter = ADAPTERS[kind](getattr(owner, attribute), rank, positions, count)
            setattr(owner, attribute, adapter)
    return model


def adapter_size(block: nn.Module, rank: int, targets: TargetSet) -> int:
    """Return how many numbers the adapters of a plain block have: rank x (d_in + d_part) for each part."""
    total = 0
    for path, parts in TARGETS[targets].items():
        layer: Any = block.get_submodule(path)
        total += len(parts) * rank * (layer.in_features + layer.out_features // _equal_parts(path))
    return total


def merge(model: VisionTransformer) -> VisionTransformer:
    """Replace every adapted layer by the plain linear layer of the same function, in place."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoRALinear):
                setattr(module, name, child.merged())
    return model
