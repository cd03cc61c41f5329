"""A language model beside: its log-probabilities, weighted, added by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, tiny_language_model, tiny_predictor

from jumok.bundle import write_bundle
from jumok.errors import ConfigError
from jumok.predictor import LanguageModel, Predictor, load

texts = st.text(alphabet=ALPHABET, min_size=1, max_size=6)
outputs = st.lists(st.sampled_from("xyzwvu"), max_size=5).map(" ".join)


def judge_of(model: Predictor, seed: int) -> LanguageModel:
    """A random language model with the model's target tokens."""
    return tiny_language_model(model.target_tokenizer, seed)


def judged(model: Predictor, judge: LanguageModel) -> Predictor:
    return Predictor(
        model.engine, model.source_tokenizer, model.target_tokenizer, model.config, judge.engine
    )


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["luong2015", "copying", "sutskever2014"]),
    seed=st.integers(0, 500),
    pair=st.tuples(texts, outputs),
    weight=st.sampled_from([0.2, 1.0]),
)
def test_scores_are_weighted_sums(kind, seed, pair, weight) -> None:
    model = tiny_predictor(kind, seed)
    judge = judge_of(model, seed)
    [fused] = judged(model, judge).score([pair], lm_weight=weight)
    [own], [opinion] = model.score([pair]), judge.score([("", pair[1])])
    expected = np.add(own.token_log_probs, weight * np.array(opinion.token_log_probs))
    np.testing.assert_allclose(fused.token_log_probs, expected, atol=1e-9)
    assert fused.score == pytest.approx(expected.sum())
    if own.attention is not None:
        np.testing.assert_allclose(fused.attention, own.attention, atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 500), sources=st.lists(texts, min_size=1, max_size=4))
def test_outputs_are_ranked_by_both(seed, sources) -> None:
    plain = tiny_predictor("copying", seed)
    model = judged(plain, judge_of(plain, seed + 1))
    found = model.predict(sources, beam=3, n_best=3, lm_weight=0.7)
    for source, best in zip(sources, found, strict=True):
        alone = model.predict(source, beam=3, n_best=3, lm_weight=0.7)
        assert alone.tokens == best.tokens
        for one in (best, *best.alternatives):
            assert one.score == pytest.approx(sum(one.token_log_probs))
            assert one.copied is None
    with pytest.raises(ConfigError, match="gives it no say"):
        model.predict(sources)


def test_a_judge_without_a_say_is_refused_by_a_language_model_too() -> None:
    model = tiny_predictor("luong2015", 1)
    writer = judge_of(model, 2)
    both = LanguageModel(
        writer.engine, writer.source_tokenizer, writer.target_tokenizer, writer.config,
        judge_of(model, 3).engine,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="gives it no say"):
        both.generate()
    assert both.generate(lm_weight=0.2)


def test_what_cannot_judge_is_refused(tmp_path) -> None:
    model = tiny_predictor("luong2015", 1)
    judge = judge_of(model, 2)
    other = judge_of(Predictor(model.engine, *[model.source_tokenizer] * 2, model.config), 3)
    for name, one in (("model", model), ("judge", judge), ("other", other)):
        one.engine.model.float()
        arrays = {k: v.numpy() for k, v in one.engine.model.state_dict().items()}
        tokenizers = one.source_tokenizer, one.target_tokenizer
        write_bundle(tmp_path / name, one.config, *tokenizers, arrays, {})
    loaded = load(tmp_path / "model", language_model=tmp_path / "judge")
    expected = judged(model, judge).predict("abc", lm_weight=0.5)
    assert loaded.predict("abc", lm_weight=0.5).tokens == expected.tokens
    with pytest.raises(ConfigError, match="must have the same tokens"):
        load(tmp_path / "model", language_model=tmp_path / "other")
    with pytest.raises(ConfigError, match="is no language model"):
        load(tmp_path / "model", language_model=tmp_path / "model")
    with pytest.raises(ConfigError, match="be of one kind"):
        load([tmp_path / "model", tmp_path / "judge"])
    with pytest.raises(ConfigError, match="is the weight of a language model, but none came"):
        model.predict("abc", lm_weight=0.5)
