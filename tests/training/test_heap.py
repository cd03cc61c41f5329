"""Memory that training frees stays for the next update, and goes back at the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jumok.training.heap import _glibc

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
"""


@pytest.mark.skipif(_glibc() is None, reason="the heap is glibc's")
def test_large_pieces_come_from_the_heap_and_the_system_gets_them_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _glibc() is None
