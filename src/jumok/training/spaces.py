"""What a search of settings may choose from, as it is written on a command line.

``KEY=LOW..HIGH`` is a range, whole numbers where the setting takes no others; ``:log`` after it
tries each order of magnitude as often. ``KEY=A|B|C`` is a choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jumok.config import Config, check_setting, parse_settings, shown, takes_numbers
from jumok.errors import ConfigError

Value = str | int | float | bool | None


@runtime_checkable
class Draw(Protocol):
    """Where values come from: an Optuna trial."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...
    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value: ...


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``; whole ones where these are."""

    key: str
    low: int | float
    high: int | float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"

    def draw(self, trial: Draw) -> Value:
        """A value for a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """Some values."""

    key: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return "|".join(map(shown, self.values))

    def draw(self, trial: Draw) -> Value:
        """A value for a trial."""
        return trial.suggest_categorical(self.key, self.values)


Space = Range | Choice


def parse_spaces(texts: Sequence[str], config: Config) -> list[Space]:
    """Read spaces, which are searched from ``config``, in the order of their keys.

    Raises `ConfigError` for what makes no sense.
    """
    if not texts:
        raise ConfigError(f"There is nothing to search. {_FORM}")
    spaces: dict[str, Space] = {}
    for text in texts:
        space = parse_space(text)
        if space.key in spaces:
            raise ConfigError(f"Two spaces of {space.key} came. Give one")
        _check_sense(space.key, config)
        spaces[space.key] = space
    return [spaces[key] for key in sorted(spaces)]


_FORM = (
    "A space is written KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A|B|C, as in "
    "train.learning_rate=1e-4..1e-2:log"
)


def parse_space(text: str) -> Space:
    """Read ``KEY=LOW..HIGH[:log]`` or ``KEY=A|B|C``."""
    key, _, spec = (part.strip() for part in text.partition("="))
    if key and "|" in spec:
        return _choice(key, spec)
    if key and ".." in spec:
        return _range(key, spec, text)
    if key and spec:
        check_setting(key, parse_settings([text])[key])
        raise ConfigError(f"{text} leaves no choice: it is a setting, --set {text}. {_FORM}")
    raise ConfigError(f"{_FORM}, but '{text}' came")


def _choice(key: str, spec: str) -> Choice:
    values: list[Value] = []
    for part in spec.split("|"):
        value = parse_settings([f"{key}={part.strip()}"])[key]
        check_setting(key, value)
        if isinstance(value, list | dict):
            raise ConfigError(f"{key} takes a list, and lists cannot be searched")
        if value in values:
            raise ConfigError(f"{key}={spec} has {shown(value)} twice. Leave one out")
        values.append(value)
    return Choice(key, tuple(values))


def _range(key: str, spec: str, text: str) -> Range:
    numbers, log, end = spec.partition(":log")
    low, high = map(_number, (numbers.partition("..")[0], numbers.partition("..")[2]))
    if low is None or high is None or end:
        raise ConfigError(f"{_FORM}, but '{text}' came")
    kind = takes_numbers(key)
    ends = [int(one) if kind is int and one.is_integer() else one for one in (low, high)]
    for one in ends:
        check_setting(key, one)
    if kind is None:
        raise ConfigError(f"{key} takes no numbers, so {text} says nothing. Name values: {key}=A|B")
    if low >= high:
        raise ConfigError(f"{text} should go from a lower number to a higher one. Change its ends")
    if log and low <= 0:
        raise ConfigError(
            f"{text} begins at {ends[0]}, and orders of magnitude are those of numbers above 0. "
            "Begin above 0, or leave :log out"
        )
    return Range(key, ends[0], ends[1], bool(log))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_sense(key: str, config: Config) -> None:
    """Refuse what does not tell good models from bad ones."""
    why = None
    if key.startswith("search."):
        why = "trials are judged on greedy outputs, where it says nothing"
    elif key in _NO_MATTER:
        why = "it does not change what is learnt"
    elif key.startswith(_JUDGING) and key != "data.reverse_source":
        why = "it decides on what trials are judged, so that they could not be compared"
    elif key == "train.seed":
        why = "one seed is for all trials, so that they differ in nothing else"
    elif key.startswith(_TOKENS) and config.evaluation.metric == "perplexity":
        why = "perplexities of unlike tokens cannot be compared. Set another evaluation.metric"
    if why:
        raise ConfigError(f"{key} cannot be searched: {why}")


_JUDGING = ("data.", "evaluation.", "train.validate_pairs", "text.target.lowercase")
_TOKENS = ("text.", "model.attention.copy_tokens")
_NO_MATTER = {
    f"train.{name}"
    for name in ("checkpoint_minutes", "keep_checkpoints", "sinks", "device", "threads", "fast")
}
