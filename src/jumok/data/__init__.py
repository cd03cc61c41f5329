"""Files of pairs -> batches of ids, in NumPy.

    files ─ lines ─ readers ─ [Pair] ─ dataset ─ sampler ─ batch

``lines`` opens files and finds broken lines, ``readers`` knows the formats, ``dataset`` encodes,
``sampler`` decides who stands beside whom, ``batch`` pads.
"""

from jumok.data.batch import Batch, collate, pad
from jumok.data.copying import Copying, copy_row
from jumok.data.dataset import Dataset, encode_pairs, source_ids, source_order
from jumok.data.lines import BadLine
from jumok.data.readers import (
    Pair,
    PairFile,
    Row,
    read_pairs,
    read_sources,
    read_texts,
    stream_pairs,
    stream_rows,
)
from jumok.data.sampler import BucketSampler, sorted_batches
from jumok.data.split import split_off_dev

__all__ = [
    "BadLine",
    "Batch",
    "BucketSampler",
    "Copying",
    "Dataset",
    "Pair",
    "PairFile",
    "Row",
    "collate",
    "copy_row",
    "encode_pairs",
    "pad",
    "read_pairs",
    "read_sources",
    "read_texts",
    "sorted_batches",
    "source_ids",
    "source_order",
    "split_off_dev",
    "stream_pairs",
    "stream_rows",
]
