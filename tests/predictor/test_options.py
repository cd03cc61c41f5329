"""What a user asks of outputs, on random models that write texts of every kind of tokenizer."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_predictor, tokenizers

from jumok.bundle import write_bundle
from jumok.config import SearchConfig, TokenizerConfig, resolve
from jumok.engine.torch_engine import TorchEngine
from jumok.errors import ConfigError, InputError
from jumok.nn import Seq2Seq
from jumok.predictor import Predictor
from jumok.text import train_tokenizer

TEXTS = ["the cat sat on the mat", "a cat ate", "주목 주의", "가지 않았어", "각 힣"]
KINDS = ["char", "jamo", "word", "split", "bpe", "unigram"]
WHOLE = ("word", "split")
each_kind = pytest.mark.parametrize("kind", KINDS)
quick = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 50)


@functools.cache
def predictor(
    kind: str,
    seed: int,
    copies: bool = False,
    score: str = "general",
    texts: tuple[str, ...] = tuple(TEXTS),
) -> Predictor:
    """A random model that reads and writes tokens of one kind."""
    text = {"kind": kind, "vocab_size": 40}
    config = resolve(
        ["luong2015"],
        {
            **{f"text.{side}.{k}": v for side in ("source", "target") for k, v in text.items()},
            "model.encoder.embedding": 4,
            "model.encoder.hidden": 8,
            "model.decoder.embedding": 4,
            "model.decoder.hidden": 8,
            "model.attention.score": score,
            "model.attention.copy_tokens": copies,
            "search.beam": 4,
            "search.max_length_ratio": 0.0,
            "search.max_length_offset": 12,
        },
    )
    tokenizer = train_tokenizer(texts, TokenizerConfig(**text))
    torch.manual_seed(seed)
    model = Seq2Seq(config.model, tokenizer.vocab_size, tokenizer.vocab_size).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return Predictor(TorchEngine(model), tokenizer, tokenizer, config)


def holds(kind: str, text: str, phrase: str) -> bool:
    """Whether the phrase is in the text: as whole tokens, or as letters."""
    if kind in WHOLE:
        return f" {phrase} " in f" {text} "
    form = "NFD" if kind == "jamo" else "NFC"
    return unicodedata.normalize(form, phrase) in unicodedata.normalize(form, text)


def phrases(kind: str) -> st.SearchStrategy[str]:
    """Parts of what the model can write."""
    words = st.sampled_from(["the", "cat", "sat", "주목", "않았어", "cat sat", "가지 않았어"])
    if kind in WHOLE:
        return words
    return st.one_of(words, st.sampled_from(["t", "at", "t s", "목", "가", "e c"]))


@each_kind
@quick
@given(seed=seeds, data=st.data())
def test_required_phrases_are_in_the_text_and_forbidden_ones_are_not(kind, seed, data) -> None:
    required = data.draw(st.lists(phrases(kind), max_size=1))
    forbidden = data.draw(st.lists(phrases(kind), max_size=3))
    forbidden = [f for f in forbidden if not any(holds(kind, r, f) for r in required)]
    found = predictor(kind, seed).predict(
        ["the cat", "가"], required=required, forbidden=forbidden, max_length_offset=40, n_best=2
    )
    for best in found:
        for one in (best, *best.alternatives):
            assert all(holds(kind, one.text, phrase) for phrase in required)
            assert not any(holds(kind, one.text, phrase) for phrase in forbidden)


@each_kind
@quick
@given(seed=seeds, beam=st.integers(1, 3), sample=st.booleans())
def test_outputs_begin_with_their_prefixes(kind, seed, beam, sample) -> None:
    prefixes = ["the cat", "", "가지"]
    found = predictor(kind, seed).predict(
        ["cat", "the", "힣"], prefix=prefixes, beam=beam, sample=sample
    )
    for one, prefix in zip(found, prefixes, strict=True):
        assert one.text.startswith(prefix)


@each_kind
@quick
@given(seed=seeds)
def test_choices_are_ranked_by_the_scores_they_have_when_forced(kind, seed) -> None:
    model, choices = predictor(kind, seed), ["the cat", "cat", "가지 않았어", "주의", "a cat ate"]
    best = model.predict("the mat", choices=choices, n_best=5, beam=5, length_penalty="average")
    forced = model.score([("the mat", choice) for choice in choices], length_penalty="average")
    expected = sorted(((p.score, p.text) for p in forced), reverse=True)
    every = [best, *best.alternatives]
    assert [p.text for p in every] == [text for _, text in expected]
    assert [p.score for p in every] == pytest.approx([score for score, _ in expected])


@each_kind
@quick
@given(seed=seeds)
def test_n_best_outputs_differ_in_their_texts(kind, seed) -> None:
    best = predictor(kind, seed).predict("the cat sat", n_best=6, beam=6)
    texts = [p.text for p in (best, *best.alternatives)]
    assert len(set(texts)) == len(texts)


@each_kind
def test_a_draw_depends_on_the_seed_and_on_the_text_alone(kind) -> None:
    model = predictor(kind, 3)
    options = {"sample": True, "n_best": 4, "temperature": 2.0}
    one = model.predict("the cat", **options)
    [_, again] = model.predict(["가지 않았어 주의", "the cat"], **options, batch_size=1)
    [beside, _] = model.predict(["the cat", "가지 않았어 주의"], **options)
    other = model.predict("the cat", **options, seed=2)
    texts = [[p.text for p in (m, *m.alternatives)] for m in (one, again, beside, other)]
    assert texts[0] == texts[1] == texts[2] != texts[3]
    assert len(set(texts[0])) > 1
    for p in (one, *one.alternatives):
        assert p.attention is not None and p.attention.shape[0] == len(p.tokens)


def test_lengths_ngrams_and_repetition() -> None:
    model = predictor("char", 1)
    plain = model.predict("the cat", beam=1)
    for one in model.predict(["the cat", "a"], min_length=8, max_length_offset=9):
        assert 8 <= len([t for t in one.tokens if t != "</s>"]) <= 9
    for one in model.predict(["the cat", "a"], no_repeat_ngram=2, min_length=11):
        body = [t for t in one.tokens if t != "</s>"]
        pairs = list(itertools.pairwise(body))
        assert len(set(pairs)) == len(pairs)
    most = model.predict("the cat", beam=1, repetition_penalty=100.0, min_length=11)
    assert len(set(most.tokens)) == len(most.tokens) > len(set(plain.tokens))
    steps = model.score([("the cat", most.text)])[0].token_log_probs
    assert most.token_log_probs == pytest.approx(steps[: len(most.tokens)])  # the model's own
    assert most.score <= sum(most.token_log_probs)


def test_a_coverage_penalty_ranks_by_what_was_looked_at() -> None:
    model = predictor("char", 2)
    [plain] = model.score([("the cat", "a cat")])
    [covered] = model.score([("the cat", "a cat")], coverage_penalty=0.5)
    assert plain.attention is not None
    unseen = np.log(np.minimum(plain.attention.sum(axis=0), 1)).sum()
    assert covered.score == pytest.approx(plain.score + 0.5 * unseen)
    best = model.predict("the cat", coverage_penalty=0.5, n_best=4)
    assert best.attention is not None
    unseen = np.log(np.minimum(best.attention.sum(axis=0), 1)).sum()
    assert best.score == pytest.approx(sum(best.token_log_probs) + 0.5 * unseen)


def test_coverage_counts_what_attention_can_rest_on() -> None:
    """Features that are read apart, and what a location score knows nothing of, it cannot see."""
    features = train_tokenizer(["V;PST"], TokenizerConfig(kind="split", separator=";"))
    source, target = tokenizers(resolve())
    between = source.with_features(features), target
    apart = tiny_predictor("luong2015", 1, {"model.encoder.features": "apart"}, between)
    near = tiny_predictor("locations in a moving window", 1, {"model.attention.positions": 2})
    for model, source in ((apart, "V;PST abc"), (near, "abcde")):
        [plain] = model.score([(source, "x y")])
        [covered] = model.score([(source, "x y")], coverage_penalty=0.5)
        assert plain.attention is not None
        seen = plain.attention.sum(axis=0)
        assert (seen == 0).sum() >= 2
        expected = plain.score + 0.5 * np.log(np.minimum(seen[seen > 0], 1)).sum()
        assert covered.score == pytest.approx(expected)


def test_what_can_be_copied_counts_as_letters() -> None:
    """x is in no vocabulary; it is copied or never written."""
    model = predictor("char", 4, copies=True)
    best = model.predict("xcat", required=["xa"])
    assert "xa" in best.text and best.copied is not None
    assert "x" not in model.predict("xxx", forbidden=["x"], beam=2).text
    assert model.predict("x", prefix="xx").text.startswith("xx")


@pytest.mark.parametrize("kind", ["char", "jamo", "bpe"])
def test_a_letter_and_its_accent_are_one_letter(kind) -> None:
    """The vocabulary has e, é and, because of x́, the accent alone."""
    model = predictor(kind, 5, texts=("ex\u0301e", "éx", "e"))
    plain = model.predict("e", sample=True, n_best=100)
    drawn = [p.tokens for p in (plain, *plain.alternatives)]
    parts = ["e", "\u0301"]
    assert any(parts == list(pair) for tokens in drawn for pair in itertools.pairwise(tokens))
    free = model.predict("e", sample=True, n_best=100, forbidden=["é"])
    assert not any("é" in unicodedata.normalize("NFC", p.text) for p in free.alternatives)
    held = model.predict("e", required=["xe"], beam=8, n_best=8, max_length_offset=4)
    form = "NFD" if kind == "jamo" else "NFC"
    for one in (held, *held.alternatives):
        assert "xe" in unicodedata.normalize(form, one.text)


def test_unknown_tokens_are_replaced_by_what_was_looked_at() -> None:
    model = next(
        m for m in (predictor("word", seed) for seed in range(50))
        if "dog" in m.predict("dog cat", replace_unknown=True, min_length=6).text
    )  # fmt: skip
    found = model.predict("dog cat", replace_unknown=True, min_length=6)
    assert found.copied is not None and found.attention is not None
    for token, place, weights in zip(found.tokens, found.copied, found.attention, strict=True):
        if place is not None:
            assert place == weights[:-1].argmax() and token == found.source_tokens[place]
    translated = model.predict(
        "dog cat", replace_unknown=True, min_length=6, dictionary={"dog": "Hund", "cat": "Katze"}
    )
    places = [n for n, place in enumerate(found.copied) if place is not None]
    assert places
    for n in places:
        assert translated.tokens[n] == {"dog": "Hund", "cat": "Katze"}[found.tokens[n]]
    assert "<unk>" not in model.predict("dog cat", min_length=6).text


@pytest.mark.parametrize(("n_best", "groups", "beam"), [(3, 2, 4), (5, 2, 6), (1, 3, 6), (5, 5, 5)])
def test_n_best_widens_the_beam_to_a_multiple_of_the_groups(n_best, groups, beam) -> None:
    model = predictor("char", 3)
    asked = {"n_best": n_best, "groups": groups, "diversity": 0.5}
    assert model.settings(asked).beam == beam
    found, wide = (model.predict("the cat", **asked, **own) for own in ({}, {"beam": beam}))
    assert found.to_dict() == wide.to_dict()
    divided = model.with_search({"beam": 4, "groups": 2, "diversity": 0.5})
    assert divided.settings({"n_best": 5}).beam == 6
    for wrong in (0, -2, "two"):
        with pytest.raises(ConfigError, match=r"search\.groups"):
            model.predict("the cat", **{**asked, "groups": wrong})


def test_what_says_nothing_of_a_given_output_is_refused() -> None:
    model = predictor("char", 3)
    pairs = [("the cat", "a cat")]
    for name, field in SearchConfig.model_fields.items():
        if name in ("batch_size", "max_source_length", "length_penalty", "length_alpha",
                    "coverage_penalty", "lm_weight"):  # fmt: skip
            assert len(model.score(pairs, **{name: field.default})) == 1
        else:
            with pytest.raises(ConfigError, match=rf"search\.{name} is of no use where both"):
                model.score(pairs, **{name: field.default})
    with pytest.raises(ConfigError, match=r"Did you mean 'search\.beam'"):
        model.score(pairs, beem=3)


@pytest.mark.parametrize("options, error, sentence", [
    ({"required": "x"}, InputError, "no token of its vocabulary has 'x', which is in 'x'"),
    ({"prefix": "dog"}, InputError, "A prefix must be something the model can write"),
    ({"choices": ["cat", "dog"]}, InputError, "vocabulary lacks 'd', which is in 'dog'"),
    ({"choices": []}, InputError, "no choice came"),
    ({"required": "cat", "forbidden": "a"}, InputError, "found no output that meets all"),
    ({"prefix": ["a", "b"]}, InputError, "2 prefixes came"),
    ({"required": "the cat", "max_length_offset": 3}, InputError, "search.max_length_offset"),
    ({"dictionary": {}}, ConfigError, "A dictionary is for unknown tokens"),
    ({"required": ""}, ConfigError, "must have a letter"),
    ({"replace_unknown": True, "forbidden": "a"}, ConfigError, "could not be kept"),
    ({"replace_unknown": True, "forbidden": "a", "sample": True}, ConfigError, "could not be"),
    ({"required": "", "sample": True}, ConfigError, "must have a letter"),
    ({"choices": "cat"}, InputError, "one text came ('cat')"),
    ({"temperature": 1e-310, "sample": True}, ConfigError, "search.temperature"),
    ({"coverage_penalty": float("inf")}, ConfigError, "search.coverage_penalty"),
    ({"groups": 3}, ConfigError, "cannot be divided"),
    ({"diversity": 1.0}, ConfigError, "does nothing where search.groups=1"),
    ({"top_k": 3}, ConfigError, "search.top_k=3 does nothing where search.sample=false"),
    ({"sample": True, "required": "a"}, ConfigError, "search.required=['a'] does nothing"),
    ({"sample": True, "coverage_penalty": 1}, ConfigError, "search.coverage_penalty=1.0 does not"),
])  # fmt: skip
def test_what_cannot_be_is_said(options, error, sentence) -> None:
    with pytest.raises(error) as caught:
        predictor("char", 0).predict(["the cat"], **options)
    assert sentence in str(caught.value)


def test_the_text_that_nothing_can_be_written_for_is_named() -> None:
    with pytest.raises(InputError) as caught:
        predictor("word", 0).predict(["the", "cat"], prefix=["", "dog"])
    assert caught.value.index == 1


def test_what_goes_by_attention_needs_some() -> None:
    model = tiny_predictor("sutskever2014", 0)
    for options in ({"coverage_penalty": 1.0}, {"replace_unknown": True}):
        with pytest.raises(ConfigError, match="goes by the attention"):
            model.predict("a", beam=2, **options)


def test_the_least_length_holds_whatever_the_limit() -> None:
    for options in ({}, {"beam": 1}, {"sample": True}):
        one = predictor("char", 0).predict("the cat", min_length=20, max_length_offset=2, **options)
        assert len([token for token in one.tokens if token != "</s>"]) >= 20


def test_a_long_prefix_leaves_room_for_more() -> None:
    prefix = "the cat sat on the mat"
    one = predictor("char", 0).predict("a", prefix=prefix, max_length_offset=4, min_length=24)
    assert one.text.startswith(prefix) and len(one.text) >= 24


def test_what_replaces_does_not_take_a_required_phrase_away() -> None:
    """ㄱ of 각, which the target lacks, would make 각 of the 가 that is asked for."""
    source = train_tokenizer(["각"], TokenizerConfig(kind="jamo"))
    target = train_tokenizer(["가나"], TokenizerConfig(kind="char"))
    asked = {"required": ["가"], "replace_unknown": True, "beam": 6, "n_best": 6}
    gone = 0
    for seed in range(20):
        model = tiny_predictor("luong2015", seed, None, (source, target))
        try:
            best = model.predict("각", **asked)
        except InputError as error:
            assert "no longer" in str(error) and error.index == 0
            gone += 1
            continue
        outputs = [best, *best.alternatives]
        assert all("가" in one.text for one in outputs)
        gone += len(outputs) < 6
    assert gone


@pytest.mark.parametrize("prefix", ["m", "m\u0329"])
@pytest.mark.parametrize("kind", ["char", "jamo"])
def test_marks_do_not_change_a_prefix(kind: str, prefix: str) -> None:
    """An acute accent goes past the stroke below, to the m."""
    for seed in range(3):
        model = predictor(kind, seed, texts=("m\u0329x\u0301",))
        drawn = model.predict("m", prefix=prefix, sample=True, n_best=100, temperature=3.0)
        for one in (drawn, *drawn.alternatives):
            assert one.text.startswith(prefix)


@pytest.mark.parametrize("options", [{"forbidden": "new words here"}, {"forbidden": ["new"] * 3}])
def test_words_of_a_call_are_forgotten(options) -> None:
    model = predictor("word", 1)
    before = dict(model._speller._numbers)
    model.predict(["the cat", "other words"], **options)
    assert model._speller._numbers == before and not model._speller._new
    copying = predictor("word", 1, copies=True)
    copying.predict("never seen words", required=["seen words"])
    assert copying._speller._numbers == before and not copying._speller._new


def test_copied_and_replaced_letters_do_not_change_a_prefix_either() -> None:
    for seed in range(6):
        for options in ({"copies": True}, {}):
            model = predictor("jamo", seed, **options)
            replace = {} if options else {"replace_unknown": True}
            for text in ("갖갖", "\u11bd\u11bd\u11bd"):
                assert model.predict(text, prefix="가", **replace).text.startswith("가")


def test_what_replaces_is_a_word_of_the_text_in_the_targets_spelling() -> None:
    model = predictor("word", 3)
    assert model._replacement("dog", {"dog": "Hund"}) == "Hund"
    subwords = predictor("bpe", 3)
    assert subwords._replacement("▁dog", {"dog": "Hund"}) == "▁Hund"
    assert subwords._replacement("gs", {}) == "gs"
    mixed = Predictor(model.engine, subwords.source_tokenizer, model.target_tokenizer, model.config)
    assert mixed._replacement("▁dog", {}) == "dog"


def test_outputs_that_say_the_same_when_replaced_come_once() -> None:
    for seed in range(30):
        best = predictor("word", seed).predict(
            "cat dog cat", n_best=6, beam=6, replace_unknown=True
        )
        texts = [p.text for p in (best, *best.alternatives)]
        assert len(set(texts)) == len(texts)


def test_perplexity_is_the_models_own_whatever_its_search_settings() -> None:
    from jumok.evaluation import evaluate, validate

    model, pairs = predictor("char", 0), [("the cat", "a cat"), ("a", "주목")]
    plain = evaluate(model, pairs)["perplexity"]
    settings = {"search.coverage_penalty": 0.5, "search.length_penalty": "average",
                "evaluation.metric": "perplexity"}  # fmt: skip
    config = resolve(base=model.config.model_dump(), settings=settings)
    other = Predictor(model.engine, model.source_tokenizer, model.target_tokenizer, config)
    assert evaluate(other, pairs)["perplexity"] == pytest.approx(plain)
    assert validate(other, pairs).metric == pytest.approx(plain)


def test_it_is_told_how_many_texts_are_done() -> None:
    model, texts = predictor("char", 0), ["the cat", "", "a cat ate", "각 힣", "hat"]
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    found = model.predict(texts, batch_size=2, tell=tell)
    assert [one.text for one in found] == [one.text for one in model.predict(texts)]
    assert told == [(0, 4), (2, 4), (4, 4)]  # the empty text is no work
    told.clear()
    model.score([(text, "a cat") for text in texts], batch_size=2, tell=tell)
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    told.clear()
    model.predict("hat", tell=tell)
    assert told == [(0, 1), (1, 1)]
    told.clear()
    assert model.predict([""], tell=tell)[0].text == ""
    assert told == [(0, 0)]


def test_a_draw_that_finds_no_end_is_said() -> None:
    """Three letters that may each come once, and eight that must come."""
    only = [letter for letter in "ceousnmt 주목의각힣가지않았어" if letter not in "tha"]
    with pytest.raises(InputError, match="found no output"):
        predictor("char", 0).predict(
            "the cat", sample=True, n_best=4, no_repeat_ngram=1, min_length=8, forbidden=only
        )


def test_a_model_is_loaded_without_the_compiler_of_torch(tmp_path) -> None:
    """Which takes as long as everything else together: two seconds."""
    made = tiny_predictor("luong2015", 1)
    arrays = {k: t.numpy() for k, t in made.engine.model.float().state_dict().items()}
    tokenizers = made.source_tokenizer, made.target_tokenizer
    write_bundle(tmp_path / "model", made.config, *tokenizers, arrays, {})
    code = (
        "import sys; from jumok.predictor import load\n"
        f"load({str(tmp_path / 'model')!r}, engine='torch').predict(['abc'], beam=2)\n"
        "print('torch' in sys.modules, [m for m in ('torch._dynamo', 'sympy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "True []"
