"""docs/search.md tells of every setting of the search, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jumok.config import SearchConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("search.md", "search.ko.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_is_explained(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    for field in SearchConfig.model_fields:
        assert f"`search.{field}`" in text, field


def test_both_languages_have_the_same_rows() -> None:
    tables = [
        re.findall(r"^\| (`.*?) \|", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in PAGES
    ]
    assert tables[0] == tables[1] and tables[0]
