"""A directory on the disk is always one whole thing: the old one or the new one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest

from jumok.errors import ConfigError, StorageError
from jumok.storage import (
    alone,
    find_directory,
    remove_directory,
    replace_directory,
    restore_directory,
    storage_errors,
    write_atomic,
)

NAMES = ("config.json", "model.safetensors", "deep/state.json")
CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")


def write_version(path, version, keep_old=False):
    with replace_directory(path, keep_old) as folder:
        (folder / "deep").mkdir()
        for name in NAMES:
            (folder / name).write_text(f"{version}", encoding="utf-8")


def version_of(path):
    """The version that a reader finds; every file must be there and of the same version."""
    folder = find_directory(path)
    found = {(folder / name).read_text(encoding="utf-8") for name in NAMES}
    assert len(found) == 1, f"a mixture of versions: {found}"
    return int(found.pop())


class Faults:
    """Makes the disk refuse the call number ``first``, or that one and all after it."""

    def __init__(self, monkeypatch, first, lasting):
        self.first, self.lasting, self.count = first, lasting, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self.watched(getattr(os, name)))

    def watched(self, call):
        def maybe(*args, **kwargs):
            self.count += 1
            late = self.count > self.first if self.lasting else False
            if self.count == self.first or late:
                raise OSError(5, "Input/output error")
            return call(*args, **kwargs)

        return maybe


def steps_of_a_write(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        write_version(tmp_path / "count", 1)
        faults = Faults(patch, 10**9, lasting=False)
        write_version(tmp_path / "count", 2)
    return faults.count


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_fault_at_any_step_leaves_the_old_or_the_new(tmp_path, lasting):
    steps = steps_of_a_write(tmp_path)
    assert steps > 10  # else the faults do not reach what they should
    refused = 0
    for first in range(1, steps + 1):
        path = tmp_path / f"{first}" / "best"
        write_version(path, 1)
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, first, lasting)
            try:
                write_version(path, 2)
                done = True
            except StorageError as error:
                assert str(path) in str(error)
                done = False
        assert version_of(path) == (2 if done else 1)
        refused += not done
        # and the next write heals whatever was left
        write_version(path, 3)
        assert version_of(path) == 3
        assert [p.name for p in path.parent.iterdir()] == ["best"]
    assert refused > 5


def test_an_error_while_filling_leaves_the_old(tmp_path):
    write_version(tmp_path / "best", 1)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), replace_directory(tmp_path / "best") as folder:
            (folder / NAMES[0]).write_text("2", encoding="utf-8")
            raise error
        assert version_of(tmp_path / "best") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("keep_old", [False, True])
def test_a_link_stays_one(tmp_path, keep_old):
    link, there = tmp_path / "best", tmp_path / "disk" / "models"
    link.symlink_to(there)
    for version in (1, 2, 3):
        write_version(link, version, keep_old)
        assert link.readlink() == there
        assert version_of(link) == version_of(there) == version
    assert {p.name for p in tmp_path.iterdir()} == {"best", "disk"}
    beside = {"models", ".models.old"} if keep_old else {"models"}
    assert {p.name for p in there.parent.iterdir()} == beside
    aside = there.with_name(".models.old")
    shutil.rmtree(aside, ignore_errors=True)
    there.rename(aside)  # as a kill between two renames leaves it
    assert version_of(link) == 3
    restore_directory(link)
    assert version_of(there) == 3
    remove_directory(link)
    assert not there.exists()


@pytest.mark.parametrize("suffix", ["old", "new"])
@pytest.mark.parametrize("kind", ["file", "link", "link to nothing"])
def test_what_stands_where_it_steps_aside_makes_way(tmp_path, kind, suffix):
    write_version(tmp_path / "best", 1)
    aside = tmp_path / f".best.{suffix}"
    if kind == "file":
        aside.write_text("", encoding="utf-8")
    else:
        write_version(tmp_path / "other", 7)
        aside.symlink_to(tmp_path / ("other" if kind == "link" else "nothing"))
    write_version(tmp_path / "best", 2)
    assert version_of(tmp_path / "best") == 2
    assert not aside.is_symlink() and not aside.exists()
    if kind != "file":
        assert version_of(tmp_path / "other") == 7


def test_a_link_to_itself_is_a_sentence(tmp_path):
    (tmp_path / "best").symlink_to(tmp_path / "best")
    assert find_directory(tmp_path / "best") == tmp_path / "best"
    with pytest.raises(StorageError, match="best"):
        write_version(tmp_path / "best", 1)


def test_write_atomic_leaves_the_old_or_the_new(tmp_path):
    path = tmp_path / "config.yaml"
    refused = 0
    for first in (1, 2, 3):
        write_atomic(path, "old")
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, first, lasting=False)
            try:
                write_atomic(path, "new")
                expected = "new"
            except StorageError:
                expected = "old"
                refused += 1
        assert path.read_text(encoding="utf-8") == expected
    assert refused == 2  # the flush and the rename; there is no third call
    write_atomic(path, "가".encode())
    assert path.read_text(encoding="utf-8") == "가"
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("number", "words"), [(28, "no space left"), (13, "not writable"), (5, "Input/output error")]
)
def test_refusals_become_sentences(tmp_path, number, words):
    match = rf"Could not write {tmp_path}: .*{words}"
    with pytest.raises(StorageError, match=match), storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_one_at_most_holds_a_lock_whose_file_goes(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="elsewhere files that are open cannot be removed")
    first, lock = alone(tmp_path, "busy"), fcntl.flock
    first.__enter__()

    def late(file, how):  # the second has opened the file, and the first ends
        monkeypatch.undo()
        first.__exit__(None, None, None)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with ExitStack() as held:
        holders = 0
        for _ in range(2):  # the second and a third
            with suppress(ConfigError):
                held.enter_context(alone(tmp_path, "busy"))
                holders += 1
        assert holders == 1


WRITER = """
import sys
from pathlib import Path
from jumok.storage import find_directory, replace_directory, write_atomic

path, log = Path(sys.argv[1]), Path(sys.argv[2])
version = int((find_directory(path) / "0").read_text()[:8]) if find_directory(path).exists() else 0
print("ready", flush=True)
while True:
    version += 1
    content = f"{version:08d}" * 5000
    with replace_directory(path) as folder:
        for name in "012":
            (folder / name).write_text(content)
    write_atomic(log, content)
"""


def test_a_kill_at_any_moment_leaves_a_whole_directory_and_a_whole_file(tmp_path):
    path, log = tmp_path / "last", tmp_path / "log"
    draw = random.Random(0)
    seen = []
    until = time.monotonic() + 4
    while len(seen) < 12 and (time.monotonic() < until or len(seen) < 3):
        args = [sys.executable, "-c", WRITER, path, log]
        with subprocess.Popen(args, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(draw.uniform(0.0, 0.1))
            writer.send_signal(signal.SIGKILL)
        if not find_directory(path).exists():
            continue  # killed before the very first write was done
        contents = {(find_directory(path) / name).read_text() for name in "012"}
        contents_of_log = log.read_text() if log.exists() else "00000000" * 5000
        assert len(contents) == 1
        for content in (*contents, contents_of_log):
            assert content == content[:8] * 5000
        seen.append(int(contents.pop()[:8]))
    assert seen == sorted(seen)  # nothing that was there is lost
    assert seen[-1] > 3
