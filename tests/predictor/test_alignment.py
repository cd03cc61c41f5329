"""Alignments of given pairs: the attention of `Predictor.score`, its units, and two directions."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MECHANISMS, tiny_predictor

import jumok
from jumok.alignment import Aligner, align
from jumok.config import TokenizerConfig, preset_names
from jumok.engine import EnsembleEngine
from jumok.errors import ConfigError, InputError
from jumok.explain import Symmetrisation, Units, links, merge, symmetrise
from jumok.predictor import LanguageModel, Predictor
from jumok.text import train_tokenizer

SOURCES = ["the cat sat", "a cat", "각 나라 가각"]
TARGETS = ["고양이가 앉았다", "나라", "xy z"]
BPE = train_tokenizer(SOURCES, TokenizerConfig(kind="bpe", vocab_size=30))
JAMO = train_tokenizer(TARGETS, TokenizerConfig(kind="jamo"))
WITHOUT = ("sutskever2014", "cho2014", "language-model")
ATTENDING = [name for name in (*preset_names(), *MECHANISMS) if name not in WITHOUT]
UNITS = get_args(Units)

words = st.sampled_from(
    ["the", "cat", "sat", "a", "각", "나라", "zebra", "고양이가", "앉았다", "xy"]
)
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)
quick = settings(max_examples=8, deadline=None)


def forward(seed: int = 1, name: str = "luong2015") -> Predictor:
    return tiny_predictor(name, seed, between=(BPE, JAMO))


def backward(seed: int = 2, name: str = "luong2015") -> Predictor:
    return tiny_predictor(name, seed, between=(JAMO, BPE))


@pytest.mark.parametrize("name", ATTENDING)
@quick
@given(seed=st.integers(0, 999), some=pairs, units=st.sampled_from(UNITS))
def test_an_alignment_is_the_merged_attention_of_score(name, seed, some, units):
    predictor = forward(seed, name)
    for pair, scored, found in zip(
        some, predictor.score(some), align(predictor, some, units=units), strict=True
    ):
        plain = scored.attention_map()
        np.testing.assert_allclose(plain.weights, scored.attention)
        offsets = scored.source_offsets, scored.offsets
        np.testing.assert_allclose(
            found.attention.weights, merge(plain, *offsets, units).weights, atol=1e-12
        )
        np.testing.assert_allclose(found.attention.weights.sum(axis=1), 1)
        assert found.links == links(found.attention)
        assert found.reverse is None
        assert (found.source_tokens, found.tokens) == (scored.source_tokens, scored.tokens)
        if units == "word":
            assert list(found.attention.source_tokens) == [*pair[0].split(), "</s>"]
            assert list(found.attention.target_tokens) == [*pair[1].split(), "</s>"]
        assert all(i < len(found.attention.source_tokens) - 1 for i, _ in found.links)
        assert len({j for _, j in found.links}) == len(found.links)


@quick
@given(seed=st.integers(0, 999), some=pairs, how=st.sampled_from(get_args(Symmetrisation)))
def test_links_of_both_directions_are_joined(seed, some, how):
    one, other = forward(seed), backward(seed + 1)
    both = align(one, some, other, symmetrisation=how)
    there = align(one, some)
    back = align(other, [(target, source) for source, target in some])
    for found, a, b in zip(both, there, back, strict=True):
        turned = frozenset((i, j) for j, i in b.links)
        assert found.links == symmetrise(a.links, turned, how)
        np.testing.assert_allclose(found.attention.weights, a.attention.weights, atol=1e-12)
        np.testing.assert_allclose(found.reverse.weights, b.attention.weights, atol=1e-12)


def test_grow_diag_final_and_is_what_is_done_if_nothing_is_said():
    some = [("the cat sat", "고양이가 앉았다 xy"), ("a cat", "나라")]
    one, other = forward(), backward()
    named = align(one, some, other, symmetrisation="grow-diag-final-and")
    assert [a.links for a in align(one, some, other)] == [a.links for a in named]


@quick
@given(seed=st.integers(0, 999), some=pairs, units=st.sampled_from(UNITS))
def test_batch_mates_order_and_padding_change_nothing(seed, some, units):
    aligner = Aligner(forward(seed), None, units)
    together = aligner.align(some)
    alone = [aligner.align([pair])[0] for pair in some]
    turned = Aligner(forward(seed), None, units, batch_size=50).align(some[::-1])[::-1]
    for one, *others in zip(together, alone, turned, strict=True):
        for other in others:
            np.testing.assert_allclose(one.attention.weights, other.attention.weights, atol=1e-9)
            if not _close_calls(one.attention.weights):
                assert one.links == other.links


def _close_calls(weights: np.ndarray) -> bool:
    best = np.sort(weights, axis=1)[:, -2:]
    return best.shape[1] == 2 and bool((np.diff(best) < 1e-8).any())


def test_an_ensemble_aligns_by_the_mean():
    some = [("the cat sat", "고양이가 앉았다"), ("a cat", "xy")]
    members = [forward(seed) for seed in (1, 2, 3)]
    together = Predictor(EnsembleEngine([m.engine for m in members]), BPE, JAMO, members[0].config)
    each = [align(member, some) for member in members]
    for found, *single in zip(align(together, some), *each, strict=True):
        mean = np.mean([one.attention.weights for one in single], axis=0)
        np.testing.assert_allclose(found.attention.weights, mean, atol=1e-9)


@quick
@given(seed=st.integers(0, 999), source=texts, units=st.sampled_from(UNITS))
def test_a_prediction_is_shown_in_units(seed, source, units):
    found = forward(seed).predict(source, beam=2, n_best=2)
    for one in (found, *found.alternatives):
        shown = one.attention_map(units=units)
        np.testing.assert_allclose(shown.weights.sum(axis=1), 1)
        assert sum(shown.token_log_probs) == pytest.approx(sum(one.token_log_probs))
        end = one.tokens[-1:] == ["</s>"]
        written = shown.target_tokens[: len(shown.target_tokens) - end]
        if units == "word" and one.text.strip():
            assert list(written) == one.text.split()
        if units == "character":
            assert "".join(written) == one.text
        assert one.to_dict().keys() == found.to_dict().keys()


def test_unknown_words_have_their_names():
    words = train_tokenizer(["a b"], TokenizerConfig(kind="word"))
    predictor = tiny_predictor("luong2015", 1, between=(words, words))
    [found] = align(predictor, [("a zebra", "b  quagga")])
    assert found.tokens == ["b", "<unk>", "</s>"]
    assert list(found.attention.source_tokens) == ["a", "zebra", "</s>"]
    assert list(found.attention.target_tokens) == ["b", "quagga", "</s>"]


def test_plain_data():
    pair = ("the cat", "나라 xy")
    [found] = align(forward(), [pair], backward())
    data = json.loads(json.dumps(found.to_dict()))
    assert (data["source"], data["target"]) == pair
    assert data["source_units"] == ["the", "cat", "</s>"]
    assert data["target_units"] == ["나라", "xy", "</s>"]
    assert np.array(data["weights"]).shape == np.array(data["reverse_weights"]).shape == (3, 3)
    assert {tuple(link) for link in data["links"]} == found.links
    assert data["links"] == sorted(data["links"], key=lambda link: link[::-1])
    assert len(data["tokens"]) > 3 and data["tokens"][-1] == data["source_tokens"][-1] == "</s>"
    [alone] = align(forward(), [pair])
    assert alone.to_dict()["reverse_weights"] is None


def test_texts_without_words():
    assert align(forward(), []) == []
    for pair in (("", ""), ("the", ""), ("", "xy"), (" ", "xy"), ("the", "  ")):
        [found] = align(forward(), [pair])
        np.testing.assert_allclose(found.attention.weights.sum(axis=1), 1)
        if not pair[0] or not pair[1]:
            assert found.links == frozenset()


@pytest.mark.parametrize("name", ["sutskever2014", "cho2014"])
def test_a_model_without_attention_aligns_nothing(name):
    score = "none" if name == "sutskever2014" else "peek"
    for models in ((forward(1, name),), (forward(), None, backward(1, name))):
        one, other = models[0], models[2] if len(models) > 1 else None
        with pytest.raises(InputError, match=rf"aligned by attention.*score={score}\."):
            Aligner(one, other)


def test_a_language_model_aligns_nothing():
    model = forward(1, "sutskever2014")
    writer = LanguageModel(model.engine, BPE, JAMO, model.config)
    with pytest.raises(InputError, match="a language model came, which reads none"):
        Aligner(writer)


def test_two_models_of_one_direction():
    with pytest.raises(InputError, match="must read targets and write sources"):
        Aligner(forward(1), forward(2))
    # from and to the same tokens the direction cannot be told
    either = tiny_predictor("luong2015", 1, between=(BPE, BPE))
    assert len(align(either, [("a cat", "the cat")], either)) == 1


def test_units_that_are_not_the_same():
    words = train_tokenizer(SOURCES, TokenizerConfig(kind="word"))
    other = tiny_predictor("luong2015", 2, between=(JAMO, words))
    some = [("a", "xy"), ("the cats", "나라")]
    assert len(align(forward(), some, other)) == 2
    with pytest.raises(InputError, match=r"of the source 'a'|of the source 'the cats'.*units word"):
        align(forward(), some, other, units="token")
    with pytest.raises(InputError) as caught:
        align(forward(), [("a", "xy"), ("x" * 2000, "xy")], backward())
    assert caught.value.index == 1


def test_settings_that_are_of_no_use():
    with pytest.raises(ConfigError, match=r"search\.beam is of no use.*batch_size and search\.max"):
        align(forward(), [], beam=3)
    with pytest.raises(ConfigError, match="joins the links of two directions, but there is one"):
        align(forward(), [], symmetrisation="union")
    with pytest.raises(InputError, match=r"search\.max_source_length=1"):
        align(forward(), [("the cat", "xy")], max_source_length=1)


def test_it_is_there_by_its_name():
    assert jumok.align is align
