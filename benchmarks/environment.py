"""Where, when and with what a benchmark was run: stored beside every figure."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jumok", "torch", "numpy", "tokenizers", "sacrebleu")


def environment() -> dict[str, Any]:
    """Date (UTC), commit, command, versions and hardware. No user, host or absolute path."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _commit(),
        "command": _command(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": _cores(),
        "threads": _threads(),
        "gpu": _gpu(),
    }


def _commit() -> str:
    """Short hash, with ``+changes`` where files that can change a figure differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    written = [":!benchmarks/results", ":!docs", ":!*.md"]  # by the benchmarks themselves
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return commit + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return " ".join(["python", str(name), *sys.argv[1:]])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int | None:
    """Threads of torch, if it is in use."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else None
