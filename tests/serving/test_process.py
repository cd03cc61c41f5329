"""`jumok serve` as a process: its socket, its sentences and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from exports import JUDGES, TORCH, WITHOUT, write_tiny
from fastapi.testclient import TestClient

from jumok.predictor import load
from jumok.serving import create_app, listen


def command(*arguments: str, missing: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT.format(names=missing), "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@contextmanager
def served(
    *arguments: str, missing: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """The process, and a client of the address that it printed."""
    with command(*arguments, "--port", "0", missing=missing) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"model answers at (http://\S+) \(Ctrl-C ends it\)\n", line)
            assert found, process.communicate()
            with httpx2.Client(base_url=found[1], timeout=60) as web:
                yield process, web
        finally:
            process.kill()


def refused(*arguments: str, missing: tuple[str, ...] = ()) -> tuple[int, str]:
    process = command(*arguments, missing=missing)
    out, error = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, error


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("served") / "model", "luong2015")


def test_it_serves_without_torch_and_ends_in_order(exported: Callable[[str], Path]) -> None:
    path = exported("luong2015")
    texts = ["abc", "가각 d", "eeee dcba"]
    with served(str(path), missing=TORCH + JUDGES) as (process, web):
        assert web.base_url.host == "127.0.0.1"
        assert web.get("/health").json() == {"status": "ok"}
        found = web.post("/predict", json={"texts": texts}).json()["predictions"]
        expected = load(path, engine="onnx").predict(texts)
        assert [one["text"] for one in found] == [one.text for one in expected]
        assert [one["attention"] is not None for one in found] == [True] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.communicate() == ("", "")


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_what_was_begun_is_finished(model: Path, asked: signal.Signals) -> None:
    """Long outputs, a signal while they are searched for, and all of them come."""
    settings = ["--set", "search.min_length=3000", "--set", "search.max_length_offset=3000"]
    body = {"texts": ["abc", "de"]}
    with served(str(model), *settings, "--engine", "torch") as (process, web):
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(web.post, "/predict", json=body)
            while "jumok_batch_texts_count 0.0" in web.get("/metrics").text:
                time.sleep(0.02)
            process.send_signal(asked)
            assert not answer.done()
            found = answer.result(60).json()["predictions"]
            assert len(found) == 2 and all(len(one["tokens"]) >= 3000 for one in found)
        assert process.wait(30) == 0
        assert process.communicate() == ("", "")
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(str(web.base_url.join("/health")))


def test_many_people_at_one_time(model: Path) -> None:
    """Each gets the answer to what it asked, and requests share batches."""
    texts = [f"{'abcde'[i % 5] * (1 + i % 7)}가" for i in range(120)]
    expected = {one.source: one.text for one in load(model).predict(texts, beam=2)}
    with served(str(model)) as (_, web):

        def ask(text: str) -> tuple[str, str]:
            body = {"texts": [text], "search": {"beam": 2}}
            [found] = web.post("/predict", json=body).json()["predictions"]
            return found["source"], found["text"]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, texts))
        counts = web.get("/metrics").text
    assert [source for source, _ in answers] == texts
    assert dict(answers) == expected
    assert "jumok_batch_texts_sum 120.0" in counts
    assert float(re.findall(r"jumok_batch_texts_count (\S+)", counts)[0]) < 120


def test_a_name_of_another_page_is_refused(model: Path) -> None:
    with served(str(model), "--allow-host", "jumok.example") as (_, web):
        for host, status in (("jumok.example", 200), ("evil.example", 421)):
            assert web.get("/health", headers={"host": host}).status_code == status


@pytest.mark.parametrize("host", ["127.1", "127.0.0.2", "0.0.0.0", "::1", "LOCALHOST"])
def test_the_address_that_is_printed_answers_and_no_other_name(model: Path, host: str) -> None:
    with served(str(model), "--host", host) as (process, web):
        assert web.get("/health").status_code == 200
        assert web.get("/health", headers={"host": "evil.example"}).status_code == 421
        process.terminate()
        assert process.stderr is not None
        assert ("no key is asked for" in process.stderr.read()) == (host == "0.0.0.0")


def test_it_ends_though_a_search_does_not(model: Path) -> None:
    settings = ["--set", "search.min_length=9000", "--set", "search.max_length_offset=9000"]
    with served(str(model), *settings, "--engine", "torch", "--timeout", "1") as (process, web):
        assert web.post("/predict", json={"texts": ["abcd"] * 20}).status_code == 504
        process.terminate()
        assert process.wait(20) == 0


def test_keys_come_from_a_file(model: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'a' * 20}\n\n{'b' * 20}\n", encoding="utf-8")
    with served(str(model), "--key-file", str(keys)) as (_, web):
        assert web.get("/model").status_code == 401
        head = {"authorization": f"Bearer {'b' * 20}"}
        assert web.get("/model", headers=head).json()["name"] == "model"


def test_settings_and_limits_of_the_command_line(model: Path) -> None:
    options = ["--beam", "3", "--set", "search.length_penalty=average", "--max-texts", "2"]
    options += ["--max-characters", "9", "--max-beam", "5", "--max-waiting", "7", "--timeout", "3"]
    with served(str(model), *options, "--max-phrases", "4", "--max-attention", "99999") as (_, web):
        told = web.get("/model").json()
    assert (told["search"]["beam"], told["search"]["length_penalty"]) == (3, "average")
    limits = {"texts": 2, "characters": 9, "phrases": 4, "beam": 5, "waiting": 7, "seconds": 3}
    limits["attention"] = 99_999
    assert told["limits"] == limits


def test_what_cannot_be_served(model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, error = refused(str(model), "--port", str(other.getsockname()[1]))
    assert code == 3 and "the system refused" in error and "--port" in error
    for host in ("nobody.invalid", "a..b"):
        code, error = refused(str(model), "--host", host)
        assert code == 3 and host in error
    assert refused(str(model), "--timeout", "inf")[0] == 2
    code, error = refused(str(tmp_path / "none"))
    assert code == 5
    code, error = refused(str(model), "--set", "search.lm_weight=0.5")
    assert code == 3 and "none came" in error
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        code, error = refused(str(model), missing=(name,))
        assert code == 7 and "pip install 'jumok[serve]'" in error
    keys = tmp_path / "keys"
    for text, told in (("", "has none"), ("short\n", "16 characters")):
        keys.write_text(text, encoding="utf-8")
        code, error = refused(str(model), "--key-file", str(keys))
        assert code == 3 and told in error and error.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_an_answer_waits_for_no_acknowledgement(host: str) -> None:
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_slow_client_keeps_nobody_waiting(model: Path) -> None:
    """A request that never ends is given up, and others are answered meanwhile."""
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with (
        served(str(model), "--timeout", "1") as (_, web),
        socket.create_connection((web.base_url.host, web.base_url.port)) as slow,
    ):
        slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        for _ in range(3):
            assert web.post("/predict", json={"texts": ["abc"]}).status_code == 200
        slow.settimeout(30)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_no_thread_is_left(model: Path) -> None:
    def batchers() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name == "jumok-batcher"}

    before = batchers()  # of other tests, in the same process
    with TestClient(create_app(load(model))) as web:
        assert web.post("/predict", json={"texts": ["a"]}).status_code == 200
        assert len(batchers() - before) == 1
    assert batchers() <= before
