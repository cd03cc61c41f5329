"""docs/data.md tells of every finding with its severity, in both languages, and of the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jumok.doctor import KINDS, checking, outliers

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("data.md", "data.ko.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_finding_is_explained(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    told = {
        finding: severity
        for names, severity in re.findall(r"^\| (`.*`) \| (error|warning|note) \|", text, re.M)
        for finding in re.findall("`(.*?)`", names)
    }
    assert list(told.items()) == [(name, kind.severity) for name, kind in KINDS.items()]


@pytest.mark.parametrize("name", PAGES)
def test_limits_are_those_of_the_code(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert outliers._REACH == 3 and "(q3/q1)³" in text
    assert f"{checking._MOST_PAIRS:,}" in text
    assert re.search(rf"\b{outliers.FEWEST}(개| pairs)", text)
    assert f"{outliers._MAIN_SHARE:.0%}".replace("%", " %") in text


def test_both_languages_have_the_same_rows() -> None:
    tables = [
        re.findall(r"^\| (`.*?) \|", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in PAGES
    ]
    assert tables[0] == tables[1] and tables[0]
