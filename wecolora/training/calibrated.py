"""A student without a gradient step: copied blocks, whose feed-forward layers take over the dropped ones by regression.

Student block i copies teacher block c_i and stands for the teacher's blocks c_i .. c_(i+1) - 1. Its second feed-forward
layer, f2, is corrected by a ridge regression from that layer's input to what the block's output lacks of the teacher's
stream before block c_(i+1). The blocks are corrected in order, each on the stream that those before it leave. ReplaceMe
(Shopkhoev et al. 2025, arXiv 2505.02819) does the like for language models: one linear map in the place of neighbouring
blocks.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from wecolora.config.methods import METHODS
from wecolora.config.recipes import DistillRecipe
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.hardware import full_float32
from wecolora.models.lora import adapter_size
from wecolora.models.vit import embedded
from wecolora.models.weight_copy import layers
from wecolora.training.batches import Batches
from wecolora.training.distill import Distillation
from wecolora.training.fit import History, JobContext
from wecolora.training.untrained import closing_record, copied, divided, images_of

# Ridge strengths, as shares of the mean variance of the layer's inputs; the held-out images choose.
STRENGTHS = tuple(10.0**power for power in range(-6, 4))
COLUMN_BLOCKS, ROWS = 8, 4096  # of a product


def calibrate(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
) -> tuple[VisionTransformer, History]:
    """Return the calibrated student and one record of it; training.fit.fit calls it."""
    calibration = Calibration(teacher, batches, recipe, context)
    with calibration.streams() as streams:
        calibration.run(streams)
        return calibration.student, [calibration.record(streams)]


def calibrate_and_distill(
    teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
) -> tuple[VisionTransformer, History]:
    """Return the calibrated student after its training by gradient descent, and one record for each epoch.

    training.fit.fit calls it.
    """
    calibration = Calibration(teacher, batches, recipe, context)
    if len(calibration.blocks) < len(calibration.copied):
        with calibration.streams() as streams:
            calibration.run(streams)
    student, history = Distillation(teacher, batches, recipe, context, calibration.student, calibration.state()).run()
    history[0]["calibration"] = calibration.blocks
    return student, history


class Calibration:
    """A student whose blocks are corrected one after the other, and what is done so far.

    The streams of student and teacher lie in a temporary file, and sums of products in float64 in memory, which
    therefore holds as much for a million images as for ten. Raise BadInput if there are fewer than two images, or
    values that are no numbers; Stopped where it was told to stop.
    """

    def __init__(
        self, teacher: VisionTransformer, batches: Batches, recipe: DistillRecipe, context: JobContext
    ) -> None:
        self.batches, self.recipe, self.context, self.group = batches, recipe, context, context.group
        if batches.images < 2:
            raise BadInput(
                f"alpha = {recipe.student.alpha}: {recipe.method} needs two images, one of them held out; raise alpha."
            )
        self.method = METHODS[recipe.method]
        self.teacher = teacher.to(context.device)
        depth, r = len(teacher.blocks), recipe.student.r
        self.copied = layers(depth, r, recipe.layers)
        if sorted(set(self.copied)) != self.copied:
            raise BadInput(f"distill.layers: {recipe.method} needs ascending blocks, and has {self.copied}.")
        self.ends = [*self.copied[1:], depth]  # block i stands for the teacher's up to, and without, ends[i]
        self.student = copied(self.teacher, recipe)
        for block in self.student.blocks:
            fold_layer_scale(block)
        # Of each batch its place and this process's rows.
        self.parts = divided(batches.images, recipe.optimisation.batch)
        shares = {place: part.rows[self.group.rank :: self.group.size] for place, part in enumerate(self.parts)}
        self.own = {place: rows for place, rows in shares.items() if rows}
        self.blocks: list[dict[str, Any]] = []  # the record of each that is corrected
        saved = self.group.broadcast(context.checkpoint.load() if self.group.rank == 0 else None)
        if saved is not None and "calibration" in saved:
            self.student.load_state_dict(saved["calibration"]["student"])
            self.blocks = saved["calibration"]["blocks"]
            context.log(f"resumed after block {len(self.blocks)} of {len(self.copied)}")

    @contextmanager
    def streams(self) -> Iterator[Streams]:
        """Yield a file for the streams, beside the checkpoint, that is gone at the end."""
        path = self.context.checkpoint.path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=None if path is None else path.parent) as file:
            yield Streams(file, next(self.student.parameters()).dtype)

    @torch.no_grad()
    def run(self, streams: Streams) -> None:
        """Correct the blocks that an earlier attempt has not corrected yet. Its streams are made again."""
        for number in range(len(self.copied)):
            if number < len(self.blocks):
                for _ in self.through(number, streams):
                    pass
                continue
            self._correct(number, self._walk(number, streams))
            if self.group.rank == 0:
                self.context.checkpoint.save(self.state())

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"calibration": {"student": copy.deepcopy(self.student.state_dict()), "blocks": list(self.blocks)}}

    @torch.no_grad()
    def record(self, streams: Streams) -> dict[str, Any]:
        """Return the record of the whole student, from the streams that ``run`` left; as in training, its images were
        learnt from.

        ``calibration`` has the record of each block.
        """
        found = closing_record(self._held_out_tokens(streams), self.student, self.context)
        return {**found, "calibration": self.blocks}

    def _held_out_tokens(self, streams: Streams) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens of student and teacher, (images, tokens, width) each, of all held-out images in the first
        view, a batch at a time; all processes get the same."""
        size, tokens = self.group.size, self.teacher.patch_embed.num_patches + self.teacher.num_prefix_tokens
        for place, part in enumerate(self.parts):
            if not part.held_out:
                continue
            most = math.ceil(len(part.rows) / size)  # of the held-out images that a process has
            both = torch.zeros(most, 2, tokens, self.teacher.embed_dim, dtype=streams.dtype, device=self.context.device)
            if place in self.own:
                attended, target = streams.read(0, place, self.context.device)
                output, _ = feed_forward(self.student.blocks[-1], attended)
                both[: len(output)] = torch.stack([output, target], 1)
            whole = self.group.all_gather(both).unflatten(0, (size, most)).transpose(0, 1).flatten(0, 1)
            output, target = whole[: len(part.rows)].unbind(1)
            yield output, target

    def _walk(self, number: int, streams: Streams) -> list[Sums]:
        """Take all images through block ``number``, and return the sums of the images in use and of the held-out."""
        block: Any = self.student.blocks[number]
        sums = self.no_sums(block)
        for held_out, attended, target in self.through(number, streams):
            output, hidden = feed_forward(block, attended)
            sums[held_out].add(hidden.flatten(0, 1), (target - output).flatten(0, 1))
        return [part.over(self.group) for part in sums]

    def through(self, number: int, streams: Streams) -> Iterator[tuple[bool, Tensor, Tensor]]:
        """Take all images through block ``number``, after those before it.

        Yield of each batch whether it is held out, the stream after the block's attention, and the teacher's before the
        next block, (images, tokens, width) each.
        """
        block: Any = self.student.blocks[number]
        start, done = self.copied[number] if number else 0, 0
        views = min(self.recipe.calibration_views or 1, self.recipe.images.views)
        total = views * sum(map(len, self.own.values()))
        told = self.context.progress(total, f"images through block {number + 1} of {len(self.copied)}")
        for view in range(views):
            for place, stream, target in self._before(number, view, streams):
                target = self.teacher.blocks[start : self.ends[number]](target)
                attended = attend(block, stream)
                streams.write(view, place, attended, target)
                yield self.parts[place].held_out, attended, target
                told(done := done + len(stream))
                if self.group.size == 1 and self.context.stopping():
                    raise Stopped(f"block {number + 1} of {len(self.copied)}")

    def _before(self, number: int, view: int, streams: Streams) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield of each batch its place, and the streams of student and teacher as block ``number`` finds them."""
        device, dtype = self.context.device, next(self.teacher.parameters()).dtype
        if number == 0:
            images = images_of(self.batches, list(self.own.values()), view, self.recipe, device, dtype)
            for place, batch in zip(self.own, images, strict=True):
                tokens = embedded(self.teacher, batch)
                yield place, tokens, tokens
            return
        for place in self.own:
            attended, target = streams.read(view, place, device)
            yield place, feed_forward(self.student.blocks[number - 1], attended)[0], target

    def no_sums(self, block: Any) -> list[Sums]:
        """Return the sums of no tokens: of the images in use and of the held-out."""
        fc2 = block.mlp.fc2
        return [Sums.empty(fc2.in_features, fc2.out_features, self.context.device) for _ in range(2)]

    def _correct(self, number: int, sums: list[Sums]) -> None:
        """Add the regression's solution to f2 of a block, and record it."""
        name = f"block {number} (the teacher's {self.copied[number]})"
        whole = sums[0] + sums[1]
        if not (math.isfinite(whole.squares) and bool(whole.gram.isfinite().all())):
            raise BadInput(f"run {self.recipe.method}: {name} holds values that are no numbers; check the teacher.")
        block: Any = self.student.blocks[number]
        fc2 = block.mlp.fc2
        strength, error = best_strength(*sums)
        uncorrected = sums[1].uncorrected
        weight, bias = solution(whole, strength)
        if self.method.calibration == "rank":
            assert self.recipe.student.k is not None
            k = equal_rank(self.student, self.recipe.student.k)
            weight, bias = leading(whole, weight, k)
        add_to(fc2, weight, bias)
        record = {
            "copied": self.copied[number],
            "stands_for": list(range(self.copied[number], self.ends[number])),
            "strength": None if strength == math.inf else strength,
            # Mean squared error a value, over held-out images, of the solution without them.
            "held_out_error": error,
            "uncorrected_error": uncorrected,
            "training_error": whole.error(weight, bias),
        }
        self.blocks.append(record)
        self.context.log(
            f"block {number + 1}/{len(self.copied)}, the teacher's {self.copied[number]} for those before "
            f"{self.ends[number]}: strength {strength:.0e}, held-out error {error:.4g} (uncorrected {uncorrected:.4g})"
        )


