"""What only a process of its own can show: streams, locales, imports, signals."""

import os
import selectors
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from runs import train_small

JUMOK = [sys.executable, "-m", "jumok"]
ASCII = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("process"))


@pytest.fixture
def process(run):
    """`jumok predict RUN -` on a machine that knows only ASCII.

    Ctrl-C reaches it also where these tests run in the background, where shells switch it off.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*JUMOK, "predict", run, "-"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=ASCII,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        yield child
        child.kill()


def answer(process, line, seconds=60):
    """The next line of output after ``line`` of input; stdin stays open."""
    process.stdin.write(line)
    process.stdin.flush()
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        assert ready.select(seconds), f"no answer to {line!r} within {seconds} s"
    return process.stdout.readline()


def test_every_line_is_answered_at_once_in_utf8(process):
    first = answer(process, b"abcde\n")
    assert set(first.decode("utf-8").strip()) <= set("가나다라마")
    assert len(first) > 1
    assert answer(process, b"\n") == b"\n"
    nfc, nfd = ("é가".encode(), unicodedata.normalize("NFD", "é가").encode())
    assert answer(process, nfc + b"\n") == answer(process, nfd + b"\n")
    assert answer(process, b"abcde\n") == first
    rest, error = process.communicate(timeout=60)
    assert (process.returncode, rest, error) == (0, b"", b"")


def test_every_pair_is_aligned_at_once(run):
    pipe = subprocess.PIPE
    command = [*JUMOK, "align", run, "-", "--units", "character"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=ASCII) as child:
        first = answer(child, "abc\t다나가\n".encode())
        assert {int(link.split(b"-")[1]) for link in first.split()} <= {0, 1, 2}
        assert answer(child, "e\t마\n".encode()) in (b"0-0\n", b"\n")
        assert answer(child, "abc\t다나가\n".encode()) == first
        rest, error = child.communicate(timeout=60)
        assert (child.returncode, rest, error) == (0, b"", b"")


def test_ctrl_c_while_waiting_for_a_line_ends_quietly(process):
    answer(process, b"abc\n")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, b"")


def test_a_reader_that_leaves_is_no_error(process):
    answer(process, b"abc\n")
    process.stdout.close()
    process.stdin.write(b"abc\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == 141  # stdin is still open, and someone waits there
    assert process.stderr.read() == b""


@pytest.mark.parametrize("args", ["config --schema", "config --print"])
def test_a_reader_that_reads_one_line_is_no_error(args):
    command = f"{sys.executable} -m jumok {args} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


@pytest.mark.parametrize("buffering", ["1", ""], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize("args", ["--version", "--help", "config", "config --schema"])
def test_a_reader_that_never_was_is_141(args, buffering):
    reader, writer = os.pipe()
    os.close(reader)
    env = {**os.environ, "PYTHONUNBUFFERED": buffering}
    command = [*JUMOK, *args.split()]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=env, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--version <&-", 0),
        ("--version >&-", 0),
        ("config >&-", 0),
        ("config --print <&- >&- 2>&-", 0),
        ("config --preset nothing 2>&-", 3),
        ("config --nothing 2>&-", 2),
    ],
)
def test_a_stream_that_was_closed_before_is_no_error(line, code):
    command = f"{sys.executable} -m jumok {line}"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, b"")
    assert bool(done.stdout) == (line == "--version <&-")


def test_predicting_with_closed_streams_is_no_error(run):
    command = f"{sys.executable} -m jumok predict {run}"
    for closed in ("<&-", "<&- >&-"):
        done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_full_disk_behind_stdout_is_a_sentence():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*JUMOK, "config", "--print"], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 8
    assert done.stderr == b"jumok: The system refused: [Errno 28] No space left on device\n"


def test_help_and_settings_load_no_torch():
    code = """
import sys
from jumok.cli import main
for line in ("--help", "predict --help", "train --help", "config --print", "config --schema"):
    sys.argv = ["jumok", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code
print([m for m in ("torch", "numpy", "tokenizers") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
