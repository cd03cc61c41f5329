"""From presets and settings to one validated `Config`, and every mistake answered in a sentence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from jumok.config.schema import Config
from jumok.errors import ConfigError


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    folder = resources.files("jumok") / "presets"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """The content of preset ``name``. Raises `ConfigError` for an unknown name."""
    if name not in preset_names():
        raise ConfigError(
            f"There is no preset '{name}'.{_did_you_mean(name, preset_names())} "
            f"Presets: {', '.join(preset_names())}"
        )
    text = (resources.files("jumok") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _combine_presets(names: Sequence[str]) -> dict[str, Any]:
    loaded = [load_preset(name) for name in names]
    kinds = [preset.pop("kind") for preset in loaded]
    architectures = [p for p, kind in zip(loaded, kinds, strict=True) if kind == "architecture"]
    tasks = [p for p, kind in zip(loaded, kinds, strict=True) if kind == "task"]
    again: list[dict[str, Any]] = [
        {k: p[k] for k in ("model", "data") if k in p} for p in architectures
    ]
    tree: dict[str, Any] = {}
    for preset in [*architectures, *tasks, *again]:
        tree = _merge(tree, preset)
    return tree


def resolve(
    presets: Sequence[str] = (),
    settings: Iterable[str] | Mapping[str, Any] = (),
    base: Mapping[str, Any] | None = None,
) -> Config:
    """Build a `Config` from defaults, ``base``, presets, then settings.

    ``settings`` are ``section.field=value`` strings (a value is JSON, or else plain text) or a
    mapping of dotted keys to values. Raises `ConfigError` with every mistake at once.
    """
    if base:
        from_tree(base)  # so that what is merged below has sections where sections belong
    tree = _merge(base or {}, _combine_presets(presets))
    tree["presets"] = list(tree.get("presets", ())) + list(presets)
    for key, value in parse_settings(settings).items():
        _assign(tree, key, value)
    return from_tree(tree)


def parse_settings(settings: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """``section.field=value`` strings as a mapping; later ones win."""
    if isinstance(settings, Mapping):
        return dict(settings)
    return dict(_split_setting(text) for text in settings)


def from_tree(tree: Mapping[str, Any]) -> Config:
    """Validate nested plain data, turning pydantic's report into sentences."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error))) from None


def check_setting(key: str, value: Any) -> None:
    """Raise `ConfigError` where there is no such setting, or it can never have this value.

    What it cannot have because of other settings is left to `resolve`.
    """
    tree: dict[str, Any] = {}
    _assign(tree, key, value)
    try:
        Config.model_validate(tree)
    except ValidationError as error:
        told = zip(error.errors(), _sentences(error), strict=True)
        wrong = [text for item, text in told if item["type"] != "value_error"]
        if wrong:
            raise ConfigError("\n".join(wrong)) from None


def takes_numbers(key: str) -> type[int] | type[float] | None:
    """`int` where a setting takes whole numbers alone, `float` where others too, else None."""
    kind = _kind(key)
    kinds = get_args(kind) or (kind,)
    return float if float in kinds else int if int in kinds else None


def read_tree(path: Path) -> dict[str, Any]:
    """The nested settings in a YAML file, such as a run's ``config.yaml``; not yet validated."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{path} is not readable YAML: {said}") from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} should hold sections of settings, as `jumok config --print` shows them, but "
            f"holds a {type(tree).__name__}"
        )
    return tree


def dotted_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every key that can be set, as ``section.field``."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from dotted_keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(low)
    for key, value in high.items():
        old = out.get(key)
        out[key] = (
            _merge(old if isinstance(old, Mapping) else {}, value)
            if isinstance(value, Mapping)
            else value
        )
    return out


def _split_setting(text: str) -> tuple[str, Any]:
    key, sep, value = text.partition("=")
    if not sep or not key.strip():
        raise ConfigError(
            f"A setting is written section.field=value, as in train.max_epochs=3, but '{text}' came"
        )
    key = key.strip()
    kind = _kind(key)
    if kind is str and not value.startswith('"'):
        return key, value  # a separator or a column may look like a number
    if kind == tuple[str, ...] and not value.lstrip().startswith(('"', "[")):
        return key, value  # so may a phrase or a file
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
    except RecursionError:
        raise ConfigError(
            f"{key} takes a value or a list of them, but lists inside so many others came that "
            f"they cannot be read ({value:.30}...). Write fewer brackets"
        ) from None


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    known = _known()
    if key not in known:
        raise ConfigError(
            f"There is no setting '{key}'.{_did_you_mean(key, known)} "
            "`jumok config --print` shows them all"
        )
    *sections, field = key.split(".")
    for section in sections:
        tree[section] = dict(tree.get(section, {}))  # it may be the caller's
        tree = tree[section]
    tree[field] = value


@cache  # asked for with every option of every prediction
def _known() -> tuple[str, ...]:
    """The keys that a person sets."""
    return tuple(key for key in dotted_keys() if key != "presets")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    last = {k.rsplit(".", 1)[-1]: k for k in reversed(known)}
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or [
        last[k] for k in difflib.get_close_matches(word.rsplit(".", 1)[-1], list(last), n=1)
    ]
    return f" Did you mean '{close[0]}'?" if close else ""


def _sentences(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        given = item["input"]
        if item["type"] == "extra_forbidden":
            yield f"There is no setting '{key}'.{_did_you_mean(key, _known())}"
        elif item["type"] == "literal_error":
            key = ".".join(str(part) for part in item["loc"] if isinstance(part, str))
            choices = _choices(key)
            yield (
                f"{key} must be one of {', '.join(choices)}, but '{given}' came."
                f"{_did_you_mean(str(given), choices)}"
            )
        elif item["type"].startswith("bool_"):
            meant = _did_you_mean(str(given).lower(), ["true", "false"])
            yield f"{key} must be true or false, but '{given}' came.{meant}"
        elif item["type"] == "value_error":
            yield f"{item['ctx']['error']}."
        else:
            yield f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, but {given!r} came."


def _choices(key: str) -> list[str]:
    kind = _kind(key)
    one = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return [str(choice) for choice in get_args(one)]


def _kind(key: str) -> Any:
    """The type of a field, None for an unknown key."""
    kind: Any = Config
    for part in key.split("."):
        field = getattr(kind, "model_fields", {}).get(part)
        kind = None if field is None else field.annotation
    return kind
