"""Distillation by several processes: what one process gives, up to the order of floating-point sums."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import cloudpickle
import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.unit.conftest import ends
from wecolora.config.methods import METHODS
from wecolora.core import process_group
from wecolora.core.checkpoint import Checkpoint
from wecolora.core.errors import BadInput, Stopped
from wecolora.core.process_group import ProcessGroup
from wecolora.training import distill as module
from wecolora.training.fit import JobContext, fit

IMAGES = 36
DISTILLED = [name for name, method in METHODS.items() if method.trains != "nothing" and not method.calibration]


def run_of(method, batches, recipe, teacher, group=None, **context):
    """A distillation, as the others are that it is compared with."""
    batches.labels = torch.arange(IMAGES) % 3 if METHODS[method].reads_labels else None
    silent = JobContext(group=group or ProcessGroup(), log=lambda line: None, **context)
    return fit(teacher, batches, recipe, silent)


def _member(rank, size, folder, work):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    torch.save(cloudpickle.loads(work)(ProcessGroup(rank, size), folder), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture
def together(tmp_path):
    """What each of ``size`` processes makes of ``work(group, folder)``.

    They are new processes: one that forks from a process in which autograd has had threads cannot use autograd.
    """

    def start(size, work):
        arguments = (size, tmp_path, cloudpickle.dumps(work))
        multiprocessing.start_processes(_member, arguments, nprocs=size, start_method="spawn")
        return [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(size)]

    return start


def test_alone_nothing_is_exchanged():
    rows = torch.arange(6.0, requires_grad=True)
    (rows**2).sum().backward()
    before = rows.grad.clone()
    group = ProcessGroup()
    group.average_gradients([rows])
    assert torch.equal(rows.grad, before)
    assert group.part(rows) is not None and torch.equal(group.part(rows), rows)
    assert group.all_gather(rows) is rows and group.all_mean(rows) is rows
    assert group.any(True) and not group.any(False)


def test_parts_wholes_means_and_flags(together):
    def work(group, folder):
        rows = torch.arange(12).view(6, 2)
        weight, bias, unused = (torch.zeros(shape, requires_grad=True) for shape in ((2, 2), 3, 1))
        weight.grad = torch.full((2, 2), float(group.rank))
        bias.grad = torch.arange(3.0) * (group.rank + 1)
        group.average_gradients([weight, bias, unused])
        flags = [group.any(flag) for flag in (False, group.rank == 1, True)]
        return (
            group.part(rows),
            group.all_gather(group.part(rows)),
            group.all_mean(torch.tensor([1.0, group.rank])),
            (weight.grad, bias.grad, unused.grad),
            flags,
        )

    found = together(3, work)
    for rank, (part, whole, mean, (weight, bias, unused), flags) in enumerate(found):
        assert part.tolist() == [[4 * rank, 4 * rank + 1], [4 * rank + 2, 4 * rank + 3]]
        assert torch.equal(whole, torch.arange(12).view(6, 2))
        assert mean.tolist() == [1.0, 1.0]
        assert torch.equal(weight, torch.ones(2, 2)) and bias.tolist() == [0.0, 2.0, 4.0] and unused is None
        assert flags == [False, True, True]


class Still(torch.optim.SGD):
    """Moves nothing; keeps the gradients of each update."""

    def __init__(self, parameters, weight_decay):
        super().__init__(list(parameters), lr=0.0)
        self.gradients = []

    def step(self, closure=None):
        own = [p.grad for group in self.param_groups for p in group["params"]]
        self.gradients.append([None if gradient is None else gradient.clone() for gradient in own])


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.long)])
def test_every_method_has_the_gradients_of_one_process(headed_teacher, online_batches, distill_recipe, together, size):
    """AdamW would hide a wrong scale: its steps do not depend on it."""

    def work(group, folder):
        made = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "adamw", lambda *arguments: made.append(Still(*arguments)) or made[-1])
            for method in DISTILLED:
                run_of(method, online_batches, distill_recipe(method=method, epochs=1), headed_teacher, group)
        return [optimiser.gradients for optimiser in made]

    alone = work(ProcessGroup(), None)
    for found in together(size, work):
        for method, updates, wanted in zip(DISTILLED, found, alone, strict=True):
            assert len(updates) == len(wanted) == 3
            scale = max(gradient.abs().max() for update in wanted for gradient in update if gradient is not None)
            for update, expected in zip(updates, wanted, strict=True):
                for gradient, one in zip(update, expected, strict=True):
                    assert (gradient is None) == (one is None)
                    if one is not None:
                        assert (gradient - one).abs().max() <= 1e-5 * scale, method


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.long), 3])
@pytest.mark.parametrize(
    "method", ["calibrated", pytest.param("calibrated_k", marks=pytest.mark.long), "calibrated_kd"]
)
def test_a_calibrated_student_is_that_of_one_process(
    headed_teacher, online_batches, distill_recipe, together, size, method
):
    """Each process sums over images of its own: the sums are those of one, up to the order of adding."""
    recipe = distill_recipe(method=method, layers="authors_code", calibration_views=2, lr=1e-30)

    def work(group, folder):
        student, history = run_of(method, online_batches, recipe, headed_teacher, group)
        return student.state_dict(), history[0]["calibration"], history[-1]["loss"]

    state, blocks, loss = work(ProcessGroup(), None)
    for found, told, lost in together(size, work):
        assert lost == pytest.approx(loss, rel=1e-4)
        for name, tensor in state.items():
            assert (found[name] - tensor).abs().max() <= 1e-4 * max(1, tensor.abs().max()), name
        for block, expected in zip(told, blocks, strict=True):
            assert block["strength"] == expected["strength"]
            assert block["held_out_error"] == pytest.approx(expected["held_out_error"], rel=1e-5)


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.long), 3])
def test_every_method_gives_the_student_and_the_record_of_one_process(
    headed_teacher, online_batches, distill_recipe, together, size
):
    recipes = {method: distill_recipe(method=method, epochs=3) for method in DISTILLED}

    def work(group, folder):
        made = {}
        for method, recipe in recipes.items():
            online_batches.calls.clear()
            student, history = run_of(method, online_batches, recipe, headed_teacher, group)
            made[method] = ends(student, images, "after_norm"), history, online_batches.calls[:]
        return made

    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    alone = work(ProcessGroup(), None)
    found = together(size, work)
    for method in recipes:
        recipe = distill_recipe(method=method)
        untrained = {"optimisation": recipe.optimisation.model_copy(update={"epochs": 0})}
        start = run_of(method, online_batches, recipe.model_copy(update=untrained), headed_teacher)[0]
        tokens, history, calls = alone[method]
        moved = (tokens - ends(start, images, "after_norm")).abs().max()
        for made in found:
            assert (made[method][0] - tokens).abs().max() <= 1e-3 * moved, method
            assert made[method][1] == [
                {
                    key: value if key == "signs" or value is None else pytest.approx(value, rel=1e-4)
                    for key, value in epoch.items()
                }
                for epoch in history
            ], method
        # Each image of a micro-batch was read by one of them, in the view of one process.
        for number, (rows, view) in enumerate(calls):
            parts = [made[method][2][number] for made in found]
            assert [row for part, _ in parts for row in part] == rows and {part for _, part in parts} == {view}


def test_a_batch_without_equal_parts_is_refused(tiny_teacher, online_batches, distill_recipe):
    with pytest.raises(BadInput, match=r"distill\.batch = 6 has no equal parts for 4 GPUs"):
        run_of("wecolora", online_batches, distill_recipe(), tiny_teacher, ProcessGroup(0, 4))


def test_told_to_stop_one_of_them_all_stop_and_the_first_saves(
    headed_teacher, online_batches, distill_recipe, together, tmp_path
):
    """And what they saved goes on, by as many or by one."""
    recipe = distill_recipe(method="dmae", epochs=3)

    def work(group, folder):
        asked = iter([False] * 4 + [group.rank == 1])
        state = Checkpoint(folder if group.rank == 0 else folder / "other", "run")
        with pytest.raises(Stopped, match="epoch 2, 4 of 6"):
            run_of(
                "dmae", online_batches, recipe, headed_teacher, group, checkpoint=state, stopping=lambda: next(asked)
            )
        assert not (folder / "other").exists()
        again = Checkpoint(folder if group.rank == 0 else None, "run")  # the others get what the first has read
        resumed, history = run_of("dmae", online_batches, recipe, headed_teacher, group, checkpoint=again)
        whole, whole_history = run_of("dmae", online_batches, recipe, headed_teacher, group)
        assert history == whole_history
        return all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in resumed.state_dict().items())

    assert together(2, work) == [True, True]


# By torchrun


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({}, 1),
        ({"gpu": 1}, 1),
        ({"gpu": 4}, 4),
        ({"gpu": 0, "gres": "gpu:a100:2"}, 2),
        ({"gres": "gpu:3"}, 3),
        ({"gres": "gpu:a100"}, 1),
        ({"gres": "gpu"}, 1),
        ({"gres": "gpu:2,nvme:100"}, 2),
        ({"gres": "nvme:100,gpu:a100:4(S:0-1)"}, 4),
        ({"gres": "nvme:100"}, 1),
        ({"gpu": 0}, 1),
    ],
)
def test_gpus_are_asked_for_in_either_way(resources, count):
    assert process_group.gpus(resources) == count


SCRIPT = """
import sys
from wecolora.core import process_group, job
process_group.launch(2, sys.argv[1])
with job.running(sys.argv[1]), process_group.joined() as group:
    job.log.info("%d of %d", group.rank, group.size)
    job.log.error("an error of %d", group.rank)
"""


def test_a_script_goes_on_as_two_processes_with_one_log(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # whatever there is: there may be one
    script, log = tmp_path / "script.py", tmp_path / "job.log"
    script.write_text(SCRIPT)
    log.write_text("of the last time\n")
    ended = subprocess.run([sys.executable, script, log], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    told = sorted(line[20:] for line in log.read_text().splitlines())
    assert told == ["0 of 2", "an error of 0", "an error of 1", "finished"]


def test_alone_the_team_is_one_process():
    with process_group.joined() as group:
        assert group == ProcessGroup(0, 1)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BadInput, match="4 GPUs are asked for, and torch finds 2"), process_group.joined():
        pass
