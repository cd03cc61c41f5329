"""Which target token each source token would be copied as.

A token is copied by its text. The target vocabulary is extended, for each source by itself, with
the texts that it lacks (See et al. 2017, section 2.2): their ids count on from ``vocab_size`` in
the order in which they first occur.
"""

from __future__ import annotations

from collections.abc import Sequence

from jumok.text import EOS, PAD, UNK, Encoding, Tokenizer


class Copying:
    """Source tokens as ids of the extended target vocabulary, and back.

    Features of a source are no text: they stand as `PAD`, which is never written.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        self.text_size, self.vocab_size = source.text_size, target.vocab_size
        pieces = target.tokens(range(target.vocab_size))
        self._ids = {piece: i for i, piece in enumerate(pieces) if i > UNK}

    def source(self, read: Encoding) -> tuple[list[int], list[str]]:
        """An id for every source token, and the texts of those beyond the vocabulary."""
        ids, extra = [], dict[str, int]()
        for i, token in zip(read.ids, read.tokens, strict=True):
            if i >= self.text_size:
                ids.append(PAD)
                continue
            known = self._ids.get(token)
            if known is None:
                known = extra.setdefault(token, self.vocab_size + len(extra))
            ids.append(known)
        return ids, list(extra)

    def target(self, ids: Sequence[int], tokens: Sequence[str], extra: Sequence[str]) -> list[int]:
        """Target ``ids`` with each unknown token that the source has as its extended id."""
        places = {token: self.vocab_size + k for k, token in enumerate(extra)}
        return [
            places.get(token, UNK) if i == UNK else i for i, token in zip(ids, tokens, strict=True)
        ]


def copy_row(copies: Sequence[int], reverse: bool) -> list[int]:
    """``copies`` in the order in which the encoder reads; its eos is copied as eos."""
    return [*(copies[::-1] if reverse else copies), EOS]
