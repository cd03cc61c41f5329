"""docs/attention.md tells of every axis and every value of it, in both languages, with pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from jumok.config import AttentionConfig, EncoderConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("attention.md", "attention.ko.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_axis_and_every_value_is_explained(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for field, info in AttentionConfig.model_fields.items():
        assert f"`model.attention.{field}`" in text, field
        if get_origin(info.annotation) is Literal:
            for value in get_args(info.annotation):
                assert f"`{value}`" in text, (field, value)
    for value in get_args(EncoderConfig.model_fields["features"].annotation):
        assert value == "none" or f"`{value}`" in text


def test_both_languages_have_the_same_parts() -> None:
    shapes = []
    for name in PAGES:
        text = (DOCS / name).read_text(encoding="utf-8")
        rows = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
        titles = re.findall(r"^## .*?(`.*)$", text, re.MULTILINE)
        shapes.append((rows, titles, re.findall(r"\]\((images/[^)]+)\)", text)))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_there(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for path in re.findall(r"\]\((images/[^)]+)\)", text):
        assert (DOCS / path).is_file(), path