# A block in two halves


def attend(block: Any, stream: Tensor) -> Tensor:
    """Return the stream after a block's attention, (images, tokens, width)."""
    attended: Tensor = stream + block.ls1(block.attn(block.norm1(stream)))
    return attended


def feed_forward(block: Any, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Return a block's output, (images, tokens, width), and f2's input, (images, tokens, hidden)."""
    mlp = block.mlp
    hidden: Tensor = mlp.norm(mlp.act(mlp.fc1(block.norm2(attended))))
    return attended + block.ls2(mlp.fc2(hidden)), hidden


def fold_layer_scale(block: Any) -> None:
    """Put the factors of LayerScale after f2 into f2, in place: where they are near zero, a correction before them
    would have to be huge."""
    if hasattr(block.ls2, "gamma"):
        with torch.no_grad():
            block.mlp.fc2.weight *= block.ls2.gamma[:, None]
            block.mlp.fc2.bias *= block.ls2.gamma
            block.ls2.gamma.fill_(1)


class Streams:
    """What leaves each block's attention in the student, and the teacher's stream, of every batch, in a file."""

    def __init__(self, file: Any, dtype: torch.dtype) -> None:
        self.file, self.dtype = file, dtype
        self.at: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}

    def write(self, view: int, place: int, attended: Tensor, target: Tensor) -> None:
        """Replace those of a batch."""
        both = torch.stack([attended, target]).cpu().numpy()
        if (view, place) not in self.at:
            self.at[view, place] = self.file.seek(0, 2), both.shape
        self.file.seek(self.at[view, place][0])
        self.file.write(both.tobytes())

    def read(self, view: int, place: int, device: str) -> tuple[Tensor, Tensor]:
        """Return those of a batch."""
        start, shape = self.at[view, place]
        self.file.seek(start)
        content = bytearray(self.file.read(math.prod(shape) * self.dtype.itemsize))
        attended, target = torch.frombuffer(content, dtype=self.dtype).reshape(shape).to(device)
        return attended, target


# The regression


@dataclass
class Sums:
    """Sums over tokens, in float64, of products: of f2's inputs H with a column of ones, H'H and H'E, and of E."""

    gram: Tensor
    cross: Tensor
    squares: float = 0.0
    shift: Tensor | None = None  # that is taken off H, (inputs,), until `over` puts it back

    @classmethod
    def empty(cls, inputs: int, outputs: int, device: str) -> Self:
        """Return those of no tokens."""
        gram = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64, device=device)
        return cls(gram, torch.zeros(inputs + 1, outputs, dtype=torch.float64, device=device))

    @property
    def rows(self) -> float:
        """How many tokens."""
        return float(self.gram[-1, -1])

    @property
    def uncorrected(self) -> float:
        """The mean square of E, a value: the error of no correction."""
        return self.squares / (self.rows * self.cross.shape[1])

    def add(self, inputs: Tensor, wanted: Tensor) -> None:
        """Add tokens: (n, inputs) and (n, outputs), of float32 or float64.

        Products of a few thousand tokens are made in that precision, 64 times faster than float64 on a GPU for games,
        and are summed in float64. They are taken about the first tokens' mean, which float32 would else be lost in.
        """
        shifted = self._shifted(inputs)
        self._add_wanted(shifted, wanted)
        with full_float32():
            for part in shifted.split(ROWS):
                # The half above the diagonal, by columns, for `over` to mirror: the whole would take twice as long.
                for columns in torch.arange(part.shape[1]).tensor_split(min(COLUMN_BLOCKS, part.shape[1])):
                    first, end = int(columns[0]), int(columns[-1]) + 1
                    self.gram[first:end, first:] += part[:, first:end].T @ part[:, first:]

    def add_wanted(self, inputs: Tensor, wanted: Tensor) -> None:
        """Add to H'E and E alone: for another E of the same inputs."""
        self._add_wanted(self._shifted(inputs), wanted)

    def _add_wanted(self, shifted: Tensor, wanted: Tensor) -> None:
        with full_float32():
            for part, aim in zip(shifted.split(ROWS), wanted.split(ROWS), strict=True):
                self.cross += part.T @ aim
        self.squares += float(wanted.double().square().sum())

    def _shifted(self, inputs: Tensor) -> Tensor:
        """Return inputs less the mean of the first ones, with a column of ones."""
        if self.shift is None and len(inputs):
            self.shift = inputs.mean(0)
        shifted = inputs.new_ones(len(inputs), inputs.shape[1] + 1)
        if self.shift is not None:
            torch.sub(inputs, self.shift, out=shifted[:, :-1])
        return shifted

    def over(self, group: Any) -> Sums:
        """Return the sums over all processes, with both halves of the symmetric one, and about zero."""
        gram, cross = self.gram.triu() + self.gram.triu(1).T, self.cross.clone()
        if self.shift is not None:
            shift = torch.cat([self.shift.double(), gram.new_zeros(1)])
            total, rows = gram[:, -1].clone(), float(gram[-1, -1])
            gram += torch.outer(total, shift) + torch.outer(shift, total) + rows * torch.outer(shift, shift)
            cross += torch.outer(shift, cross[-1])
        squares = torch.tensor(self.squares, dtype=torch.float64, device=gram.device)
        gram, cross, squares = (group.all_mean(one) * group.size for one in (gram, cross, squares))
        return Sums(gram, cross, float(squares))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.gram + other.gram, self.cross + other.cross, self.squares + other.squares)

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return H'H and H'E about the means, and the means of H and of E."""
        mean, wanted = self.gram[-1, :-1] / self.rows, self.cross[-1] / self.rows
        gram = self.gram[:-1, :-1] - self.rows * torch.outer(mean, mean)
        return gram, self.cross[:-1] - self.rows * torch.outer(mean, wanted), mean, wanted

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Return the mean squared error of H weight + bias, a value."""
        both = torch.cat([weight, bias[None]])
        total = self.squares - 2 * float((both * self.cross).sum()) + float((both * (self.gram @ both)).sum())
        return max(total, 0.0) / (self.rows * self.cross.shape[1])


