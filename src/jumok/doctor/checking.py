"""Files of pairs -> a `Report`: each file is read once to find, and once more to quote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jumok.config import DataConfig, TextConfig
from jumok.data import BadLine, Pair, Row
from jumok.doctor.forecast import forecast
from jumok.doctor.kinds import BITS, KINDS
from jumok.doctor.outliers import find_outliers, limits
from jumok.doctor.repeats import find_duplicates, find_overlap
from jumok.doctor.report import Example, Finding, Part, Place, Report
from jumok.doctor.scan import Files, Scan
from jumok.progress import Tell
from jumok.text import split_features

_EXAMPLES = 3
_LONGEST_QUOTE = 200
_Texts = dict[int, Row | BadLine]
_MOST_PAIRS, _MOST_CHARACTERS = 20_000, 4_000_000
"""What a forecast's vocabularies are made from, or judged on: seconds of work."""


class _Judged(NamedTuple):
    """One part, its files read and its lines judged."""

    name: str
    scan: Scan
    rows: Int64[np.ndarray, "pairs"]
    """The lines with a pair."""
    examples: dict[str, Int64[np.ndarray, "some"]]
    """For each finding, the first lines that have it."""


def check(
    train: Files,
    test: Files = (),
    data: DataConfig | None = None,
    text: TextConfig | None = None,
    tell: Tell | None = None,
) -> Report:
    """Look for everything in `KINDS`, and forecast what tokenizers would not know.

    Args:
        train: files of pairs, as training reads them.
        test: files that nothing in ``train`` should be in.
        data: how files are read; bad lines are findings in any case.
        text: tokenizers, whose kinds may be `auto`. Where they ignore case, so does the search for
            repeats.
        tell: is told how far reading has come.

    Memory grows by some 110 bytes a line, so five million pairs take about 600 MB. Raises
    `DataError` for a file that cannot be read, or has no pair.
    """
    text = text or TextConfig()
    parts = [_judge("train", Scan(train, data, text, tell), None)]
    if test:
        parts.append(_judge("test", Scan(test, data, text, tell), parts[0]))
    learnt, unseen = _samples(parts)
    texts = [
        _texts(
            part.scan,
            np.concatenate(
                [
                    *part.examples.values(),
                    learnt[: len(learnt) if part is parts[0] else 0],
                    unseen[: len(unseen) if part is parts[-1] else 0],
                ]
            ),
        )
        for part in parts
    ]
    findings = [
        _finding(part, parts[0], name, quoted)
        for name in KINDS
        for part, quoted in zip(parts, texts, strict=True)
        if name in part.examples
    ]
    if tell is not None:
        tell("trying tokenizers", 0, None)  # their pace is not that of reading
    learnt_pairs, unseen_pairs = _pairs(texts[0], learnt), _pairs(texts[-1], unseen)
    if data is not None and data.features_column:  # these have a vocabulary of their own
        learnt_pairs, unseen_pairs = map(_without_features, (learnt_pairs, unseen_pairs))
    forecasts = [
        one
        for side, config in (("source", text.source), ("target", text.target))
        for one in forecast(
            side,
            [getattr(pair, side) for pair in learnt_pairs],
            [getattr(pair, side) for pair in unseen_pairs],
            config,
        )
    ]
    return Report([_part(part) for part in parts], findings, forecasts, len(learnt), len(unseen))


def _judge(name: str, scan: Scan, train: _Judged | None) -> _Judged:
    """Add what lines show beside others to what they show alone."""
    rows = scan.columns.readable
    pairs = scan.columns.take(rows)
    flags = find_duplicates(pairs) | find_outliers(pairs)
    if train is not None:
        flags |= find_overlap(pairs, train.scan.columns.take(train.rows))
    scan.columns.flags[rows] |= flags
    examples = {
        finding: found
        for finding, bit in BITS.items()
        if len(found := np.flatnonzero(scan.columns.flags & bit)[:_EXAMPLES])
    }
    return _Judged(name, scan, rows, examples)


def _samples(parts: Sequence[_Judged]) -> tuple[Int64[np.ndarray, "a"], Int64[np.ndarray, "b"]]:
    """Lines to make vocabularies from, and to judge them on: of the test files, or those of a tenth
    of the sources, by their hashes, so that equal sources stay on one side."""
    train = parts[0]
    learnt = _spread(train)
    if len(parts) > 1:
        return learnt, _spread(parts[1])
    sources = train.scan.columns.source[learnt]
    different = np.unique(sources)
    if len(different) < 2:
        return learnt[:0], learnt[:0]
    held_out = sources < different[max(1, len(different) // 10)]
    return learnt[~held_out], learnt[held_out]


def _spread(part: _Judged) -> Int64[np.ndarray, "some"]:
    """As many lines with a pair as a forecast may take, evenly spread."""
    columns = part.scan.columns
    size = columns.source_length.sum(dtype=np.int64) + columns.target_length.sum(dtype=np.int64)
    step = max(len(part.rows) / _MOST_PAIRS, size / _MOST_CHARACTERS, 1)
    return part.rows[:: math.ceil(step)]


def _texts(scan: Scan, wanted: Int64[np.ndarray, "some"]) -> _Texts:
    """Read the wanted lines again."""
    left = set(wanted.tolist())
    found: _Texts = {}
    if left:
        for number, row in enumerate(scan.rows("reading again")):
            if number in left:
                found[number] = row
                if len(found) == len(left):
                    break
    return found


def _finding(part: _Judged, train: _Judged, name: str, texts: _Texts) -> Finding:
    count = int(np.count_nonzero(part.scan.columns.flags & BITS[name]))
    examples = [
        _example(part.scan, int(row), texts[int(row)], _same(part, train, name, row))
        for row in part.examples[name]
    ]
    share = count / len(part.scan)
    return Finding(name, KINDS[name].severity, part.name, count, share, examples)


def _same(part: _Judged, train: _Judged, name: str, row: np.int64) -> Place | None:
    """The first line with the same pair, source or target, where the finding is of one."""
    about, _, kind = name.partition("-")
    if about not in ("duplicate", "overlap"):
        return None
    other = train if about == "overlap" else part
    keys = getattr(other.scan.columns, kind)[other.rows]
    first = np.argmax(keys == getattr(part.scan.columns, kind)[row])
    return Place(*other.scan.place(int(other.rows[first])))


def _example(scan: Scan, number: int, row: Row | BadLine, same: Place | None) -> Example:
    if isinstance(row, BadLine):
        return Example(*scan.place(number), None, None, row.plain_reason, None)
    source, target = (text[:_LONGEST_QUOTE] for text in row.pair)
    return Example(*scan.place(number), source, target, None, same)


def _part(part: _Judged) -> Part:
    pairs = part.scan.columns.take(part.rows)
    sides = {"source": pairs.source_length, "target": pairs.target_length}
    lengths = {
        side: {"median": float(np.median(length)), "longest": float(length.max())}
        for side, length in sides.items()
    }
    ratio = pairs.target_length / pairs.source_length
    lengths["ratio"] = {"median": float(np.median(ratio))}
    scripts = {
        side: {script: count / letters.total() for script, count in letters.most_common()}
        for side, letters in zip(sides, part.scan.letters, strict=True)
    }
    found = limits(pairs)
    return Part(part.name, part.scan.names, len(part.scan), len(part.rows), lengths, found, scripts)


def _without_features(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair._replace(source=split_features(pair.source).text) for pair in pairs]


def _pairs(texts: _Texts, rows: Int64[np.ndarray, "some"]) -> list[Pair]:
    found = (texts[row] for row in rows.tolist())
    return [row.pair for row in found if isinstance(row, Row)]
