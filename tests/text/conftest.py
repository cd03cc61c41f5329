"""Hypothesis without a time limit per example: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("jumok", deadline=None, max_examples=60)
settings.load_profile("jumok")
