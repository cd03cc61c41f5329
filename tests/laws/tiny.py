"""Tiny models with random weights, for laws that hold whatever a model has learnt."""

from __future__ import annotations

import torch

from jumok.config import Config, TokenizerConfig, resolve
from jumok.engine.torch_engine import TorchEngine
from jumok.nn import Seq2Seq
from jumok.predictor import Predictor
from jumok.text import Tokenizer, train_tokenizer

ALPHABET = "abcde 가각힣"
TARGETS = ["x y z", "y x", "z w v u"]


def tokenizers(config: Config) -> tuple[Tokenizer, Tokenizer]:
    """Characters in, a handful of symbols out."""
    return (
        train_tokenizer([ALPHABET], TokenizerConfig(kind="char")),
        train_tokenizer(TARGETS, TokenizerConfig(kind="split")),
    )


def tiny_predictor(preset: str, seed: int) -> Predictor:
    """A random model of the preset's mechanisms, in float64 so that laws can be strict."""
    uni = not resolve([preset]).model.encoder.bidirectional
    config = resolve(
        [preset],
        {
            "model.encoder.embedding": 4,
            "model.encoder.hidden": 8 if uni else 4,
            "model.decoder.embedding": 4,
            "model.decoder.hidden": 8,
            "model.attention.hidden": 5,
            "search.beam": 1,
            "search.length_penalty": "none",
            "search.max_length_ratio": 1.0,
            "search.max_length_offset": 4,
            "search.batch_size": 3,
        },
    )
    source, target = tokenizers(config)
    torch.manual_seed(seed)
    model = Seq2Seq(config.model, source.vocab_size, target.vocab_size).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return Predictor(TorchEngine(model), source, target, config)
