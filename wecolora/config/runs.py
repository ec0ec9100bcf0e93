"""Runs: what names a student, and the union of the runs that the artifacts need. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast, get_args

from wecolora.config.methods import METHODS, Layers, LossPoint
from wecolora.core.errors import BadInput

SLUG = re.compile(
    r"(\w+?)_r(\d+)(?:_k(\d+))?_a(\d+(?:\.\d+)?)(?:_s(\d+))?"
    rf"(?:_({'|'.join(get_args(LossPoint))}))?(?:_({'|'.join(get_args(Layers))}))?"
)


@dataclass(frozen=True)
class RunSpec:
    """One distilled student, or a teacher probed as it is. An axis that its method does not use is None (r: 1)."""

    teacher: str
    method: str
    r: int = 1
    k: int | None = None
    alpha: float | None = None
    seed: int | None = None
    loss_point: LossPoint | None = None  # None: the config's
    layers: Layers | None = None  # None: the config's

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"method {self.method!r}: unknown; known are {', '.join(METHODS)}.")
        axes = METHODS[self.method].axes
        for axis, unused in (("r", 1), *((name, None) for name in ("k", "alpha", "seed", "loss_point", "layers"))):
            if axis not in axes:
                object.__setattr__(self, axis, unused)
            elif axis not in ("loss_point", "layers") and getattr(self, axis) is None:
                raise BadInput(f"method {self.method}: needs {'a rank k' if axis == 'k' else axis}.")

    @property
    def share(self) -> str:
        """Alpha as names have it: 0.5, 10."""
        return format(Decimal(repr(self.alpha)).normalize(), "f")

    def slug(self) -> str:
        """Return the run's name below its teacher, such as ``wecolora_r2_k128_a1_s0``; parse() reads it back."""
        if not METHODS[self.method].axes:
            return self.method
        rank = "" if self.k is None else f"_k{self.k}"
        point = "" if self.loss_point is None else f"_{self.loss_point}"
        seed = "" if self.seed is None else f"_s{self.seed}"
        layers = "" if self.layers is None else f"_{self.layers}"
        return f"{self.method}_r{self.r}{rank}_a{self.share}{seed}{point}{layers}"

    @classmethod
    def parse(cls, teacher: str, slug: str) -> RunSpec:
        """Return the run of that name. Raise BadInput for a name that slug() does not write."""
        if slug in METHODS and not METHODS[slug].axes:
            return cls(teacher, slug)
        match = SLUG.fullmatch(slug)
        if match:
            method, r, k, alpha, seed, point, layers = match.groups()
            run = cls(
                teacher,
                method,
                int(r),
                int(k) if k else None,
                float(alpha),
                int(seed) if seed else None,
                cast("LossPoint | None", point),
                cast("Layers | None", layers),
            )
            if run.slug() == slug:
                return run
        raise BadInput(f"{slug}: is no name of a run, such as wecolora_r2_k128_a1_s0.")


def expand(block: Mapping[str, Sequence[Any]], seeds: Iterable[int]) -> list[RunSpec]:
    """Return the product of a block's axes, in the block's order, each run once."""
    names = ("teacher", "method", "r", "k", "alpha", "loss_point", "layers")
    found: dict[RunSpec, None] = {}
    for values in itertools.product(*(block.get(name) or [None] for name in names)):
        for seed in seeds:
            found[RunSpec(**dict(zip(names, values, strict=True)), seed=seed)] = None
    return list(found)


def union(groups: Iterable[Iterable[RunSpec]]) -> list[RunSpec]:
    """Return each run once, in order of first appearance."""
    return list(dict.fromkeys(itertools.chain.from_iterable(groups)))
