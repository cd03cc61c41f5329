"""A real disk that is really full: a sentence, and what was there is still there."""

import os
import shutil
import subprocess

import pytest
from runs import run_cli, train_small

import jumok
from jumok.errors import StorageError


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root on Linux can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk, leave):
    """Use up all space but ``leave`` bytes."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(b"\0" * (free - leave))


def free_again(disk):
    (disk / "filler").unlink()


@pytest.mark.parametrize("leave", [60_000, 0])
def test_a_checkpoint_that_does_not_fit(small_disk, leave):
    run = train_small(small_disk, {"train.patience": 99})
    texts = ["abc", "edcba", "a"]
    before = [p.to_dict() for p in jumok.load(run).predict(texts)]
    names = {p.name for p in run.iterdir()}
    weights = (run / "last" / "model.safetensors").stat().st_size
    assert weights > 20_000  # two models and their state are more than what is left
    fill(small_disk, leave)
    result = run_cli("train", "--resume", run, "--set", "train.max_epochs=4")
    assert result.code == StorageError.exit_code
    assert result.err.splitlines()[-1].startswith(f"jumok: Could not write {run}")
    assert "no space left on the disk. Free some, then go on" in result.err
    assert "Traceback" not in result.err
    # nothing good is lost, nothing half-written is left
    assert len(jumok.load(run / "last").predict(texts)) == 3
    assert [p.to_dict() for p in jumok.load(run / "best").predict(texts)] == before
    assert {p.name for p in run.iterdir()} == names
    # and the advice works
    free_again(small_disk)
    result = run_cli("train", "--resume", run, "--set", "train.max_epochs=4")
    assert result.code == 0, result.err


@pytest.mark.filterwarnings("ignore:No installed font has")  # true of some machines
def test_a_picture_that_does_not_fit(small_disk, tmp_path):
    run = train_small(tmp_path / "elsewhere")
    path = small_disk / "map.svg"
    assert run_cli("explain", run, "abc", "--output", path).code == 0
    before = path.read_bytes()
    fill(small_disk, 0)
    for name in ("map.svg", "map.png"):
        result = run_cli("explain", run, "abcde", "--output", small_disk / name)
        assert result.code == StorageError.exit_code
        assert "no space left on the disk" in result.err
    assert path.read_bytes() == before
    assert {p.name for p in small_disk.iterdir()} == {"map.svg", "filler"}


def test_outputs_that_do_not_fit(small_disk, tmp_path):
    run = train_small(tmp_path / "elsewhere")
    texts = tmp_path / "in.txt"
    texts.write_text("abcde\n" * 3000, encoding="utf-8")
    expected = run_cli("predict", run, texts, "--format", "tsv").out
    job = ("predict", run, texts, "--format", "tsv", "--output", small_disk / "out.txt", "--resume")
    fill(small_disk, 60_000)  # enough for the first of three windows, but not for two
    result = run_cli(*job)
    assert result.code == StorageError.exit_code
    assert f"Could not write {small_disk / 'out.txt'}: there is no space left" in result.err
    whole = "".join(expected.splitlines(keepends=True)[:1024])
    assert (small_disk / "out.txt").read_text(encoding="utf-8") == whole
    free_again(small_disk)
    assert run_cli(*job).code == 0
    assert (small_disk / "out.txt").read_text(encoding="utf-8") == expected
    assert {p.name for p in small_disk.iterdir()} == {"out.txt"}
