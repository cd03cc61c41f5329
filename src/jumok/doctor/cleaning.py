"""Files of pairs -> one file of the pairs that pass, and a log of the others."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt32

from jumok.config import DataConfig, TextConfig
from jumok.data import BadLine, Row
from jumok.doctor.kinds import BITS, DROPPED, IMPOSSIBLE, bits_of, names_in
from jumok.doctor.outliers import OUTLIERS, find_outliers
from jumok.doctor.repeats import find_duplicates, find_overlap
from jumok.doctor.scan import Columns, Files, Scan
from jumok.errors import ConfigError, DataError
from jumok.progress import Tell
from jumok.storage import open_atomic


class Cleaned(NamedTuple):
    """What became of the lines."""

    lines: int
    written: int
    dropped: dict[str, int]
    """How many lines were left out for each finding; one may have several."""

    def told(self) -> str:
        """The findings in words."""
        return ", ".join(f"{name} {count:,}" for name, count in self.dropped.items())


def clean(
    files: Files,
    output: str | Path,
    *,
    test: Files = (),
    log: str | Path | None = None,
    drop: Collection[str] = DROPPED,
    data: DataConfig | None = None,
    text: TextConfig | None = None,
    tell: Tell | None = None,
) -> Cleaned:
    """Write the pairs of ``files`` that have none of the findings in ``drop``, as they are and in
    order, as TSV.

    Args:
        output: a new file, whose name ends in .tsv or .txt.
        test: files that nothing written may be in.
        log: a new file of JSON Lines, one for each line that is left out.
        drop: names in `KINDS`. Lines without a pair, and pairs that TSV cannot hold, are left out
            in any case.

    The rest is as in `check`. Whatever is left has no such finding when it is checked again.
    Raises `ConfigError` for a file that is there, and `DataError` where nothing is left.
    """
    output, log = Path(output), None if log is None else Path(log)
    _refuse(output, log)
    wanted = bits_of(drop)
    scan = Scan(files, data, text, tell)
    others = Scan(test, data, text, tell).columns if test else None
    why = _reasons(scan.columns, others, wanted | IMPOSSIBLE)
    found = {name: int(np.count_nonzero(why & bit)) for name, bit in BITS.items()}
    cleaned = Cleaned(
        len(scan),
        int(np.count_nonzero(why == 0)),
        {name: count for name, count in found.items() if count},
    )
    if not cleaned.written:
        raise DataError(
            f"pairs that pass were expected, but all {cleaned.lines:,} lines would be left out: "
            f"{cleaned.told()}. Nothing was written",
            path=scan.names[0],
        )
    _write(scan, why, output, log)
    return cleaned


def _refuse(output: Path, log: Path | None) -> None:
    """Raise `ConfigError` for names that cannot be written."""
    if output.suffix.lower() not in (".tsv", ".txt"):
        raise ConfigError(
            f"Pairs are written as TSV, but {output} would be read as something else. Let its name "
            "end in .tsv"
        )
    if log is not None and log.resolve() == output.resolve():
        raise ConfigError(f"Pairs and log would both be written to {output}. Name two files")
    for path in (output, log):
        if path is None:
            continue
        if path.exists():
            raise ConfigError(f"The output {path} exists. Name another, or remove it")
        if not path.parent.is_dir():
            raise ConfigError(f"There is no folder {path.parent} to write to. Make it first")


def _reasons(columns: Columns, others: Columns | None, drop: int) -> UInt32[np.ndarray, "lines"]:
    """Why each line is left out: its findings among ``drop``.

    What an outlier is and what comes first depends on what else is there, so what is left is looked
    at again until nothing more is found.
    """
    why = columns.flags & np.uint32(drop)
    if others is not None:
        rows = columns.readable
        theirs = others.take(others.readable)
        why[rows] |= find_overlap(columns.take(rows), theirs) & np.uint32(drop)
    while True:
        left = np.flatnonzero(why == 0)
        found = np.zeros(len(left), np.uint32)
        if drop & OUTLIERS:
            found |= find_outliers(columns.take(left)) & np.uint32(drop)
        if not found.any():
            found = find_duplicates(columns.take(left)) & np.uint32(drop)
        if not found.any():
            return why
        why[left] |= found


def _write(scan: Scan, why: UInt32[np.ndarray, "lines"], output: Path, log: Path | None) -> None:
    with ExitStack() as files:
        # the log is closed last: without the pairs it would tell of what is not so
        left_out = None if log is None else files.enter_context(open_atomic(log))
        pairs = files.enter_context(open_atomic(output))
        mark = "\ufeff"  # a file loses one when it is read
        for number, row in enumerate(scan.rows("writing")):
            if why[number]:
                if left_out is not None:
                    left_out.write(f"{_record(scan, number, int(why[number]), row)}\n".encode())
                continue
            assert isinstance(row, Row)
            if mark and row.pair.source.startswith(mark):
                pairs.write(mark.encode())
            mark = ""
            pairs.write(f"{row.pair.source}\t{row.pair.target}\n".encode())


def _record(scan: Scan, number: int, why: int, row: Row | BadLine) -> str:
    """A line of the log."""
    file, line = scan.place(number)
    what = {"reason": row.plain_reason} if isinstance(row, BadLine) else row.pair._asdict()
    record = {"file": file, "line": line, "findings": list(names_in(why)), **what}
    return json.dumps(record, ensure_ascii=False)
