"""Gradients that are written by hand have no gradient of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def first_derivative_only(backward: Callable[P, R]) -> Callable[P, R]:
    """Refuses `create_graph`, where a second derivative would silently miss a part.

    torch's `once_differentiable` lets it pass where no incoming gradient is to be differentiated,
    as in ``loss.backward(create_graph=True)`` for the loss itself.
    """

    @wraps(backward)
    def only_first(*arguments: P.args, **named: P.kwargs) -> R:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Fast roads have first derivatives only. For create_graph=True close them: "
                "model.use_fast_roads(False)"
            )
        return backward(*arguments, **named)

    return only_first
