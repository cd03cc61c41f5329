"""An ensemble against its members' probabilities and attention, put together by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, tiny_predictor

from jumok.bundle import write_bundle
from jumok.engine import EnsembleEngine
from jumok.errors import ConfigError
from jumok.predictor import Predictor, load

MEMBERS = [
    ("luong2015", {}),
    ("luong2015", {"model.attention.heads": 4}),
    ("lecture", {"data.reverse_source": True}),
    ("sutskever2014", {}),
]
COPYING = [("copying", {}), ("copying from a narrow window, sparse", {})]
texts = st.text(alphabet=ALPHABET, min_size=1, max_size=6)
outputs = st.lists(st.sampled_from("xyzwvu"), max_size=5).map(" ".join)


def members(kinds: list, seed: int) -> list[Predictor]:
    return [tiny_predictor(name, seed + i, more) for i, (name, more) in enumerate(kinds)]


def together(some: list[Predictor]) -> Predictor:
    engine = EnsembleEngine([one.engine for one in some])
    return Predictor(engine, some[0].source_tokenizer, some[0].target_tokenizer, some[0].config)


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.one_of(st.lists(st.sampled_from(MEMBERS), min_size=2, max_size=3), st.just(COPYING)),
    seed=st.integers(0, 1000),
    pair=st.tuples(texts, outputs),
)
def test_probabilities_and_attention_are_the_means(kinds, seed, pair) -> None:
    some = members(kinds, seed)
    [forced] = together(some).score([pair])
    each = [one.score([pair])[0] for one in some]
    mean = np.log(np.mean([np.exp(p.token_log_probs) for p in each], axis=0))
    np.testing.assert_allclose(forced.token_log_probs, mean, atol=1e-9)
    assert forced.copied is None
    shown = [p.attention for p in each if p.attention is not None]
    if not shown:
        assert forced.attention is None
    else:
        np.testing.assert_allclose(forced.attention, np.mean(shown, axis=0), atol=1e-9)
        assert forced.attention_heads is None


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), sources=st.lists(texts, min_size=1, max_size=4))
def test_outputs_have_the_scores_of_the_ensemble_whatever_stands_beside_them(seed, sources) -> None:
    model = together(members(MEMBERS[:3], seed))
    found = model.predict(sources, beam=3, n_best=2)
    for source, one in zip(sources, found, strict=True):
        alone = model.predict(source, beam=3, n_best=2)
        assert alone.tokens == one.tokens and alone.score == pytest.approx(one.score)
        if one.tokens[-1] == "</s>":
            [forced] = model.score([(source, one.text)])
            assert forced.score == pytest.approx(one.score)
            np.testing.assert_allclose(forced.attention, one.attention, atol=1e-9)


def test_a_model_with_itself_is_itself() -> None:
    one = tiny_predictor("luong2015", 5)
    both, plain = together([one, one]).predict("abc", beam=2), one.predict("abc", beam=2)
    assert both.tokens == plain.tokens and both.score == pytest.approx(plain.score)


def test_models_are_loaded_together_if_they_go_together(tmp_path) -> None:
    some = {
        "one": tiny_predictor("luong2015", 1),
        "other": tiny_predictor("luong2015", 2),
        "forwards": tiny_predictor("luong2015", 3, {"data.reverse_source": False}),
        "copies": tiny_predictor("copying", 4),
    }
    for name, model in some.items():
        model.engine.model.float()
        arrays = {k: v.numpy() for k, v in model.engine.model.state_dict().items()}
        tokenizers = model.source_tokenizer, model.target_tokenizer
        write_bundle(tmp_path / name, model.config, *tokenizers, arrays, {})
    loaded = load([tmp_path / "one", tmp_path / "other"])
    mine, theirs = together([some["one"], some["other"]]).predict("abc"), loaded.predict("abc")
    assert mine.tokens == theirs.tokens and mine.score == pytest.approx(theirs.score, abs=1e-5)
    with pytest.raises(ConfigError, match="read in the same direction"):
        load([tmp_path / "one", tmp_path / "forwards"])
    with pytest.raises(ConfigError, match="all copy or all not copy"):
        load([tmp_path / "one", tmp_path / "copies"])
    source = some["one"].source_tokenizer
    for name, other in (("source", (target := some["one"].target_tokenizer, target)),
                        ("target", (source, source))):  # fmt: skip
        write_bundle(tmp_path / name, some["one"].config, *other, arrays, {})
        with pytest.raises(ConfigError, match=f"cut the {name} into the same tokens"):
            load([tmp_path / "one", tmp_path / name])
    with pytest.raises(ConfigError, match="none came"):
        load([])
