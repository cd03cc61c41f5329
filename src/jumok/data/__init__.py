"""Files of pairs -> batches of ids, in NumPy.

    files ─ lines ─ readers ─ [Pair] ─ dataset ─ sampler ─ batch

``lines`` opens files and finds broken lines, ``readers`` knows the formats (those of lines in
``formats``, ``tmx``, Parquet and Arrow in ``tables``), ``directory`` which files a data set has,
``parts`` goes through them again and again, ``dataset`` encodes, ``sampler`` decides who stands
beside whom, ``batch`` pads.
"""

from jumok.data.batch import Batch, collate, pad
from jumok.data.copying import Copying, copy_row
from jumok.data.dataset import (
    Dataset,
    encode_parts,
    open_dataset,
    source_ids,
    source_order,
)
from jumok.data.lines import BadLine
from jumok.data.parts import Part, Parts, read_parts, split_parts
from jumok.data.readers import (
    Pair,
    PairFile,
    Row,
    files_of,
    find_places,
    read_pairs,
    read_sources,
    read_texts,
    split_name,
    stream_pairs,
    stream_rows,
    stream_texts,
)
from jumok.data.sampler import BucketSampler, pairs_drawn, sorted_batches

__all__ = [
    "BadLine",
    "Batch",
    "BucketSampler",
    "Copying",
    "Dataset",
    "Pair",
    "PairFile",
    "Part",
    "Parts",
    "Row",
    "collate",
    "copy_row",
    "encode_parts",
    "files_of",
    "find_places",
    "open_dataset",
    "pad",
    "pairs_drawn",
    "read_pairs",
    "read_parts",
    "read_sources",
    "read_texts",
    "sorted_batches",
    "source_ids",
    "source_order",
    "split_name",
    "split_parts",
    "stream_pairs",
    "stream_rows",
    "stream_texts",
]
