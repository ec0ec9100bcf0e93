"""What helps a calibrated student and what does not: the tables of docs/calibrated.md, on the demo's teachers.

``python -m benchmarks.variations [PART ...]``, after `make demo`, whose indexes and teachers it reads. Each line is one
student: its loss over the images held out as a share of the teacher's deviation, and its probes as in the demo, with
seed 0. Nothing here is an option of the workflow: what did not help is not in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wecolora.campaign.selection import Campaign
from wecolora.config.reading import read_config
from wecolora.config.recipes import DistillRecipe, ProbeJob
from wecolora.config.runs import RunSpec
from wecolora.core.hardware import device as use_device
from wecolora.data.images import read_index
from wecolora.data.loader import Loader
from wecolora.data.subset import prefix_length, read_subset
from wecolora.evaluation.features import extract
from wecolora.evaluation.probe import targets, train_probe
from wecolora.models import vit
from wecolora.models.weight_copy import copy_weights, layers
from wecolora.training.batches import OnlineBatches
from wecolora.training.calibrated import Sums, add_to, attend, best_strength, feed_forward, solution
from wecolora.training.objectives import token_loss
from wecolora.training.untrained import held_out_rows

DATASETS = ("photos", "tags", "glyphs", "textures", "digits")


class Weighted(Sums):
    """Sums over tokens that count with a weight each."""

    def add_weighted(self, inputs: Tensor, wanted: Tensor, weights: Tensor) -> None:
        """Add tokens: (n, inputs), (n, outputs) and (n,)."""
        ones = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1).double() * weights[:, None].sqrt()
        wanted = wanted.double() * weights[:, None].sqrt()
        self.gram += ones.T @ ones
        self.cross += ones.T @ wanted
        self.squares += float(wanted.square().sum())


class Variations:
    """A teacher of the demo, its images, and its students by one variation or another; all in memory."""

    def __init__(self, campaign: Campaign, teacher: str) -> None:
        self.campaign, self.name = campaign, teacher
        recipe = DistillRecipe.model_validate_json(
            campaign.distill_recipe(RunSpec(teacher, "calibrated", 1, alpha=100))
        )
        self.recipe, self.architecture = recipe, recipe.input.architecture.model_dump()
        self.teacher = vit.load(self.architecture, campaign.weights(teacher))
        index = read_index(campaign.corpus)
        positions, _, self.share = read_subset(campaign.subset, index)
        self.batches = OnlineBatches(index, positions, None, recipe)

    def images(self, alpha: float, views: int) -> tuple[Tensor, Tensor]:
        """Return normalised images, (views x n, 3, H, W), and which of them are held out."""
        rows = list(range(prefix_length(self.share, alpha)))
        pixels = torch.cat([next(self.batches.read([rows], view))[0] for view in range(views)])
        held = torch.zeros(len(rows), dtype=torch.bool)
        held[held_out_rows(len(rows))] = True
        return vit.normalise(pixels, self.recipe.input.mean, self.recipe.input.std), held.repeat(views)

    @torch.no_grad()
    def student(
        self,
        kept: list[int],
        alpha: float = 1,
        views: int = 2,
        projection: bool = False,
        weigh: Callable[[Tensor], Tensor] | None = None,
        towards_l1: int = 0,
        sweeps: int = 1,
        calibrated: bool = True,
    ) -> Any:
        """Return a student of these blocks.

        ``projection``: the attention's output layer is corrected too, aimed at the stream after the attention of the
        last block that it stands for. ``weigh`` takes the teacher's stream, (n, tokens, width), and gives each token's
        weight, (n, tokens). ``towards_l1``: how often a solution is made again with the weights 1 / |error|.
        """
        student = copy_weights(self.teacher, self.architecture, 1, kept).eval()
        images, held = self.images(alpha, views)
        for _ in range(sweeps if calibrated else 0):
            stream = target = vit.embedded(self.teacher, images)
            block: Any
            for number, block in enumerate(student.blocks):
                start = kept[number] if number else 0
                end = [*kept[1:], len(self.teacher.blocks)][number]
                before_last = self.teacher.blocks[start : end - 1](target)
                if projection:
                    inputs = _seen(block.attn.proj, partial(attend, block, stream))
                    lacking = attend(self.teacher.blocks[end - 1], before_last) - attend(block, stream)
                    _correct(block.attn.proj, inputs, lacking, held, torch.ones(lacking.shape[:2]), 0)
                target = self.teacher.blocks[end - 1](before_last)
                attended = attend(block, stream)
                output, hidden = feed_forward(block, attended)
                weights = torch.ones(output.shape[:2]) if weigh is None else weigh(target)
                _correct(block.mlp.fc2, hidden, target - output, held, weights, towards_l1)
                stream = feed_forward(block, attended)[0]
        return student

    @torch.no_grad()
    def loss(self, student: Any, alpha: float = 1) -> float:
        """Return equation 5 over every fifth image, as a share of the teacher's mean absolute deviation."""
        images, held = self.images(alpha, 1)
        wanted = vit.tokens_before_norm(self.teacher, images[held])
        deviation = (wanted - wanted.mean((0, 1))).abs().mean()
        return float(token_loss(vit.tokens_before_norm(student, images[held]), wanted) / deviation)

    def scores(self, student: Any) -> list[float]:
        """Return the probes' scores, as in the demo."""
        job = ProbeJob.model_validate_json(self.campaign.probe_recipe(RunSpec(self.name, "teacher"), DATASETS))
        return [self._score(student, name, job.recipes[name]) for name in DATASETS]

    def _score(self, student: Any, name: str, probe: Any) -> float:
        index, size = read_index(self.campaign.index(name)), self.recipe.input.architecture.img_size
        mean, std = self.recipe.input.mean, self.recipe.input.std
        data = {}
        for split in ("train", "test"):
            rows = index.rows(split)
            loader = Loader(partial(index.crop, size=size), 0, "cpu", 3 * size**2 * 256)
            parts = extract(lambda pixels: vit.pooled(student, vit.normalise(pixels, mean, std)), loader, rows)
            labels = targets([index.labels[row] for row in rows], len(index.classes), index.multilabel)
            data[split] = torch.from_numpy(np.concatenate(list(parts))), labels
        return train_probe(data["train"], data["test"], len(index.classes), probe).last


