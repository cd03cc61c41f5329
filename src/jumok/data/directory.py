"""Which files a Hugging Face dataset directory is made of, found without the library `datasets`.

Two layouts: what `Dataset.save_to_disk` and `DatasetDict.save_to_disk` leave (``state.json`` names
Arrow files; ``dataset_dict.json`` names directories of that kind), and a folder as on the hub, with
files such as ``train-00000-of-00002.parquet`` in it or in its ``data``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jumok.data.lines import check_file, is_directory, opened, refused
from jumok.errors import DataError

_SHARD = re.compile(
    r"(?P<part>[^.].*?)(?:-(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]{16})?)?"
    r"(?P<form>\.parquet|\.jsonl|\.csv)(\.gz)?",
    re.IGNORECASE,
)
"""Older files on the hub end in a hash: ``train-00000-of-00002-a09b74b3ef9c3b56.parquet``."""
_MAX_JSON = 10_000_000


def dataset_files(folder: Path) -> list[Path]:
    """The directory's files in order. Raises `DataError` unless there is one part, and whole."""
    try:
        if (folder / "dataset_dict.json").is_file():
            parts = _names(folder / "dataset_dict.json", "splits")
            if len(parts) > 1:
                raise _several(folder, parts)
            folder = folder / parts[0]
        if (folder / "state.json").is_file():
            return _saved(folder)
        return _of_the_hub(folder / "data") or _of_the_hub(folder) or _none(folder)
    except OSError as error:
        raise refused(error, folder) from None


def _saved(folder: Path) -> list[Path]:
    state = folder / "state.json"
    if _json(state).get("_indices_data_files"):
        raise DataError(
            "the rows of this dataset are in another order than its files, as an old version of "
            "datasets saved it. Save it anew: load_from_disk(...).flatten_indices().save_to_disk()",
            path=state,
        )
    files = [folder / name for name in _names(state, "_data_files")]
    for file in files:
        check_file(file)
    return files


def _of_the_hub(folder: Path) -> list[Path]:
    """The files of the one part in ``folder``, if there are any."""
    if not is_directory(folder):
        return []
    parts: dict[str, list[re.Match[str]]] = {}
    for path in sorted(folder.iterdir()):
        if (shard := _SHARD.fullmatch(path.name)) and path.is_file():
            parts.setdefault(f"{shard['part']}*{shard['form'].lower()}", []).append(shard)
    if len(parts) > 1:
        raise _several(folder, list(parts))
    shards = [shard for part in parts.values() for shard in part]
    counts = {int(shard["count"] or 1) for shard in shards}
    numbers = Counter(int(shard["number"] or 0) for shard in shards)
    if len(numbers) < len(shards):
        twice = [shard[0] for shard in shards if numbers[int(shard["number"] or 0)] > 1]
        raise DataError(
            f"each file was expected once, but {' and '.join(twice):.300} stand for the same one. "
            "Remove what is old",
            path=folder,
        )
    if shards and counts != {len(shards)}:
        raise DataError(
            f"{max(counts)} files were expected, as their names say, but {len(shards)} are there. "
            "Download the dataset again",
            path=folder,
        )
    return [folder / s[0] for s in sorted(shards, key=lambda s: int(s["number"] or 0))]


def _none(folder: Path) -> list[Path]:
    raise DataError(
        "a file or a Hugging Face dataset directory was expected, but a directory came that has "
        "no state.json, no dataset_dict.json and no .parquet, .jsonl or .csv. Name a file in it",
        path=folder,
    )


def _several(folder: Path, parts: Sequence[str]) -> DataError:
    return DataError(
        f"one part was expected, but the directory has {', '.join(parts):.300}. Name one, as in "
        f"{folder / parts[0]}",
        path=folder,
    )


def _names(path: Path, key: str) -> list[str]:
    """Names of files or directories beside ``path``, which is JSON."""
    found = _json(path).get(key)
    every = found if isinstance(found, list) else []
    names = [one.get("filename") if isinstance(one, dict) else one for one in every]
    good = [name for name in names if isinstance(name, str) and Path(name).name == name]
    if not good or len(good) != len(names):
        raise DataError(
            f"'{key}' should list names of files or directories beside this one, but "
            f"{json.dumps(found):.60} came. Save the dataset again",
            path=path,
        )
    return good


def _json(path: Path) -> dict[str, Any]:
    with opened(path) as file:
        text = file.read(_MAX_JSON)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this is not valid JSON ({error}). Save the dataset again", path=path
        ) from None
    return found if isinstance(found, dict) else {}
