"""Resume files: what was saved comes back, and nothing else does."""

import pytest
import torch
from torch import nn

from wecolora.core.checkpoint import Checkpoint, RowsCheckpoint


@pytest.fixture
def state():
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 4))
    optimiser = torch.optim.AdamW([parameter], lr=0.1)
    parameter.grad = torch.randn(3, 4)
    optimiser.step()
    history = [{"loss": 0.1 + 0.2, "signs": ["student collapse: µ"], "lr": 0.0}]
    return {"trainable": {"a": parameter}, "optimiser": optimiser.state_dict(), "history": history}


def test_what_was_saved_is_loaded_bit_by_bit(state, tmp_path):
    Checkpoint(tmp_path / "new" / "folder", "run").save(state)
    found = Checkpoint(tmp_path / "new" / "folder", "run").load()
    assert found["history"] == state["history"]
    assert torch.equal(found["trainable"]["a"], state["trainable"]["a"])
    assert found["optimiser"]["param_groups"] == state["optimiser"]["param_groups"]
    moments = state["optimiser"]["state"][0]
    assert all(torch.equal(found["optimiser"]["state"][0][name], value) for name, value in moments.items())


def test_the_time_of_earlier_attempts_counts_up_to_their_last_save(state, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    first = Checkpoint(tmp_path, "run")
    now[0] = 107.0
    first.save(state)
    now[0] = 150.0  # killed here, and begun again later
    second = Checkpoint(tmp_path, "run")
    assert second.spent == 0 and "seconds" not in second.load() and second.spent == 7
    now[0] = 153.0
    second.save(state)
    third = Checkpoint(tmp_path, "run")
    third.load()
    assert third.spent == 10


def test_the_newest_state_replaces_the_last_and_leaves_no_other_file(state, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.save(state)
    file.save({**state, "history": []})
    assert file.load()["history"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_job_that_dies_while_saving_leaves_the_last_state(state, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.save(state)
    with pytest.raises(Exception, match="pickle"):
        file.save({"history": lambda: None})
    assert file.load()["history"] == state["history"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_another_recipe_has_another_file(state, tmp_path):
    Checkpoint(tmp_path, "run").save(state)
    assert Checkpoint(tmp_path, "other").load() is None


def test_a_removed_state_is_gone_and_removing_it_again_does_no_harm(state, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.save(state)
    file.remove()
    file.remove()
    assert file.load() is None and not list(tmp_path.iterdir())


def test_without_a_folder_nothing_is_kept(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = Checkpoint(None, "run")
    file.save(state)
    assert file.load() is None
    file.remove()
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_counts_as_none(state, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.save(state)
    whole = file.path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        file.path.write_bytes(whole[:length])
        assert file.load() is None, length


def test_a_flipped_byte_counts_as_none_wherever_it_is(state, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.save(state)
    whole = file.path.read_bytes()
    for place in [*range(0, len(whole), 41), len(whole) - 1]:
        file.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert file.load() is None, place


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"cos\nsystem\n(S'true'\ntR."])
def test_a_file_of_another_kind_counts_as_none(content, tmp_path):
    file = Checkpoint(tmp_path, "run")
    file.path.write_bytes(content)
    assert file.load() is None


# Rows


def test_rows_come_back_in_order_as_far_as_no_piece_is_missing(tmp_path):
    numbers = torch.arange(30.0).view(10, 3)
    rows = RowsCheckpoint(tmp_path, "set")
    assert list(rows.load("train")) == []
    for start, end in ((4, 6), (0, 4), (7, 10)):
        rows.save("train", start, numbers[start:end])
    rows.save("test", 0, numbers[:1])
    assert torch.equal(torch.cat(list(RowsCheckpoint(tmp_path, "set").load("train"))), numbers[:6])
    assert list(RowsCheckpoint(tmp_path, "other").load("train")) == []


def test_a_damaged_piece_and_what_follows_count_as_none(tmp_path):
    numbers = torch.arange(30.0).view(10, 3)
    rows = RowsCheckpoint(tmp_path, "set")
    for start, end in ((0, 4), (4, 6), (6, 10)):
        rows.save("train", start, numbers[start:end])
    content = bytearray((tmp_path / "set_train_4.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "set_train_4.pt").write_bytes(content)
    assert torch.equal(torch.cat(list(rows.load("train"))), numbers[:4])


def test_rows_that_are_done_with_leave_those_of_others(tmp_path):
    for name in ("set", "other"):
        RowsCheckpoint(tmp_path, name).save("train", 0, torch.zeros(2, 3))
    RowsCheckpoint(tmp_path, "set").remove()
    assert [path.name for path in tmp_path.iterdir()] == ["other_train_0.pt"]
    RowsCheckpoint(None, "set").remove()
    assert list(RowsCheckpoint(None, "set").load("train")) == []


def test_an_attempt_that_loads_its_own_state_counts_its_seconds_once(tmp_path, monkeypatch):
    """As where a training goes on from what its calibration saved, in the same job."""
    now = [0.0]
    monkeypatch.setattr("wecolora.core.checkpoint.time.monotonic", lambda: now[0])
    one = Checkpoint(tmp_path, "run")
    now[0] = 80.0
    one.save({"part": 1})
    assert one.load() == {"part": 1} and one.spent == 0
    now[0] = 100.0
    one.save({"part": 2})
    other = Checkpoint(tmp_path, "run")
    other.load()
    assert other.spent == 100
