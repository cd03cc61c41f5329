"""Pairs as ids, and the one place that knows what the encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int, Int32

from jumok.config import DataConfig
from jumok.data.copying import Copying
from jumok.data.readers import Pair
from jumok.text import EOS, Encoding, Tokenizer

_CHUNK = 10_000
"""Pairs encoded in one call: enough for all cores, little memory."""


@dataclass
class Dataset:
    """Encoded pairs. Ids are in text order, without bos and eos."""

    source: list[Int32[np.ndarray, "src_len"]] = field(default_factory=list)
    target: list[Int32[np.ndarray, "tgt_len"]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    """The texts, in the same order."""
    copies: list[list[int]] = field(default_factory=list)
    """Where source tokens can be copied: the target token each would be, see `Copying`. Targets
    may then hold ids beyond the vocabulary."""
    target_vocab: int = 0
    """Size of the target vocabulary."""
    dropped: int = 0
    """Pairs left out: a side was too long, or gave no token."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def source_lengths(self) -> Int[np.ndarray, "pairs"]:
        """Tokens that the encoder reads of each pair, eos counted."""
        return np.array([len(ids) + 1 for ids in self.source], dtype=np.int64)

    @property
    def target_lengths(self) -> Int[np.ndarray, "pairs"]:
        """Tokens that the decoder writes of each pair, eos counted."""
        return np.array([len(ids) + 1 for ids in self.target], dtype=np.int64)


def encode_pairs(
    pairs: Sequence[Pair],
    source_tok: Tokenizer,
    target_tok: Tokenizer,
    config: DataConfig,
    copy_tokens: bool = False,
    least_source: int = 1,
) -> Dataset:
    """Encode ``pairs``, leaving out and counting those over ``config``'s lengths (in tokens).

    With ``copy_tokens``, also what each source token would be copied as. ``least_source`` is 0
    where there are no sources, for a language model.
    """
    out = Dataset(target_vocab=target_tok.vocab_size)
    copying = Copying(source_tok, target_tok) if copy_tokens else None
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        texts = [pair.source for pair in chunk], [pair.target for pair in chunk]
        copies: list[list[int]] = []
        if copying is None:
            sources, targets = source_tok.encode_ids(texts[0]), target_tok.encode_ids(texts[1])
        else:
            read = source_tok.encode_batch(texts[0])
            sources = [encoding.ids for encoding in read]
            copies, targets = _copies(copying, read, target_tok.encode_batch(texts[1]))
        for index, (pair, source, target) in enumerate(zip(chunk, sources, targets, strict=True)):
            fits = (
                least_source <= len(source) <= config.max_source_length
                and 0 < len(target) <= config.max_target_length
            )
            if not fits:
                out.dropped += 1
                continue
            out.source.append(np.array(source, dtype=np.int32))
            out.target.append(np.array(target, dtype=np.int32))
            out.pairs.append(pair)
            out.copies += copies[index : index + 1]
    return out


def _copies(
    copying: Copying, sources: Sequence[Encoding], targets: Sequence[Encoding]
) -> tuple[list[list[int]], list[list[int]]]:
    """What the tokens of each source would be copied as, and the targets with these ids."""
    copies, extended = [], []
    for source, target in zip(sources, targets, strict=True):
        ids, extra = copying.source(source)
        copies.append(ids)
        extended.append(copying.target(target.ids, target.tokens, extra))
    return copies, extended


def source_ids(ids: Sequence[int] | Int[np.ndarray, "src_len"], reverse: bool) -> list[int]:
    """What the encoder reads for a source of ``ids``: the ids, reversed if asked, then eos.

    Even an empty text gives one token, so an encoder always has something to read.
    """
    return [*(int(i) for i in (ids[::-1] if reverse else ids)), EOS]


def source_order(length: int, reverse: bool) -> Int[np.ndarray, "src_len"]:
    """Columns of attention back in text order: ``weights[:, source_order(n, reverse)]``.

    ``length`` is the number of source tokens without eos; eos stays the last column.
    """
    tokens = np.arange(length, dtype=np.int64)
    return np.append(tokens[::-1] if reverse else tokens, length)
