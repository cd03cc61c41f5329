"""Texts are not kept: what stays of a line is a row of numbers."""

import tracemalloc

from jumok.config import DataConfig
from jumok.doctor import clean
from jumok.doctor.scan import Scan


def test_memory_grows_by_a_hundred_bytes_a_line(tmp_path):
    path = tmp_path / "p.tsv"
    lines, text = 4_000, "x" * 2_000  # 16 MB
    path.write_text("".join(f"{i} {text}\t{i} {text}\n" for i in range(lines)), encoding="utf-8")
    peaks = []
    for work in (
        lambda: Scan([path], DataConfig()),
        lambda: clean([path], tmp_path / "out.tsv"),
    ):
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 60 * lines + 1_000_000
    assert peaks[1] < 140 * lines + 1_000_000
