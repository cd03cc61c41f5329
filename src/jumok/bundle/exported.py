"""The graphs that `jumok export` puts into a bundle, under ``onnx/``.

    manifest.json      what they were made from, and the SHA-256 of every file
    start.onnx step.onnx greedy.onnx beam.onnx     each also as NAME.int8.onnx
    columns.onnx step.short.onnx greedy.short.onnx beam.short.onnx     the same for shortlists
    weights.bin weights.int8.bin                   numbers that the graphs share

A graph is checked, with its weights, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jumok.bundle.files import WEIGHTS, Bundle, check_hash, read_json
from jumok.errors import BundleError
from jumok.storage import find_directory

Precision = Literal["fp32", "int8"]

EXPORT_VERSION = 2
MANIFEST = "manifest.json"


def graph_file(name: str, precision: Precision) -> str:
    """The file of a graph."""
    return f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx"


def weights_file(precision: Precision) -> str:
    """The file of its weights."""
    return "weights.bin" if precision == "fp32" else f"weights.{precision}.bin"


@dataclass(frozen=True)
class Exported:
    """What was exported of a model; the graphs still lie on the disk."""

    folder: Path
    hashes: Mapping[str, str]
    _checked: set[str] = field(default_factory=set)

    def must_have(self, name: str, precision: Precision) -> None:
        """Raise `BundleError` unless there is such a graph."""
        for file in (graph_file(name, precision), weights_file(precision)):
            if file not in self.hashes:
                raise BundleError(
                    f"{self.folder} has no {file}. Export the model again: jumok export "
                    f"{self.folder.parent}"
                )

    def graph(self, name: str, precision: Precision) -> Path:
        """Its file. Raises `BundleError` unless it and its weights are what was written."""
        self.must_have(name, precision)
        for file in {graph_file(name, precision), weights_file(precision)} - self._checked:
            check_hash(self.folder / file, self.hashes[file])
            self._checked.add(file)  # weights belong to several graphs
        return self.folder / graph_file(name, precision)


def read_exported(bundle: Bundle) -> Exported | None:
    """What was exported of ``bundle``; None if nothing was.

    Raises `BundleError` where it was made from other weights, or by another version.
    """
    folder = find_directory(bundle.path / "onnx")
    if not folder.exists():
        return None
    head = read_json(folder / MANIFEST)
    again = f"Export it again: jumok export {bundle.path}"
    if head.get("export_version") != EXPORT_VERSION:
        raise BundleError(
            f"{folder} was exported in version {head.get('export_version')}, and this jumok reads "
            f"{EXPORT_VERSION}. {again}"
        )
    if head.get("model") != bundle.hashes.get(WEIGHTS):
        raise BundleError(f"{folder} was exported from another model than {WEIGHTS}. {again}")
    hashes = head.get("sha256")
    if not isinstance(hashes, dict):
        raise BundleError(f"{folder / MANIFEST} lacks the hashes of its files. {again}")
    return Exported(folder, hashes)
