"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wecolora.files import atomic_write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        written = temporary.stat().st_ino
        assert temporary.name.startswith(".") and temporary.name.endswith(".part")
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]
    assert path.stat().st_ino == written  # renamed, not copied: nobody sees half of it


def test_folders_are_made(tmp_path):
    with atomic_write(str(tmp_path / "deep" / "er" / "a.txt")) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "deep" / "er" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    for before in (None, "old"):
        if before:
            path.write_text(before)
        with pytest.raises(error), atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error
        assert names(tmp_path) == (["a.txt"] if before else [])
        assert not before or path.read_text() == before


def test_an_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def another_process(code, path):
    """What another Python made of this code, which gets the path as its argument."""
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_two_processes_do_not_share_a_temporary_file(tmp_path):
    code = (
        "import sys; from wecolora.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('other'); print(temporary.name)"
    )
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("mine")
        done = another_process(code, path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() != temporary.name
        assert temporary.read_text() == "mine" and path.read_text() == "other"
    assert path.read_text() == "mine" and names(tmp_path) == ["a.txt"]  # the last rename wins


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    code = (
        "import os, signal, sys; from wecolora.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.txt"
    assert another_process(code, path).returncode == -9
    assert not path.exists() and all(name.endswith(".part") for name in names(tmp_path))
