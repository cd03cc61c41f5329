"""Files to pairs: finds the format, collects or raises what is bad, refuses to return nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jumok.config import DataConfig
from jumok.data.directory import dataset_files
from jumok.data.formats import read_csv, read_jsonl, read_parallel, read_tsv
from jumok.data.lines import (
    BadLine,
    ByteStream,
    Watch,
    check_encoding,
    check_file,
    is_directory,
    opened,
    read_lines,
    stream_lines,
)
from jumok.data.pairs import Pair, Row
from jumok.data.tables import read_arrow, read_parquet
from jumok.data.tmx import read_tmx
from jumok.errors import ConfigError, DataError

__all__ = [
    "Pair",
    "PairFile",
    "Row",
    "files_of",
    "find_places",
    "read_pairs",
    "read_sources",
    "read_texts",
    "split_name",
    "stream_pairs",
    "stream_rows",
    "stream_texts",
]

_OF_LINES = {"tsv": read_tsv, "csv": read_csv, "jsonl": read_jsonl}
_OF_ROWS = {"parquet": read_parquet, "arrow": read_arrow}
_ENDINGS = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".tmx": "tmx",
    ".parquet": "parquet",
}


_ON_DISK = {
    "parallel": "two files as SOURCE,TARGET",
    "parquet": "a file on disk",
    "dataset": "a directory",
}
"""Formats that no stream can have."""


@dataclass(frozen=True)
class PairFile:
    """What was read: the pairs, and the lines that were not."""

    pairs: list[Pair]
    bad: list[DataError] = field(default_factory=list)
    """One error for each line skipped (only with `skip_bad_lines`)."""
    numbers: list[int] = field(default_factory=list)
    """Of each pair, from 1, the lines skipped counted too."""


Paths = Sequence[str | Path] | str | Path


def read_pairs(paths: Paths, config: DataConfig, features: bool = False) -> PairFile:
    """All pairs of all ``paths``, in order. With ``features``, sources must begin with some.

    A path may be two, ``SOURCE,TARGET``: parallel text. Raises `DataError` for a bad line (unless
    `skip_bad_lines`), a bad file, and a file that gives no pair at all.
    """
    return _read(paths, lambda path: stream_pairs(path, config, features))


def stream_pairs(
    file: str | Path | ByteStream, config: DataConfig, features: bool = False
) -> Iterator[Pair | BadLine]:
    """What `read_pairs` reads, while it comes; bad lines in their places where they are skipped.

    An open binary stream is TSV unless ``data.format`` says otherwise.
    """
    for item in stream_rows(file, config, features):
        yield item.pair if isinstance(item, Row) else item


def stream_rows(
    file: str | Path | ByteStream,
    config: DataConfig,
    features: bool = False,
    watch: Watch | None = None,
) -> Iterator[Row | BadLine]:
    """`stream_pairs` with the line of every pair. ``watch`` is handed each file that is opened."""
    found, bad, first = False, 0, None
    for item in _items(file, config, features, watch):
        if isinstance(item, Row):
            found = True
        elif config.skip_bad_lines:
            bad, first = bad + 1, first or item
        else:
            raise item
        yield item
    if not found:
        all_bad = f"all {bad} lines are bad, the first because {first}" if bad else ""
        reason = f"pairs were expected, but {all_bad or 'there are none'}. Check the file"
        raise DataError(reason, path=_name(file))


def read_texts(paths: Paths, config: DataConfig) -> PairFile:
    """All texts of all ``paths``, one a line, as targets of empty sources; empty lines are none.

    Raises `DataError` as `read_pairs` does.
    """
    return _read(paths, lambda path: stream_texts(path, config))


def _read(paths: Paths, stream: Callable[[str | Path], Iterator[Pair | BadLine]]) -> PairFile:
    read = PairFile([])
    for path in [paths] if isinstance(paths, str | Path) else paths:
        for item in stream(path):
            if isinstance(item, Pair):
                read.pairs.append(item)
                read.numbers.append(len(read.pairs) + len(read.bad))
            else:
                read.bad.append(item)
    if not read.pairs:
        raise DataError("a file was expected, but none was named. Set data.train")
    return read


def stream_texts(path: str | Path, config: DataConfig) -> Iterator[Pair | BadLine]:
    """What `read_texts` reads, while it comes; bad lines in their places where they are skipped."""
    for item in stream_text_rows(path, config):
        yield item.pair if isinstance(item, Row) else item


def stream_text_rows(path: str | Path, config: DataConfig) -> Iterator[Row | BadLine]:
    """`stream_texts` with the line of every text."""
    path, found = Path(path), False
    check_file(path)
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if _ENDINGS.get(ending, "tsv") != "tsv":  # else it would learn their markup
        raise DataError(
            f"a language model reads texts, one a line, but a {ending} file came. Write the texts "
            "to a .txt file",
            path=path,
        )
    for line in read_lines(path, config.encoding):
        if isinstance(line, BadLine):
            if not config.skip_bad_lines:
                raise line
            yield line
        elif line.text.strip():
            found = True
            yield Row(Pair("", line.text), line.number, path)
    if not found:
        raise DataError("texts were expected, one a line, but there are none", path=path)


_MOST_PLACES = 10


def find_places(
    wanted: Collection[Pair], config: DataConfig, features: bool = False, texts_alone: bool = False
) -> dict[Pair, list[str]]:
    """Where each pair stands in the training files, as ``words.tsv:17``: at most ten places.

    Files that cannot be read again, as a pipe cannot, have no places.
    """
    places: dict[Pair, list[str]] = {pair: [] for pair in wanted}
    for name in config.train:
        # what is bad in a file is no concern here: pairs before it are found
        with suppress(DataError, OSError):
            if not all(path.is_file() for path in files_of(name, config.format)):
                continue
            rows = stream_text_rows if texts_alone else partial(stream_rows, features=features)
            for row in rows(name, config):
                found = places.get(row.pair) if isinstance(row, Row) else None
                if found is not None and len(found) < _MOST_PLACES:
                    found.append(f"{row.path}:{row.line}")
    return places


def read_sources(
    source: str | Path | ByteStream, config: DataConfig, watch: Watch | None = None
) -> Iterator[str]:
    """Texts to predict from, one a line, of a file or an open binary stream, while it comes.

    Empty lines are handed on, so that answers stay beside their questions. ``watch`` is handed a
    file when it is opened. Raises `DataError` at a line that cannot be read.
    """
    if isinstance(source, str | Path):
        lines = read_lines(Path(source), config.encoding, watch)
    else:
        check_encoding(config.encoding)
        lines = stream_lines(source, _name(source), config.encoding)
    for line in lines:
        if isinstance(line, BadLine):  # nothing can be skipped here
            raise DataError(line.plain_reason, path=line.path, line=line.line)
        yield line.text


def _name(file: str | Path | ByteStream) -> Path:
    """The name of a file or a stream, for messages."""
    return Path(file if isinstance(file, str | Path) else str(getattr(file, "name", "input")))


def _items(
    file: str | Path | ByteStream, config: DataConfig, features: bool, watch: Watch | None
) -> Iterator[Row | BadLine]:
    two = split_name(file, config.format) if isinstance(file, str | Path) else []
    if len(two) == 2:
        _refuse_columns(config)
        return read_parallel(two[0], two[1], config.encoding, features, watch)
    path = _name(file)
    form: str = config.format
    if not isinstance(file, str | Path):
        return _of_stream(file, path, config, features)
    if form in ("auto", "dataset") and is_directory(path):
        return _of_directory(path, config, features, watch)
    check_file(path)
    if form == "dataset":
        raise DataError(
            "data.format=dataset needs a directory, but a file came. Leave data.format out",
            path=path,
        )
    form = _by_name(path) if form == "auto" else form
    return _of_file(path, form, config, features, watch)


def _refuse_columns(config: DataConfig) -> None:
    """Raise `ConfigError` where columns are told of parallel text."""
    order = "name the files in the other order if the sides are to change places"
    for setting, advice in (
        ("source_column", order),
        ("target_column", order),
        ("features_column", "put the features before each source"),
    ):
        if column := getattr(config, setting):
            raise ConfigError(
                f"Parallel text has no columns, but data.{setting}={column} came. Leave it out, "
                f"and {advice}"
            )


def _of_file(
    path: Path, form: str, config: DataConfig, features: bool, watch: Watch | None
) -> Iterator[Row | BadLine]:
    if form in _OF_ROWS:
        return _OF_ROWS[form](path, config, features, watch)
    if form == "tmx":
        return _of_tmx_file(path, config, features, watch)
    return _OF_LINES[form](read_lines(path, config.encoding, watch), path, config, features)


def _of_tmx_file(
    path: Path, config: DataConfig, features: bool, watch: Watch | None
) -> Iterator[Row | BadLine]:
    with opened(path, watch) as stream:
        yield from read_tmx(stream, path, config, features)


def _of_directory(
    folder: Path, config: DataConfig, features: bool, watch: Watch | None
) -> Iterator[Row | BadLine]:
    for path in dataset_files(folder):
        form = "arrow" if path.suffix == ".arrow" else _by_name(path)
        yield from _of_file(path, form, config, features, watch)


def _of_stream(
    stream: ByteStream, path: Path, config: DataConfig, features: bool
) -> Iterator[Row | BadLine]:
    form: str = config.format
    if form in _ON_DISK:
        raise DataError(
            f"data.format={form} needs {_ON_DISK[form]}, but a stream came. Name that instead",
            path=path,
        )
    check_encoding(config.encoding)
    if form == "tmx":
        return read_tmx(stream, path, config, features)
    lines = stream_lines(stream, path, config.encoding)
    return _OF_LINES["tsv" if form == "auto" else form](lines, path, config, features)


def files_of(path: str | Path, form: str = "auto") -> list[Path]:
    """The files that are read for ``path``: it, the two of ``SOURCE,TARGET``, those of a directory.

    Raises `DataError` where one is missing.
    """
    names = split_name(path, form)
    if form in ("auto", "dataset") and is_directory(names[0]):
        return dataset_files(names[0])
    for name in names:
        check_file(name)
    return names


def split_name(path: str | Path, form: str = "auto") -> list[Path]:
    """The two names in ``SOURCE,TARGET``, or ``path`` alone where it is one file."""
    name = str(path)
    if form not in ("auto", "parallel") or (form == "auto" and _is_there(Path.exists, name)):
        return [Path(name)]
    commas = [i for i, char in enumerate(name) if char == ","]
    splits = [(Path(name[:i]), Path(name[i + 1 :])) for i in commas]
    there = [two for two in splits if all(_is_there(Path.is_file, one) for one in two)]
    if form == "parallel" and not splits:
        raise DataError(
            "data.format=parallel needs two files as SOURCE,TARGET, but one came. Name both, "
            "with a comma between",
            path=path,
        )
    return list(next(iter(there or splits), [Path(name)]))


def _is_there(test: Callable[[Path], bool], name: str | Path) -> bool:
    """What ``test`` says; False where the system does not tell, as of two long names in one."""
    try:
        return test(Path(name))
    except OSError:
        return False  # whoever opens the file is told why


def _by_name(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet") and name != path.name.lower():
        raise DataError(
            "a Parquet file was expected as it is, but it is packed as .gz, which cannot be read "
            "piece by piece. Unpack it: gunzip",
            path=path,
        )
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    raise DataError(
        f"the format cannot be told from the name, which should end in {', '.join(_ENDINGS)} "
        "(all but the last also .gz). Rename it, or set data.format",
        path=path,
    )