def no_correction(sums: Sums) -> tuple[Tensor, Tensor]:
    """Return a weight and a bias of zeros."""
    return torch.zeros_like(sums.cross[:-1]), torch.zeros_like(sums.cross[-1])


def solution(sums: Sums, strength: float) -> tuple[Tensor, Tensor]:
    """Return the ridge solution of a strength; of an infinite one, no correction."""
    return no_correction(sums) if strength == math.inf else ridge(sums, strength)


def add_to(layer: Any, weight: Tensor, bias: Tensor) -> None:
    """Add a solution, (inputs, outputs) and (outputs,), to a linear layer, in place."""
    layer.weight += weight.T.to(layer.weight)
    layer.bias += bias.to(layer.bias)


def ridge(sums: Sums, strength: float) -> tuple[Tensor, Tensor]:
    """Return the ridge solution, (inputs, outputs) and (outputs,); the bias is not penalised.

    The penalty is ``strength`` times the mean variance of the inputs, times the number of tokens. Inputs that are all
    constant get no weight.
    """
    gram, cross, mean, wanted = sums.centred()
    penalty = strength * float(gram.diagonal().clamp_min(0).mean())
    if penalty <= strength * 1e-12 * float(sums.gram.diagonal()[:-1].mean()):
        return torch.zeros_like(cross), wanted
    gram.diagonal().add_(penalty)
    weight = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
    return weight, wanted - mean @ weight


def best_strength(used: Sums, held_out: Sums) -> tuple[float, float]:
    """Return the strength of the smallest error over the held-out images, and that error; infinite: no correction."""
    errors = {math.inf: held_out.uncorrected}
    for strength in STRENGTHS:
        try:
            errors[strength] = held_out.error(*ridge(used, strength))
        except torch.linalg.LinAlgError:  # too weak for the rounding of the sums
            continue
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def leading(sums: Sums, weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the weight of rank k that keeps the k leading directions of the fitted values, and its bias."""
    gram, _, mean, wanted = sums.centred()
    _, directions = torch.linalg.eigh(weight.T @ gram @ weight)
    kept = directions[:, -k:]
    weight = weight @ kept @ kept.T
    return weight, wanted - mean @ weight


def equal_rank(student: VisionTransformer, k: int) -> int:
    """Return the rank with which f2 alone has as many numbers as WeCoLoRA's adapters of rank k, at most full rank."""
    block: Any = student.blocks[0]
    fc2 = block.mlp.fc2
    return min(adapter_size(block, k, "enhanced") // (fc2.in_features + fc2.out_features), fc2.out_features)
