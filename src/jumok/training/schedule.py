"""Schedules, as functions of the step: of the learning rate, and of teacher forcing."""

from __future__ import annotations

import math

from jumok.config import TeacherForcing, TrainConfig


def learning_rate_factor(
    config: TrainConfig, step: int, total_steps: int, seconds: float = 0.0
) -> float:
    """The factor for update number ``step`` (from 1) of ``total_steps``, after ``seconds``.

    ``warmup_steps`` of linear rise, then: ``linear`` and ``cosine`` (Loshchilov & Hutter 2017,
    eq. 5) fall to zero at ``total_steps``, or at ``max_minutes`` if that comes first;
    ``inverse_sqrt`` falls with 1/sqrt(step) (Vaswani et al. 2017, eq. 3); ``constant`` stays, and
    so does ``plateau``, whose factor the trainer keeps.
    """
    warmup = config.warmup_steps
    if step <= warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if config.max_minutes is not None:
        progress = max(progress, min(1.0, seconds / (60 * config.max_minutes)))
    if config.schedule == "linear":
        return 1.0 - progress
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if config.schedule == "inverse_sqrt":
        return math.sqrt(max(1, warmup) / step)
    return 1.0


def given_share(config: TeacherForcing, step: int) -> float:
    """The share of target tokens that update number ``step`` (from 1) is given to read.

    Bengio et al. 2015, section 2.4, with i = step - 1; see `TeacherForcing`.
    """
    i, k = step - 1, config.slowness
    if config.decay == "constant":
        return config.rate
    if config.decay == "linear":
        share = config.rate - config.c * i
    elif config.decay == "exponential":
        share = k**i
    else:
        share = k / (k + math.exp(min(i / k, 700.0)))
    return max(config.least, share)
