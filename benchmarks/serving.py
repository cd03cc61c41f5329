"""`jumok serve` under load: answers a second and how long each takes, by how many ask at one time.

    python benchmarks/serving.py                        three minutes; needs the data and two cores

A model of Korean pronunciation (a short training: its size counts here, not its quality), exported.
The server has one core, those who ask another. Each of them sends one word, waits for the answer,
which must be that of `Predictor.predict`, and sends the next; a connection is kept. Before that, in
the same run and on the same core: the predictor without a server, one word at a time and all at
once. Rows take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cli_runs import DATA, RUNS, jumok, store, train
from turns import in_turns

SETTINGS = ["train.max_epochs=8", "train.validate_every=500"]
BEAMS = (1, 5)
CLIENTS = (1, 8, 64)
WORDS = 600
"""Of a row and turn."""


def main() -> None:
    """Train, export, measure, print, store."""
    parser = argparse.ArgumentParser(description="jumok serve under load.")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every row")
    options = parser.parse_args()
    ours, theirs = sorted(os.sched_getaffinity(0))[:2]
    files = [f"sigmorphon2020-g2p/kor_{part}.tsv" for part in ("train", "dev")]
    done = train("serving", *files, ["g2p"], SETTINGS, threads=1)
    jumok(["export", str(RUNS / "serving")], 1)
    words = texts(DATA / "sigmorphon2020-g2p" / "kor_test.tsv")
    expected = {beam: json.loads(alone(beam, words, ours)) for beam in BEAMS}
    rows = [(beam, clients) for beam in BEAMS for clients in CLIENTS]
    found: dict[tuple[int, int], list[dict[str, float]]] = {row: [] for row in rows}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {theirs})
    with served(ours) as port:
        for turn, (beam, clients) in in_turns(rows, options.repeats):
            one = load(port, beam, clients, words, expected[beam]["texts"])
            found[beam, clients].append(one)
            print(f"turn {turn}: beam {beam}, {clients} at one time: {one}", flush=True)
    os.sched_setaffinity(0, cores)  # which are told beside the figures
    stored = [
        {
            "beam": beam,
            "clients": clients,
            **{key: statistics.median(turn[key] for turn in turns) for key in turns[0]},
            "alone_per_second": round(expected[beam]["alone"], 1),
            "bulk_per_second": round(expected[beam]["bulk"], 1),
            "training": done["command"],
        }
        for (beam, clients), turns in found.items()
    ]
    store("serving", stored)


def texts(path: Path) -> list[str]:
    """Words of a test file, again from the first where they are too few."""
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.split("\t")[0] for line in lines]
    return [words[place % len(words)] for place in range(WORDS)]


PREDICTOR = """
import json, statistics, sys, time
import jumok
run, beam = sys.argv[1], int(sys.argv[2])
words = json.loads(sys.stdin.read())
model = jumok.load(run, engine="onnx")
model.predict(words, beam=beam)
alone, bulk = [], []
for _ in range(5):
    begun = time.perf_counter()
    for word in words:
        model.predict(word, beam=beam)
    alone.append(len(words) / (time.perf_counter() - begun))
    begun = time.perf_counter()
    found = model.predict(words, beam=beam)
    bulk.append(len(words) / (time.perf_counter() - begun))
rates = {"alone": statistics.median(alone), "bulk": statistics.median(bulk)}
print(json.dumps({**rates, "texts": [one.text for one in found]}))
"""


def alone(beam: int, words: list[str], core: int) -> str:
    """Outputs a second without a server, and the outputs."""
    done = subprocess.run(
        [sys.executable, "-c", PREDICTOR, str(RUNS / "serving"), str(beam)],
        input=json.dumps(words),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        check=True,
    )
    return done.stdout


@contextmanager
def served(core: int) -> Iterator[int]:
    """A server on one core; its port."""
    command = ["serve", str(RUNS / "serving"), "--port", "0", "--engine", "onnx"]
    with subprocess.Popen(
        [sys.executable, "-m", "jumok", *command],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ) as process:
        assert process.stdout is not None
        address = re.search(r":(\d+) ", process.stdout.readline())
        assert address is not None, "the server did not begin"
        try:
            yield int(address[1])
        finally:
            process.terminate()


def load(
    port: int, beam: int, clients: int, words: list[str], expected: list[str]
) -> dict[str, float]:
    """All words by so many clients: answers a second, and milliseconds of one."""
    before = batches(port)

    def client(places: range) -> list[float]:
        line = http.client.HTTPConnection("127.0.0.1", port)
        spent = []
        for place in places:
            body = json.dumps({"texts": [words[place]], "search": {"beam": beam}})
            begun = time.perf_counter()
            line.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = line.getresponse().read()
            spent.append(1000 * (time.perf_counter() - begun))
            text = json.loads(answer)["predictions"][0]["text"]
            if text != expected[place]:
                raise RuntimeError(f"{words[place]} became {text}, not {expected[place]}")
        line.close()
        return spent

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        shares = [range(first, len(words), clients) for first in range(clients)]
        spent = sorted(one for some in pool.map(client, shares) for one in some)
    seconds = time.perf_counter() - begun
    after = batches(port)
    return {
        "per_second": round(len(words) / seconds, 1),
        "median_ms": round(statistics.median(spent), 2),
        "p95_ms": round(spent[int(0.95 * len(spent))], 2),
        "together": round(len(words) / (after - before), 2),
    }


def batches(port: int) -> int:
    """How many batches the server has begun."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    line.request("GET", "/metrics")
    counts = line.getresponse().read().decode()
    line.close()
    found = re.search(r"^jumok_batch_texts_count (\S+)$", counts, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


if __name__ == "__main__":
    main()
