"""How much a tokenizer would not know, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jumok.config import TokenizerConfig
from jumok.text import resolve_kind, train_tokenizer, unknown_count
from jumok.text.hangul import is_syllable

_KINDS = ("char", "jamo", "word", "bpe", "unigram")


class Forecast(NamedTuple):
    """What one kind of tokens would make of one side."""

    side: str
    kind: str
    chosen: bool
    """Whether it is what training would take with these settings."""
    vocabulary: int
    unknown: float
    """Share of tokens that are unknown, in texts the vocabulary was not made from."""
    tokens: float
    """Mean tokens of such a text."""


def forecast(
    side: str, learnt: Sequence[str], unseen: Sequence[str], config: TokenizerConfig
) -> list[Forecast]:
    """Every kind that fits, its vocabulary made from ``learnt`` and judged on ``unseen``.

    `jamo` is tried where there is Hangul, `split` where ``config`` asks for it: at a space it cuts
    as `word` does. A vocabulary that is left empty, by `min_count`, is a forecast too. Nothing is
    told where there are no texts.
    """
    if not learnt or not unseen:
        return []
    chosen = resolve_kind(learnt, config).kind
    has_hangul = any(is_syllable(char) for text in learnt for char in text)
    kinds = [kind for kind in _KINDS if kind != "jamo" or has_hangul]
    kinds += [kind for kind in [chosen] if kind not in kinds]
    found = []
    for kind in kinds:
        one = config.model_copy(update={"kind": kind})
        tokenizer = train_tokenizer(learnt, one, may_be_empty=True)
        encoded = tokenizer.encode_ids(unseen)
        tokens = sum(map(len, encoded))
        unknown = unknown_count(tokenizer, encoded) / max(1, tokens)
        size = tokenizer.vocab_size
        found.append(Forecast(side, kind, kind == chosen, size, unknown, tokens / len(unseen)))
    return found
