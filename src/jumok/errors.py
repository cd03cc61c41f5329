"""Every error a user can meet: one small tree, each with an exit code and an HTTP status.

    JumokError
    ├── ConfigError      a setting is unknown, out of range, or clashes with another
    │   └── TooLarge     a model, or a batch of its training, does not fit into memory
    ├── DataError        a file of pairs cannot be read (names the file and line)
    ├── BundleError      a model directory is missing, damaged, or not one of ours
    ├── InputError       a text handed to a trained model cannot be used
    ├── MissingExtra     an optional part of jumok is not installed
    ├── StorageError     the disk refused a write (full, read-only, no permission)
    ├── Overloaded       a server has as much waiting as it takes
    │   └── Overdue      a server's answer was not there in the time that a request has
    ├── Diverged         a training ran away, and was stopped before it spoilt its weights
    └── Interrupted      a run was stopped by the user, or as another of its processes has ended

A message is a sentence: what was expected, what came, what to do. Front ends print it and exit
with ``exit_code``, or answer with ``http_status``; they never show a traceback for these.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class JumokError(Exception):
    """Base of all errors that are meant for the user's eyes."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class ConfigError(JumokError):
    """A setting, preset or combination of settings is not possible."""

    exit_code = 3
    http_status = 400


class TooLarge(ConfigError):  # noqa: N818 - what the model is
    """A model, or a batch of its training, does not fit into memory."""


class DataError(JumokError):
    """A file of pairs cannot be read. ``path`` and ``line`` (from 1) say where.

    ``reason`` is the message without the place, for callers that count bad lines by kind.
    """

    exit_code = 4
    http_status = 400

    def __init__(
        self, reason: str, *, path: str | Path | None = None, line: int | None = None
    ) -> None:
        self.reason = reason
        self.path = None if path is None else Path(path)
        self.line = line
        place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(f"{place}{reason}")


class BundleError(JumokError):
    """A model directory is missing, damaged, or does not match its own config."""

    exit_code = 5


class InputError(JumokError):
    """A text given to a trained model cannot be used; ``index`` says which of several (from 0)."""

    exit_code = 6
    http_status = 422

    def __init__(self, message: str, *, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)


class MissingExtra(JumokError):  # noqa: N818 - the name says what is missing, not that it failed
    """An optional part is needed and not installed.

    ``MissingExtra("train", "torch")`` names the exact command that installs it.
    """

    exit_code = 7
    http_status = 501

    def __init__(self, extra: str, module: str) -> None:
        self.extra = extra
        super().__init__(
            f"This needs the Python package '{module}', which is not installed. "
            f"Install it with: pip install 'jumok[{extra}]'"
        )


class StorageError(JumokError):
    """The disk refused a write; what stood there before is still there."""

    exit_code = 8
    http_status = 507


class Overloaded(JumokError):  # noqa: N818 - what the server is
    """A server has as much waiting as it takes, or is about to end."""

    http_status = 503


class Overdue(Overloaded):
    """A server's answer was not there in the time that a request has."""

    http_status = 504


class Diverged(JumokError):  # noqa: N818 - what the training did
    """The loss or its gradient shot up or is no number; the message says where and how to go on."""

    exit_code = 10


class Interrupted(JumokError):  # noqa: N818 - not a failure
    """A run was stopped (Ctrl-C, SIGTERM, another process of it); the message says why."""

    exit_code = 130
    http_status = 503
