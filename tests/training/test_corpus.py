"""Token ids on the disk: a run is the same as in memory, and what was made is found again."""

import json
import os
import subprocess
import sys

import pytest
from runs import SIZES, backwards, letters, records, train_small, write_pairs

import jumok
from jumok.bundle import read_bundle
from jumok.config import resolve
from jumok.errors import DataError
from jumok.training.corpus import contents, make_corpus
from jumok.training.run import _names

BPE = {"text.source.kind": "bpe", "text.target.kind": "unigram", "text.source.vocab_size": 30}
COPYING = {"model.attention.copy_tokens": True}
TEXTS = letters(15, 2, 5)


def weights(run):
    return (run / "last" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("settings", [{}, BPE, COPYING], ids=["char", "subwords", "copying"])
def test_ids_on_the_disk_give_the_weights_that_ids_in_memory_give(tmp_path, settings):
    one = train_small(tmp_path / "memory", {**settings, "data.cache": "none"})
    other = train_small(tmp_path / "disk", {**settings, "data.cache": str(tmp_path / "cache")})
    assert weights(one) == weights(other)
    kept = sorted(p.name.split("-")[0] for p in (tmp_path / "cache").iterdir() if p.is_dir())
    assert kept == ["ids", "ids", "tokenizers"]
    log = (one / "train.log").read_text(encoding="utf-8").splitlines()
    assert log[:4] == (other / "train.log").read_text(encoding="utf-8").splitlines()[:4]


def test_what_was_made_is_found_again_and_not_where_anything_differs(tmp_path, monkeypatch):
    cache = {"data.cache": str(tmp_path / "cache")}
    first = train_small(tmp_path / "a", cache)

    def never(*_, **__):
        raise AssertionError("the files were read again")

    def stored():
        return {p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()}

    before = stored()
    with monkeypatch.context() as patch:
        patch.setattr("jumok.training.corpus.read_parts", never)
        assert weights(train_small(tmp_path / "b", cache)) == weights(first)
        jumok.resume(first, {"train.max_epochs": 3})  # the tokenizers of the run itself
        train_small(tmp_path / "c", {**cache, "train.max_epochs": 1, "model.decoder.hidden": 8})
    assert stored() == before
    assert [r["epoch"] for r in records(first)] == [1, 2, 3]
    others = [
        {"data.dev_seed": 2},
        {"data.max_target_length": 4},
        {"text.target.min_count": 2},
        {"data.reverse_source": True},
    ]
    for i, settings in enumerate(others):
        before = stored()
        train_small(tmp_path / f"d{i}", {**cache, **settings})
        assert (stored() == before) == ("data.reverse_source" in settings)
    before = stored()
    train_small(tmp_path / "more", cache, count=161)
    assert len(stored() - before) == 3


def test_shares_are_told_as_they_are(tmp_path, monkeypatch):
    """Of the pairs that are held out, and of the validation pairs that are encoded."""
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(500, 2, 5)))
    config = resolve(settings={**SIZES, "data.train": [str(pairs)], "data.dev_fraction": 0.004})
    assert "no dev file was given: 0.4% of the pairs are held out" in make_corpus(config).report
    told = []
    monkeypatch.setattr("jumok.data.dataset._CHUNK", 4)
    monkeypatch.setattr("jumok.training.corpus.Bar.show", lambda _, *what: told.append(what))
    first = {"data.dev_fraction": 0.1, "train.validate_pairs": 6}
    make_corpus(resolve(settings=first, base=config.model_dump()))
    assert told[-2:] == [(4 / 6, "encoding", "4 of 6"), (1.0, "encoding", "6 of 6")]


@pytest.mark.parametrize("cache", ["none", "kept"])
def test_what_is_held_out_was_not_seen_in_another_case(tmp_path, cache):
    pairs = [(text.swapcase() if i % 2 else text, str(i)) for i, text in enumerate(2 * TEXTS)]
    path = write_pairs(tmp_path / "pairs.tsv", pairs)
    settings = {**SIZES, "data.train": [str(path)], "data.dev_fraction": 0.5}
    settings["data.cache"] = cache if cache == "none" else str(tmp_path / cache)

    def held_out(**more):
        corpus = make_corpus(resolve(settings={**settings, **more}))
        train, dev = ({pair.source.lower() for pair in part.pairs} for part in corpus[2:4])
        return train & dev

    assert held_out()  # in this case they are different texts to the model
    assert not held_out(**{"text.source.lowercase": True})
    assert held_out(**{"text.target.lowercase": True})


