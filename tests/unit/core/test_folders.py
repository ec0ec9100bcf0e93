"""What a folder holds: its files, without what programs leave there, and its state."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from wecolora.core.folders import file_state, files_below, folder_state


def test_files_below_a_folder_come_in_one_order(tmp_path):
    for name in ("b/2", "b/10", "a", "c.d/e/f", ".hidden/x", "b/.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "g").symlink_to(tmp_path / "c.d")
    assert [path for path, _ in files_below(tmp_path)] == ["a", "b/10", "b/2", "b/link", "c.d/e/f", "g/e/f"]


def test_what_is_left_out_of_a_folder_is_counted(tmp_path):
    for name in ("a/1", "a/@eaDir/1", "@EADIR/1", "lost+found/1", ".git/1", "a/.x", ".y", "a/__pycache__/z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "a" / "pipe")
    skipped = Counter()
    assert [path for path, _ in files_below(tmp_path, skipped)] == ["a/1"]
    folders = ["@eaDir", "@EADIR", "lost+found", ".git", "__pycache__"]
    assert skipped == {**dict.fromkeys(folders, 1), "hidden files": 2, "broken links": 1} | {
        "pipes, sockets and devices": 1
    }


@pytest.mark.parametrize("depth", [None, 1, 3])
def test_a_folders_state_does_not_follow_what_is_left_out(tmp_path, depth):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    os.utime(tmp_path / "a", (1, 1))
    first = state(tmp_path, depth)
    for name in ("@eaDir", "lost+found", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    assert state(tmp_path, depth) == first


def test_a_folders_state_follows_empty_folders(tmp_path):
    """Which may be classes without images."""
    (tmp_path / "a").mkdir()
    first = state(tmp_path)
    (tmp_path / "b").mkdir()
    assert state(tmp_path) != first


def state(folder, depth=None):
    folder_state.cache_clear()
    return folder_state(str(folder), depth)


def test_a_folders_state_follows_every_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_text("1")
    first = state(tmp_path)
    assert state(tmp_path) == first
    found = {first}
    (tmp_path / "a" / "b" / "x").write_text("12")
    found.add(state(tmp_path))
    os.utime(tmp_path / "a" / "b" / "x", (1, 1))
    found.add(state(tmp_path))
    (tmp_path / "a" / "b" / "x").rename(tmp_path / "a" / "b" / "y")
    found.add(state(tmp_path))
    (tmp_path / "a" / "y").symlink_to(tmp_path / "nothing")  # no file, and no error
    assert state(tmp_path) in found and len(found) == 4


def test_to_a_depth_alone_a_folders_time_stands_for_its_files(tmp_path):
    (tmp_path / "train" / "n1" / "deep").mkdir(parents=True)
    (tmp_path / "archive.tar").write_text("1")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for folder in ("train/n1/deep", "train/n1", "train"):
        os.utime(tmp_path / folder, (1, 1))
    states = [state(tmp_path, 2)]

    def changed(again):
        new = state(tmp_path, 2)
        assert (new != states[-1]) == again
        states.append(new)

    (tmp_path / "train" / "n1" / "deep" / "x").write_text("1")
    changed(False)
    (tmp_path / "train" / "n1" / "x").write_text("1")
    changed(True)
    (tmp_path / "train" / "n1" / "x").write_text("12")  # in place
    changed(False)
    (tmp_path / "train" / "n2").mkdir()
    changed(True)
    (tmp_path / "archive.tar").write_text("12")
    changed(True)


@pytest.mark.parametrize("depth", [None, 2])
def test_a_folder_that_is_missing_has_a_state(tmp_path, depth):
    assert state(tmp_path / "nothing", depth) == state(tmp_path / "other", depth) != state(tmp_path, depth)


def test_names_that_are_no_text_have_a_state(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("1")
    assert state(tmp_path / "nothing") not in (state(tmp_path), state(tmp_path, 1))


def test_a_files_state(tmp_path):
    path = tmp_path / "a"
    assert file_state(path) == ""
    path.write_text("1")
    first = file_state(path)
    path.write_text("12")
    assert "" != first != file_state(path)
