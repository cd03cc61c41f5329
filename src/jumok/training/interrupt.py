"""Ctrl-C asks a run to stop at a good moment; a second Ctrl-C stops it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether somebody asked to stop. ``answer`` is called when it is first asked."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self.asked = False
        self.answer = answer

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.answer()


@contextmanager
def listen(answer: Callable[[], None]) -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for the time of a run (only the main thread can)."""
    request = StopRequest(answer)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
