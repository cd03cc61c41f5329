"""The target tokens that each source token may become, in ``shortlist.safetensors``.

    indptr (source vocab + 1)   tokens of source token s are tokens[indptr[s] : indptr[s + 1]]
    tokens                      ids of the target vocabulary
    frequent                    more of them, for any source

With the SHA-256 of the weights whose attention they were counted by, and that of these arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jumok.bundle.files import WEIGHTS, Bundle
from jumok.errors import BundleError
from jumok.storage import write_atomic
from jumok.text import EOS, SPECIALS

SHORTLIST = "shortlist.safetensors"
SHORTLIST_VERSION = "1"


@dataclass(frozen=True, eq=False)
class Shortlist:
    """For each source token its target tokens, and the most frequent of all."""

    indptr: Int[np.ndarray, "bounds"]
    tokens: Int[np.ndarray, "entries"]
    frequent: Int[np.ndarray, "frequent"]

    def of(self, source: Sequence[int]) -> Int[np.ndarray, "found"]:
        """What a text of these source tokens may become, in no order and with repetitions: the
        special tokens, the frequent ones, and those of each token and of the text's end."""
        bounds = self._bounds
        entries = (self.tokens[bounds[s] : bounds[s + 1]] for s in {*source, EOS})
        return np.concatenate([self._always, *entries])

    @cached_property
    def _bounds(self) -> list[int]:
        return self.indptr.tolist()  # numbers of Python are taken faster one by one

    @cached_property
    def _always(self) -> Int[np.ndarray, "always"]:
        return np.concatenate([np.arange(len(SPECIALS)), self.frequent])


_FIELDS = tuple(field.name for field in fields(Shortlist))


def write_shortlist(bundle: Bundle, found: Shortlist) -> Path:
    """Put a shortlist, made with the model in ``bundle``, into its directory.

    Raises `BundleError` where another model is there by now.
    """
    arrays = {name: np.ascontiguousarray(getattr(found, name), np.int64) for name in _FIELDS}
    head = {
        "version": SHORTLIST_VERSION,
        "model": bundle.hashes[WEIGHTS],
        "sha256": _hash(arrays),
    }
    path = bundle.path / SHORTLIST
    bundle.check_unchanged()
    write_atomic(path, save(arrays, head))
    return path


def read_shortlist(bundle: Bundle) -> Shortlist | None:
    """The shortlist of ``bundle``; None if it has none.

    Raises `BundleError` where it is damaged, or was made with other weights.
    """
    path = bundle.path / SHORTLIST
    if not path.exists():
        return None
    again = f"Make it again: jumok shortlist {bundle.path} PAIRS..."
    try:
        with safe_open(path, framework="np") as file:
            head = file.metadata() or {}
            lists = [name for name in file.keys() if _is_list(file.get_slice(name))]  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name in lists}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a readable safetensors file: {error}. {again}") from None
    if head.get("version") != SHORTLIST_VERSION:
        raise BundleError(
            f"{path} is of version {head.get('version')}, and this jumok reads "
            f"{SHORTLIST_VERSION}. {again}"
        )
    if head.get("model") != bundle.hashes[WEIGHTS]:
        raise BundleError(f"{path} was made with another model than {WEIGHTS}. {again}")
    if arrays.keys() != set(_FIELDS) or head.get("sha256") != _hash(arrays):
        raise BundleError(f"{path} has changed since it was written. {again}")
    return Shortlist(**arrays)


def _is_list(array: Any) -> bool:
    """Whether it is of the type and the shape that are written, of which the hash says nothing."""
    return array.get_dtype() == "I64" and len(array.get_shape()) == 1


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the arrays one after the other, by name."""
    made = hashlib.sha256()
    for name in sorted(arrays):
        made.update(name.encode())
        made.update(arrays[name].tobytes())
    return made.hexdigest()
