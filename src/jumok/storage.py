"""Writing to disk so that a kill or a full disk never costs what was there before."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jumok.errors import ConfigError, StorageError

LOCK = ".lock"
"""In a directory on which only one process works at a time. A kill leaves it, and it says nothing
then."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into a `StorageError` with a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "there is no space left on the disk. Free some, then go on"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = "the folder is not writable. Choose another, or change its permissions"
        else:
            what = f"the system says: {error.strerror or error}"
        raise StorageError(
            f"Could not write {path}: {what}. What was there before is kept."
        ) from error


def check_new(folder: Path, otherwise: str = "") -> None:
    """Refuse to write where something is; ``otherwise`` says what else one may do."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"The output {folder} is a file. Give a new directory")
    if folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        advice = f"Give a new one, {otherwise}" if otherwise else "Give a new one"
        raise ConfigError(f"The output directory {folder} is not empty. {advice}")


def is_filled(folder: Path) -> bool:
    """Whether there is a directory with anything in it, but for hidden files."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Nobody else works on ``path`` meanwhile: a lock in the directory, or beside the file, is
    held, and removed at the end.

    A kill leaves the lock's file, but nothing that holds it. Raises `ConfigError` with the sentence
    ``busy`` where somebody else holds it, and `StorageError`.
    """
    from filelock import FileLock, Timeout  # here, as an answer to one line need not wait for it

    lock = path / LOCK if path.is_dir() else path.with_name(f".{path.name}{LOCK}")
    held = FileLock(lock, timeout=0)
    with storage_errors(path):
        lock.parent.stat()  # a lock would make what is missing
        try:
            held.acquire()
        except Timeout:
            raise ConfigError(busy) from None
    try:
        yield
    finally:
        try:
            with suppress(PermissionError):  # of Windows, which removes it when it is let go
                lock.unlink(missing_ok=True)  # while it is ours: none is given out on what is gone
        finally:
            held.release()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it into place."""
    with open_atomic(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """`write_atomic` bit by bit: the file is there when all of it is."""
    temporary = path.with_name(f".{path.name}.new")
    with storage_errors(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def replace_directory(path: Path, keep_old: bool = False) -> Iterator[Path]:
    """Fill a fresh directory, then put it in the place of ``path``.

    A directory cannot be renamed over a full one, so the old steps aside as ``.NAME.old``: for a
    moment, or with ``keep_old`` until the next one steps aside. Whatever the moment of a kill,
    `find_directory` finds a complete directory: the new one after the last rename, the old one
    before.
    """
    with storage_errors(path):
        path = _real(path)
        fresh, old = _aside(path, "new"), old_directory(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not keep_old or not path.exists():
            restore_directory(path)
        _clear(fresh)
        try:
            fresh.mkdir()
            yield fresh
            _flush(fresh)
            if path.exists():
                _clear(old)
                path.rename(old)
            fresh.rename(path)
        except BaseException:
            if not keep_old or not path.exists():
                restore_directory(path)
            _clear(fresh)
            raise
        if not keep_old:
            _clear(old)


def find_directory(path: Path) -> Path:
    """``path``, or the directory that a killed `replace_directory` left aside in its stead."""
    if path.exists():
        return path
    old = old_directory(path)
    return old if old.exists() else path


def restore_directory(path: Path) -> None:
    """Undo what a kill in the middle of `replace_directory` left."""
    path = _real(path)
    old = old_directory(path)
    if old.exists():
        if path.exists():
            _clear(old)
        else:
            old.rename(path)


def remove_directory(path: Path) -> None:
    """Remove a directory that `replace_directory` wrote: a kill leaves nothing half of it there."""
    with storage_errors(path):
        path = _real(path)
        aside = _aside(path, "new")
        _clear(aside)
        path.rename(aside)
        shutil.rmtree(aside)


def old_directory(path: Path) -> Path:
    """Where what was in ``path`` before steps aside."""
    return _aside(_real(path), "old")


def _real(path: Path) -> Path:
    """Where a directory is that is called by a link, or by a name that it has not, such as ``.``:
    there others can stand beside it."""
    named = path.name not in ("", "..") and not path.is_symlink()
    return path if named else Path(os.path.realpath(path))  # of links in a circle, too


def _aside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def _clear(path: Path) -> None:
    """Remove what a kill or somebody else left there."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def _flush(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
