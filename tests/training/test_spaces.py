"""Spaces of a search are read as they are written, and refused where they make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import resolve
from jumok.errors import ConfigError
from jumok.training.spaces import Choice, Range, parse_space, parse_spaces

WORDS = resolve(["translation"])
PERPLEXITY = resolve(settings=["evaluation.metric=perplexity"])


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("train.learning_rate=1e-4..1e-2:log", Range("train.learning_rate", 1e-4, 1e-2, True)),
        ("model.decoder.hidden=128|256|512", Choice("model.decoder.hidden", (128, 256, 512))),
        ("model.encoder.dropout=0..0.5", Range("model.encoder.dropout", 0.0, 0.5)),
        ("model.encoder.layers=1..3", Range("model.encoder.layers", 1, 3)),
        ("train.batch_size=1e1..1e3:log", Range("train.batch_size", 10, 1000, True)),
        ("train.weight_decay=0..1", Range("train.weight_decay", 0.0, 1.0)),
        ("train.clip_norm = .5...9 ", Range("train.clip_norm", 0.5, 0.9)),
        ("model.encoder.cell=lstm|gru", Choice("model.encoder.cell", ("lstm", "gru"))),
        ("model.decoder.tied=true|false", Choice("model.decoder.tied", (True, False))),
        ("train.max_loss_rise=null|3", Choice("train.max_loss_rise", (None, 3))),
        ("data.reverse_source=true|false", Choice("data.reverse_source", (True, False))),
        ("text.target.kind=bpe|unigram", Choice("text.target.kind", ("bpe", "unigram"))),
    ],
)
def test_spaces_are_read(text: str, space: Range | Choice) -> None:
    [found] = parse_spaces([text], WORDS)
    assert found == space
    assert repr(found) == repr(space)  # 1 is not 1.0


numbers = st.floats(0.001, 0.999, width=64)
whole = st.integers(1, 10**6)


@given(st.tuples(numbers, numbers), st.booleans())
def test_a_range_is_read_as_it_is_shown(ends: tuple[float, float], log: bool) -> None:
    low, high = sorted(ends)
    if low == high:
        return
    space = Range("train.plateau_factor", low, high, log)
    assert parse_space(f"{space.key}={space}") == space


@given(st.tuples(whole, whole), st.booleans())
def test_a_range_of_whole_numbers_too(ends: tuple[int, int], log: bool) -> None:
    low, high = sorted(ends)
    if low == high:
        return
    space = Range("train.batch_size", low, high, log)
    read = parse_space(f"{space.key}={space}")
    assert read == space and repr(read) == repr(space)


@given(
    st.lists(st.none() | st.integers(1, 9999), min_size=2, max_size=6, unique=True).map(tuple)
    | st.just(("x", "y"))
)
def test_a_choice_is_read_as_it_is_shown(values: tuple[int | str | None, ...]) -> None:
    key = "text.source.separator" if "x" in values else "train.max_steps"
    space = Choice(key, values)
    read = parse_space(f"{space.key}={space}")
    assert read == space and repr(read) == repr(space)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.learning_rate", "written KEY=LOW..HIGH"),
        ("=1..2", "written KEY=LOW..HIGH"),
        ("train.learning_rate=", "written KEY=LOW..HIGH"),
        ("train.learning_rate=low..high", "written KEY=LOW..HIGH"),
        ("train.learning_rate=1..2:logs", "written KEY=LOW..HIGH"),
        ("train.learning_rate=1:log..2", "written KEY=LOW..HIGH"),
        ("train.learning_rate=1..inf", "written KEY=LOW..HIGH"),
        ("train.learning_rate=0.1", "leaves no choice"),
        ("train.learning_rate=fast", "train.learning_rate: .*'fast' came"),
        ("train.learning_rat=1..2", r"Did you mean 'train\.learning_rate'"),
        ("hidden=8|16", r"Did you mean 'model\.encoder\.hidden'"),
        ("model.encoder=1..2", "no setting 'model.encoder'"),
        ("train.learning_rate=0..1", "greater than 0, but 0.0 came"),
        ("model.encoder.dropout=0..2", "less than .*but 2.0 came"),
        ("model.encoder.layers=1..2.5", "valid integer.*but 2.5 came"),
        ("model.encoder.layers=3..1", "from a lower number to a higher"),
        ("model.encoder.layers=2..2", "from a lower number to a higher"),
        ("model.encoder.dropout=0..0.5:log", "numbers above 0"),
        ("model.encoder.cell=1..3", "one of lstm, gru, rnn"),
        ("model.encoder.bidirectional=0..1", "takes no numbers"),
        ("model.encoder.cell=lstm|gro", r"but 'gro' came\. Did you mean 'gru'"),
        ("model.encoder.cell=lstm|gru|lstm", "has lstm twice"),
        ("model.encoder.hidden=8|-8", "but -8 came"),
        ('train.sinks=["wandb"]|["mlflow"]', "lists cannot be searched"),
        ("search.beam=1..5", "judged on greedy outputs"),
        ("data.dev_fraction=0.1..0.2", "could not be compared"),
        ("evaluation.metric=bleu|chrf", "could not be compared"),
        ("train.validate_pairs=10..20", "could not be compared"),
        ("train.seed=1..20", "one seed is for all trials"),
        ("text.target.lowercase=true|false", "could not be compared"),
        ("train.keep_checkpoints=1..3", "does not change what is learnt"),
        ("train.checkpoint_minutes=1..3", "does not change what is learnt"),
        ("train.sinks=wandb|mlflow", "does not change what is learnt"),
        ("train.device=cpu|cuda", "does not change what is learnt"),
        ("train.threads=1..3", "does not change what is learnt"),
        ("train.fast=true|false", "does not change what is learnt"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_spaces([text], WORDS)


def test_spaces_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        parse_spaces([], WORDS)
    with pytest.raises(ConfigError, match=r"Two spaces of model\.encoder\.layers"):
        parse_spaces(["model.encoder.layers=1..2", "model.encoder.layers=1|3"], WORDS)
    with pytest.raises(ConfigError, match="perplexities of unlike tokens"):
        parse_spaces(["text.target.vocab_size=100|200"], PERPLEXITY)
    with pytest.raises(ConfigError, match="perplexities of unlike tokens"):
        parse_spaces(["model.attention.copy_tokens=true|false"], PERPLEXITY)
