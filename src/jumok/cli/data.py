"""`jumok data`: look files of pairs over, and keep what is sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from jumok.progress import telling

if TYPE_CHECKING:
    from jumok.config import Config
    from jumok.doctor.scan import File

FOUND = 9
"""Exit code where there are findings that are more than notes."""

data_app = typer.Typer(
    help="Check files of pairs before training, and clean them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Pairs = Annotated[
    list[str],
    typer.Argument(metavar="PAIRS...", help="Files of pairs, or SOURCE,TARGET; - is stdin (TSV)."),
]


class ReportFormat(StrEnum):
    """Output of `jumok data check`."""

    table = "table"
    json = "json"


@data_app.command("check")
def check_(
    data: Pairs,
    test: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--test", help="File of pairs that training must not see; again for more."),
    ] = None,
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="Form of the output.")
    ] = ReportFormat.table,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set", metavar="KEY=VALUE", help="How files are read (data.*), and cut (text.*)."
        ),
    ] = None,
) -> None:
    """Tell what is odd in files of pairs.

    The exit code is 9 where it is more than notes.
    """
    import json

    from jumok.cli.findings import render_report
    from jumok.doctor import check

    config = _resolve(set_, ("text.source.", "text.target."))
    with ExitStack() as kept, telling("lines") as tell:
        train, others = _files(data, test or (), kept)
        report = check(train, others, config.data, config.text, tell)
    if format_ is ReportFormat.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
    else:
        print(render_report(report))
    if not report.passed:
        raise typer.Exit(FOUND)


@data_app.command("clean")
def clean_(
    data: Pairs,
    output: Annotated[Path, typer.Option("--output", help="New .tsv file for what passes.")],
    test: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--test", help="File of pairs that must not be in it; again for more."),
    ] = None,
    log: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--log", help="New JSON Lines file for what does not pass, and why."),
    ] = None,
    drop: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--drop", help="Finding to leave out too, as ratio; again for more."),
    ] = None,
    keep: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--keep", help="Finding to let pass, as duplicate-pair; again for more."),
    ] = None,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="How files are read (data.*)."),
    ] = None,
) -> None:
    """Write the pairs without errors and warnings to a file."""
    import sys

    from jumok.doctor import clean

    config = _resolve(set_, ("text.source.lowercase", "text.target.lowercase"))
    chosen = _chosen(drop or (), keep or ())
    with ExitStack() as kept, telling("lines") as tell:
        files, others = _files(data, test or (), kept)
        cleaned = clean(
            files,
            output,
            test=others,
            log=log,
            drop=chosen,
            data=config.data,
            text=config.text,
            tell=tell,
        )
    left_out = f"; left out: {cleaned.told()}" if cleaned.dropped else ""
    print(
        f"{cleaned.written:,} of {cleaned.lines:,} lines are in {output}{left_out}",
        file=sys.stderr,
    )


def _chosen(drop: Sequence[str], keep: Sequence[str]) -> list[str]:
    """The findings to leave out: the usual ones, and what is said of them."""
    from jumok.doctor import DROPPED
    from jumok.doctor.kinds import IMPOSSIBLE, bits_of
    from jumok.errors import ConfigError

    bits_of(keep)  # an unknown name has a sentence of its own
    for name in keep:
        if name in drop:
            raise ConfigError(f"--drop {name} and --keep {name} say opposite things. Leave one out")
        if bits_of([name]) & IMPOSSIBLE:
            raise ConfigError(f"--keep {name} is not possible: no line of TSV can be made of it")
    return [name for name in [*DROPPED, *drop] if name not in keep]


def _resolve(settings: Iterable[str] | None, more: tuple[str, ...]) -> Config:
    """The configuration, of which what is said of files may be set, and what begins as ``more``."""
    from jumok.cli.streams import READING
    from jumok.config import parse_settings, resolve
    from jumok.errors import ConfigError

    parsed = parse_settings(settings or ())
    config = resolve(settings=parsed)
    reading = READING - {"data.skip_bad_lines"}  # they are told, or left out, in any case
    for key in parsed:
        if key not in reading and not key.startswith(more):
            allowed = ", ".join(
                [*sorted(reading), *(f"{key}*" if key[-1] == "." else key for key in more)]
            )
            raise ConfigError(f"Here {key} has no effect. What can be set: {allowed}")
    return config


def _files(
    names: Sequence[str], test: Sequence[str], kept: ExitStack
) -> tuple[list[File], list[File]]:
    """Files and test files by name; stdin, which is read twice, is kept for as long."""
    from jumok.cli.streams import stdin
    from jumok.doctor import Spool
    from jumok.errors import ConfigError

    if [*names, *test].count("-") > 1:
        raise ConfigError("stdin can be read once, but - came more than once. Name files instead")

    def opened(name: str) -> File:
        return kept.enter_context(Spool(stdin())) if name == "-" else name

    return list(map(opened, names)), list(map(opened, test))
