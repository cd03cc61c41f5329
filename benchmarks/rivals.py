"""Training speed beside other toolkits: the same data, the same sizes, one core, in turns.

    python benchmarks/rivals.py                              about an hour; needs the data
    python benchmarks/rivals.py --repeats 1 --only plain-256 jumok-256 --output /dev/null

Each toolkit gets an environment of its own under runs/rivals, over the torch that jumok has, and is
run by its own command. All read the same sentences, already cut into tokens: `multi30k-en-de-tok`
as words, Korean pronunciation as jamo and phones. Batches of 64 sentences, a bidirectional LSTM
encoder, an LSTM decoder, "general" attention with input feeding, Adam, dropout 0.1. Yoyodyne has no
such model: its decoder is that of Bahdanau et al. 2015, and jumok has the same for it. A ratio is
between equal models.

Counted is processor time (user and system) between two updates, both after the warm-up, so neither
start-up nor other programs on the machine come into it, and real target tokens, </s> among them.
Nothing is validated or saved between the two. (Yoyodyne and jumok do not tell enough of the first:
a run that ends with it and one that ends with the other are subtracted.)
The toolkits take turns, and a turn's ratios are taken within it. The limit is the time that an
update's products with weights need, and nothing else, measured in the same turn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cli_runs import DATA, RESULTS, RUNS
from environment import ROOT, environment
from turns import keep_turns, kept_turns, one_turn

from jumok.nn.arithmetic import cpu_arithmetic

WORK = RUNS / "rivals"
WINDOW = {"multi30k": (30, 2, 2), "kor": (57, 4, 4)}
"""Updates between two reports, reports before the measurement, and reports in it. The 57 are one
epoch of the 3,600 Korean words, so that what starts anew with an epoch does so at a report."""
BATCH = 64
MIN_COUNT = {"multi30k": 2, "kor": 1}
REQUIREMENTS = {
    "opennmt": (
        "OpenNMT-py==3.5.1",
        "configargparse ctranslate2 tensorboard flask waitress pyonmttok pyyaml sacrebleu "
        "rapidfuzz pyahocorasick fasttext-wheel spacy six",
    ),
    "joeynmt": (
        "joeynmt==2.3.0",
        "future pillow setuptools<81 protobuf tensorboard sacrebleu sacremoses sentencepiece "
        "subword-nmt matplotlib seaborn pyyaml six wrapt datasets packaging plotly pandas "
        "importlib_metadata",
    ),
    "yoyodyne": (
        "yoyodyne==0.5.27",
        "PyYAML jsonargparse[signatures]<5 lightning<3 maxwell omegaconf rich torchmetrics<2 wandb",
    ),
}
"""What to install without its own requirements, which would bring another torch, and these."""


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    name: str
    toolkit: str
    data: str
    hidden: int
    feeds: bool = True
    precision: str = "fp32"
    attention: str = "general"
    seed: int = 1

    @property
    def report(self) -> int:
        """Updates between two reports."""
        return WINDOW[self.data][0]

    @property
    def warm(self) -> int:
        """The update with which the measurement begins."""
        return self.report * WINDOW[self.data][1]

    @property
    def last(self) -> int:
        """The update with which it ends."""
        return self.warm + self.report * WINDOW[self.data][2]


ENTRIES = [
    Entry("opennmt-256", "opennmt", "multi30k", 256),
    Entry("joeynmt-256", "joeynmt", "multi30k", 256),
    Entry("yoyodyne-256", "yoyodyne", "multi30k", 256, feeds=False, attention="bahdanau"),
    Entry("jumok-256-bahdanau", "jumok", "multi30k", 256, feeds=False, attention="bahdanau"),
    Entry("plain-256", "plain", "multi30k", 256),
    Entry("jumok-256", "jumok", "multi30k", 256),
    Entry("jumok-256-bf16", "jumok", "multi30k", 256, precision="bf16"),
    Entry("opennmt-512", "opennmt", "multi30k", 512),
    Entry("opennmt-512-unfed", "opennmt", "multi30k", 512, feeds=False),
    Entry("jumok-512", "jumok", "multi30k", 512),
    Entry("jumok-512-bf16", "jumok", "multi30k", 512, precision="bf16"),
    Entry("jumok-512-unfed", "jumok", "multi30k", 512, feeds=False),
    Entry("jumok-512-unfed-bf16", "jumok", "multi30k", 512, feeds=False, precision="bf16"),
    Entry("opennmt-kor", "opennmt", "kor", 256),
    Entry("joeynmt-kor", "joeynmt", "kor", 256),
    Entry("yoyodyne-kor", "yoyodyne", "kor", 256, feeds=False, attention="bahdanau"),
    Entry("jumok-kor-bahdanau", "jumok", "kor", 256, feeds=False, attention="bahdanau"),
    Entry("plain-kor", "plain", "kor", 256),
    Entry("jumok-kor", "jumok", "kor", 256),
    Entry("jumok-kor-bf16", "jumok", "kor", 256, precision="bf16"),
]


def main() -> None:
    """Set up, measure in turns, print, write."""
    parser = argparse.ArgumentParser(description="Training speed beside other toolkits.")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every toolkit")
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--only", nargs="*", choices=names, help="some entries; needs --output")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.only and not options.output:
        parser.error("--only measures a part of the table, so say with --output where to write it")
    entries = [entry for entry in ENTRIES if not options.only or entry.name in options.only]
    for name in dict.fromkeys(entry.data for entry in entries):
        write_data(name)
    for toolkit in dict.fromkeys(entry.toolkit for entry in entries):
        set_up(toolkit)
    turns = [] if options.only else kept_turns(_TURNS, (entry.name for entry in entries))
    while len(turns) < options.repeats:
        turn: Turn = {}
        for entry in one_turn(entries, len(turns)):
            turn[entry.name] = MEASURE[entry.toolkit](entry), limit(entry)
            speed, _ = turn[entry.name]
            print(f"turn {len(turns) + 1}: {entry.name} {speed:,.0f} tokens/s", flush=True)
        turns.append(turn)
        if not options.only:
            keep_turns(_TURNS, turns)
        write(options.output or RESULTS / "rivals.json", entries, turns)


Turn = dict[str, tuple[float, float]]
"""Speed and limit of every entry, by its name."""
_TURNS = WORK / "training-turns.json"


def write(path: Path, entries: Sequence[Entry], turns: Sequence[Turn]) -> None:
    """The table of these turns, printed and stored."""
    speeds, limits = (
        {entry.name: [turn[entry.name][kind] for turn in turns] for entry in entries}
        for kind in (0, 1)
    )
    rows = summary(entries, speeds, limits)
    print_table(rows)
    report = {
        **environment(),
        "measure": "real target tokens per second of processor time, one core",
        "batch": BATCH,
        "window": WINDOW,
        "repeats": len(turns),
        "rivals": {name: found[0] for name, found in REQUIREMENTS.items()},
        "rows": rows,
    }
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")


# --- the data -------------------------------------------------------------------------------


def write_data(name: str) -> None:
    """Tokens divided by spaces, as TSV and as parallel files: train, dev and test."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    source = DATA / ("multi30k-en-de-tok" if name == "multi30k" else "sigmorphon2020-g2p")
    parts = (
        {
            "train": source / "train.tsv.gz",
            "dev": source / "val.tsv",
            "test": source / "test_2016_flickr.tsv",
        }
        if name == "multi30k"
        else {part: source / f"kor_{part}.tsv" for part in ("train", "dev", "test")}
    )
    for part, path in parts.items():
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            pairs = [line.rstrip("\n").split("\t")[:2] for line in file]
        if name == "kor":
            pairs = [[" ".join(unicodedata.normalize("NFD", s)), t] for s, t in pairs]
        sides = [[" ".join(text.split()) for text in side] for side in zip(*pairs, strict=True)]
        for suffix, side in zip(FILES, sides, strict=True):
            (folder / f"{part}.{suffix}").write_text("\n".join(side) + "\n", encoding="utf-8")
        common = [_with_unknown(name, *side) for side in zip(FILES, sides, strict=True)]
        for stem, columns in ((part, sides), (f"{part}.unknown", common)):
            rows = ("\t".join(pair) for pair in zip(*columns, strict=True))
            (folder / f"{stem}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _with_unknown(name: str, side: str, texts: Sequence[str]) -> list[str]:
    """Rare words as <unk>, for a toolkit that would learn them all."""
    known = words(name, side)
    return [" ".join(w if w in known else "<unk>" for w in text.split()) for text in texts]


FILES = ("source", "target")


def mean_lengths(name: str) -> tuple[float, float]:
    """Source and target tokens in a sentence, </s> counted."""
    found = []
    for side in FILES:
        lines = (WORK / name / f"train.{side}").read_text(encoding="utf-8").splitlines()
        found.append(statistics.mean(len(line.split()) + 1 for line in lines))
    return found[0], found[1]


def words(name: str, side: str) -> set[str]:
    """Those that are frequent enough."""
    counts = Counter((WORK / name / f"train.{side}").read_text(encoding="utf-8").split())
    return {word for word, count in counts.items() if count >= MIN_COUNT[name]}


# --- the toolkits ---------------------------------------------------------------------------


def set_up(toolkit: str) -> None:
    """The toolkit in an environment of its own, which finds torch in ours; once."""
    if toolkit not in REQUIREMENTS:
        return
    folder = WORK / f"venv-{toolkit}"
    if (folder / "ready").exists():
        return
    package, requirements = REQUIREMENTS[toolkit]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    ours = sysconfig.get_paths()["purelib"]  # what pip finds here it does not install again
    (packages / "torch_of_jumok.pth").write_text(f"{ours}\n", encoding="utf-8")
    subprocess.run([*pip, "--no-deps", package], check=True)
    subprocess.run([*pip, *requirements.split()], check=True)
    (folder / "ready").touch()


def command(toolkit: str, name: str, *arguments: str) -> list[str]:
    """A program of the toolkit's environment."""
    return [str(WORK / f"venv-{toolkit}" / "bin" / name), *arguments]


def fresh(entry: Entry) -> Path:
    """An empty folder for a run."""
    folder = WORK / entry.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Environment of every program that is compared."""


class Process:
    """A toolkit at work on one core; its lines, each with the processor time it came at."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.log = (folder / "log").open("w", encoding="utf-8")
        self.arguments = arguments
        self.process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**os.environ, **ONE_CORE},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(0))})

    def at(self, pattern: str, wanted: int) -> tuple[re.Match[str], float]:
        """The line whose first group is the update ``wanted``, and the time so far."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.write(line)
            found = re.search(pattern, line)
            if found and int(found[1]) == wanted:
                return found, processor_seconds(self.process.pid)
        raise RuntimeError(f"update {wanted} was not reached by {self.arguments}; see the log")

    def stop(self) -> None:
        """Enough was seen."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def processor_seconds(pid: int) -> float:
    """User and system time of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """What a program took, in seconds."""

    processor: float
    """User and system time, of its children too."""
    wall: float


def complete(
    arguments: Sequence[str],
    folder: Path,
    reads: Path | None = None,
    writes: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Spent:
    """Run a program to its end on one core, with files as its standard input and output.

    What it says beside that goes to ``folder``/log. Raises RuntimeError if it fails.
    """
    with ExitStack() as files:
        log = files.enter_context((folder / "log").open("w", encoding="utf-8"))
        began = time.monotonic()
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**os.environ, **ONE_CORE, **(environ or {})},
            stdin=files.enter_context(reads.open("rb")) if reads else subprocess.DEVNULL,
            stdout=files.enter_context(writes.open("wb")) if writes else log,
            stderr=log,
        )
        try:
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments} failed; see {folder / 'log'}")
    return Spent(used.ru_utime + used.ru_stime, wall)


def opennmt(entry: Entry) -> float:
    """OpenNMT-py; it says how many tokens a batch had."""
    folder = fresh(entry)
    prepare_opennmt(entry, folder, updates=100_000)
    run = Process(command("opennmt", "onmt_train", "-config", "config.yaml"), folder)
    line = r"Step (\d+)/\d+.*bsz:\s*\d+/\s*(\d+)/\s*\d+"
    _, began = run.at(line, entry.warm)
    ended, in_a_batch = began, 0
    for update in range(entry.warm + entry.report, entry.last + 1, entry.report):
        found, ended = run.at(line, update)
        in_a_batch += int(found[2])
    run.stop()
    return in_a_batch * entry.report / (ended - began)


def prepare_opennmt(entry: Entry, folder: Path, updates: int) -> None:
    """OpenNMT-py's config.yaml and vocabularies for a run of ``updates``."""
    data = WORK / entry.data
    config = {
        "save_data": str(folder / "samples"),
        "src_vocab": str(folder / "vocab.src"),
        "tgt_vocab": str(folder / "vocab.tgt"),
        "src_words_min_frequency": MIN_COUNT[entry.data],
        "tgt_words_min_frequency": MIN_COUNT[entry.data],
        "data": {
            "train": {
                "path_src": str(data / "train.source"),
                "path_tgt": str(data / "train.target"),
            },
            "valid": {"path_src": str(data / "dev.source"), "path_tgt": str(data / "dev.target")},
        },
        "save_model": str(folder / "model"),
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "rnn_type": "LSTM",
        "enc_layers": 1,
        "dec_layers": 1,
        "hidden_size": entry.hidden,  # of both directions together
        "word_vec_size": 256,
        "input_feed": int(entry.feeds),
        "global_attention": entry.attention,
        "dropout": [0.1],
        "batch_type": "sents",
        "batch_size": BATCH,
        "normalization": "tokens",  # as all others have it, or 5 were a much closer limit here
        "optim": "adam",
        "learning_rate": 0.001,
        "max_grad_norm": 5,
        "train_steps": updates,
        "valid_steps": updates,
        "save_checkpoint_steps": updates,
        "report_every": entry.report,
        "world_size": 1,
        "gpu_ranks": [],
        "num_workers": 0,
        "seed": entry.seed,
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    build = command("opennmt", "onmt_build_vocab", "-config", "config.yaml", "-n_sample", "-1")
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    for side in ("src", "tgt"):  # its own vocabulary may hold an empty word, which it cannot read
        path = folder / f"vocab.{side}"
        words = path.read_text(encoding="utf-8").splitlines()
        kept = [word for word in words if word.partition("\t")[0].strip()]
        path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def joeynmt(entry: Entry) -> float:
    """JoeyNMT; it says tokens per second by the clock on the wall."""
    folder = fresh(entry)
    prepare_joeynmt(entry, folder, updates=100_000, validate_every=1000 * entry.report)
    arguments = command("joeynmt", "python", "-m", "joeynmt", "train", "config.yaml", "--skip-test")
    run = Process(arguments, folder)
    line = r"Step:\s*(\d+),.*Tokens per Sec:\s*(\d+)"
    _, began = run.at(line, entry.warm)
    tokens_seen, clock = 0.0, time.monotonic()
    ended = began
    for update in range(entry.warm + entry.report, entry.last + 1, entry.report):
        found, ended = run.at(line, update)
        now = time.monotonic()
        tokens_seen += int(found[2]) * (now - clock)
        clock = now
    run.stop()
    return tokens_seen / (ended - began)


def prepare_joeynmt(entry: Entry, folder: Path, updates: int, validate_every: int) -> None:
    """JoeyNMT's config.yaml for a run of ``updates``."""
    data = WORK / entry.data
    level = {"level": "word", "max_length": 100, "voc_min_freq": MIN_COUNT[entry.data]}
    ids = {"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3}
    tokens = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    config = {
        "name": entry.name,
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "fp16": False,
        "random_seed": entry.seed,
        "data": {
            "train": str(data / "train"),
            "dev": str(data / "dev"),
            "test": str(data / "dev"),
            "dataset_type": "plain",
            "src": {"lang": "source", **level},
            "trg": {"lang": "target", **level},
            "special_symbols": {**tokens, **ids},
        },
        "testing": {
            "beam_size": 1,
            "eval_metrics": ["bleu"],
            "max_output_length": 50,
            "batch_size": BATCH,
            "batch_type": "sentence",
        },
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.001,
            "clip_grad_norm": 5.0,
            "batch_size": BATCH,
            "batch_type": "sentence",
            "normalization": "tokens",
            "scheduling": "exponential",  # the one that still runs; with factor 1 it does nothing
            "decrease_factor": 1.0,
            "early_stopping_metric": "loss",
            "epochs": 100,
            "updates": updates,
            "validation_freq": validate_every,
            "logging_freq": math.gcd(entry.report, validate_every),  # it must divide the other
            "overwrite": True,
            "shuffle": True,
        },
        "model": {
            "initializer": "xavier_uniform",
            "encoder": {
                "type": "recurrent",
                "rnn_type": "lstm",
                "embeddings": {"embedding_dim": 256},
                "hidden_size": entry.hidden // 2,
                "bidirectional": True,
                "dropout": 0.1,
                "num_layers": 1,
            },
            "decoder": {
                "type": "recurrent",
                "rnn_type": "lstm",
                "embeddings": {"embedding_dim": 256},
                "hidden_size": entry.hidden,
                "dropout": 0.1,
                "num_layers": 1,
                "input_feeding": entry.feeds,
                "init_hidden": "bridge",
                "attention": "luong",
            },
        },
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")


def between_two_runs(
    entry: Entry, prepare: Callable[[Path, int], list[str]], tokens: Callable[[Path, int], float]
) -> float:
    """Tokens per second of the updates by which the longer of two runs is longer.

    For what does not tell enough of its updates. Each run gets an empty folder: ``prepare``
    gives its command for so many updates, and ``tokens`` says how many it learnt from.
    """
    seconds, seen = [], []
    for updates in (entry.warm, entry.last):
        folder = fresh(entry)
        seconds.append(complete(prepare(folder, updates), folder).processor)
        seen.append(tokens(folder, updates))
    return (seen[1] - seen[0]) / (seconds[1] - seconds[0])


def yoyodyne(entry: Entry) -> float:
    """Yoyodyne; its batches are random, so that they have as many tokens as the average."""
    pairs = len((WORK / entry.data / "train.tsv").read_text(encoding="utf-8").splitlines())
    in_a_batch = pairs / math.ceil(pairs / BATCH) * mean_lengths(entry.data)[1]

    def fit(folder: Path, updates: int) -> list[str]:
        config = yoyodyne_config(entry, folder, updates)
        (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
        return command("yoyodyne", "yoyodyne", "fit", "--config", "config.yaml")

    return between_two_runs(entry, fit, lambda folder, updates: updates * in_a_batch)


def yoyodyne_config(entry: Entry, folder: Path, updates: int) -> dict[str, Any]:
    """Yoyodyne's configuration for a run of ``updates``; it leaves no checkpoint."""
    data = {
        "model_dir": str(folder),
        "train": str(WORK / entry.data / "train.unknown.tsv"),
        "val": str(WORK / entry.data / "dev.unknown.tsv"),
        "source_sep": " ",
        "target_sep": " ",
        "batch_size": BATCH,
        "tie_embeddings": False,
    }
    encoder = {
        "class_path": "yoyodyne.models.modules.LSTMEncoder",
        "init_args": {
            "bidirectional": True,
            "dropout": 0.1,
            "embedding_size": 256,
            "hidden_size": entry.hidden // 2,
        },
    }
    model = {
        "class_path": "yoyodyne.models.SoftAttentionLSTMModel",
        "init_args": {
            "source_encoder": encoder,
            "decoder_hidden_size": entry.hidden,
            "decoder_dropout": 0.1,
            "embedding_size": 256,
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}},
        },
    }
    trainer = {
        "accelerator": "cpu",
        "max_steps": updates,
        "callbacks": [],
        "gradient_clip_val": 5,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "logger": False,
    }
    return {"seed_everything": entry.seed, "trainer": trainer, "model": model, "data": data}


def plain(entry: Entry) -> float:
    """The loop of `plain_loop.py`."""
    run = Process(train_plain(entry, entry.last), fresh(entry))
    line = r"step (\d+) tokens (\d+)"
    first, began = run.at(line, entry.warm)
    last, ended = run.at(line, entry.last)
    run.stop()
    return (int(last[2]) - int(first[2])) / (ended - began)


def train_plain(entry: Entry, updates: int) -> list[str]:
    """The command of `plain_loop.py`."""
    return [
        sys.executable,
        str(ROOT / "benchmarks" / "plain_loop.py"),
        str(WORK / entry.data / "train.tsv"),
        *("--hidden", str(entry.hidden), "--min-count", str(MIN_COUNT[entry.data])),
        *("--updates", str(updates), "--report", str(entry.report), "--seed", str(entry.seed)),
    ]


ATTENTION = {
    "general": ["score=general"],
    "bahdanau": ["score=additive", "timing=previous", "context=rnn_input"],
}


def jumok(entry: Entry) -> float:
    """`jumok train`, which tells of its updates where it validates and saves: once, at the end."""

    def tokens(folder: Path, updates: int) -> float:
        [line] = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(line)["target_tokens"]

    return between_two_runs(entry, lambda folder, updates: train_jumok(entry, updates), tokens)


def train_jumok(entry: Entry, updates: int) -> list[str]:
    """The command `jumok train`, which writes into the folder ``run``."""
    data = WORK / entry.data
    settings = [
        *(f"text.{side}.kind=split" for side in ("source", "target")),
        *(f"text.{side}.min_count={MIN_COUNT[entry.data]}" for side in ("source", "target")),
        *(f"text.{side}.vocab_size=20000" for side in ("source", "target")),
        *(f"model.{side}.embedding=256" for side in ("encoder", "decoder")),
        *(f"model.{side}.dropout=0.1" for side in ("encoder", "decoder")),
        f"model.encoder.hidden={entry.hidden // 2}",
        f"model.decoder.hidden={entry.hidden}",
        *(f"model.attention.{setting}" for setting in ATTENTION[entry.attention]),
        f"model.attention.input_feeding={str(entry.feeds).lower()}",
        f"train.precision={entry.precision}",
        f"train.batch_size={BATCH}",
        "train.learning_rate=0.001",
        "train.clip_norm=5",
        "train.threads=1",
        f"train.seed={entry.seed}",
        f"train.max_steps={updates}",
        f"train.validate_every={updates}",
        "train.validate_pairs=8",
        "train.max_epochs=1000",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    files = [str(data / "train.tsv"), "--dev", str(data / "dev.tsv")]
    return [sys.executable, "-m", "jumok", "train", *files, *options, "--output", "run"]


MEASURE: dict[str, Callable[[Entry], float]] = {
    "opennmt": opennmt,
    "joeynmt": joeynmt,
    "yoyodyne": yoyodyne,
    "plain": plain,
    "jumok": jumok,
}


# --- the limit ------------------------------------------------------------------------------


def limit(entry: Entry) -> float:
    """Target tokens per second, if an update were its matrix products and nothing else.

    Forward, gradient of the input, gradient of the weight (one product for all steps), on the
    faster of torch's two float32 roads, or in bfloat16; results are written to buffers that exist.
    """
    source, target = (round(length) for length in mean_lengths(entry.data))
    one_way, hidden, embedding = entry.hidden // 2, entry.hidden, 256
    bahdanau = entry.attention == "bahdanau"
    fed = hidden * (entry.feeds or bahdanau)  # the state, or the context, enters the next step
    vocabulary = 4 + len(words(entry.data, "target"))
    at_once, by_steps = (BATCH * target, 1), (BATCH, target)
    # rows, times, inner size, columns
    products = [
        (BATCH * source, 1, embedding, 4 * one_way * 2),
        (BATCH, source * 2, one_way, 4 * one_way),
        (BATCH * source, 1, hidden, hidden),  # keys
        (*at_once, embedding, 4 * hidden),
        (*by_steps, fed + hidden, 4 * hidden),
        # the query, or what combines state and context
        (*(by_steps if fed else at_once), hidden if bahdanau else 2 * hidden, hidden),
        (*at_once, hidden, vocabulary),
    ]
    dtype = torch.bfloat16 if entry.precision == "bf16" else torch.float32
    with cpu_arithmetic(threads=1):
        seconds = sum(_product(*product, dtype) for product in products)
    return BATCH * target / seconds


def _product(rows: int, times: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Seconds of ``times`` products forward and back, and one for the weight's gradient."""
    x, w, y = (
        torch.randn(*s).to(dtype) for s in ((rows, inner), (inner, columns), (rows, columns))
    )
    every = torch.randn(rows * times, inner).to(dtype), torch.randn(rows * times, columns).to(dtype)

    def timed(work: Callable[[], object], count: int) -> float:
        found = []
        for _ in range(5):
            began = time.process_time()
            for _ in range(count):
                work()
            found.append((time.process_time() - began) / count)
        return statistics.median(found)

    count = max(1, int(2e8 / (rows * inner * columns)))
    forward = timed(lambda: torch.mm(x, w, out=y), count)
    back = timed(lambda: torch.mm(y, w.t(), out=x), count)
    gradient = timed(lambda: torch.mm(every[0].t(), every[1], out=w), max(1, count // times))
    return times * (forward + back) + gradient


# --- the table ------------------------------------------------------------------------------


def summary(
    entries: Sequence[Entry], speeds: dict[str, list[float]], limits: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Medians; ratios to each rival with the same model on the same data, turn by turn."""
    rows = []
    for entry in entries:
        beside = [
            other
            for other in entries
            if other.toolkit not in ("jumok", entry.toolkit)
            and (other.data, other.hidden, other.feeds, other.attention)
            == (entry.data, entry.hidden, entry.feeds, entry.attention)
        ]
        found = speeds[entry.name]
        rows.append(
            {
                **entry.__dict__,
                "tokens_per_second": round(statistics.median(found), 1),
                "turns": [round(speed, 1) for speed in found],
                "limit": round(statistics.median(limits[entry.name]), 1),
                "of_limit": round(statistics.median(_ratios(found, limits[entry.name])), 3),
                "times": {
                    other.name: round(statistics.median(_ratios(found, speeds[other.name])), 3)
                    for other in beside
                    if entry.toolkit == "jumok"
                },
            }
        )
    return rows


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """The results for a person."""
    for row in rows:
        times = "  ".join(f"{ratio:.2f} x {name}" for name, ratio in row["times"].items())
        print(
            f"{row['name']:<22}{row['tokens_per_second']:>9,.0f} tokens/s  "
            f"{row['of_limit']:>5.0%} of the limit  {times}"
        )


if __name__ == "__main__":
    main()
