"""Memory that training frees stays for the next update, and goes back at the end."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from runs import train_small

from jumok.training import heap, run
from jumok.training.heap import _glibc
from jumok.training.trainer import Trainer

SCRIPT = """
import ctypes, resource
import torch
from jumok.training.heap import kept_heap

names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
MIB = 1 << 20

def from_the_system():
    before = libc.mallinfo2().hblkhd
    piece = torch.empty(16 * MIB, dtype=torch.uint8)
    return libc.mallinfo2().hblkhd - before

def resident():
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

assert from_the_system() >= 16 * MIB  # the first large piece of a process always is
with kept_heap():
    assert from_the_system() == 0
    pieces = [torch.ones(16 * MIB, dtype=torch.uint8) for _ in range(8)]
    full = resident()
    del pieces
    assert libc.mallinfo2().fordblks >= 128 * MIB  # free, and kept
    assert resident() > full - 16 * MIB
assert resident() < full - 112 * MIB
with kept_heap():
    pieces = [torch.empty(24 * MIB, dtype=torch.uint8) for _ in range(100)]
    del pieces
    assert libc.mallinfo2().fordblks >= 2400 * MIB  # beyond what an int of C can say
"""


@pytest.mark.skipif(
    not hasattr(_glibc(), "mallinfo2"), reason="only glibc since 2.33 says what its heap holds"
)
def test_large_pieces_come_from_the_heap_and_the_system_gets_them_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_a_training_keeps_its_heap_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []

    class Libc(ctypes.CDLL):
        def __init__(self) -> None:
            pass

        def mallopt(self, which: int, size: int) -> None:
            said.append((which, size))

        def malloc_trim(self, kept: int) -> None:
            said.append("trim")

    class Watched(Trainer):
        def fit(self) -> Any:
            said.append("fit")
            weakref.finalize(self, said.append, "gone")
            return super().fit()

    monkeypatch.setattr(heap, "_glibc", Libc)
    monkeypatch.setattr(run, "Trainer", Watched)
    train_small(tmp_path, {"train.max_epochs": 1})
    during, after = list(heap._DURING.items()), list(heap._AFTER.items())
    assert said == [*during, "fit", "gone", *after, "trim"]


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _glibc() is None
