"""Searches by a shortlist are searches over probabilities that NumPy masks and normalises anew."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, tiny_language_model, tiny_predictor, tiny_shortlist

from jumok.bundle import Shortlist
from jumok.config import TokenizerConfig
from jumok.engine import Engine, EnsembleEngine
from jumok.errors import ConfigError, DataError, InputError
from jumok.prediction import Prediction
from jumok.predictor import Predictor
from jumok.search import Step
from jumok.shortlist import LinkCounts
from jumok.text import EOS, SPECIALS, Speller, train_tokenizer

NAMES = ["luong2015", "bahdanau2015", "sutskever2014", "deep over a bidirectional bottom, tied"]
each_model = pytest.mark.parametrize("name", NAMES)
quick = settings(max_examples=4, deadline=None)
texts = st.text(alphabet=ALPHABET.replace(" ", ""), min_size=1, max_size=6)
sources = st.lists(texts, min_size=1, max_size=4)
OPTIONS: list[dict[str, Any]] = [
    {"beam": 1},
    {"beam": 3, "length_penalty": "average"},
    {"beam": 4, "groups": 2, "diversity": 0.5, "n_best": 2},
    {"beam": 2, "no_repeat_ngram": 2, "min_length": 3, "repetition_penalty": 1.3},
    {"sample": True, "n_best": 2, "top_k": 3, "seed": 5},
    {"beam": 3, "forbidden": ["x"], "replace_unknown": False},
]


def listing(predictor: Predictor, found: Shortlist) -> Predictor:
    """The predictor with a shortlist."""
    predictor._find_shortlist = lambda: found
    return predictor


def listed(found: Shortlist, source: np.ndarray) -> set[int]:
    """The definition: what the text's tokens and its end have, what is frequent, the specials."""
    entries = {*range(len(SPECIALS)), *found.frequent.tolist()}
    for token in source.tolist():
        entries |= set(found.tokens[found.indptr[token] : found.indptr[token + 1]].tolist())
    return entries


class MaskedState(NamedTuple):
    inner: Any
    allowed: np.ndarray

    def select(self, rows: np.ndarray) -> MaskedState:
        return MaskedState(self.inner.select(rows), self.allowed[rows])


class Masked:
    """An engine over the whole vocabulary, whose probabilities are masked and normalised here."""

    def __init__(self, engine: Engine, found: Shortlist, also: tuple[int, ...] = ()) -> None:
        self.engine, self.found, self.also = engine, found, also
        self.target_vocab, self.attends = engine.target_vocab, engine.attends

    def start(self, source, lengths, copies=None, candidates=None) -> MaskedState:
        assert copies is None and candidates is None
        allowed = np.zeros((len(source), self.target_vocab), dtype=bool)
        for row, ids, length in zip(allowed, source, lengths, strict=True):
            row[[*listed(self.found, ids[:length]), *self.also]] = True
        return MaskedState(self.engine.start(source, lengths), allowed)

    def step(self, tokens: np.ndarray, state: MaskedState) -> Step:
        made = self.engine.step(tokens, state.inner)
        p = np.where(state.allowed, np.exp(made.log_probs), 0.0)
        with np.errstate(divide="ignore"):
            log_probs = np.log(p / p.sum(axis=1, keepdims=True))
        return made._replace(log_probs=log_probs, state=MaskedState(made.state, state.allowed))


def assert_equal(one: Prediction, other: Prediction) -> None:
    assert one.tokens == other.tokens
    assert one.score == pytest.approx(other.score, abs=1e-9)
    np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=1e-9)
    if one.attention is not None:
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-9)
    assert len(one.alternatives) == len(other.alternatives)
    for ours, theirs in zip(one.alternatives, other.alternatives, strict=True):
        assert_equal(ours, theirs)


