"""Pad what stands together. Padding is always on the right and always id 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jumok.data.copying import copy_row
from jumok.data.dataset import Dataset, source_ids
from jumok.text import BOS, EOS, PAD, UNK


class Batch(NamedTuple):
    """Pairs for one step of training. Lengths count real tokens, eos included."""

    source: Int64[np.ndarray, "batch src_len"]
    """As the encoder reads it, see `source_ids`."""
    source_lengths: Int64[np.ndarray, "batch"]
    target_in: Int64[np.ndarray, "batch tgt_len"]
    """What the decoder is fed: bos, then the target, with unk for what was copied only."""
    target_out: Int64[np.ndarray, "batch tgt_len"]
    """What it should answer: the target, then eos."""
    target_lengths: Int64[np.ndarray, "batch"]
    indices: Int64[np.ndarray, "batch"]
    """Which pairs of the dataset these are."""
    copies: Int64[np.ndarray, "batch src_len"] | None = None
    """Where source tokens can be copied: as which target token, see `Copying`."""


def pad(
    sequences: Sequence[Sequence[int]],
) -> tuple[Int64[np.ndarray, "batch longest"], Int64[np.ndarray, "batch"]]:
    """Stack ``sequences`` as rows, with `PAD` to the right. Returns the ids and the lengths."""
    lengths = np.array([len(row) for row in sequences], dtype=np.int64)
    ids = np.full((len(sequences), lengths.max(initial=0)), PAD, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def collate(
    dataset: Dataset, indices: Sequence[int] | Int64[np.ndarray, "batch"], reverse: bool
) -> Batch:
    """The pairs at ``indices`` as one `Batch`, in that order."""
    chosen = np.asarray(indices, dtype=np.int64)
    rows = chosen.tolist()
    source, source_lengths = pad([source_ids(dataset.source[i], reverse) for i in rows])
    targets = [dataset.target[i].tolist() for i in rows]
    target_in, target_lengths = pad([[BOS, *target] for target in targets])
    copies = None
    if dataset.copies is not None:
        target_in = np.where(target_in < dataset.counts.target_vocab, target_in, UNK)
        copies, _ = pad([copy_row(dataset.copies[i].tolist(), reverse) for i in rows])
    target_out, _ = pad([[*target, EOS] for target in targets])
    return Batch(source, source_lengths, target_in, target_out, target_lengths, chosen, copies)
