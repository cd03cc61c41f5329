"""What the doctor says: plain data, which can be printed and kept as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from jumok.doctor.forecast import Forecast
from jumok.doctor.kinds import Severity
from jumok.doctor.outliers import Limits


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int


@dataclass(frozen=True)
class Example:
    """A line with a finding."""

    file: str
    line: int
    source: str | None
    """The beginning of the text; None where there is no pair."""
    target: str | None
    reason: str | None
    """Why there is no pair."""
    same: Place | None
    """The earlier line that this one repeats, or the line of the training files that it is in."""


@dataclass(frozen=True)
class Finding:
    """Lines of one part with the same finding."""

    name: str
    severity: Severity
    part: str
    """`train` or `test`."""
    count: int
    share: float
    """Of the part's lines."""
    examples: list[Example]
    """The first ones."""


@dataclass(frozen=True)
class Part:
    """What is in the files of one part."""

    name: str
    files: list[str]
    lines: int
    pairs: int
    lengths: dict[str, dict[str, float]]
    """Of each side, in characters: `median` and `longest`; of the `ratio`, target to source:
    `median`."""
    limits: Limits
    scripts: dict[str, dict[str, float]]
    """Of each side, the share of letters that are of a script."""


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    parts: list[Part]
    findings: list[Finding]
    """By severity, those of the training files first."""
    forecast: list[Forecast] = field(default_factory=list)
    forecast_from: int = 0
    """Pairs that vocabularies were made from."""
    forecast_on: int = 0
    """Pairs that they were judged on: of the test files, or held out."""

    @property
    def passed(self) -> bool:
        """Whether there are only notes."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = asdict(self)
        for part, plain in zip(self.parts, found["parts"], strict=True):
            plain["limits"] = part.limits._asdict()
        found["forecast"] = [one._asdict() for one in self.forecast]
        return {"passed": self.passed, **found}
