"""From a command to its answer: jumok without torch beside other toolkits, start-up and size.

    python benchmarks/cold_start.py                        some minutes; needs the data

One sentence or word by each toolkit's own command (`decoding.py`), greedily, on one core: the time
on the clock, for that is what a person waits. jumok is `pip install jumok` alone, in an environment
of its own without torch, `echo TEXT | jumok predict MODEL -` with an exported model. The toolkits
take turns, and a turn's ratios are taken within it. A further run of each says which packages its
imports spend their time in (`python -X importtime`), and what is on the disk is measured without
pip and setuptools. Of the toolkits' packages it is those they have for themselves, and torch; what
else pip found in jumok's environment, as numpy, is left out in their favour. The smallest run-time,
`constraints-small.txt`, is measured as it was installed and after an answer, for Python then keeps
the bytecode of what it imported; the answer must be the same.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cli_runs import store
from decoding import TIMED, Row, all_rows, decode, write_sources
from rivals import REQUIREMENTS, ROOT, WORK, Spent, complete, set_up, write_data
from trained import trained
from turns import in_turns

ENVIRONMENT = WORK / "venv-jumok"
SMALL = WORK / "venv-jumok-small"
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")  # with which venv begins
NAMES = [name for timed in TIMED.values() for name in timed if not name.endswith("bahdanau")]


def main() -> None:
    """Set up, train, measure in turns, print, store."""
    parser = argparse.ArgumentParser(description="Start-up and size beside other toolkits.")
    parser.add_argument("--repeats", type=int, default=7, help="turns of every toolkit")
    parser.add_argument("--only", nargs="*", choices=NAMES, help="some; nothing is stored then")
    parser.add_argument("--updates", type=int, help="of every model; nothing is stored then")
    options = parser.parse_args()
    rows = [row for row in all_rows(options.only or NAMES) if (row.beam, row.batch) == (1, 1)]
    rows = [row for row in rows if row.engine in ("", "onnx") and not row.short]
    for data in dict.fromkeys(row.entry.data for row in rows):
        write_data(data)
    for toolkit in dict.fromkeys(row.entry.toolkit for row in rows):
        set_up(toolkit)
    install(ENVIRONMENT, "-c", str(ROOT / "constraints.txt"))
    folders = {row.name: trained(row.entry, options.updates or row.updates) for row in rows}
    walls: dict[str, list[float]] = {row.name: [] for row in rows}
    for turn, row in in_turns(rows, options.repeats):
        walls[row.name].append(answer(row, folders[row.name]).wall)
        print(f"turn {turn}: {row.entry.name} {walls[row.name][-1]:.2f} s", flush=True)
    found = summary(rows, walls)
    for row, one in zip(rows, found, strict=True):
        one["imports"] = imports(row, folders[row.name])
        one["megabytes"] = round(megabytes(row.entry.toolkit), 1)
        if row.entry.toolkit == "jumok":
            one["megabytes_small"] = small(row, folders[row.name])
        print(one)
    if not (options.only or options.updates):
        store("cold-start", found)


def install(environment: Path, *options: str) -> None:
    """This jumok, and what it requires, in an environment without torch."""
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    subprocess.run([*pip, *options, str(ROOT)], check=True)


def answer(
    row: Row, folder: Path, environ: dict[str, str] | None = None, environment: Path = ENVIRONMENT
) -> Spent:
    """One text by the toolkit's command; jumok's is that of ``environment``."""
    if row.entry.toolkit != "jumok":
        return decode(row, folder, 1, environ)[0]
    predict = [str(environment / "bin" / "jumok"), "predict", "run/last", "-"]
    source = write_sources(row.entry.data, 1, unknown=False)
    only_this = {"PYTHONPATH": "", **(environ or {})}
    return complete(predict, folder, reads=source, writes=folder / "answer", environ=only_this)


def imports(row: Row, folder: Path) -> dict[str, float]:
    """Milliseconds of each package's own modules, most first."""
    answer(row, folder, {"PYTHONPROFILEIMPORTTIME": "1"})
    return import_times((folder / "log").read_text(encoding="utf-8").splitlines())


def import_times(lines: Iterable[str]) -> dict[str, float]:
    """What Python says with -X importtime, added up by package; all of Python's own are one."""
    spent: Counter[str] = Counter()
    for line in lines:
        found = re.match(r"import time: +(\d+) \| +\d+ \| +(\S+)", line)
        if found:
            package = found[2].partition(".")[0]
            own = package in sys.stdlib_module_names or package in ("encodings", "site")
            spent["Python" if own else package] += int(found[1])
    return {package: round(time / 1000, 1) for package, time in spent.most_common()}


def megabytes(toolkit: str) -> float:
    """Millions of bytes in site-packages; those of torch too, but for jumok."""
    if toolkit == "jumok":
        return size(_packages(ENVIRONMENT))
    torch = size(Path(sysconfig.get_paths()["purelib"]) / "torch")
    return torch + (size(_packages(WORK / f"venv-{toolkit}")) if toolkit in REQUIREMENTS else 0)


def small(row: Row, folder: Path) -> list[float]:
    """`megabytes` of the smallest run-time, installed and then used."""
    answer(row, folder)
    wanted = (folder / "answer").read_bytes()
    install(SMALL, "--no-compile", "-c", str(ROOT / "constraints-small.txt"))
    installed = size(_packages(SMALL))
    answer(row, folder, {"PYTHONDONTWRITEBYTECODE": ""}, SMALL)
    if (folder / "answer").read_bytes() != wanted:
        raise RuntimeError(f"{row.entry.name} answers differently with constraints-small.txt")
    return [round(installed, 1), round(size(_packages(SMALL)), 1)]


def _packages(environment: Path) -> Path:
    [packages] = environment.glob("lib/python*/site-packages")
    return packages


def size(folder: Path) -> float:
    """Millions of bytes in the files under a folder, but for `TOOLS`."""
    total = 0
    for path in folder.rglob("*"):
        package = path.relative_to(folder).parts[0].partition("-")[0]
        if package not in TOOLS and path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total / 1e6


def summary(rows: Sequence[Row], walls: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Medians, and how many times as long each other toolkit took on the same data."""
    found = []
    for row in rows:
        ours = walls[row.name]
        others = [other for other in rows if other.entry.data == row.entry.data]
        times = {
            other.entry.toolkit: round(
                statistics.median(b / a for a, b in zip(ours, walls[other.name], strict=True)), 2
            )
            for other in others
            if row.entry.toolkit == "jumok" and other is not row
        }
        found.append(
            {
                "data": row.entry.data,
                "toolkit": row.entry.toolkit,
                "seconds": round(statistics.median(ours), 3),
                "turns": [round(wall, 3) for wall in ours],
                "times": times,
            }
        )
    return found


if __name__ == "__main__":
    main()
