"""Decoding speed beside other toolkits: the same data, models of one size, one core, in turns.

    python benchmarks/decoding.py                            two hours; needs the data
    python benchmarks/decoding.py --only plain-256 jumok-256 --repeats 1       nothing is stored

Models are those of `rivals.py` after some epochs (`trained.py`), and each toolkit decodes by its
own command: greedily and with a beam of 5, 64 sentences at a time and one; jumok, where there are
thousands of target words, also with a shortlist of them, made from the training pairs. Everywhere
an output has at most 50 tokens, hypotheses are ranked by their log-probability as it is, without a
penalty of length, and no output has an unknown word, which Yoyodyne alone cannot be told.
OpenNMT-py's `-precision int8` has no row: version 3.5.1 compares the word with a type of torch, and
so never quantises anything. The tutorial has no beam.

Counted is processor time (user and system) of a whole run, less that of a run on one sentence, so
that start-up and the reading of the model do not come into it. The first sentences are the test
set, on which outputs are judged; a fast engine goes on with others, so that it has work for
seconds. The engines take turns, and a turn's ratios are taken within it.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import sacrebleu
from cli_runs import store
from plain_greedy import MOST
from rivals import (
    ENTRIES,
    FILES,
    ROOT,
    WORK,
    Entry,
    Spent,
    command,
    complete,
    set_up,
    write_data,
    yoyodyne_config,
)
from trained import EPOCH, LISTED, trained
from turns import keep_turns, kept_turns, one_turn

EPOCHS = {("multi30k", "yoyodyne"): 1, ("multi30k", ""): 4, ("kor", ""): 20}
"""By data and toolkit, "" for all others. Four epochs would take Yoyodyne most of an hour, and its
outputs have about the length of the others' after one."""
SEARCHES = [(1, 64), (5, 64), (1, 1), (5, 1)]
"""Beam, and sentences at a time."""
SENTENCES = {
    ("multi30k", ""): (4000, 2000, 1000, 1000),
    ("multi30k", "yoyodyne"): (1000, 32, 1000, 32),  # a sentence with a beam takes it a second
    ("kor", ""): (18_000, 4500, 1800, 900),
    ("kor", "opennmt"): (45_000, 9000, 1800, 900),
    ("kor", "yoyodyne"): (4500, 450, 450, 450),
    ("kor", "jumok"): (45_000, 18_000, 4500, 4500),
}
"""How many each of the searches is timed on, by data and toolkit: seconds of work, as start-up,
which is taken off, may take a second longer in one run than in another."""
TIMED = {
    "multi30k": ("opennmt-256", "joeynmt-256", "yoyodyne-256", "plain-256", "jumok-256"),
    "kor": (
        *("opennmt-kor", "joeynmt-kor", "yoyodyne-kor", "plain-kor"),
        *("jumok-kor-bahdanau", "jumok-kor"),
    ),
}
ENGINES = {"jumok": ("torch", "onnx", "onnx-int8")}
SHORT = ("onnx", "onnx-int8")
"""Engines that are also timed with a shortlist."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    entry: Entry
    engine: str
    beam: int
    batch: int
    short: bool = False
    """With a shortlist."""

    @property
    def name(self) -> str:
        """A name that no other row has."""
        engine = f"-{self.engine}" if self.engine else ""
        engine += "-short" * self.short
        return f"{self.entry.name}{engine}-beam{self.beam}-batch{self.batch}"

    @property
    def updates(self) -> int:
        """Those of the model."""
        return EPOCH[self.entry.data] * _of(EPOCHS, self.entry)

    @property
    def sentences(self) -> int:
        """How many it is timed on."""
        return _of(SENTENCES, self.entry)[SEARCHES.index((self.beam, self.batch))]


def _of(table: dict[tuple[str, str], Any], entry: Entry) -> Any:
    return table.get((entry.data, entry.toolkit), table[entry.data, ""])


def main() -> None:
    """Set up, train, measure in turns, print, store."""
    parser = argparse.ArgumentParser(description="Decoding speed beside other toolkits.")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every engine")
    names = [name for timed in TIMED.values() for name in timed]
    parser.add_argument("--only", nargs="*", choices=names, help="some; nothing is stored then")
    parser.add_argument("--updates", type=int, help="of every model; nothing is stored then")
    parser.add_argument("--sentences", type=int, help="at most; nothing is stored then")
    options = parser.parse_args()
    rows = all_rows(options.only or names)
    for data in dict.fromkeys(row.entry.data for row in rows):
        write_data(data)
    folders: dict[Entry, Path] = {}
    for row in rows:
        set_up(row.entry.toolkit)
        folders[row.entry] = trained(row.entry, options.updates or row.updates)
    most = options.sentences or max(row.sentences for row in rows)
    part = bool(options.only or options.updates or options.sentences)
    turns = [] if part else kept_turns(_TURNS, (row.name for row in rows))
    while len(turns) < options.repeats:
        turn = _turn(
            rows, len(turns), lambda row: measure(row, folders[row.entry], min(most, row.sentences))
        )
        turns.append(turn)
        found = summary(rows, turns)
        print_table(found)
        if not part:
            keep_turns(_TURNS, turns)
            store("decoding", found)


Turn = dict[str, tuple[float, dict[str, float]]]
"""Speed and quality of every row, by its name."""
_TURNS = WORK / "decoding-turns.json"


def _turn(
    rows: Sequence[Row], before: int, measured: Callable[[Row], tuple[float, list[str]]]
) -> Turn:
    """Measure all, after so many turns ``before``."""
    turn: Turn = {}
    for row in one_turn(rows, before):
        speed, outputs = measured(row)
        turn[row.name] = speed, quality(row.entry.data, outputs)
        print(f"turn {before + 1}: {row.name} {speed:,.1f}/s {turn[row.name][1]}", flush=True)
    return turn


def all_rows(names: Iterable[str]) -> list[Row]:
    """Of the entries with these names."""
    entries = [entry for name in names for entry in ENTRIES if entry.name == name]
    return [
        Row(entry, engine, beam, batch, short)
        for entry in entries
        for engine in ENGINES.get(entry.toolkit, ("",))
        for short in (False, True)
        if not short or (entry.data in LISTED and engine in SHORT)
        for beam, batch in SEARCHES
        if beam == 1 or entry.toolkit != "plain"
    ]


def measure(row: Row, folder: Path, count: int) -> tuple[float, list[str]]:
    """Sentences per second of processor time, and the outputs."""
    alone, _ = decode(row, folder, 1)
    whole, outputs = decode(row, folder, count)
    return (count - 1) / (whole.processor - alone.processor), outputs


# --- decoding -------------------------------------------------------------------------------


def decode(
    row: Row, folder: Path, count: int, environ: Mapping[str, str] | None = None
) -> tuple[Spent, list[str]]:
    """The first ``count`` sentences by the toolkit's own command; what it took, and the outputs.

    Raises RuntimeError if there is not an output for every sentence.
    """
    unknown = row.entry.toolkit == "yoyodyne"  # which has to be told of rare words
    source, output = write_sources(row.entry.data, count, unknown), folder / f"{row.name}.out"
    made = DECODE[row.entry.toolkit](row, folder, source, output)
    spent = complete(made.arguments, folder, made.reads, made.writes, environ)
    lines = output.read_text(encoding="utf-8").splitlines()
    if row.entry.toolkit == "yoyodyne" and row.beam > 1:  # outputs and scores, the best first
        lines = [best for best, *_ in csv.reader(lines, delimiter="\t")]
    if len(lines) != count:
        raise RuntimeError(f"{row.name}: {len(lines)} outputs of {count} sentences in {output}")
    return spent, lines


def write_sources(data: str, count: int, unknown: bool) -> Path:
    """The first ``count`` of test, dev and train, and of these again if they do not suffice."""
    texts: list[str] = []
    for part in ("test", "dev", "train"):
        name = f"{part}.unknown.tsv" if unknown else f"{part}.tsv"
        lines = (WORK / data / name).read_text(encoding="utf-8").splitlines()
        texts += [line.partition("\t")[0] for line in lines]
    path = WORK / data / f"first-{count}{'.unknown' * unknown}.source"
    path.write_text("".join(f"{text}\n" for text in islice(cycle(texts), count)), encoding="utf-8")
    return path


class Command(NamedTuple):
    """How a toolkit decodes; the files that are its standard input and output, if it needs them."""

    arguments: Sequence[str]
    reads: Path | None = None
    writes: Path | None = None


def _opennmt(row: Row, folder: Path, source: Path, output: Path) -> Command:
    [model] = folder.glob("model_step_*.pt")
    options = ["-model", str(model), "-src", str(source), "-output", str(output)]
    search = ["-beam_size", str(row.beam), "-batch_size", str(row.batch)]
    limits = ["-max_length", str(MOST), "-max_length_ratio", "0"]
    rules = ["-length_penalty", "none", "-ban_unk_token"]
    return Command(command("opennmt", "onmt_translate", *options, *search, *limits, *rules))


def _joeynmt(row: Row, folder: Path, source: Path, output: Path) -> Command:
    """It reads from standard input: with -o it fails when all is decoded."""
    config = json.loads((folder / "config.yaml").read_text(encoding="utf-8"))
    config["testing"] |= {
        "beam_size": row.beam,
        "beam_alpha": -1,  # no penalty of length
        "batch_size": row.batch,
        "max_output_length": MOST,
        "generate_unk": False,
    }
    path = folder / f"{row.name}.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    translate = command("joeynmt", "python", "-m", "joeynmt", "translate", str(path))
    return Command(translate, reads=source, writes=output)


def _yoyodyne(row: Row, folder: Path, source: Path, output: Path) -> Command:
    config = yoyodyne_config(row.entry, folder, updates=1)
    del config["data"]["train"], config["data"]["val"]  # so that it takes the words it has learned
    config["data"] |= {
        "predict": str(source),
        "target_col": 0,
        "batch_size": row.batch,
        "max_target_length": MOST,
    }
    config["model"]["init_args"]["beam_width"] = row.beam
    config["prediction"] = {"path": str(output)}
    path = folder / f"{row.name}.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    options = ["--config", str(path), "--ckpt_path", str(folder / "model.ckpt")]
    return Command(command("yoyodyne", "yoyodyne", "predict", *options))


def _plain(row: Row, folder: Path, source: Path, output: Path) -> Command:
    program = [sys.executable, str(ROOT / "benchmarks" / "plain_greedy.py"), "model.safetensors"]
    return Command([*program, str(source), "--batch-size", str(row.batch)], writes=output)


def _jumok(row: Row, folder: Path, source: Path, output: Path) -> Command:
    settings = {"batch_size": row.batch, "max_length_ratio": 0, "max_length_offset": MOST}
    if row.short:
        settings["shortlist"] = True
    search = [part for k, v in settings.items() for part in ("--set", f"search.{k}={v}")]
    search += ["--beam", str(row.beam), "--engine", row.engine]
    predict = [sys.executable, "-m", "jumok", "predict", "run/last", str(source), *search]
    return Command(predict, writes=output)


DECODE: dict[str, Callable[[Row, Path, Path, Path], Command]] = {
    "opennmt": _opennmt,
    "joeynmt": _joeynmt,
    "yoyodyne": _yoyodyne,
    "plain": _plain,
    "jumok": _jumok,
}


# --- the table ------------------------------------------------------------------------------


def quality(data: str, outputs: Sequence[str]) -> dict[str, float]:
    """BLEU, or the percentage of words whose pronunciation is wrong; of how many outputs."""
    target = WORK / data / f"test.{FILES[1]}"
    references = target.read_text(encoding="utf-8").splitlines()
    pairs = list(zip(outputs, references, strict=False))  # one may be longer than the other
    if data == "kor":
        wrong = sum(output != reference for output, reference in pairs)
        return {"wer": 100 * wrong / len(pairs), "judged": len(pairs)}
    made, wanted = ([*side] for side in zip(*pairs, strict=True))
    bleu = sacrebleu.corpus_bleu(made, [wanted], tokenize="none", force=True)
    return {"bleu": bleu.score, "judged": len(pairs)}


def summary(rows: Sequence[Row], turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Medians; ratios to each rival with the same model, data and search, turn by turn."""

    speeds = {row.name: [turn[row.name][0] for turn in turns] for row in rows}

    def task(row: Row) -> tuple[object, ...]:
        entry = row.entry
        model = (entry.data, entry.hidden, entry.feeds, entry.attention)
        return (*model, row.beam, row.batch)

    found = []
    for row in rows:
        ours = speeds[row.name]
        rivals = [other for other in rows if row.engine and not other.engine]
        ratios = {
            other.entry.name: [a / b for a, b in zip(ours, speeds[other.name], strict=True)]
            for other in rivals
            if task(other) == task(row)
        }
        found.append(
            {
                **row.entry.__dict__,
                "engine": row.engine,
                "shortlist": row.short,
                "beam": row.beam,
                "batch": row.batch,
                "updates": row.updates,
                "sentences": row.sentences,
                "sentences_per_second": round(statistics.median(ours), 1),
                "turns": [round(speed, 1) for speed in ours],
                "times": {k: round(statistics.median(v), 2) for k, v in ratios.items()},
                **{k: round(v, 2) for k, v in turns[-1][row.name][1].items()},
            }
        )
    return found


def print_table(found: Sequence[dict[str, Any]]) -> None:
    """The results for a person."""
    for row in found:
        times = "  ".join(f"{ratio:.2f} x {name}" for name, ratio in row["times"].items())
        judged = f"BLEU {row['bleu']:.2f}" if "bleu" in row else f"WER {row['wer']:.2f}"
        print(
            f"beam {row['beam']} batch {row['batch']:<3}{row['name']:<20}{row['engine']:<10}"
            f"{'shortlist ' * row['shortlist']:<10}"
            f"{row['sentences_per_second']:>10,.1f}/s  {judged} of {row['judged']}  {times}"
        )


if __name__ == "__main__":
    main()
