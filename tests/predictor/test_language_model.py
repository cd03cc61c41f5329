"""A language model against torch's own modules, and what it promises: texts, scores, chance."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jumok.bundle import write_bundle
from jumok.config import TokenizerConfig, resolve
from jumok.engine import EnsembleEngine
from jumok.engine.torch_engine import TorchEngine
from jumok.errors import ConfigError, InputError
from jumok.nn import Seq2Seq
from jumok.predictor import LanguageModel, Predictor, load
from jumok.text import BOS, EOS, train_tokenizer

TEXTS = ["the cat sat", "a cat ate", "주목 주의", "각 힣"]
quick = settings(max_examples=10, deadline=None)
written = st.lists(st.sampled_from("the cat주목힣"), min_size=1, max_size=8).map("".join)


@functools.cache
def model(seed: int = 0, kind: str = "char", cell: str = "lstm") -> LanguageModel:
    config = resolve(
        ["language-model"],
        {
            "text.target.kind": kind,
            "model.decoder.cell": cell,
            "model.decoder.embedding": 4,
            "model.decoder.hidden": 8,
            "search.max_length_offset": 12,
        },
    )
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(kind=kind, vocab_size=40))
    torch.manual_seed(seed)
    module = Seq2Seq(config.model, tokenizer.vocab_size, tokenizer.vocab_size).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    return LanguageModel(TorchEngine(module), tokenizer, tokenizer, config)


@pytest.mark.parametrize(("cell", "plain"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_it_is_an_embedding_an_rnn_and_a_softmax(cell: str, plain: type[nn.RNNBase]) -> None:
    """Mikolov et al. 2010, with torch's own stack, on the same weights."""
    mine = model(cell=cell)
    weights = mine.engine.model.state_dict()
    rnn = plain(4, 8, num_layers=2, batch_first=True).double()
    for name in rnn.state_dict():
        stem, _, layer = name.rpartition("_l")
        rnn.state_dict()[name].copy_(weights[f"decoder.rnn.layers.{layer}.{stem}_l0"])
    ids = mine.target_tokenizer.encode("the cat").ids
    embedded = weights["decoder.embedding.table.weight"][[BOS, *ids]][None]
    states, _ = rnn(embedded)
    scores = states[0] @ weights["decoder.readout.weight"].T + weights["decoder.readout.bias"]
    expected = scores.log_softmax(dim=1)[range(len(ids) + 1), [*ids, EOS]]
    [forced] = mine.score([("", "the cat")])
    assert forced.token_log_probs == pytest.approx(expected.tolist())
    assert not any(name.startswith(("encoder", "decoder.bridge")) for name in weights)


@quick
@given(seed=st.integers(0, 20), texts=st.lists(written, min_size=1, max_size=5))
def test_perplexities_by_hand(seed: int, texts: list[str]) -> None:
    mine = model(seed)
    total = sum(mine.score([("", text)])[0].score for text in texts)
    found = mine.perplexity(texts)
    letters = sum(len(text) + 1 for text in texts)
    words = sum(len(text.split()) + 1 for text in texts)
    assert found.token == pytest.approx(math.exp(-total / letters))  # tokens are letters here
    assert found.character == pytest.approx(math.exp(-total / letters))
    assert found.word == pytest.approx(math.exp(-total / words))
    assert found.unknown == 0
    assert mine.perplexity(["ax"]).unknown == pytest.approx(100 / 3)


@quick
@given(seed=st.integers(0, 20), prompt=st.sampled_from(["", "the c", "주"]), n=st.integers(1, 4))
def test_texts_begin_with_the_prompt_and_come_again(seed: int, prompt: str, n: int) -> None:
    mine, told = model(seed, "jamo"), {}

    def watch(number: int, text: str) -> None:
        told.setdefault(number, []).append(text)

    found = mine.generate(prompt, n, watch, temperature=1.5, seed=4)
    assert [p.text for p in found] == [texts[-1] for _, texts in sorted(told.items())]
    for one, texts in zip(found, (told[i] for i in range(n)), strict=True):
        assert one.text.startswith(prompt) and one.source == prompt
        assert len(texts) == len(one.tokens) and one.attention is None
        for before, after in itertools.pairwise(texts):
            assert after.startswith(before[:-1])  # only the last letter can still change
        if one.tokens[-1] == "</s>":
            [forced] = mine.score([("", one.text)])
            assert forced.token_log_probs == pytest.approx(one.token_log_probs)
    again = mine.generate(prompt, n + 1, temperature=1.5, seed=4)
    assert [p.text for p in again][:n] == [p.text for p in found]


def test_the_most_probable_text_is_searched_for_too() -> None:
    mine = model(2)
    best = mine.generate("the", 3, sample=False, beam=5)
    scores = [p.score for p in best]
    assert scores == sorted(scores, reverse=True) and len({p.text for p in best}) == 3
    assert all(p.text.startswith("the") for p in best)


