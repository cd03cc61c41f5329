"""Tiny models with random weights, for laws that hold whatever a model has learnt."""

from __future__ import annotations

import numpy as np
import torch

from jumok.bundle import Shortlist
from jumok.config import Config, TokenizerConfig, resolve
from jumok.engine.torch_engine import TorchEngine
from jumok.nn import Seq2Seq
from jumok.predictor import LanguageModel, Predictor
from jumok.text import SPECIALS, Tokenizer, train_tokenizer

ALPHABET = "abcde 가각힣"
TARGETS = ["x y z", "y x", "z w v u"]


def tokenizers(config: Config) -> tuple[Tokenizer, Tokenizer]:
    """Characters in, a handful of symbols out."""
    return (
        train_tokenizer([ALPHABET], TokenizerConfig(kind="char")),
        train_tokenizer(TARGETS, TokenizerConfig(kind="split")),
    )


MECHANISMS = {
    "heads in a predicted window, sparse": ("luong2015", {"model.attention.heads": 4,
        "model.attention.scope": "local_p", "model.attention.window": 2,
        "model.attention.normaliser": "entmax15"}),
    "two transitions with coverage, sparse": ("bahdanau2015", {"model.attention.timing": "mid",
        "model.attention.coverage": True, "model.attention.normaliser": "sparsemax"}),
    "locations in a moving window": ("lecture", {"model.attention.score": "location",
        "model.attention.positions": 6, "model.attention.scope": "local_m",
        "model.attention.window": 3}),
    "location-aware, with coverage": ("luong2015", {"model.attention.coverage": True,
        "model.attention.location_width": 3}),
    "copying": ("luong2015", {"model.attention.copy_tokens": True}),
    "copying from a narrow window, sparse": ("luong2015", {"model.attention.copy_tokens": True,
        "model.attention.scope": "local_m", "model.attention.window": 1,
        "model.attention.normaliser": "sparsemax", "model.attention.heads": 2}),
    "deep over a bidirectional bottom, tied": ("translation", {"model.encoder.layers": 3,
        "model.encoder.bidirectional_layers": 1, "model.encoder.residual": True,
        "model.encoder.layer_norm": True, "model.decoder.layers": 3,
        "model.decoder.residual": True, "model.decoder.layer_norm": True,
        "model.decoder.bridge": "mean", "model.decoder.tied": True,
        "model.decoder.embedding": 8}),
}  # fmt: skip
"""What no preset uses: a preset and settings on top of it."""


def tiny_predictor(
    name: str,
    seed: int,
    settings: dict[str, object] | None = None,
    between: tuple[Tokenizer, Tokenizer] | None = None,
) -> Predictor:
    """A random model of a preset's mechanisms, or one of `MECHANISMS`, in float64 so that laws can
    be strict; ``between`` other tokens than those of `tokenizers`."""
    preset, more = MECHANISMS.get(name, (name, {}))
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
            **more,
            **(settings or {}),
        },
    )
    source, target = between or tokenizers(config)
    torch.manual_seed(seed)
    sizes = source.vocab_size, target.vocab_size, source.text_size
    model = Seq2Seq(config.model, *sizes).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return Predictor(TorchEngine(model), source, target, config)


def tiny_language_model(tokenizer: Tokenizer, seed: int) -> LanguageModel:
    """A random one of these tokens, in float64."""
    config = resolve(
        ["language-model"],
        {"model.decoder.embedding": 4, "model.decoder.hidden": 8, "model.decoder.layers": 1},
    )
    torch.manual_seed(seed)
    model = Seq2Seq(config.model, tokenizer.vocab_size, tokenizer.vocab_size).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return LanguageModel(TorchEngine(model), tokenizer, tokenizer, config)


def tiny_shortlist(predictor: Predictor, seed: int, most: int, frequent: int) -> Shortlist:
    """A random one: up to ``most`` target tokens for each source token, and some for all."""
    draw = np.random.default_rng(seed)
    real = np.arange(len(SPECIALS), predictor.target_tokenizer.vocab_size)
    rows = [
        draw.permutation(real)[: draw.integers(0, most + 1)]
        for _ in range(predictor.source_tokenizer.vocab_size)
    ]
    indptr = np.cumsum([0, *map(len, rows)])
    return Shortlist(indptr, np.concatenate(rows), draw.permutation(real)[:frequent])
