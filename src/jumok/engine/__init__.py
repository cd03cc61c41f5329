"""Engines turn a bundle into a step function. Each imports its library only when asked for."""

from __future__ import annotations

from difflib import get_close_matches
from typing import get_args

from jumok.bundle import Bundle, Exported, Precision, read_exported
from jumok.engine.base import Candidates, Engine, EngineName, WholeSearch
from jumok.engine.ensemble import EnsembleEngine
from jumok.engine.fusion import FusionEngine
from jumok.errors import BundleError, ConfigError, MissingExtra

__all__ = [
    "Candidates",
    "Engine",
    "EngineName",
    "EnsembleEngine",
    "FusionEngine",
    "WholeSearch",
    "check_engine",
    "load_engine",
]


def check_engine(engine: EngineName, device: str) -> None:
    """Raise `ConfigError` for an engine that there is not, or that does not compute on such a
    device."""
    known = get_args(EngineName)
    if engine not in known:
        close = get_close_matches(str(engine), known, n=1)
        meant = f" Did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"There is no engine '{engine}'.{meant} Engines: {', '.join(known)}")
    if engine in ("onnx", "onnx-int8") and device != "cpu":
        raise ConfigError(
            f"The engine {engine} computes on the cpu, but device={device}. Leave one out"
        )


def load_engine(bundle: Bundle, device: str = "cpu", engine: EngineName = "auto") -> Engine:
    """The engine for ``bundle``.

    ``auto`` takes the exported graphs in float32 where there are some and the device is a cpu, and
    torch otherwise. ``onnx-int8`` is never taken unasked: its outputs may be others.

    Raises `MissingExtra` where torch is needed and absent, `BundleError` where the graphs are, and
    `ConfigError` for an engine that there is not.
    """
    check_engine(engine, device)
    # not looked at where torch computes: a stale or damaged export is no hindrance there
    exported = None if engine == "torch" or device != "cpu" else read_exported(bundle)
    if exported is None and engine in ("onnx", "onnx-int8"):
        raise BundleError(
            f"{bundle.path} was not exported, so there are no graphs for the engine {engine}. "
            f"Export it: jumok export {bundle.path}"
        )
    if exported is None:
        return _torch(bundle, device)
    precision: Precision = "int8" if engine == "onnx-int8" else "fp32"
    return _onnx(bundle, exported, precision)


def _torch(bundle: Bundle, device: str) -> Engine:
    try:
        from jumok.engine.torch_engine import load_torch_engine
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "entmax"):
            raise
        raise MissingExtra("train", error.name) from None
    return load_torch_engine(bundle, device)


def _onnx(bundle: Bundle, exported: Exported, precision: Precision) -> Engine:
    from jumok.engine.onnx_engine import load_onnx_engine

    return load_onnx_engine(bundle, exported, precision)
