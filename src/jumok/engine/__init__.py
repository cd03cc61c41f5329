"""Engines turn a bundle into a step function. Each imports its library only when asked for."""

from __future__ import annotations

from jumok.bundle import Bundle
from jumok.engine.base import Engine
from jumok.engine.ensemble import EnsembleEngine
from jumok.engine.fusion import FusionEngine
from jumok.errors import MissingExtra

__all__ = ["Engine", "EnsembleEngine", "FusionEngine", "load_engine"]


def load_engine(bundle: Bundle, device: str = "cpu") -> Engine:
    """The engine for ``bundle``. Raises `MissingExtra` where torch is needed and absent."""
    try:
        from jumok.engine.torch_engine import load_torch_engine
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "entmax"):
            raise
        raise MissingExtra("train", error.name) from None
    return load_torch_engine(bundle, device)
