"""The command line. Each command imports what it needs inside, so that help is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jumok.errors import JumokError, StorageError


def main() -> None:
    """Entry point of `jumok`: errors for users become a sentence and an exit code."""
    from jumok.cli.app import app

    _open_missing_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # a Korean Windows console would choose cp949, a bare container ASCII
        stream.reconfigure(encoding="utf-8", errors="strict" if stream is sys.stdin else "replace")  # type: ignore[union-attr]
    try:
        try:
            app()
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):
                raise end.__context__ from None  # click makes exit code 1 of it
            raise
        finally:
            sys.stdout.flush()
    except JumokError as error:
        print(f"jumok: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        # the reader of our output has gone (jumok predict ... | head): nothing to say
        _close_stdout()
        raise SystemExit(141) from None
    except OSError as error:
        print(f"jumok: The system refused: {error}", file=sys.stderr)
        _close_stdout()
        raise SystemExit(StorageError.exit_code) from None


def _open_missing_streams() -> None:
    """A stream that was closed before we began (``jumok ... >&-``) leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _close_stdout() -> None:
    """Send what is left to nowhere, or Python would try to write it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