def assert_all_equal(ours: list[Prediction], theirs: list[Prediction]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert_equal(one, other)


def answers(predictor, some, **options):
    """None where nothing meets what is asked."""
    try:
        return predictor.predict(some, **options)
    except InputError:
        return None


@each_model
@quick
@given(seed=st.integers(0, 99), some=sources)
def test_a_list_of_the_whole_vocabulary_changes_nothing(name, seed, some):
    predictor = tiny_predictor(name, seed)
    everything = tiny_shortlist(predictor, seed, 2, predictor.target_tokenizer.vocab_size)
    short = listing(tiny_predictor(name, seed), everything)
    for options in OPTIONS:
        assert_all_equal(
            short.predict(some, shortlist=True, **options), predictor.predict(some, **options)
        )


@each_model
@quick
@given(seed=st.integers(0, 99), some=sources, size=st.integers(1, 4))
def test_probabilities_are_those_of_the_list_whatever_stands_beside(name, seed, some, size):
    predictor = tiny_predictor(name, seed)
    found = tiny_shortlist(predictor, seed, 3, 1)
    short = listing(tiny_predictor(name, seed), found)
    predictor.engine = Masked(predictor.engine, found)
    vocabulary = predictor.target_tokenizer.tokens(range(predictor.target_tokenizer.vocab_size))
    for options in OPTIONS:
        ours = answers(short, some, shortlist=True, batch_size=size, **options)
        defined = answers(predictor, some, **options)
        if ours is None or defined is None:  # what is listed is too little for what is asked
            assert ours is None and defined is None
            continue
        assert_all_equal(ours, defined)
        for source, one in zip(some, ours, strict=True):
            assert_equal(one, short.predict(source, shortlist=True, **options))
            ids = np.array([*predictor.source_tokenizer.encode(source).ids, EOS])
            assert {*one.tokens} <= {vocabulary[i] for i in listed(found, ids)}
    pairs = [(source, "x y") for source in some]
    plain = tiny_predictor(name, seed)
    assert_all_equal(short.with_search({"shortlist": True}).score(pairs), plain.score(pairs))


@quick
@given(seed=st.integers(0, 99), some=sources)
def test_an_ensemble_has_the_mean_over_the_list(seed, some):
    one, other = tiny_predictor("luong2015", seed), tiny_predictor("bahdanau2015", seed + 1)
    found = tiny_shortlist(one, seed, 3, 1)
    tokenizers = one.source_tokenizer, one.target_tokenizer
    engines = [one.engine, other.engine]
    short = listing(Predictor(EnsembleEngine(engines), *tokenizers, one.config), found)
    masked = EnsembleEngine([Masked(engine, found) for engine in engines])
    defined = Predictor(masked, *tokenizers, one.config)
    for options in OPTIONS:
        ours = answers(short, some, shortlist=True, **options)
        theirs = answers(defined, some, **options)
        if ours is None or theirs is None:
            assert ours is None and theirs is None
            continue
        assert_all_equal(ours, theirs)


@quick
@given(seed=st.integers(0, 99), source=texts)
def test_a_language_model_judges_what_is_listed(seed, source):
    model = tiny_predictor("luong2015", seed)
    judge = tiny_language_model(model.target_tokenizer, seed + 1)
    found = tiny_shortlist(model, seed, 3, 1)
    tokenizers = model.source_tokenizer, model.target_tokenizer
    short = Predictor(model.engine, *tokenizers, model.config, judge.engine)
    listing(short, found)
    ids = np.array([*model.source_tokenizer.encode(source).ids, EOS])
    nothing = Shortlist(np.zeros(99, dtype=np.int64), found.tokens[:0], found.frequent[:0])
    judges = Masked(judge.engine, nothing, tuple(listed(found, ids)))
    defined = Predictor(Masked(model.engine, found), *tokenizers, model.config, judges)
    for options in ({"beam": 1}, {"beam": 3, "n_best": 2}):
        one = short.predict(source, shortlist=True, lm_weight=0.5, **options)
        assert_equal(one, defined.predict(source, lm_weight=0.5, **options))


WRITTEN = ["the cat sat on the mat", "a cat ate", "주목 주의"]
EMPTY = np.zeros(0, dtype=np.int64)


def between(kind: str) -> Predictor:
    """A model between tokens of one kind whose list has nothing but the special tokens."""
    tokens = train_tokenizer(WRITTEN, TokenizerConfig(kind=kind, vocab_size=40))
    predictor = tiny_predictor("luong2015", 3, {"search.max_length_offset": 20}, (tokens, tokens))
    return listing(predictor, Shortlist(np.zeros(tokens.vocab_size + 1, np.int64), EMPTY, EMPTY))


@pytest.mark.parametrize("kind", ["char", "jamo", "word", "bpe", "unigram"])
def test_what_is_asked_for_can_be_written_though_nothing_is_listed(kind):
    predictor = between(kind)
    asked = {"shortlist": True, "beam": 8}
    assert predictor.predict("a cat", shortlist=True).text == ""
    for phrase in ("cat", "주목", "the cat"):
        required = predictor.predict(["a cat", "ate"], required=[phrase], **asked)
        assert all(phrase in one.text for one in required)
        begun = predictor.predict(["a cat", "ate"], prefix=[phrase, "a"], **asked)
        assert begun[0].text.startswith(phrase) and begun[1].text.startswith("a")
        assert all(one.text.startswith(phrase) for one in predictor.predict(
            ["a cat", "ate"], prefix=phrase, **asked))  # fmt: skip
    choices = ["a cat", "주의"]
    ranked = predictor.predict("ate", choices=choices, n_best=2, **asked)
    assert {ranked.text, ranked.alternatives[0].text} == set(choices)


PAIRS = [("abc", "x y"), ("ab", "x x z"), ("가각 e", "z w"), ("", "x"), ("힣d", "u u u q")]


@pytest.mark.parametrize("name", ["luong2015", "bahdanau2015"])
@pytest.mark.parametrize("reverse", [False, True])
def test_links_are_counted_from_each_token_to_what_it_looks_at_most(name, reverse):
    predictor = tiny_predictor(name, 7, {"data.reverse_source": reverse})
    counts = LinkCounts(predictor)
    counts.add(PAIRS[:2])
    counts.add(PAIRS[2:])
    links: dict[str, Counter[str]] = {}
    frequency: Counter[str] = Counter()
    for one in predictor.score(PAIRS):
        frequency.update(token for token in one.tokens if token not in SPECIALS)
        assert one.attention is not None
        for token, weights in zip(one.tokens, one.attention, strict=True):
            if token not in SPECIALS:
                looked_at = one.source_tokens[int(np.argmax(weights))]
                links.setdefault(looked_at, Counter())[token] += 1
    read = predictor.source_tokenizer.tokens(range(predictor.source_tokenizer.vocab_size))
    written = predictor.target_tokenizer.tokens(range(predictor.target_tokenizer.vocab_size))
    ids = {token: i for i, token in enumerate(written)}
    for most, frequent in ((50, 100), (1, 2), (2, 0)):
        found = counts.shortlist(most, frequent)
        assert len(found.indptr) == len(read) + 1
        for s, token in enumerate(read):
            ranked = sorted(links.get(token, {}).items(), key=lambda item: (-item[1], ids[item[0]]))
            ours = found.tokens[found.indptr[s] : found.indptr[s + 1]]
            assert [written[i] for i in ours] == [target for target, _ in ranked[:most]]
        ranked = sorted(frequency.items(), key=lambda item: (-item[1], ids[item[0]]))
        assert [written[i] for i in found.frequent] == [t for t, _ in ranked[:frequent]]


def test_many_links_are_counted_in_parts(monkeypatch):
    predictor = tiny_predictor("luong2015", 7)
    counts, parts = LinkCounts(predictor), LinkCounts(predictor)
    for _ in range(3):
        counts.add(PAIRS)
        parts.add(PAIRS)
        parts._merge()
    one, other = counts.shortlist(3, 2), parts.shortlist(3, 2)
    for name in ("indptr", "tokens", "frequent"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_pairs_with_a_source_that_is_too_long_are_left_out():
    predictor = tiny_predictor("luong2015", 7)
    counts, others = LinkCounts(predictor, max_source_length=9), LinkCounts(predictor)
    counts.add([("abcde" * 2, "u"), *PAIRS, ("e" * 10, "x")])
    others.add(PAIRS)
    assert (counts.pairs, counts.too_long, others.too_long) == (len(PAIRS), 2, 0)
    for one, other in zip(
        *(vars(c.shortlist(9, 9)).values() for c in (counts, others)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_of_no_pair_no_list_is_made():
    counts = LinkCounts(tiny_predictor("luong2015", 7), max_source_length=1)
    counts.add([("abc", "u"), ("ab", "x")])
    with pytest.raises(DataError, match="max_source_length=1 tokens, but none came, and 2 with"):
        counts.shortlist(9, 9)


def test_what_all_sources_need_is_worked_out_once(monkeypatch):
    predictor = between("char")
    cut: list[str] = []
    within = Speller.within
    monkeypatch.setattr(
        Speller, "within", lambda self, text: cut.append(text) or within(self, text)
    )
    predictor.predict(["a"] * 5, shortlist=True, required=["c"], beam=4, batch_size=1)
    assert cut == ["c"]


def test_models_that_have_no_list_say_so():
    for texts in ("abc", []):  # though nothing is asked yet
        with pytest.raises(ConfigError, match="jumok shortlist MODEL PAIRS"):
            tiny_predictor("luong2015", 1).predict(texts, shortlist=True)
    copying = tiny_predictor("copying", 1)
    for call in (lambda: copying.predict("abc", shortlist=True), lambda: LinkCounts(copying)):
        with pytest.raises(ConfigError, match="may copy any token"):
            call()
    language = tiny_language_model(copying.target_tokenizer, 1)
    for call in (lambda: language.generate(shortlist=True), lambda: LinkCounts(language)):
        with pytest.raises(ConfigError, match="reads no source"):
            call()
    with pytest.raises(InputError, match="made by attention"):
        LinkCounts(tiny_predictor("cho2014", 1))
    with pytest.raises(ConfigError, match=r"search\.beam is of no use"):
        LinkCounts(tiny_predictor("luong2015", 1), beam=3)