def test_texts_are_drawn_as_often_as_they_are_probable() -> None:
    mine = model(7)
    drawn = mine.generate("", 1000, max_length_offset=1)
    first = mine.engine.step(
        np.array([BOS]), mine.engine.start(*mine._sources([mine.source_tokenizer.encode("")]))
    )
    p = np.exp(first.log_probs[0])
    p[[0, 1, 3]] = 0
    for i, share in enumerate(p / p.sum()):
        count = sum(one.tokens[0] == mine.target_tokenizer.tokens([i])[0] for one in drawn)
        assert abs(count / 1000 - share) < 6 * math.sqrt(share * (1 - share) / 1000) + 1e-9


def test_two_language_models_are_an_ensemble() -> None:
    one, other = model(1), model(2)
    both = LanguageModel(
        EnsembleEngine([one.engine, other.engine]),
        one.source_tokenizer,
        one.target_tokenizer,
        one.config,
    )
    found = [np.exp(m.score([("", "a cat")])[0].token_log_probs) for m in (one, other, both)]
    np.testing.assert_allclose(found[2], (found[0] + found[1]) / 2)


def test_what_it_cannot_do_is_said() -> None:
    mine = model()
    with pytest.raises(InputError, match="reads no source") as caught:
        mine.predict(["", "a"])
    assert caught.value.index == 1
    with pytest.raises(InputError, match="no token of its vocabulary has 'x'"):
        mine.generate("xa")
    with pytest.raises(InputError, match="reads no source"):
        mine.score([("the", "cat")])
    with pytest.raises(InputError, match="none came"):
        mine.perplexity([])
    with pytest.raises(ConfigError, match="n says how many"):
        mine.generate(n_best=3)
    with pytest.raises(ConfigError, match="goes by the attention"):
        mine.generate(replace_unknown=True)
    assert mine.generate("the cat sat the cat", max_length_offset=3)[0].text.startswith("the cat s")
    assert Predictor.predict(mine, "", seed=3).text == mine.generate("", seed=3)[0].text


@pytest.mark.parametrize(("setting", "value", "sentence"), [
    ("model.attention.score", "dot", "Set model.attention.score=none"),
    ("model.decoder.bridge", "learned", "Set model.decoder.bridge=zero"),
    ("model.encoder.features", "tokens", "Set model.encoder.features=none"),
    ("evaluation.metric", "bleu", "Set evaluation.metric=perplexity"),
    ("model.encoder.hidden", 8, "Set model.encoder.hidden=256, or leave it out"),
    ("data.reverse_source", True, "Set data.reverse_source=false"),
    ("data.target_column", "2", "data.target_column=2 is for pairs"),
    ("text.source.kind", "word", "Set text.source.kind=auto"),
])  # fmt: skip
def test_settings_that_need_a_source_are_refused(setting, value, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve(["language-model"], {setting: value})


def test_settings_that_say_nothing_new_are_no_mistake() -> None:
    idle = {"model.encoder.hidden": 256, "data.reverse_source": False, "text.source.kind": "auto"}
    assert resolve(["language-model"], idle) == resolve(["language-model"])


@quick
@given(seed=st.integers(0, 50), texts=st.lists(written, min_size=1, max_size=6))
def test_neither_other_texts_nor_padding_change_a_score(seed: int, texts: list[str]) -> None:
    mine = model(seed)
    alone = [mine.score([("", text)])[0] for text in texts]
    together = mine.score([("", text) for text in texts], batch_size=50)
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=1e-9)


@quick
@given(seed=st.integers(0, 50), prompt=st.sampled_from(["", "the c", "주"]))
def test_a_beam_of_one_is_greedy_and_its_scores_are_the_forced_ones(seed, prompt) -> None:
    mine = model(seed)
    [greedy] = mine.generate(prompt, sample=False, beam=1)
    [drawn] = mine.generate(prompt, top_k=1)
    assert greedy.tokens == drawn.tokens
    [forced] = mine.score([("", greedy.text)])
    assert forced.token_log_probs[: len(greedy.tokens)] == pytest.approx(greedy.token_log_probs)


def test_saved_and_loaded_it_is_the_same(tmp_path) -> None:
    mine = model.__wrapped__(11)
    mine.engine.model.float()
    arrays = {k: v.numpy() for k, v in mine.engine.model.state_dict().items()}
    tokenizers = mine.source_tokenizer, mine.target_tokenizer
    write_bundle(tmp_path / "lm", mine.config, *tokenizers, arrays, {})
    loaded = load(tmp_path / "lm")
    assert isinstance(loaded, LanguageModel)
    for one, other in zip(mine.generate("the", 3), loaded.generate("the", 3), strict=True):
        assert one.to_dict() == other.to_dict()
