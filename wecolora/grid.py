"""Runs: what names a student, and the union of the runs that the artifacts need. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from wecolora.errors import BadInput
from wecolora.methods import METHODS, LossPoint


@dataclass(frozen=True, order=True)
class RunSpec:
    """One distilled student. An axis that its method does not use is None."""

    teacher: str
    method: str
    r: int
    k: int | None
    alpha: float
    seed: int
    loss_point: LossPoint | None = None  # None: the config's

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"method {self.method!r}: unknown; known are {', '.join(METHODS)}.")
        if "k" not in METHODS[self.method].axes:
            object.__setattr__(self, "k", None)
        elif self.k is None:
            raise BadInput(f"method {self.method}: needs a rank k.")

    def slug(self) -> str:
        """The run's name below its teacher, e.g. ``wecolora_r2_k128_a1_s0``; parse() reads it back."""
        alpha = format(Decimal(repr(self.alpha)).normalize(), "f")
        rank = "" if self.k is None else f"_k{self.k}"
        point = "" if self.loss_point is None else f"_{self.loss_point}"
        return f"{self.method}_r{self.r}{rank}_a{alpha}_s{self.seed}{point}"

    @classmethod
    def parse(cls, teacher: str, slug: str) -> RunSpec:
        """The run of that name; refuses what slug() does not write."""
        match = re.fullmatch(r"(\w+?)_r(\d+)(?:_k(\d+))?_a(\d+(?:\.\d+)?)_s(\d+)(?:_(before_norm|after_norm))?", slug)
        if match:
            method, r, k, alpha, seed, point = match.groups()
            run = cls(
                teacher, method, int(r), int(k) if k else None, float(alpha), int(seed), cast("LossPoint | None", point)
            )
            if run.slug() == slug:
                return run
        raise BadInput(f"{slug}: is no name of a run, such as wecolora_r2_k128_a1_s0.")


def expand(block: Mapping[str, Sequence[Any]], seeds: Iterable[int]) -> list[RunSpec]:
    """The product of a block's axes, in the block's order, each run once."""
    names = ("teacher", "method", "r", "k", "alpha", "loss_point")
    found: dict[RunSpec, None] = {}
    for values in itertools.product(*(block.get(name) or [None] for name in names)):
        for seed in seeds:
            found[RunSpec(**dict(zip(names, values, strict=True)), seed=seed)] = None
    return list(found)


def union(groups: Iterable[Iterable[RunSpec]]) -> list[RunSpec]:
    """Each run once, in order of first appearance."""
    return list(dict.fromkeys(itertools.chain.from_iterable(groups)))
