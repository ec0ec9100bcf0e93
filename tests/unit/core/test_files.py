"""Files that appear whole or not at all, and what a folder holds."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

from wecolora.core.errors import BadInput
from wecolora.core.files import atomic_write, new_folder, read_json, remove_leftovers, sha256, unreadable


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


@pytest.mark.parametrize("error", [ValueError, RuntimeError, FileNotFoundError, KeyboardInterrupt, SystemExit])
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "of a library"),
        RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'No space')"),
    ],
)
def test_a_block_that_cannot_write_names_the_file_and_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with (
        pytest.raises(BadInput, match=r"/a\.txt: cannot be written \(No space left on device\); free disk space, or "),
        atomic_write(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_file_that_no_disk_holds_is_not_begun(tmp_path):
    with (
        pytest.raises(BadInput, match=r"/a\.txt: takes 1,000,000,000,000,000,000 bytes, and its disk has [\d,]+ left"),
        atomic_write(tmp_path / "a.txt", 10**18),
    ):
        raise AssertionError("the block ran")
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"other": 1}'])
def test_json_that_is_not_whole_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=r"/a\.json: cannot be read .*; delete it to make it again\."):
        read_json(tmp_path / "a.json", ["key"], "make it again")
    (tmp_path / "a.json").write_text('{"key": [1]}')
    assert read_json(tmp_path / "a.json", ["key"], "make it again") == {"key": [1]}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no footer"), "is no table (no footer); delete it to make it again."),
        (OSError("truncated file: eof = 96"), "is no table (truncated file: eof = 96); delete it to make it again."),
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied); let it be read."),
        (
            FileNotFoundError("a"),
            "cannot be read (No such file or directory); restore it; if",
        ),
        (
            OSError("[Errno 5] Error reading. Detail: [errno 5] Input/output error"),
            "(Input/output error); it may",
        ),
        (OSError("No such device (os error 19)"), "(No such device); it may be whole"),
        (OSError(24, "Too many open files"), "(Too many open files); let more files be open at once (ulimit -n)."),
        (OSError(37, "No locks available"), "(No locks available); HDF5 could not lock it"),
        (OSError(13, "Permission denied: '/data/blocks/unlocked'"), "(Permission denied); let it be read."),
    ],
)
def test_what_is_said_of_a_file_that_cannot_be_read(error, said):
    message = str(unreadable("a", error, "is no table", "delete it to make it again"))
    assert message.startswith("a: ") and said in message
    assert str(unreadable("a", error, "is", "delete", name="b (part 2)")).startswith("b (part 2): ")


def test_text_is_utf8_in_every_locale(tmp_path):
    """In a process whose locale knows none of these signs."""
    code = "import sys; from wecolora.core.files import write_text; "
    code += "write_text(sys.argv[1], bytes.fromhex(sys.argv[2]).decode())"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt"), "±✓北".encode().hex()]
    subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "a.txt").read_bytes().decode() == "±✓北"


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
        "import sys; from wecolora.core.files import atomic_write\n"
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
        "import os, signal, sys; from wecolora.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.txt"
    assert another_process(code, path).returncode == -9
    assert not path.exists() and all(name.endswith(".part") for name in names(tmp_path))


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_filled_when_the_block_ends(there, tmp_path):
    path = tmp_path / "deep" / "out"
    if there:
        path.mkdir(parents=True)
    with new_folder(path) as temporary:
        (temporary / "a.txt").write_text("new")
        assert not path.exists() or not (path / "a.txt").exists()
    assert names(path) == ["a.txt"] and names(path.parent) == ["out"] and names(tmp_path) == ["deep"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_no_folder(error, tmp_path):
    with pytest.raises(error), new_folder(tmp_path / "deep" / "out") as temporary:
        (temporary / "a.txt").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(BadInput, match="out: cannot be written"), new_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    folder = tmp_path / "deep" / "er"
    path = folder / "a.txt"
    code = (
        "import os, signal, sys; from wecolora.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    another_process(code, path)
    (folder / ".b.txt.12@elsewhere.part").write_text("being written")
    old = folder / ".c.txt.12@elsewhere.part"
    old.write_text("left")
    os.utime(old, (0, 0))
    with atomic_write(path) as temporary:
        temporary.write_text("mine")
        assert len(names(folder)) == 4
        remove_leftovers(tmp_path)
    assert names(folder) == [".b.txt.12@elsewhere.part", "a.txt"]


def test_what_nobody_came_back_for_in_a_month_is_removed(tmp_path):
    (tmp_path / ".resume").mkdir()
    for name, days in {"now.pt": 0, "queued.pt": 29, "forgotten.pt": 31}.items():
        (tmp_path / ".resume" / name).write_text("a state")
        os.utime(tmp_path / ".resume" / name, (time.time() - days * 86400,) * 2)
    remove_leftovers(tmp_path)
    assert names(tmp_path / ".resume") == ["now.pt", "queued.pt"]


# What a folder holds


def test_the_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
