"""Exported models that read features, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from exports import export, write

from jumok.config import TokenizerConfig, resolve
from jumok.engine.torch_engine import TorchEngine
from jumok.nn import Seq2Seq
from jumok.predictor import LanguageModel, Predictor, load
from jumok.text import train_tokenizer

SIZES = {
    "model.encoder.embedding": 4,
    "model.encoder.hidden": 4,
    "model.decoder.embedding": 4,
    "model.decoder.hidden": 8,
}


def randomised(model: Seq2Seq, seed: int) -> Seq2Seq:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


@pytest.mark.parametrize("how", ["tokens", "apart"])
def test_features(how: str, tmp_path: Path) -> None:
    config = resolve(["g2p"], {**SIZES, "model.encoder.features": how})
    features = train_tokenizer(["V;PST", "N;SG;DAT"], config.text.features)
    source = train_tokenizer(["abcde"], TokenizerConfig(kind="char")).with_features(features)
    target = train_tokenizer(["x y z"], TokenizerConfig(kind="split"))
    sizes = source.vocab_size, target.vocab_size, source.text_size
    model = randomised(Seq2Seq(config.model, *sizes), 1)
    path = write(tmp_path / "model", Predictor(TorchEngine(model), source, target, config))
    export(path)
    ours, theirs = load(path, engine="torch"), load(path, engine="onnx")
    texts = ["V;PST abc", "N;DAT eed", "N;SG;DAT ababcde", "V a"]
    for beam in (1, 3):
        for one, other in zip(
            ours.predict(texts, beam=beam), theirs.predict(texts, beam=beam), strict=True
        ):
            assert one.tokens == other.tokens
            assert one.score == pytest.approx(other.score, abs=1e-4)
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)
            assert (one.feature_attention is None) == (how == "tokens")
            if how == "apart":
                np.testing.assert_allclose(
                    one.feature_attention, other.feature_attention, atol=1e-4
                )


def test_a_language_model(tmp_path: Path) -> None:
    settings = {"search.max_length_offset": 12, "model.decoder.embedding": 4}
    config = resolve(["language-model"], {**settings, "model.decoder.hidden": 8})
    tokenizer = train_tokenizer(["the cat sat", "주목"], TokenizerConfig(kind="char"))
    model = randomised(Seq2Seq(config.model, tokenizer.vocab_size, tokenizer.vocab_size), 2)
    predictor = LanguageModel(TorchEngine(model), tokenizer, tokenizer, config)
    path = write(tmp_path / "model", predictor)
    export(path)
    ours, theirs = load(path, engine="torch"), load(path, engine="onnx")
    assert isinstance(ours, LanguageModel) and isinstance(theirs, LanguageModel)
    drawn = [[one.text for one in m.generate("the", n=4, seed=5)] for m in (ours, theirs)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 1
    for options in ({"sample": False, "beam": 1}, {"sample": False, "beam": 3}):
        [one], [other] = (m.generate("", **options) for m in (ours, theirs))
        assert one.text == other.text and one.score == pytest.approx(other.score, abs=1e-4)
    for one, other in zip(ours.perplexity(["cat"]), theirs.perplexity(["cat"]), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
