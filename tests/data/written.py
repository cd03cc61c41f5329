"""Pairs as other programs write them: TMX by ElementTree, tables and datasets by pyarrow."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def tmx(*units, srclang="en", doctype='<!DOCTYPE tmx SYSTEM "tmx14.dtd">'):
    """A TMX file; each unit is a list of (language, segment in XML)."""
    body = "".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{code}"><seg>{seg}</seg></tuv>' for code, seg in unit)
        + "</tu>\n"
        for unit in units
    )
    head = f'<?xml version="1.0"?>\n{doctype}\n<tmx version="1.4"><header srclang="{srclang}"/>'
    return f"{head}<body>\n{body}</body></tmx>\n"


def write_tmx(path, pairs, codes=("en", "ko"), encoding="utf-8"):
    """By the standard library's writer."""
    root = ET.Element("tmx", version="1.4")
    ET.SubElement(root, "header", srclang=codes[0])
    body = ET.SubElement(root, "body")
    for pair in pairs:
        unit = ET.SubElement(body, "tu")
        for code, text in zip(codes, pair, strict=True):
            variant = ET.SubElement(unit, "tuv", {LANGUAGE: code})
            ET.SubElement(variant, "seg").text = text
    ET.ElementTree(root).write(path, encoding=encoding, xml_declaration=True)
    return path


def table(pairs, names=("source", "target"), kind=None):
    """An Arrow table of two columns of text beside one of numbers."""
    sides = {name: pa.array([pair[i] for pair in pairs], kind or pa.string())
             for i, name in enumerate(names)}  # fmt: skip
    return pa.table({"id": list(range(len(pairs))), **sides})


def write_parquet(path, content, **options):
    """A table, or pairs."""
    pq.write_table(content if isinstance(content, pa.Table) else table(content), path, **options)
    return path


def save_to_disk(folder, content, shards=1, rows=1000):
    """As `datasets.Dataset.save_to_disk` does (datasets 4, arrow_dataset.py): Arrow streams named
    data-I-of-N.arrow, a state.json that lists them, a dataset_info.json with the features."""
    content = content if isinstance(content, pa.Table) else table(content)
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    size = -(-content.num_rows // shards)
    for i, name in enumerate(names):
        with (
            pa.OSFile(str(folder / name), "wb") as file,
            pa.ipc.new_stream(file, content.schema) as writer,
        ):
            writer.write_table(content.slice(i * size, size), max_chunksize=rows)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0",
             "_format_columns": None, "_format_kwargs": {}, "_format_type": None,
             "_output_all_columns": False, "_split": "train"}  # fmt: skip
    (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    features = {name: {"dtype": "string", "_type": "Value"} for name in content.column_names}
    info = json.dumps({"citation": "", "description": "", "features": features})
    (folder / "dataset_info.json").write_text(info, encoding="utf-8")
    return folder


def save_dict_to_disk(folder, parts):
    """As `datasets.DatasetDict.save_to_disk` does: one such directory a split."""
    for name, content in parts.items():
        save_to_disk(folder / name, content)
    splits = json.dumps({"splits": list(parts)})
    (folder / "dataset_dict.json").write_text(splits, encoding="utf-8")
    return Path(folder)
