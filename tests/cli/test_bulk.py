"""Answers in a file: whole after any kill, gone on with byte for byte, and told of on the way."""

import ast
import gzip
import json
import logging
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from io import FileIO, StringIO
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from runs import letters, run_cli, train_small

from jumok import errors, load
from jumok.cli.bulk import Answered, Answerer, Job
from jumok.cli.ray_data import (
    _answered,
    _check_address,
    _cluster,
    _row,
    _Worker,
    answers_of_workers,
)
from jumok.cli.resumable import ResumableOutput
from jumok.cli.streams import Source, full_windows, windows
from jumok.errors import (
    BundleError,
    ConfigError,
    DataError,
    InputError,
    Interrupted,
    JumokError,
    MissingExtra,
)
from jumok.progress import Bar

JUMOK = [sys.executable, "-m", "jumok"]
FORMS = [(), ("--format", "tsv"), ("--format", "jsonl", "--n-best", "2")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("bulk"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """3,200 lines, some of them empty: three windows and a bit."""
    lines = letters(3_000, 1, 8) + [""] * 200
    random.Random(1).shuffle(lines)
    path = tmp_path_factory.mktemp("texts") / "in.txt"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def journal(path):
    return path.with_name(f"{path.name}.progress.json")


@pytest.fixture(scope="module")
def answers(run, texts):
    """What one process writes to stdout."""
    return run_cli("predict", run, texts).out


@pytest.fixture(scope="module")
def broken_once(run, texts, tmp_path_factory):
    """A job that was broken off after its second window, in the middle of a line."""
    folder = tmp_path_factory.mktemp("broken")
    head = texts.read_bytes().splitlines(keepends=True)[:2048]
    (folder / "head.txt").write_bytes(b"".join([*head, b"\xff\n"]))
    out = folder / "out.txt"
    assert run_cli("predict", run, folder / "head.txt", "--output", out).code == 4
    with out.open("ab") as file:
        file.write("가나".encode()[:4])
    return out


@pytest.fixture
def broken(broken_once, tmp_path):
    """A copy of it to go on with."""
    shutil.copy(journal(broken_once), tmp_path)
    return Path(shutil.copy(broken_once, tmp_path))


@pytest.mark.parametrize("form", FORMS, ids=["text", "tsv", "jsonl"])
def test_a_file_gets_what_stdout_gets(run, texts, tmp_path, form):
    shown = run_cli("predict", run, texts, *form)
    assert (shown.code, shown.err) == (0, "")
    with gzip.open(tmp_path / "in.txt.gz", "wb") as packed:
        packed.write(texts.read_bytes())
    for number, source in enumerate((texts, tmp_path / "in.txt.gz")):
        out = tmp_path / f"out{number}"
        kept = run_cli("predict", run, source, *form, "--output", out)
        assert (kept.code, kept.out) == (0, "")
        assert kept.err.splitlines()[-1].startswith(f"3,200 lines are answered in {out}, ")
        assert out.read_text(encoding="utf-8") == shown.out
        assert not journal(out).exists()


def test_no_lines_give_an_empty_file(run, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"")
    for resume in ([], ["--resume"]):
        out = tmp_path / f"out{len(resume)}"
        assert run_cli("predict", run, tmp_path / "in.txt", "--output", out, *resume).code == 0
        assert out.read_bytes() == b""
        assert not journal(out).exists()


def test_a_job_that_is_killed_again_and_again_ends_as_if_nothing_had_been(run, texts, tmp_path):
    options = ("--n-best", "2")  # lines of the output are no lines of the input
    expected = run_cli("predict", run, texts, *options)
    source = tmp_path / "in.txt.gz"
    source.write_bytes(gzip.compress(texts.read_bytes()))
    out = tmp_path / "out.txt"
    command = [*JUMOK, "predict", run, source, *options, "--output", out, "--resume"]
    draw, kills, before = random.Random(0), 0, b""
    while True:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            until = time.monotonic() + 120
            # well into the work, or it would be killed before it begins
            while process.poll() is None and kills < 3 and time.monotonic() < until:
                if out.exists() and out.stat().st_size > len(before):
                    time.sleep(draw.random() * 0.2)
                    process.kill()
                    break
                time.sleep(0.002)
            code = process.wait(timeout=120)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        counted = json.loads(journal(out).read_text(encoding="utf-8"))["bytes"]
        before = out.read_bytes()
        assert expected.out.encode().startswith(before[:counted])
        if draw.random() < 0.5:  # a kill inside of a write leaves a part of a line
            before = before[: counted + draw.randrange(1 + len(before) - counted)]
            out.write_bytes(before + "가".encode()[:2])
    assert kills >= 2
    assert out.read_text(encoding="utf-8") == expected.out
    assert not journal(out).exists()


class Killed(BaseException):
    """Nothing after it happens, as after a kill."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Fresh folders, as many as wanted."""
    base = tmp_path_factory.mktemp("kills")
    return (base / str(number) for number in range(10**9))


WINDOWS = [(["a", "b"], "A\nB\n"), (["", "c"], "\nC\nC2\n"), (["d"], "가\n")]


def write_all(path, until):
    """A job of `WINDOWS` that is killed at its call number ``until`` to the system; how many calls
    there were if it was not."""
    calls = 0

    def counted(function, torn=False):
        def call(*args, **options):
            nonlocal calls
            calls += 1
            if until and calls >= until:
                if torn and calls == until:
                    function(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Killed
            return function(*args, **options)

        return call

    class Torn(FileIO):
        write = counted(FileIO.write, torn=True)
        truncate = counted(FileIO.truncate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted(lambda number: None))  # for speed
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        opened = counted(Path.open)

        def open_(self, mode="r", buffering=-1, **options):
            if buffering != 0:
                return opened(self, mode, buffering, **options)
            opened(self, mode, buffering).close()
            return Torn(self, "r+b")

        patch.setattr(Path, "open", open_)
        with ResumableOutput(path, {"model": 1}, resume=True) as kept:
            lines = [line for window, _ in WINDOWS for line in window]
            kept.skip(iter(lines), "in.txt")
            done = kept.lines
            for window, text in WINDOWS:
                if done:  # whole windows were kept, or nothing of them
                    done -= len(window)
                    continue
                kept.write(window, text)
            kept.finish()
    return calls


def content(path):
    return path.read_bytes() if path.exists() else b""


def test_whatever_call_to_the_system_is_the_last_one(folders):
    """The job is killed at every one of its calls (half of what is written is written), and once
    more at every one of those with which it goes on."""
    folder = next(folders)
    folder.mkdir()
    calls = write_all(folder / "whole", None)
    whole = (folder / "whole").read_bytes()
    assert whole == "".join(text for _, text in WINDOWS).encode()
    assert calls > 20
    for first in range(1, calls + 1):
        second = 0
        while True:
            second += 1
            folder = next(folders)
            folder.mkdir()
            with pytest.raises(Killed):
                write_all(folder / "out", first)
            if not journal(folder / "out").exists() and content(folder / "out"):
                # killed when all was done, but for telling so
                assert (folder / "out").read_bytes() == whole
                break
            try:
                write_all(folder / "out", second)
            except Killed:
                if journal(folder / "out").exists() or not content(folder / "out"):
                    write_all(folder / "out", None)
                assert (folder / "out").read_bytes() == whole
            else:
                assert (folder / "out").read_bytes() == whole
                break


def test_a_file_that_has_come_meanwhile_is_not_overwritten(tmp_path):
    """A job writes nothing before its first window is answered, which may take long."""
    path = tmp_path / "out"
    for resume in (False, True):
        with ResumableOutput(path, {}, resume) as kept:
            path.write_text("my thesis", encoding="utf-8")
            with pytest.raises(ConfigError, match="exists"):
                kept.write(["a"], "x\n")
        assert path.read_text(encoding="utf-8") == "my thesis" and not journal(path).exists()
        path.unlink()


@pytest.mark.parametrize("resume", [False, True])
def test_two_jobs_do_not_write_one_output(tmp_path, resume):
    path = tmp_path / "out"
    with ResumableOutput(path, {}, resume=False) as kept:
        for before in range(3):  # before the first window, and after each
            with pytest.raises(ConfigError, match=f"Another job is writing {path}. Wait until"):
                ResumableOutput(path, {}, resume)
            if before < 2:
                kept.write(["a"], "x\n")
    assert path.read_text(encoding="utf-8") == "x\nx\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.progress.json"]
    with ResumableOutput(path, {}, resume=True) as kept:
        kept.skip(iter(["a", "a", "b"]), "in.txt")
        kept.write(["b"], "y\n")
        kept.finish()
    assert path.read_text(encoding="utf-8") == "x\nx\ny\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_killed_job_leaves_no_lock_that_holds(tmp_path):
    path = tmp_path / "out"
    program = (
        "import os, sys, pathlib; from jumok.cli.resumable import ResumableOutput; "
        "kept = ResumableOutput(pathlib.Path(sys.argv[1]), {}, False); "
        "kept.write(['a'], 'x\\n'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with ResumableOutput(path, {}, resume=True) as kept:
        assert kept.lines == 1
        kept.skip(iter(["a"]), "in.txt")
        kept.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@settings(max_examples=30, deadline=None)
@given(
    windows=st.lists(st.lists(st.text("ab가 ", max_size=3), max_size=3), max_size=5),
    broken=st.integers(0, 5),
    garbage=st.binary(max_size=9),
)
def test_what_a_kill_left_behind_the_journal_is_cut_off(folders, windows, broken, garbage):
    folder = next(folders)
    folder.mkdir()
    lines = [line for window in windows for line in window]
    done = sum(map(len, windows[:broken]))
    with ResumableOutput(folder / "out", {}, resume=False) as kept:
        for window in windows[:broken]:
            kept.write(window, "".join(f"<{line}>\n" for line in window))
    if (folder / "out").exists():
        with (folder / "out").open("ab") as file:
            file.write(garbage)
    with ResumableOutput(folder / "out", {}, resume=True) as kept:
        assert kept.lines == done
        rest = iter(lines)
        kept.skip(rest, "in.txt")
        for line in rest:
            kept.write([line], f"<{line}>\n")
        kept.finish()
    assert (folder / "out").read_text(encoding="utf-8") == "".join(f"<{x}>\n" for x in lines)


def check(result, error, *words):
    assert (result.code, result.out) == (error.exit_code, "")
    assert "Traceback" not in result.err
    for word in words:
        assert str(word) in result.err.splitlines()[-1]


def test_a_job_goes_on_only_with_the_same_model_options_and_input(
    run, texts, broken, tmp_path, answers
):
    before = broken.read_bytes(), journal(broken).read_bytes()
    other = train_small(tmp_path / "other", {"train.seed": 2})
    (tmp_path / "changed.txt").write_bytes(b"a" + texts.read_bytes())
    (tmp_path / "shorter.txt").write_bytes(b"".join(texts.read_bytes().splitlines(True)[:2000]))
    (tmp_path / "answers.txt").write_bytes(b"\xea\xb0\x80\n")
    again = ("--output", broken, "--resume")
    check(run_cli("predict", run, texts, "--output", broken), ConfigError, f"{broken} exists",
          "--resume")  # fmt: skip
    check(run_cli("predict", other, texts, *again), ConfigError, broken, "another models")
    for options, word in [
        (["--beam", "2"], "search"),
        (["--n-best", "2"], "search"),
        (["--format", "tsv"], "format"),
        (["--encoding", "cp949"], "encoding"),
        (["--prefix", "가"], "prefix"),
        (["--choices", tmp_path / "answers.txt"], "choices"),
    ]:
        check(run_cli("predict", run, texts, *options, *again), ConfigError, f"another {word}")
    for name in ("changed.txt", "shorter.txt"):
        check(run_cli("predict", run, tmp_path / name, *again), DataError, tmp_path / name,
              "the first 2,048 lines are not those")  # fmt: skip
    check(run_cli("predict", run, tmp_path / "no.txt", *again), DataError, "no such file")
    check(run_cli("predict", tmp_path / "no", texts, *again), BundleError, "no model directory")
    assert (broken.read_bytes(), journal(broken).read_bytes()) == before
    assert run_cli("predict", run, texts, *again).code == 0
    assert broken.read_text(encoding="utf-8") == answers


def test_a_job_goes_on_only_with_the_same_shortlist(run, texts, tmp_path):
    model, out = shutil.copytree(run / "best", tmp_path / "model"), tmp_path / "out.txt"
    shortlist = ("shortlist", model, run.parent / "pairs.tsv", "--most")
    job = Job([str(model)], None, "cpu", {"shortlist": True}, None, None, None, "text")
    unlisted = replace(job, search={}).identity()
    assert run_cli(*shortlist, "1").code == 0
    with ResumableOutput(out, job.identity() | {"encoding": "utf-8"}, resume=False) as kept:
        kept.write([], "")
    assert run_cli(*shortlist, "2").code == 0
    again = run_cli("predict", model, texts, "--set", "search.shortlist=true", "--output", out,
                    "--resume")  # fmt: skip
    check(again, ConfigError, "another shortlist")
    assert replace(job, search={}).identity() == unlisted


@pytest.mark.parametrize("engine", ["auto", "onnx-int8", "torch"])
def test_a_job_goes_on_only_with_the_same_graphs(run, texts, tmp_path, engine):
    """Those of another export may be rounded otherwise; without any, torch answers."""
    model, out = shutil.copytree(run / "best", tmp_path / "model"), tmp_path / "out.txt"
    job = Job([str(model)], None, "cpu", {}, None, None, None, "text", engine)
    with ResumableOutput(out, job.identity() | {"encoding": "utf-8"}, resume=False) as kept:
        kept.write([], "")
    (model / "onnx").mkdir()
    (model / "onnx/manifest.json").write_text("{}", encoding="utf-8")
    again = job.identity() | {"encoding": "utf-8"}
    if engine == "torch":
        ResumableOutput(out, again, resume=True)
    else:
        with pytest.raises(ConfigError, match="another export"):
            ResumableOutput(out, again, resume=True)


@pytest.mark.parametrize("damage", ["removed", "shorter", "changed"])
def test_a_job_does_not_go_on_into_another_file(run, texts, broken, damage):
    content = broken.read_bytes()
    broken.unlink()
    if damage != "removed":
        broken.write_bytes(content[:99] if damage == "shorter" else b"my thesis" + content)
    kept = {p: p.read_bytes() for p in broken.parent.iterdir()}
    check(run_cli("predict", run, texts, "--output", broken, "--resume"), ConfigError,
          "was changed or removed", f"Remove {journal(broken)}")  # fmt: skip
    assert {p: p.read_bytes() for p in broken.parent.iterdir()} == kept
    if damage == "removed":  # and that can be begun again
        assert run_cli("predict", run, texts, "--output", broken).code == 0
        assert not journal(broken).exists()


def test_a_damaged_journal_is_a_sentence(broken):
    for content in (b"", b"{", b"[]", b"{}", b'{"made_by": {}, "lines": "many"}', b"\xff"):
        journal(broken).write_bytes(content)
        with pytest.raises(ConfigError, match="is no journal of jumok predict"):
            ResumableOutput(broken, {}, resume=True)


def test_what_is_done_does_not_go_on(run, texts, tmp_path):
    out = tmp_path / "out.txt"
    assert run_cli("predict", run, texts, "--output", out, "--resume").code == 0  # from nothing
    before = out.read_bytes()
    check(run_cli("predict", run, texts, "--output", out, "--resume"), ConfigError,
          "this one is done")  # fmt: skip
    assert out.read_bytes() == before
    check(run_cli("predict", run, texts, "--resume"), ConfigError, "--output FILE --resume")
    check(run_cli("predict", run, texts, "--output", tmp_path), ConfigError, "is a folder")


def test_a_line_that_is_bad_can_be_mended_and_the_job_goes_on(run, texts, tmp_path, answers):
    lines = texts.read_bytes().splitlines(keepends=True)
    bad = tmp_path / "in.txt"
    bad.write_bytes(b"".join([*lines[:1500], b"ab" * 600 + b"\n", *lines[1501:]]))
    out = tmp_path / "out.txt"
    result = run_cli("predict", run, bad, "--output", out)
    assert result.code == InputError.exit_code
    assert result.err.splitlines()[-2] == (
        f"the answers to 1,500 lines are in {out}. The same command with --resume goes on"
    )
    assert result.err.splitlines()[-1].startswith(f"jumok: {bad}:1501: A text may have")
    assert out.read_text(encoding="utf-8") == "".join(answers.splitlines(True)[:1500])
    bad.write_bytes(b"".join(lines))
    assert run_cli("predict", run, bad, "--output", out, "--resume").code == 0
    assert out.read_text(encoding="utf-8") == answers


def test_a_first_line_that_is_bad_leaves_no_file(run, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"\xff\n")
    out = tmp_path / "out.txt"
    assert run_cli("predict", run, tmp_path / "in.txt", "--output", out).code == 4
    assert [p.name for p in tmp_path.iterdir()] == ["in.txt"]
    nowhere = run_cli("predict", run, "--output", tmp_path / "no" / "out.txt", stdin=b"abc\n")
    assert nowhere.code == 8
    assert f"Could not write {tmp_path / 'no' / 'out.txt'}" in nowhere.err


def test_stdin_goes_on_where_the_same_lines_come_again(run, texts, broken, answers):
    again = ("--output", broken, "--resume")
    check(run_cli("predict", run, *again, stdin=b"abc\n"), DataError, "<stdin>: the first 2,048")
    assert run_cli("predict", run, *again, stdin=texts.read_bytes()).code == 0
    assert broken.read_text(encoding="utf-8") == answers


def test_ctrl_c_says_how_to_go_on(run, texts, tmp_path, answers):
    out = tmp_path / "out.txt"
    options = ["--beam", "5"]
    command = [*JUMOK, "predict", run, texts, *options, "--output", out]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        until = time.monotonic() + 120
        while not (out.exists() and out.stat().st_size) and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == Interrupted.exit_code
    last = error.decode().splitlines()[-1]
    assert last.startswith("jumok: Stopped; the answers to ")
    assert last.endswith(f"lines are in {out}. The same command with --resume goes on")
    assert run_cli("predict", run, texts, *options, "--output", out, "--resume").code == 0
    assert out.read_text(encoding="utf-8") == run_cli("predict", run, texts, *options).out


def test_off_a_terminal_a_line_now_and_then(run, texts, tmp_path, monkeypatch):
    monkeypatch.setattr("jumok.progress._SILENCE", 0)
    result = run_cli("predict", run, texts, "--output", tmp_path / "out.txt")
    told = result.err.splitlines()
    assert [line.split(" lines ")[0] for line in told] == ["0", "1,024", "2,048", "3,072", "3,200",
                                                           "3,200"]  # fmt: skip
    assert all(" lines/s" in line for line in told)
    assert told[1].endswith(" left")
    piped = run_cli("predict", run, "--output", tmp_path / "new.txt", stdin=texts.read_bytes())
    assert " lines/s" in piped.err
    assert "left" not in piped.err  # nobody knows how much will come


def test_a_bar_shows_what_it_is_told_as_it_is():
    console = Console(file=StringIO(), width=100)
    with Bar() as bar:
        bar.show(0.5, "runs/[seed=1]/x[/old]", "3 of a[b]")
        console.print(bar.progress)
    shown = console.file.getvalue()
    assert "runs/[seed=1]/x[/old]" in shown and " 50% 3 of a[b]" in shown


def test_judging_says_how_far_it_has_come(run, texts, tmp_path, monkeypatch):
    lines = texts.read_text(encoding="utf-8").splitlines()[:600]
    pairs = tmp_path / "pairs.tsv"
    content = "".join(f"{line}{number}\tx\n" for number, line in enumerate(lines))
    pairs.write_text(content, encoding="utf-8")
    quiet = run_cli("evaluate", run, pairs, "--format", "json")
    assert (quiet.code, quiet.err) == (0, "")
    monkeypatch.setattr("jumok.progress._SILENCE", 0)
    result = run_cli("evaluate", run, pairs, "--format", "json")
    assert result.out == quiet.out
    told = result.err.splitlines()
    for what in ("outputs", "perplexity"):
        own = [line for line in told if line.startswith(f"{what}  ")]
        assert own[0] == f"{what}  0 texts"
        assert own[1].endswith(" left") and " a second" in own[1]
        assert own[-1].startswith(f"{what}  600 texts, ")
    compared = run_cli("compare", run, run, pairs, "--resamples", "100")
    assert compared.code == 0
    assert f"{run}: outputs  600 texts, " in compared.err


@pytest.mark.parametrize("stdout", ["pipe", "terminal"])
def test_on_a_terminal_a_bar_unless_the_answers_are_there(run, texts, stdout, answers):
    leader, follower = pty.openpty()
    shown = bytearray()

    def read():  # beside the writing, as a full terminal would stop it
        with suppress(OSError):  # the other end was closed
            while part := os.read(leader, 4096):
                shown.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [*JUMOK, "predict", run, texts],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout == "pipe" else follower,
        stderr=follower,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
        timeout=120,
    )
    os.close(follower)
    reader.join(10)
    os.close(leader)
    assert done.returncode == 0
    if stdout == "pipe":
        assert done.stdout.decode() == answers
        for words in ("2,048 lines", "%", " lines/s"):
            assert words in shown.decode()
        assert re.search(r"0:0\d left", shown.decode())
    else:
        assert shown.decode().replace("\r\n", "\n") == answers


def test_full_windows_wait_and_others_do_not(texts):
    lines = texts.read_text(encoding="utf-8").split("\n")[:-1]
    found = list(full_windows(iter(lines), 1000))
    assert [len(window) for window in found] == [1000, 1000, 1000, 200]
    assert list(chain(*found)) == lines
    assert [len(window) for window in full_windows(iter(lines), 1600)] == [1600, 1600]
    assert list(chain(*windows(iter(lines), 1000))) == lines
    go = threading.Event()

    def slow():
        yield "first"
        go.wait(10)
        yield "second"

    arriving = windows(slow(), 1000)
    assert next(arriving) == ["first"]
    go.set()
    assert list(arriving) == [["second"]]


# --- Ray -----------------------------------------------------------------------------------------


needs_ray = pytest.mark.skipif(
    not (find_spec("ray") and find_spec("pyarrow")), reason="needs Ray: pip install 'jumok[ray]'"
)


def with_ray(*args, **options):
    command = [*JUMOK, "predict", *map(str, args), "--ray", "--ray-workers", "2"]
    return subprocess.run(command, capture_output=True, timeout=600, **options)


@needs_ray
def test_two_workers_of_ray_write_what_one_process_writes(run, texts, broken, tmp_path, answers):
    """They go on with a job that one process began, and stop where it would stop."""
    options = ("--format", "jsonl", "--n-best", "2")
    done = with_ray(run.name, texts, *options, cwd=run.parent)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == run_cli("predict", run, texts, *options).out
    lines = texts.read_bytes().splitlines(keepends=True)
    done = with_ray(run, texts, "--output", broken, "--resume")
    assert done.returncode == 0, done.stderr.decode()
    assert broken.read_text(encoding="utf-8") == answers
    for number, line in enumerate((b"\xff\n", b"ab" * 600 + b"\n")):
        bad = tmp_path / f"bad{number}.txt"
        bad.write_bytes(b"".join([*lines[:2500], line, *lines[2500:]]))
        alone = run_cli("predict", run, bad)
        done = with_ray(run, bad)
        assert (done.returncode, done.stdout.decode()) == (alone.code, alone.out)
        assert done.stderr.decode().splitlines()[-1] == alone.err.strip()


@needs_ray
def test_ray_listens_on_loopback_alone_and_ends(run, texts):
    code = f"""
from jumok.cli.bulk import Job
from jumok.cli.ray_data import answers_of_workers
from jumok.cli.streams import Source
job = Job([{str(run)!r}], None, "cpu", {{}}, None, None, None, "text")
answers = answers_of_workers(job, Source({str(texts)!r}, "utf-8"), 0, 1024, 1)
next(answers)
import psutil  # one that Ray brings
processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == "LISTEN"]
answers.close()
print(len(listening), sorted(set(listening)))
print([p.name() for p in psutil.wait_procs(processes[1:], 60)[1]])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600, text=True)
    assert done.returncode == 0, done.stderr
    listening, left = done.stdout.splitlines()
    count, addresses = listening.split(maxsplit=1)
    assert int(count) > 3
    assert set(ast.literal_eval(addresses)) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert left == "[]"


def test_ray_refuses_what_it_cannot_do(run, texts, monkeypatch):
    check(run_cli("predict", run, "--ray", stdin=b"abc\n"), ConfigError, "--ray reads a file")
    check(run_cli("predict", run, texts, "--ray-workers", "2"), ConfigError, "Ask for Ray: --ray")
    check(run_cli("predict", run, "no.txt", "--ray"), DataError, "no.txt: there is no such file")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "nowhere:port"):
        with pytest.raises(ConfigError, match=f"no cluster of Ray at RAY_ADDRESS={address}"):
            _check_address(address)
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run_cli("predict", run, texts, "--ray")
    assert (result.code, result.out) == (7, "")
    assert "pip install 'jumok[ray]'" in result.err


NOWHERE = Job(["/no/such/model"], None, "cpu", {}, None, None, None, "text")

RAISED = {
    "DataError": DataError("bad bytes", path="in.txt", line=3),
    "InputError": InputError("too long", index=2),
    "MissingExtra": MissingExtra("train", "torch"),
}
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, JumokError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_of_any_kind_comes_back_from_a_worker_as_it_was(kind):
    error = RAISED.get(kind.__name__) or kind("what was expected, what came, what to do")
    back = _answered(_row(0, [], "", error, None)).error
    assert type(back) is kind
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_worker_that_cannot_begin_answers_with_the_reason(monkeypatch, kind):
    error = RAISED.get(kind.__name__) or kind("what was expected, what came, what to do")

    def refuse(*args):
        raise error

    monkeypatch.setattr(Answerer, "__init__", refuse)
    worker = _Worker(NOWHERE, "in.txt")
    for _ in range(2):  # it answers to every row
        found = _answered(worker(_row(5, ["a", "b"], "", None, 0.5)))
        assert (type(found.error), str(found.error)) == (kind, str(error))
        assert found._replace(error=None) == Answered([], "", None, 0.5)
    unread = _row(5, [], "", DataError("bad bytes", path="in.txt", line=6), 0.5)
    assert worker(unread) == unread


def test_what_cannot_be_is_said_before_ray_is_asked_for(texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for job, words in [
        (replace(NOWHERE, device="cuda", engine="onnx"), "The engine onnx computes on the cpu"),
        (replace(NOWHERE, device="cuda", engine="onnx-int8"), "The engine onnx-int8 computes"),
        (replace(NOWHERE, device="cuda:1"), "--device is cpu or cuda, but cuda:1 came"),
    ]:
        with pytest.raises(ConfigError, match=words):
            next(answers_of_workers(job, Source(str(texts), "utf-8"), 0, 1024, 1))
    for job in (replace(NOWHERE, device="cuda"), replace(NOWHERE, engine="onnx")):
        with pytest.raises(MissingExtra):
            next(answers_of_workers(job, Source(str(texts), "utf-8"), 0, 1024, 1))


@needs_ray
@pytest.mark.filterwarnings("ignore:::ray")  # it warns of itself
def test_what_goes_wrong_in_ray_is_a_sentence(monkeypatch, capsys):
    import ray
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError

    ended = []
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))

    def refuse(*args, **options):
        raise RuntimeError("Version mismatch:\nThe cluster has Ray 2.0.\n")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError) as said, _cluster("10.0.0.1:6379", 0):
        pass
    assert str(said.value) == (
        "Ray could not begin at RAY_ADDRESS=10.0.0.1:6379: The cluster has Ray 2.0. Mend that, or "
        "leave --ray out"
    )
    monkeypatch.setattr(ray, "init", lambda *args, **options: None)
    task = RayTaskError("load", "Traceback (most recent call last):\nKeyError: 'x'", KeyError("x"))
    for error, what in [
        (ActorDiedError(), "The actor died unexpectedly before finishing this task"),
        (ActorDiedError(task), "KeyError: 'x'"),
        (NodeDiedError(" \nThe machine is gone.\n \n"), "The machine is gone"),
        (ExecutionTimeoutError("No progress"), "No progress"),
        (NodeDiedError(""), "NodeDiedError('')"),
    ]:
        with pytest.raises(Interrupted) as said, _cluster("local", 1):
            logging.getLogger("ray.data.exceptions").error("Full stack trace:")  # as Ray does
            raise error
        assert str(said.value).startswith(f"Ray broke off: {what}. Its logs tell more")
        assert "\n" not in str(said.value)
        assert said.value.__cause__ is error
    for error in (task, BundleError("no model")):  # a mistake of ours, and what is a sentence
        with pytest.raises(type(error)) as said, _cluster("local", 1):
            raise error
        assert said.value is error
    assert len(ended) == 7
    assert capsys.readouterr() == ("", "")


@needs_ray
def test_a_model_that_a_worker_does_not_find_is_no_traceback(texts):
    """The same sentence as without Ray, in the place of the first lines' answers."""
    with pytest.raises(BundleError) as alone:
        load(NOWHERE.models[0])
    code = f"""
from jumok.cli.bulk import Job
from jumok.cli.ray_data import answers_of_workers
from jumok.cli.streams import Source
source = Source({str(texts)!r}, "utf-8")
(first, *_) = answers_of_workers({NOWHERE!r}, source, 0, 1024, 1)
print(len(first.lines), type(first.error).__name__, first.error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600, text=True)
    assert (done.returncode, done.stdout) == (0, f"0 BundleError {alone.value}\n"), done.stderr