def _seen(layer: Any, run: Callable[[], Any]) -> Tensor:
    """Return what enters a layer."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    run()
    hook.remove()
    return seen[0]


def _correct(layer: Any, inputs: Tensor, lacking: Tensor, held: Tensor, weights: Tensor, towards_l1: int) -> None:
    """Add the ridge solution to a layer, its strength chosen by the held-out images."""
    for _ in range(towards_l1 + 1):
        parts = []
        for mask in (~held, held):
            sums = Weighted.empty(layer.in_features, layer.out_features, "cpu")
            sums.add_weighted(inputs[mask].flatten(0, 1), lacking[mask].flatten(0, 1), weights[mask].flatten().double())
            parts.append(sums)
        strength, _ = best_strength(*parts)
        whole = parts[0] + parts[1]
        weight, bias = solution(whole, strength)
        left = (lacking - (inputs.double() @ weight + bias)).abs().mean(-1)
        weights = 1 / left.clamp_min(left.median() / 100)
    add_to(layer, weight, bias)


def _class_token(weight: float) -> Callable[[Tensor], Tensor]:
    def weigh(target: Tensor) -> Tensor:
        weights = torch.ones(target.shape[:2])
        weights[:, 0] = weight
        return weights

    return weigh


def _as_normed(target: Tensor) -> Tensor:
    """Weights with which errors count as after a norm: 1 / the variance of the token's channels."""
    return 1 / target.var(-1)


def choices(part: str) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yield a name, a share of the images in percent, and the arguments of Variations.student."""
    every_second = layers(12, 2, "authors_code")
    if part == "solution":
        found: dict[str, dict[str, Any]] = {
            "copied blocks alone": {"calibrated": False},
            "calibrated": {},
            "output projection too": {"projection": True},
            "class token x 4": {"weigh": _class_token(4)},
            "class token x 16": {"weigh": _class_token(16)},
            "towards L1, 1 solve more": {"towards_l1": 1},
            "towards L1, 3 solves more": {"towards_l1": 3},
            "errors as after a norm": {"weigh": _as_normed},
            "a second sweep": {"sweeps": 2},
        }
        yield from ((name, 1, {"kept": every_second, **chosen}) for name, chosen in found.items())
    if part == "views":
        yield from ((f"{views} views", 1, {"kept": every_second, "views": views}) for views in (1, 2, 5, 10))
    if part == "images":
        for images in (10, 20, 40, 50, 100, 200, 400, 1000, 4000):
            yield f"{images} images", images / 40, {"kept": every_second, "views": 1 if images > 1000 else 2}
    if part == "ratios":
        for r in (2, 3, 4, 6, 12):
            for calibrated in (False, True):
                name = f"r = {r}, {'calibrated' if calibrated else 'copied blocks alone'}"
                yield name, 1, {"kept": layers(12, r, "authors_code"), "calibrated": calibrated}


PARTS = ("solution", "views", "images", "ratios")


def main() -> None:
    """Print a line for each student."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.variations", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which to run: {', '.join(PARTS)}; all if none")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: no such part; choose from {', '.join(PARTS)}.")
    use_device(torch.get_num_threads())
    campaign = Campaign(read_config("config.yaml"))
    for teacher in campaign.config.teachers:
        variations = Variations(campaign, teacher)
        for part in arguments.parts or PARTS:
            print(f"\n{teacher}, {part}\n| | loss | {' | '.join(DATASETS)} |\n| --- |{' --- |' * 6}", flush=True)
            for name, alpha, chosen in choices(part):
                student = variations.student(alpha=alpha, **chosen)
                numbers = " | ".join(f"{score:.1f}" for score in variations.scores(student))
                print(f"| {name} | {variations.loss(student, alpha):.3f} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
