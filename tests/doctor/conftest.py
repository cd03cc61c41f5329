"""Hypothesis without a time limit per example: a busy machine is no failure."""

import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("jumok", deadline=None, max_examples=60)
settings.load_profile("jumok")

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # for written.py
