"""A report of the data doctor for people: tables that fit a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len

from jumok.doctor import KINDS, Example, Part, Report
from jumok.explain.labels import shorten

_WIDTH = 80


def render_report(report: Report) -> str:
    """Findings with examples, then lengths, scripts and the forecast."""
    blocks = [list(_findings(report)), list(_lengths(report)), list(_scripts(report))]
    blocks.append(list(_forecast(report)))
    heads = [_head(part) for part in report.parts]
    return "\n\n".join("\n".join(block) for block in [heads, *blocks])


def _head(part: Part) -> str:
    files = part.files[0] if len(part.files) == 1 else f"{len(part.files)} files"
    return shorten(
        f"{part.name:<6}{part.lines:>10,} lines, {part.pairs:,} pairs in {files}", _WIDTH
    )


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        yield "nothing found"
    for finding in report.findings:
        yield (
            f"{finding.severity:<8}{finding.name:<20}{finding.part:<6}{finding.count:>9,}"
            f"{finding.share:>9.2%}"
        )
        yield f"        {KINDS[finding.name].meaning}"
        for example in finding.examples[: 1 if finding.severity == "note" else None]:
            yield from _example(example)


def _example(example: Example) -> Iterator[str]:
    same = ""
    if example.same is not None:
        other = "line " if example.same.file == example.file else f"{example.same.file}:"
        same = f", as in {other}{example.same.line}"
    yield f"          {example.file}:{example.line}{same}"
    if example.reason is not None:
        yield shorten(f"            {_visible(example.reason)}", _WIDTH)
        return
    source, target = _visible(example.source or ""), _visible(example.target or "")
    room = _WIDTH - 12 - 3
    left = min(cell_len(source), max(room // 2, room - cell_len(target)))
    yield f"            {shorten(source, left)} | {shorten(target, room - left)}"


def _lengths(report: Report) -> Iterator[str]:
    yield f"{'characters':<16}{'median':>9}{'longest':>9}   outliers are"
    for part in report.parts:
        limits = part.limits
        for side, limit in (("source", limits.source), ("target", limits.target)):
            found = part.lengths[side]
            above = "" if limit is None else f"above {limit:,.0f}"
            head = f"{part.name} {side}"
            yield f"{head:<16}{found['median']:>9,.0f}{found['longest']:>9,.0f}   {above}".rstrip()
        below = (
            ""
            if limits.low_ratio is None
            else f"below {limits.low_ratio:.3g}, above {limits.high_ratio:.3g}"
        )
        head = f"{part.name} ratio"
        yield f"{head:<16}{part.lengths['ratio']['median']:>9.3g}{'':>9}   {below}".rstrip()


def _scripts(report: Report) -> Iterator[str]:
    yield "scripts of letters"
    for part in report.parts:
        for side, shares in part.scripts.items():
            told = ", ".join(f"{script} {share:.2%}" for script, share in shares.items())
            yield shorten(f"{f'{part.name} {side}':<16}{told or 'no letters'}", _WIDTH)


def _forecast(report: Report) -> Iterator[str]:
    if not report.forecast:
        yield "no forecast of unknown tokens: there are too few pairs"
        return
    held_out = "of the test files" if len(report.parts) > 1 else "held out"
    yield (
        f"forecast: vocabularies from {report.forecast_from:,} pairs, judged on "
        f"{report.forecast_on:,} {held_out}"
    )
    yield f"{'tokens':<18}{'vocabulary':>12}{'unknown':>10}{'per text':>10}"
    for one in report.forecast:
        kind = f"{one.side} {one.kind}{' *' if one.chosen else ''}"
        yield f"{kind:<18}{one.vocabulary:>12,}{one.unknown:>10.2%}{one.tokens:>10.1f}"
    yield "* what text.source.kind and text.target.kind give"


def _visible(text: str) -> str:
    """With an escape for whatever a terminal does not show as a character."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
