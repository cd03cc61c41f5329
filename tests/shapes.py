"""Shapes are checked while tests run: how, and for how long in each test."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import beartype
from jaxtyping import config, install_import_hook

CHECKS = float(os.environ.get("SHAPE_CHECKS", 6000))
"""Of arguments and of results, at the beginning of each test: all paths of a search or an update
several times over. Without an end (`make test-shapes`), checks of what comes round again take most
of the time."""

_left = CHECKS


def check_shapes() -> None:
    """Check the annotations of jumok's functions at each call; to be called before jumok is
    imported."""
    install_import_hook("jumok", "shapes.checked")


def begin() -> None:
    """Another test: its first calls are checked."""
    global _left
    _left = CHECKS
    config.update("jaxtyping_disable", False)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with its arguments and result checked, as the import hook asks for it."""
    checking = beartype(function)

    @wraps(function)
    def count(*arguments: Any, **named: Any) -> Any:
        global _left
        _left -= 1
        if _left <= 0:
            config.update("jaxtyping_disable", True)
        return checking(*arguments, **named)

    return count
