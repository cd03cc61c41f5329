"""Tiny models come from tests/laws, and are exported once for all tests."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "laws"), str(Path(__file__).parent)]

from exports import exported, exported_beam  # noqa: E402

__all__ = ["exported", "exported_beam"]
