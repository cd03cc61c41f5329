import sys
from pathlib import Path

for folder in ("laws", "export", "training"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from exports import exported  # noqa: E402

__all__ = ["exported"]
