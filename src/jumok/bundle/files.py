"""Reading and writing a bundle: one directory in the Hugging Face hub's layout.

    config.json             format version, configuration, SHA-256 of it, weights, tokenizers
    model.safetensors       weights
    source.tokenizer.json   target.tokenizer.json
    metrics.json            how it scored when it was saved (not hashed)
    README.md               model card (free to edit; not hashed)

    onnx/                   graphs that run without torch, after `jumok export` (`exported`)
    shortlist.safetensors   target tokens of each source token, after `jumok shortlist`

Nothing here is a pickle. Reading checks the hashes of configuration and tokenizers. The engine
that needs the weights checks theirs, and names and shapes against the configuration, before any
is allocated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jumok.bundle.card import model_card
from jumok.config import Config, DataConfig, from_tree
from jumok.errors import BundleError, ConfigError
from jumok.storage import find_directory, replace_directory, sha256
from jumok.text import Tokenizer

FORMAT_VERSION = 2
WEIGHTS = "model.safetensors"
SOURCE_TOKENIZER = "source.tokenizer.json"
TARGET_TOKENIZER = "target.tokenizer.json"
_HASHED = (WEIGHTS, SOURCE_TOKENIZER, TARGET_TOKENIZER)


@dataclass(frozen=True)
class Bundle:
    """A model directory that was read and checked; the weights still lie on the disk."""

    path: Path
    config: Config
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    metrics: Mapping[str, Any]
    hashes: Mapping[str, str]
    """SHA-256 of its files, as they were written."""

    @property
    def weights(self) -> Path:
        """The file of weights."""
        return self.path / WEIGHTS

    def check_weights(self) -> None:
        """Raise `BundleError` unless the weights are those that were written."""
        check_hash(self.weights, self.hashes.get(WEIGHTS))

    def check_unchanged(self) -> None:
        """Raise `BundleError` where another model has come into its place since it was read, beside
        which nothing that was made from this one may be put."""
        if read_json(find_directory(self.path) / "config.json").get("sha256") != self.hashes:
            raise BundleError(
                f"The model in {self.path} became another one meanwhile, as it does while a run "
                "trains, so nothing was written. Wait until the run has ended, or take a copy of "
                "the model"
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the stored float32 tensors, from the file's header alone."""
        try:
            with safe_open(self.weights, framework="np") as file:
                slices = {k: file.get_slice(k) for k in file.keys()}  # noqa: SIM118
                kinds = {s.get_dtype() for s in slices.values()}
                if kinds - {"F32"}:
                    raise BundleError(
                        f"{self.weights} should hold float32 tensors (F32) and no others, but "
                        f"holds {', '.join(sorted(kinds))}. It was not written by jumok"
                    )
                return {k: tuple(s.get_shape()) for k, s in slices.items()}
        except (SafetensorError, OSError) as error:
            raise BundleError(
                f"{self.weights} is not a readable safetensors file: {error}"
            ) from None

    def check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Raise `BundleError` unless exactly the ``expected`` tensors are there."""
        stored = self.shapes()
        for name in sorted(expected.keys() | stored.keys()):
            if stored.get(name) != expected.get(name):
                raise BundleError(
                    f"{self.weights} does not fit its config.json: tensor '{name}' should be "
                    f"{_shape(expected.get(name))}, but is {_shape(stored.get(name))}. The files "
                    "are of two different models; copy the whole directory again"
                )


def write_bundle(
    path: Path,
    config: Config,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    tensors: Mapping[str, np.ndarray],
    metrics: Mapping[str, Any],
    also: Callable[[Path], None] = lambda folder: None,
    keep_old: bool = False,
) -> None:
    """Write a bundle in one piece: ``path`` is the whole new one or the whole old one.

    ``also`` may put more files into the directory before it appears. For ``keep_old`` see
    `replace_directory`. Which files it was trained on, and where they and their cache lie, is
    somebody's own business and does not travel with a model.
    """
    data = config.data.model_copy(
        update={"train": (), "dev": (), "weights": (), "cache": DataConfig().cache}
    )
    config = config.model_copy(update={"data": data})
    with replace_directory(path, keep_old) as folder:
        # not save_file, which hides a full disk in an error of its own and makes private files
        (folder / WEIGHTS).write_bytes(save(dict(tensors)))
        source_tokenizer.save(folder / SOURCE_TOKENIZER)
        target_tokenizer.save(folder / TARGET_TOKENIZER)
        settings = config.model_dump(mode="json")
        head = {
            "format_version": FORMAT_VERSION,
            "library_name": "jumok",
            "sha256": {
                "config": _settings_hash(settings),
                **{name: sha256(folder / name) for name in _HASHED},
            },
            "config": settings,
        }
        _write_json(folder / "config.json", head)
        _write_json(folder / "metrics.json", metrics)
        card = model_card(config, source_tokenizer, target_tokenizer, metrics)
        (folder / "README.md").write_text(card, encoding="utf-8")
        also(folder)


def read_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle. A run directory stands for its ``best`` model.

    Raises `BundleError` with a sentence for anything missing, damaged, edited or foreign.
    """
    folder = _locate(Path(path))
    head = read_json(folder / "config.json")
    version = head.get("format_version")
    if head.get("library_name") != "jumok" or not isinstance(version, int):
        raise BundleError(f"{folder / 'config.json'} was not written by jumok")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{folder} has format version {version}, and this jumok reads up to {FORMAT_VERSION}. "
            "Upgrade with: pip install -U jumok"
        )
    if version < FORMAT_VERSION:
        raise BundleError(
            f"{folder} has format version {version}, from before 0.1.0, and this jumok reads "
            f"{FORMAT_VERSION}. Train the model again"
        )
    hashes = head.get("sha256")
    if not isinstance(hashes, dict):
        raise BundleError(f"{folder / 'config.json'} lacks the hashes of its files")
    for name in (SOURCE_TOKENIZER, TARGET_TOKENIZER):
        check_hash(folder / name, hashes.get(name))
    if not isinstance(head.get("config"), dict):
        raise BundleError(f"{folder / 'config.json'} lacks the model's settings")
    try:
        config = from_tree(head["config"])
    except ConfigError as error:
        raise BundleError(f"{folder / 'config.json'} was edited into nonsense: {error}") from None
    if hashes.get("config") != _settings_hash(head["config"]):
        raise BundleError(
            f"The settings in {folder / 'config.json'} have changed since they were written, and "
            "with others the weights mean something else. Copy the whole model directory again; "
            "settings of the search can be given with every command (--set search.beam=5)"
        )
    return Bundle(
        folder,
        config,
        Tokenizer.load(folder / SOURCE_TOKENIZER),
        Tokenizer.load(folder / TARGET_TOKENIZER),
        read_json(folder / "metrics.json"),
        hashes,
    )


