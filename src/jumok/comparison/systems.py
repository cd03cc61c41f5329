"""What is compared: models, or outputs that any program wrote, on the same sources."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from jumok.errors import ConfigError, InputError
from jumok.metrics import Items, Summed, group_references, nfc, summed_perplexity
from jumok.predictor import OF_THE_MODEL, LanguageModel, Predictor
from jumok.progress import Tell, counted
from jumok.text.normal import one_line

System = Predictor | Sequence[str]
"""A model; or outputs, one for each different source in order, or one for each pair."""
Pairs = Sequence[tuple[str, str]]


class Written(NamedTuple):
    """All sources, and the texts that stand beside each."""

    items: Items
    outputs: list[list[str]]
    """A's, and B's."""


def check_systems(
    systems: Sequence[System], names: Sequence[str], search: Mapping[str, Any]
) -> list[Predictor]:
    """The models among the systems. Raises `ConfigError` where there is nothing to compare."""
    for system, name in zip(systems, names, strict=True):
        if isinstance(system, str):
            raise ConfigError(
                f"{name} should be a model or a list of outputs, but one string came "
                f"({system!r:.40}). Load a model with jumok.load"
            )
        if isinstance(system, LanguageModel):
            raise ConfigError(
                f"Models that write outputs for sources can be compared, but {name} is a language "
                "model. Judge it by its perplexity: jumok evaluate MODEL TEXTS"
            )
    models = [system for system in systems if isinstance(system, Predictor)]
    if search and not models:
        raise ConfigError(
            "All outputs are there, so no model searches for them: leave "
            f"search.{next(iter(search))} out"
        )
    return models


def read_all(systems: Sequence[System], names: Sequence[str], pairs: Pairs) -> Written:
    """All but what the models will write, whose outputs are empty; every text is in the form in
    which every model writes.

    So systems that write in different forms are judged by the same references: in lower case
    where one of them knows no other, in one line where the outputs of one are lines of a file.
    """
    formed = _form(systems)
    items = group_references(
        ((source, formed(target)) for source, target in pairs), _read_as(systems)
    )
    outputs = [
        [] if isinstance(system, Predictor) else list(map(formed, _beside(system, items, name)))
        for system, name in zip(systems, names, strict=True)
    ]
    return Written(items, outputs)


def write_all(
    systems: Sequence[System],
    names: Sequence[str],
    read: Written,
    search: Mapping[str, Any],
    tell: Tell | None = None,
) -> Written:
    """Have the models write too."""
    formed, outputs = _form(systems), list(read.outputs)
    for number, (system, name) in enumerate(zip(systems, names, strict=True)):
        if isinstance(system, Predictor):
            told = counted(tell, f"{name}: outputs")
            with read.items.told_by_pair():
                found = system.predict(read.items.sources, tell=told, **search)
            outputs[number] = [formed(one.text) for one in found]
    return read._replace(outputs=outputs)


def have_perplexities(models: Sequence[Predictor]) -> bool:
    """Whether there are two models that can be compared by perplexity.

    They must have the same target tokens, copy both or not, and have no judge beside them.
    """
    alike = {
        (model.target_tokenizer.to_json(), model.config.model.attention.copy_tokens)
        for model in models
    }
    judged = any(model.judge is not None for model in models)
    return len(models) == 2 and len(alike) == 1 and not judged


def perplexities(
    models: Sequence[Predictor],
    names: Sequence[str],
    pairs: Pairs,
    items: Items,
    search: Mapping[str, Any],
    tell: Tell | None = None,
) -> list[Summed]:
    """The perplexity of each model."""
    reading = {key: search[key] for key in ("batch_size", "max_source_length") if key in search}
    found = []
    for model, name in zip(models, names, strict=True):
        log_probs, tokens = [0.0] * len(items.sources), [0] * len(items.sources)
        told = counted(tell, f"{name}: perplexity")
        every = model.score(pairs, tell=told, **OF_THE_MODEL, **reading)
        for place, forced in zip(items.places, every, strict=True):
            log_probs[place] += sum(forced.token_log_probs)
            tokens[place] += len(forced.tokens)
        found.append(summed_perplexity(log_probs, tokens))
    return found


def _form(systems: Sequence[System]) -> Callable[[str], str]:
    forms = [s.target_tokenizer.comparable for s in systems if isinstance(s, Predictor)]
    of_files = [s for s in systems if not isinstance(s, Predictor) and _are_lines(s)]
    forms += [one_line] if of_files else []

    def formed(text: str) -> str:
        text, before = nfc(text), None
        while text != before:  # subwords lose one space at the start each time, of outputs too
            before = text
            for form in forms:
                text = form(text)
        return text

    return formed


def _are_lines(outputs: Sequence[str]) -> bool:
    return all(one_line(output) == output for output in outputs)


def _read_as(systems: Sequence[System]) -> Callable[[str], Hashable]:
    """What is equal of sources that every system reads as one; of an unknown program, NFC."""
    forms = [
        system.source_tokenizer.normalise if isinstance(system, Predictor) else nfc
        for system in systems
    ]
    return lambda source: tuple(form(source) for form in forms)


def _beside(outputs: Sequence[str], items: Items, name: str) -> list[str]:
    """An output for each different source, from as many, or from one for each pair."""
    different, pairs = len(items.sources), len(items.places)
    if len(outputs) == different:
        return list(outputs)
    if len(outputs) != pairs:
        each = f"{different:,}" if different == pairs else (
            f"{different:,} (one for each different source, in order) or {pairs:,} (one "
            "for each pair)"
        )  # fmt: skip
        raise InputError(
            f"{name} should have {each} outputs, a line each, but {len(outputs):,} came"
        )
    found: dict[int, str] = {}
    for number, (place, output) in enumerate(zip(items.places, outputs, strict=True), start=1):
        if found.setdefault(place, output) != output:
            raise InputError(
                f"{name} should have one output for each source, but output {number} for "
                f"{items.sources[place]!r:.60} is {output!r:.60} where an earlier one is "
                f"{found[place]!r:.60}. Give one for each different source"
            )
    return list(found.values())
