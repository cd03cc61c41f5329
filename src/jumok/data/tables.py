"""Rows of Arrow tables to pairs: Parquet files, and the Arrow streams of dataset directories.

Only the columns that are needed are read, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jumok.config import DataConfig
from jumok.data.lines import MAX_LINE, OR_SKIP, BadLine, Watch, check_file, opened
from jumok.data.pairs import Row, column_index, different_columns, make_row, text_of
from jumok.errors import DataError, MissingExtra

_ROWS = 32
"""Read at once. A Parquet file may say one long text for many rows, so these are few."""
_BUFFER = 1 << 20
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The last bytes of every Arrow stream that was closed (its format, "IPC Streaming Format")."""


def read_parquet(
    path: Path, config: DataConfig, features: bool = False, watch: Watch | None = None
) -> Iterator[Row | BadLine]:
    """Pairs of a Parquet file; bad ones with the number of their row, from 1."""
    arrow = _arrow()
    from pyarrow.parquet import ParquetFile

    with (
        _sound(arrow, path, "Parquet file", watch),
        ParquetFile(path, buffer_size=_BUFFER, page_checksum_verification=True) as file,
    ):
        columns = _columns(arrow, file.schema_arrow, config, path)
        names = [column.name for column in columns]
        batches = file.iter_batches(_ROWS, columns=names, use_threads=False)
        yield from _pairs(batches, columns, path, features)


def read_arrow(
    path: Path, config: DataConfig, features: bool = False, watch: Watch | None = None
) -> Iterator[Row | BadLine]:
    """Pairs of a file that is an Arrow stream, in the same way."""
    arrow = _arrow()
    with _sound(arrow, path, "Arrow file", watch), arrow.memory_map(str(path)) as source:
        source.seek(max(0, source.size() - len(_END)))
        if source.read() != _END:  # a stream cut between batches would pass for a shorter one
            raise arrow.ArrowInvalid("the mark of its end is missing")
        source.seek(0)
        batches = arrow.ipc.open_stream(source)
        columns = _columns(arrow, batches.schema, config, path)
        yield from _pairs(batches, columns, path, features)


class _Column(NamedTuple):
    """A column of a table, or a field within one."""

    name: str
    keys: tuple[str, ...]
    """Where it is, from the outside in."""
    kind: Any
    """Arrow's type."""


def _arrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("parquet", "pyarrow") from None
    return pyarrow


@contextmanager
def _sound(arrow: ModuleType, path: Path, what: str, watch: Watch | None) -> Iterator[None]:
    """Raise `DataError` where the file is not as it should be, at once or while it is read.

    ``watch`` sees it closed when all was read; Arrow reads it by itself, so no more can be seen.
    """
    check_file(path)
    if not path.is_file():
        raise DataError(
            f"a {what} is not read from its beginning, so a pipe or device cannot hold it. Save it "
            "to disk, and name it there",
            path=path,
        )
    with opened(path, watch) as file:
        if file.peek(64).startswith(b"version https://git-lfs"):
            raise DataError(
                "this is not the data but Git LFS's pointer to it. Fetch the data: git lfs pull",
                path=path,
            )
        try:
            yield
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            told = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise DataError(
                f"the {what} is cut off or damaged ({told:.200}). Copy or download it again",
                path=path,
            ) from None


def _columns(arrow: ModuleType, schema: Any, config: DataConfig, path: Path) -> list[_Column]:
    """Those of source, target and, where there are some, features; all are text."""
    wanted = {
        "source_column": config.source_column or "source",
        "target_column": config.target_column or "target",
        "features_column": config.features_column,
    }
    different_columns(*wanted.values())
    there = list(_leaves(arrow, schema))
    names = [column.name for column in there]
    found = []
    for setting, name in wanted.items():
        if name:
            column = there[column_index(setting, name, names, path)]
            _check_single(schema, column, path)
            if not _is_text(arrow, column.kind):
                raise DataError(
                    f"column '{name}' should hold text, but it is of type {column.kind!s:.60}. Set "
                    f"data.{setting}",
                    path=path,
                )
            found.append(column)
    return found


def _leaves(arrow: ModuleType, schema: Any) -> Iterator[_Column]:
    """All columns; a field of a structure is called as in ``translation.en``."""
    left: list[tuple[tuple[str, ...], Any]] = [((f.name,), f.type) for f in reversed(schema)]
    while left:
        keys, kind = left.pop()
        if arrow.types.is_struct(kind):
            fields = [kind.field(i) for i in reversed(range(kind.num_fields))]
            left += [((*keys, field.name), field.type) for field in fields]
        else:
            yield _Column(".".join(keys), keys, kind)


def _check_single(schema: Any, column: _Column, path: Path) -> None:
    """Raise `DataError` where what holds the column has a name twice, so that it names nothing."""
    fields = list(schema)
    for key in column.keys:
        named = [field for field in fields if field.name == key]
        if len(named) > 1:
            raise DataError(
                f"column '{column.name}' was expected once, but '{key}' comes twice. Rename one",
                path=path,
            )
        kind = named[0].type
        fields = [kind.field(i) for i in range(kind.num_fields)]


def _is_text(arrow: ModuleType, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _pairs(
    batches: Iterable[Any], columns: list[_Column], path: Path, features: bool
) -> Iterator[Row | BadLine]:
    number = 0
    names = [column.name for column in columns]
    for batch in batches:
        for row in zip(*(_array(batch, column.keys) for column in columns), strict=True):
            number += 1
            values = [value.as_py() for value in row]
            try:
                texts = [_short(text_of(*one), one[1]) for one in zip(values, names, strict=True)]
            except ValueError as error:
                yield BadLine(f"{error}, {OR_SKIP}", path=path, line=number)
            else:
                yield make_row(texts[0], texts[1], path, number, features, *texts[2:])


def _array(batch: Any, keys: tuple[str, ...]) -> Any:
    """A column, checked, for what it says of its own layout need not be true."""
    array = batch.column(batch.schema.get_field_index(keys[0]))
    array.validate(full=True)
    for key in keys[1:]:
        array = array.flatten()[array.type.get_field_index(key)]
    return array


def _short(text: str, name: str) -> str:
    if len(text) > MAX_LINE:
        raise ValueError(f"field '{name}' is longer than {MAX_LINE} characters. Divide it")
    return text
