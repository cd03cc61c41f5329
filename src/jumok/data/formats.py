"""The formats of lines: each turns numbered lines into pairs and bad lines, in the same order."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jumok.config import DataConfig
from jumok.data.lines import MAX_LINE, OR_SKIP, BadLine, Line, Watch, read_lines
from jumok.data.pairs import Row, close_to, column_index, different_columns, make_row, text_of
from jumok.errors import ConfigError, DataError

Lines = Iterator[Line | BadLine]


def read_tsv(
    lines: Lines, path: Path, config: DataConfig, features: bool = False
) -> Iterator[Row | BadLine]:
    """Columns divided by tabs, chosen by number from 1. More columns than needed are fine."""
    source = _number("source_column", config.source_column, 1)
    target = _number("target_column", config.target_column, 2)
    column = _number("features_column", config.features_column, 0)
    different_columns(source, target, column)
    wanted = max(source, target, column)
    for line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        columns = line.text.split("\t")
        if len(columns) >= wanted:
            before = columns[column - 1] if column else None
            texts = columns[source - 1], columns[target - 1]
            yield make_row(*texts, path, line.number, features, before)
            continue
        came = f"{len(columns)} came" if line.text.strip() else "the line is empty"
        yield BadLine(
            f"{wanted} columns divided by tabs were expected, but {came}. "
            f"Correct the line, {OR_SKIP}",
            path=path,
            line=line.number,
        )


def read_csv(
    lines: Lines, path: Path, config: DataConfig, features: bool = False
) -> Iterator[Row | BadLine]:
    """Comma-separated values with a header. A quoted field may hold commas and line ends.

    A bad row is reported at the line where it starts. Empty lines are not rows. A row has as many
    fields as the header; empty ones after these do no harm.
    """
    rows = _csv_rows(lines, path)
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first, BadLine):
        raise DataError(first.reason, path=first.path, line=first.line)
    line, header = first
    source = column_index("source_column", config.source_column or "source", header, path, line)
    target = column_index("target_column", config.target_column or "target", header, path, line)
    named = config.features_column
    column = column_index("features_column", named, header, path, line) if named else None
    different_columns(header[source], header[target], named)
    for row in rows:
        if isinstance(row, BadLine):
            yield row
            continue
        number, fields = row
        if len(fields) >= len(header) and not any(fields[len(header) :]):
            before = None if column is None else fields[column]
            yield make_row(fields[source], fields[target], path, number, features, before)
            continue
        yield BadLine(
            f"{len(header)} columns were expected, as in the header, but {len(fields)} came. "
            f"Correct the line (a field with a comma stands between quotation marks), {OR_SKIP}",
            path=path,
            line=number,
        )


def read_jsonl(
    lines: Lines, path: Path, config: DataConfig, features: bool = False
) -> Iterator[Row | BadLine]:
    """One JSON object a line, fields chosen by name, dotted where nested. Empty lines are fine."""
    names = config.source_column or "source", config.target_column or "target"
    different_columns(*names, config.features_column)
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif line.text.strip():
            try:
                record = _json_object(line.text)
                source = _field(record, "source_column", config.source_column or "source")
                target = _field(record, "target_column", config.target_column or "target")
                named = config.features_column
                before = _field(record, "features_column", named) if named else None
            except ValueError as error:
                yield BadLine(f"{error}, {OR_SKIP}", path=path, line=line.number)
            else:
                yield make_row(source, target, path, line.number, features, before)


def read_parallel(
    source: Path,
    target: Path,
    encoding: str,
    features: bool = False,
    watch: Watch | None = None,
) -> Iterator[Row | BadLine]:
    """Line n of ``source`` beside line n of ``target``. Both need the same number of lines."""
    both = zip_longest(read_lines(source, encoding, watch), read_lines(target, encoding, watch))
    for number, (left, right) in enumerate(both, start=1):
        if left is None or right is None:
            longer, shorter = (target, source) if left is None else (source, target)
            total = number + sum(1 for _ in both)
            raise DataError(
                f"this line has no partner: the file has {total} lines, but {shorter} has "
                f"{number - 1}. Give two files with as many lines",
                path=longer,
                line=number,
            )
        if isinstance(left, BadLine) or isinstance(right, BadLine):
            yield from [side for side in (left, right) if isinstance(side, BadLine)][:1]
            continue
        path = target if left.text.strip() and not right.text.strip() else source
        yield make_row(left.text, right.text, path, number, features)


# --- their parts ---------------------------------------------------------------------------------


def _number(setting: str, value: str, default: int) -> int:
    if value and not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ConfigError(
            f"data.{setting} must be a column number from 1 for TSV files, but '{value}' came. "
            "For files with column names set data.format=csv or data.format=jsonl"
        )
    return int(value or default)


_CsvRow = tuple[int, list[str]]
"""Fields, and the number of the line where they begin."""


def _csv_rows(lines: Lines, path: Path) -> Iterator[_CsvRow | BadLine]:
    """Rows; none for a row with a bad line inside.

    An open quotation mark may take in all that follows, so of a row that is not valid the first
    line is bad, and those after it are read again.
    """
    taken: list[Line | BadLine] = []
    again: list[Line] = []
    length = 0

    def texts() -> Iterator[str]:
        nonlocal length
        while (line := again.pop() if again else next(lines, None)) is not None:
            taken.append(line)
            if isinstance(line, Line):  # for a bad one an exception would end the row
                length += len(line.text)
                if length > MAX_LINE:  # quoted line ends can make one row of a whole file
                    raise csv.Error(f"it is longer than {MAX_LINE} characters")
                yield f"{line.text}\n"

    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    reader = csv.reader(texts(), strict=True)
    more = True
    while more:
        try:
            row = next(reader, None)
        except csv.Error as error:
            start, *rest = [line for line in taken if isinstance(line, Line)]
            row_to = f"the row that goes on to line {rest[-1].number}" if rest else "the row"
            if rest and taken[-1] is rest[-1]:
                again.append(rest[-1])  # what breaks a row is often the beginning of the next
                taken.pop()
            for line in taken:
                if line is start:
                    yield _no_csv(row_to, error, path, start.number)
                else:
                    yield from _alone(line, path)
            reader = csv.reader(texts(), strict=True)
        else:
            more = row is not None
            yield from _together(taken, row)
        taken.clear()
        length = 0


def _together(
    taken: Sequence[Line | BadLine], row: list[str] | None
) -> Iterator[_CsvRow | BadLine]:
    """Lines that are a row, and bad ones among them."""
    bad = [line for line in taken if isinstance(line, BadLine)]
    yield from bad
    start = next((line.number for line in taken if isinstance(line, Line)), None)
    if row and start is not None and all((one.line or 0) < start for one in bad):
        yield start, row  # no line inside is missing


def _alone(line: Line | BadLine, path: Path) -> Iterator[_CsvRow | BadLine]:
    """A line as a row of its own; an empty one is none."""
    if isinstance(line, BadLine):
        yield line
        return
    try:
        row = next(csv.reader([line.text], strict=True))
    except csv.Error as error:
        yield _no_csv("the row", error, path, line.number)
    else:
        if row:
            yield line.number, row


def _no_csv(what: str, error: csv.Error, path: Path, line: int) -> BadLine:
    return BadLine(
        f"{what} is not valid CSV ({error}). Close every quotation mark, and double those inside "
        f"a field, {OR_SKIP}",
        path=path,
        line=line,
    )


def _json_object(text: str) -> dict[str, Any]:
    """The object in ``text``. Raises `ValueError` with a sentence."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"a JSON object was expected, but this is not valid JSON ({error}). Correct the line"
        ) from None
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object was expected, but {text:.60} came. Correct the line")
    return record


def _field(record: dict[str, Any], setting: str, name: str) -> str:
    """The text at dotted ``name``. Raises `ValueError` with a sentence."""
    value: Any = record
    for key in [name] if name in record else name.split("."):
        if not isinstance(value, dict) or key not in value:
            fields = list(value) if isinstance(value, dict) else []
            raise ValueError(
                f"field '{name}' is missing.{close_to(key, fields)} The fields are: "
                f"{', '.join(fields) or 'none':.500}. Set data.{setting}, correct the line"
            )
        value = value[key]
    return text_of(value, name)
