"""Language models: perplexity beside a Kneser-Ney 5-gram of the same tokens, and unedited texts.

    python benchmarks/language_model.py                      english and korean
    python benchmarks/language_model.py english --minutes 1  a try, which stores nothing

The 5-gram is KenLM's `lmplz` (Heafield et al. 2013): interpolated modified Kneser-Ney, none pruned.
It is built once, under runs/kenlm, from its source package, and needs a C++ compiler, cmake and
Boost (Debian: cmake g++ libboost-program-options-dev libboost-system-dev libboost-thread-dev
libboost-test-dev, zlib1g-dev).

Both models are of the very same tokens: the 5-gram reads the ids that jumok's tokenizer gives,
`<unk>` among them, which both learn as one more token. Both write the end of every text. Neither
learns from the validation texts, but the network is kept as it was when it was best on them; the
test texts nobody has seen. That the 5-gram's probabilities sum to 1 is measured: see `off_one`.
"""

from __future__ import annotations

import argparse
import gzip
import math
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli_runs import DATA, RUNS, evaluate, jumok, origin, store, train

from jumok.bundle import read_bundle
from jumok.metrics import perplexity
from jumok.text import UNK, Tokenizer

KENLM = "kenlm==0.3.0"
TOOLS = RUNS / "kenlm"
ORDER = 5
PARTS = ("train", "dev", "test")
MINUTES = {"english": 20.0, "korean": 20.0}
"""Of each text's training, on one core."""
SETTINGS = {
    "english": ["text.target.kind=word", "text.target.min_count=2"],
    "korean": ["text.target.kind=char", "text.target.min_count=2"],
}
"""Syllables, for a 5-gram of letters would see less than two of them."""
NETWORK = [
    "model.decoder.embedding=256",
    "model.decoder.hidden=256",
    "model.decoder.tied=true",
    "model.decoder.dropout=0.4",
    "train.learning_rate=2e-3",
    "train.schedule=cosine",
    "train.max_epochs=60",
    "train.patience=60",
]
"""Small texts want a small network and much dropout; the rate falls to zero with the time."""
PROMPTS = {"english": "a man", "korean": "나는"}
TEMPERATURES = (0.7, 1.0)
SAMPLES = 5
CONTEXTS = 8
"""Beginnings of validation texts after which the 5-gram's probabilities are summed."""


# --- the texts ------------------------------------------------------------------------------


def columns(name: str) -> list[list[str]]:
    """Each column of a file of pairs."""
    path = DATA / name
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [
            list(c) for c in zip(*(line.rstrip("\n").split("\t") for line in file), strict=True)
        ]


def english() -> dict[str, list[str]]:
    """The English side of Multi30k as its organisers tokenised it; the parts are theirs."""
    names = {"train": "train.tsv.gz", "dev": "val.tsv", "test": "test_2016_flickr.tsv"}
    return {part: columns(f"multi30k-en-de-tok/{name}")[0] for part, name in names.items()}


def korean() -> dict[str, list[str]]:
    """Questions and answers of chatbot-ko and the Korean side of tatoeba-ko-en, each text once.

    Answers come again and again; a text that an earlier part has is left out of a later one.
    """
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for part in PARTS:
        questions, answers = columns(f"chatbot-ko/{part}.tsv")
        every = dict.fromkeys([*questions, *answers, *columns(f"tatoeba-ko-en/{part}.tsv")[0]])
        found[part] = [text for text in every if text not in seen]
        seen.update(found[part])
    return found


TEXTS = {"english": english, "korean": korean}


def write_texts(name: str) -> dict[str, Path]:
    """A file of each part."""
    folder = RUNS / "language-model-texts"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for part, texts in TEXTS[name]().items():
        paths[part] = folder / f"{name}.{part}.txt"
        paths[part].write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return paths


# --- the 5-gram -----------------------------------------------------------------------------


