"""Annotations are not mere words: tests run with them checked."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

import shapes
from jumok.nn.masks import length_mask, zero_elsewhere

VALUES = torch.ones(2, 3, 4)


def test_a_shape_that_was_not_annotated_fails() -> None:
    mask = length_mask(torch.tensor([1, 3]), 3)
    assert zero_elsewhere(VALUES, mask).sum() == 16
    with pytest.raises(TypeCheckError, match="mask"):
        zero_elsewhere(VALUES, mask[:, :2])
    with pytest.raises(TypeCheckError, match="mask"):
        zero_elsewhere(VALUES, mask.long())


def test_checks_end_in_a_test_and_begin_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_left", 3)
    long = torch.tensor([1, 3])
    length_mask(long, 3)  # its argument and its result
    length_mask(long, 3)
    length_mask(long.float(), 3)
    shapes.begin()
    with pytest.raises(TypeCheckError):
        length_mask(long.float(), 3)
