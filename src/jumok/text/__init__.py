"""Strings <-> ids: one tokenizer layer over Hugging Face `tokenizers`.

    tokenizer = train_tokenizer(texts, TokenizerConfig(kind="jamo"))
    tokenizer.encode("주목").ids        # no <s>, no </s>
    tokenizer.decode(ids)               # "주목"

``normal`` brings a text to one form, ``tokenizer`` encodes and decodes, ``train`` makes a
vocabulary, ``hangul`` shows tokens to people, ``spelling`` finds phrases in tokens.
"""

from jumok.text.hangul import display_tokens
from jumok.text.spelling import Speller, pieces
from jumok.text.tokenizer import (
    BOS,
    EOS,
    HALF,
    PAD,
    SPACE,
    SPECIALS,
    UNK,
    Encoding,
    Tokenizer,
    split_features,
    unknown_count,
    unknown_rate,
)
from jumok.text.train import resolve_kind, train_tokenizer

__all__ = [
    "BOS",
    "EOS",
    "HALF",
    "PAD",
    "SPACE",
    "SPECIALS",
    "UNK",
    "Encoding",
    "Speller",
    "Tokenizer",
    "display_tokens",
    "pieces",
    "resolve_kind",
    "split_features",
    "train_tokenizer",
    "unknown_count",
    "unknown_rate",
]
