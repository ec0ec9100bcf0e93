"""Runs: what names a student, and the union of the runs that the artifacts need. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from wecolora.config.methods import METHODS, LossPoint
from wecolora.core.errors import BadInput


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

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"method {self.method!r}: unknown; known are {', '.join(METHODS)}.")
        axes = METHODS[self.method].axes
        for axis, unused in (("r", 1), ("k", None), ("alpha", None), ("seed", None), ("loss_point", None)):
            if axis not in axes:
                object.__setattr__(self, axis, unused)
            elif axis != "loss_point" and getattr(self, axis) is None:
                raise BadInput(f"method {self.method}: needs {'a rank k' if axis == 'k' else axis}.")

    def slug(self) -> str:
        """Return the run's name below its teacher, such as ``wecolora_r2_k128_a1_s0``; parse() reads it back."""
        if not METHODS[self.method].axes:
            return self.method
        alpha = format(Decimal(repr(self.alpha)).normalize(), "f")
        rank = "" if self.k is None else f"_k{self.k}"
        point = "" if self.loss_point is None else f"_{self.loss_point}"
        seed = "" if self.seed is None else f"_s{self.seed}"
        return f"{self.method}_r{self.r}{rank}_a{alpha}{seed}{point}"

    @classmethod
    def parse(cls, teacher: str, slug: str) -> RunSpec:
        """Return the run of that name. Raise BadInput for a name that slug() does not write."""
        if slug in METHODS and not METHODS[slug].axes:
            return cls(teacher, slug)
        match = re.fullmatch(
            r"(\w+?)_r(\d+)(?:_k(\d+))?_a(\d+(?:\.\d+)?)(?:_s(\d+))?(?:_(before_norm|after_norm))?", slug
        )
        if match:
            method, r, k, alpha, seed, point = match.groups()
            run = cls(
                teacher,
                method,
                int(r),
                int(k) if k else None,
                float(alpha),
                int(seed) if seed else None,
                cast("LossPoint | None", point),
            )
            if run.slug() == slug:
                return run
        raise BadInput(f"{slug}: is no name of a run, such as wecolora_r2_k128_a1_s0.")


def expand(block: Mapping[str, Sequence[Any]], seeds: Iterable[int]) -> list[RunSpec]:
    """Return the product of a block's axes, in the block's order, each run once."""
    names = ("teacher", "method", "r", "k", "alpha", "loss_point")
    found: dict[RunSpec, None] = {}
    for values in itertools.product(*(block.get(name) or [None] for name in names)):
        for seed in seeds:
            found[RunSpec(**dict(zip(names, values, strict=True)), seed=seed)] = None
    return list(found)


def union(groups: Iterable[Iterable[RunSpec]]) -> list[RunSpec]:
    """Return each run once, in order of first appearance."""
    return list(dict.fromkeys(itertools.chain.from_iterable(groups)))
