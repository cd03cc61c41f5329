"""The command line. Each command imports what it needs inside, so that help is instant."""

from __future__ import annotations

import sys

from jumok.errors import JumokError


def main() -> None:
    """Entry point of `jumok`: errors for users become a sentence and an exit code."""
    from jumok.cli.app import app

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # a Korean Windows console would choose cp949, a bare container ASCII
        stream.reconfigure(encoding="utf-8", errors="strict" if stream is sys.stdin else "replace")  # type: ignore[union-attr]
    try:
        app()
    except JumokError as error:
        print(f"jumok: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        # the reader of our output has gone (jumok predict ... | head): nothing to say
        sys.stderr.close()
        raise SystemExit(141) from None