def fingerprint(path: str | Path, file: str = "config.json") -> str | None:
    """SHA-256 of a bundle's config.json, which has those of its weights, tokenizers and settings;
    or of another ``file`` of it, None if there is none.

    Raises `BundleError` where there is no bundle; whether it is whole only `read_bundle` says.
    """
    found = _locate(Path(path)) / file
    found = find_directory(found.parent) / found.name
    return sha256(found) if found.exists() else None


def _locate(path: Path) -> Path:
    folder = find_directory(path)
    if not (folder / "config.json").exists():
        best = find_directory(folder / "best")
        if (best / "config.json").exists():
            return best
        last = find_directory(folder / "last")
        if (last / "config.json").exists():
            return last
    if not folder.exists():
        raise BundleError(f"There is no model directory {path}. `jumok train` makes one")
    if not (folder / "config.json").exists():
        raise BundleError(
            f"{path} is not a model directory: it should hold config.json, {WEIGHTS} and two "
            "tokenizer files. Give the directory that `jumok train --output` made"
        )
    return folder


def check_hash(path: Path, expected: object) -> None:
    """Raise `BundleError` unless a file is there and has this SHA-256."""
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; copy the whole model directory again") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from None
    if found != expected:
        raise BundleError(
            f"{path} has changed since it was written (its SHA-256 is another): it was cut short "
            "or edited. Copy the whole model directory again"
        )


def _settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the settings themselves, however the file is laid out."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `BundleError` if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; copy the whole model directory again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path} should hold a JSON object, but holds a {type(value).__name__}")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a single number"