def test_the_key_has_every_file_and_how_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("en,v2.txt", "ko.txt", "p.tsv", "p.csv"):
        (tmp_path / name).write_text("source,target\tb\n", encoding="utf-8")
    assert len(contents("en,v2.txt,ko.txt")) == 2
    assert contents("p.tsv") != contents("p.csv")
    absolute = f"{tmp_path / 'en,v2.txt'},{tmp_path / 'ko.txt'}"
    assert _names("en,v2.txt,ko.txt", "auto") == (absolute,)


def test_a_cache_that_was_killed_in_the_making_is_finished(tmp_path, monkeypatch):
    whole = train_small(tmp_path / "whole", {"data.cache": "none"})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("jumok.data.dataset._CHUNK", 40)
        patch.setattr("jumok.data.dataset._KEEP", 40)
        patch.setattr("jumok.training.corpus.Bar.show", interrupt_at(100))
        train_small(tmp_path / "killed", {"data.cache": str(tmp_path / "cache")})
    begun = list((tmp_path / "cache").glob("ids-*/begun.json"))
    assert json.loads(begun[0].read_text(encoding="utf-8"))["read"] >= 40
    with monkeypatch.context() as patch:
        patch.setattr("jumok.data.dataset._CHUNK", 40)
        run = train_small(tmp_path / "again", {"data.cache": str(tmp_path / "cache")})
    assert weights(run) == weights(whole)
    assert not list((tmp_path / "cache").glob("ids-*/begun.json"))


def interrupt_at(pairs):
    def show(self, done, head, tail, *_, **__):
        if head == "encoding" and int(tail.split()[0].replace(",", "")) >= pairs:
            raise KeyboardInterrupt

    return show


NOTING = """
import sys
from pathlib import Path
import jumok.training.corpus as corpus
from jumok.cli import main

encode, notes = corpus.encode_parts, Path(sys.argv.pop(1))

def noting(*given, **named):
    with notes.open("a", encoding="utf-8") as file:
        file.write("encoded\\n")
    return encode(*given, **named)

corpus.encode_parts = noting
main()
"""


def test_two_runs_at_the_same_time_make_it_once(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(160, 2, 5)))
    settings = {**SIZES, "data.cache": str(tmp_path / "cache")}
    options = [f"--set={k}={v}" for k, v in settings.items()]
    runs = [
        subprocess.Popen([sys.executable, "-c", NOTING, tmp_path / "notes", "train", pairs,
                          *options, "--output", tmp_path / name], stderr=subprocess.DEVNULL)
        for name in ("one", "two")
    ]  # fmt: skip
    assert [run.wait(timeout=300) for run in runs] == [0, 0]
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    encoded = (tmp_path / "notes").read_text(encoding="utf-8").split()
    assert len(encoded) == 2  # training and validation pairs


def test_a_language_model_and_features_are_kept_too(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(letters(80, 3, 6)), encoding="utf-8")
    sizes = {k: v for k, v in SIZES.items() if "source" not in k and "encoder" not in k}
    for name in ("one", "two"):
        jumok.train_lm(texts, output=tmp_path / name,
                       settings={**sizes, "data.cache": str(tmp_path / "cache")})  # fmt: skip
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    pairs = write_pairs(
        tmp_path / "pairs.tsv", [(f"V;{'PST' if len(s) % 2 else 'PRS'} {s}", t)
                                 for s, t in backwards(letters(160, 2, 5))]
    )  # fmt: skip
    settings = {**SIZES, "model.encoder.features": "tokens"}
    for name, cache in (
        ("three", "none"),
        ("four", str(tmp_path / "cache")),
        ("five", str(tmp_path / "cache")),
    ):
        jumok.train(pairs, output=tmp_path / name, settings={**settings, "data.cache": cache})
    assert weights(tmp_path / "three") == weights(tmp_path / "four") == weights(tmp_path / "five")
    assert read_bundle(tmp_path / "five").source_tokenizer.features is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_used_up_for_its_name_in_the_cache(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe or a device, which can be read only once"):
        contents(str(tmp_path / "pipe"))