def set_up() -> None:
    """KenLM's two programs, once; the package on the index has their source."""
    if all((TOOLS / "build" / "bin" / name).exists() for name in ("lmplz", "query")):
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    wanted = [KENLM, "--no-deps", "--no-binary", "kenlm", "--no-build-isolation"]
    # pip asks the package for its name, with setuptools; its Python part is never built
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(TOOLS / "venv")], check=True)
    pip = [str(TOOLS / "venv" / "bin" / "python"), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "setuptools", "wheel"], check=True)
    subprocess.run([*pip, "download", "-q", *wanted, "-d", str(TOOLS)], check=True)
    [archive] = TOOLS.glob("kenlm-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(TOOLS, filter="data")
    build = str(TOOLS / "build")
    subprocess.run(["cmake", "-S", str(TOOLS / archive.name[:-7]), "-B", build], check=True)
    subprocess.run(["cmake", "--build", build, "--target", "lmplz", "query"], check=True)


class NGram:
    """A Kneser-Ney model of texts as the ids of one tokenizer."""

    def __init__(self, name: str, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._file = TOOLS / f"{name}.arpa"
        done = subprocess.run(
            [_program("lmplz"), "-o", str(ORDER), "-S", "1G"],
            input=self._lines(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        self._file.write_text(done.stdout, encoding="utf-8")

    def log_probs(self, lines: str) -> list[list[float]]:
        """Natural logarithms, of every token of every line and of the line's end."""
        done = subprocess.run(
            [_program("query"), "-v", "word", "-v", "sentence", str(self._file)],
            input=lines,
            capture_output=True,
            text=True,
            check=True,
        )
        # token=number order log10, divided by tabs, and what they come to
        rows = [row.split("\t")[:-1] for row in done.stdout.splitlines()]
        return [[float(one.split()[-1]) * math.log(10) for one in row] for row in rows]

    def perplexities(self, texts: Sequence[str]) -> dict[str, float]:
        """As `jumok.predictor.LanguageModel.perplexity` counts them."""
        found = self.log_probs(self._lines(texts))
        total, tokens = sum(map(sum, found)), sum(map(len, found))
        unknown = sum(ids.count(UNK) for ids in self._tokenizer.encode_ids(list(texts)))
        return {
            "token": perplexity(total, tokens),
            "character": perplexity(total, sum(len(text) + 1 for text in texts)),
            "word": perplexity(total, sum(len(text.split()) + 1 for text in texts)),
            "unknown": 100 * unknown / tokens,
            "texts": len(texts),
        }

    def off_one(self, texts: Sequence[str]) -> float:
        """How far the probabilities of all that may come next are from 1 in sum, at most.

        After the first three tokens of some texts: every token, the end, and what KenLM keeps for
        words that were never seen, which is no token of jumok's.
        """
        begun = [ids[:3] for ids in self._tokenizer.encode_ids(list(texts[:CONTEXTS]))]
        after = [*map(str, range(UNK, self._tokenizer.vocab_size)), "never-seen", ""]
        lines = [" ".join([*map(str, ids), token]) for ids in begun for token in after]
        rows = iter(self.log_probs("".join(line + "\n" for line in lines)))
        sums = [sum(math.exp(next(rows)[len(ids)]) for _ in after) for ids in begun]
        return max(abs(total - 1) for total in sums)

    def _lines(self, texts: Sequence[str]) -> str:
        rows = self._tokenizer.encode_ids(list(texts))
        return "".join(" ".join(map(str, ids)) + "\n" for ids in rows)


def _program(name: str) -> str:
    return str(TOOLS / "build" / "bin" / name)


# --- both -----------------------------------------------------------------------------------


def samples(run: str, prompt: str) -> list[dict[str, Any]]:
    """What the network writes, as it comes."""
    found = []
    for temperature in TEMPERATURES:
        for begun in ("", prompt):
            options = ["--prompt", begun, "--n", f"{SAMPLES}", "--temperature", f"{temperature}"]
            arguments = ["generate", str(RUNS / run), *options, "--seed", "1"]
            texts = jumok(arguments, 1).splitlines()
            found.append({"temperature": temperature, "prompt": begun, "texts": texts})
    return found


def one(name: str, minutes: float) -> dict[str, Any]:
    """Both models of one text."""
    paths = write_texts(name)
    texts = {part: path.read_text(encoding="utf-8").splitlines() for part, path in paths.items()}
    run = f"language-model-{name}"
    settings = [*SETTINGS[name], *NETWORK, f"train.max_minutes={minutes:g}"]
    done = train(run, str(paths["train"]), str(paths["dev"]), [], settings, 1, "train-lm")
    network = {part: evaluate(run, str(paths[part]), 1) for part in PARTS[1:]}
    tokenizer = read_bundle(RUNS / run).target_tokenizer
    set_up()
    ngram = NGram(name, tokenizer, texts["train"])
    counted = {part: ngram.perplexities(texts[part]) for part in PARTS[1:]}
    off = ngram.off_one(texts["dev"])
    if off > 1e-4:
        raise RuntimeError(f"the 5-gram's probabilities miss 1 by {off:g} in sum")
    for part in PARTS[1:]:  # else they were not of the same tokens
        assert math.isclose(network[part]["unknown"], counted[part]["unknown"], rel_tol=1e-9)
    row = {
        "text": name,
        "training_texts": len(texts["train"]),
        "tokens": tokenizer.kind,
        "vocabulary": tokenizer.vocab_size,
        "network": network,
        "ngram": counted,
        "ngram_off_one": off,
        "samples": samples(run, PROMPTS[name]),
        **origin(done),
        "validations": [
            {k: v[k] for k in ("epoch", "seconds", "perplexity")} for v in done["validations"]
        ],
    }
    for part in PARTS[1:]:
        print(f"{name} {part}: network {network[part]}, 5-gram {counted[part]}", flush=True)
    return row


def main() -> None:
    """The texts named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Language models beside a Kneser-Ney 5-gram.")
    parser.add_argument("texts", nargs="*", help=f"of {', '.join(TEXTS)}; all are stored")
    parser.add_argument("--minutes", type=float, help="of each training, for a try")
    options = parser.parse_args()
    names = options.texts or list(TEXTS)
    rows = [one(name, options.minutes or MINUTES[name]) for name in names]
    if names == list(TEXTS) and not options.minutes:
        store("language-model", rows)


if __name__ == "__main__":
    main()
