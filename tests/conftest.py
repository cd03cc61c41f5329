"""What holds for every test: shapes are checked, one thread a worker, outside data by fixture."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from shapes import begin, check_shapes

# Before anything of jumok is imported: jaxtyping annotations are checked at calls, so a test that
# passes has also proved the shapes in the signatures it went through.
check_shapes()

# One thread for each pytest-xdist worker (and for the `jumok` that a test may start), so that
# workers do not fight for cores. Set before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Kernels for a GPU are run by Triton's interpreter where torch sees none: read when it is imported.
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"

import pytest  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Threads of torch, where torch is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _shapes_are_checked() -> None:
    begin()


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """While it is open no file grows beyond 10,000 bytes."""

    @contextmanager
    def limited() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository; tests that need it are skipped
    where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the data sets in {SHARED_DATA}, which are not part of the repository")
    return SHARED_DATA
