"""Windows answered by Ray Data's workers, on one machine or many, in the order of the input.

    a task that reads ─ windows ─ workers that hold the models ─ answers ─ this process

The file is read on this machine; the model directories must be found under the same names on all.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from jumok import errors
from jumok.cli.bulk import Answered, Answerer, Job
from jumok.cli.streams import Source
from jumok.engine import check_engine
from jumok.errors import ConfigError, DataError, Interrupted, JumokError, MissingExtra

Row = dict[str, Any]
"""`Answered` as strings and numbers, which is what Ray Data carries."""


def answers_of_workers(
    job: Job, source: Source, before: int, size: int, workers: int
) -> Iterator[Answered]:
    """Answers to the lines of a file after the first ``before``, ``size`` at once.

    Without RAY_ADDRESS a cluster of this machine begins and ends here; it listens on loopback
    alone. Raises `MissingExtra` without Ray, `ConfigError` where it cannot begin, and `Interrupted`
    where it breaks off.
    """
    if job.device not in ("cpu", "cuda"):
        raise ConfigError(
            f"Each of Ray's workers sees a GPU of its own, so --device is cpu or cuda, but "
            f"{job.device} came"
        )
    check_engine(job.engine, job.device)
    address = os.environ.get("RAY_ADDRESS", "local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == "local":  # so that the servers of a Linux machine, too, listen on loopback alone
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("ray", error.name or "ray") from None
    _check_address(address)
    with redirect_stdout(sys.stderr), _cluster(address, workers):  # Ray prints what goes wrong
        rows = ray.data.read_datasource(
            _windows(source, before, size),
            override_num_blocks=1,
            num_cpus=0,
            resources={f"node:{ray.util.get_node_ip_address()}": 0.001},  # where the file is
        ).map(
            _Worker,
            fn_constructor_args=(_absolute(job), source.name),
            compute=ray.data.ActorPoolStrategy(size=_count(workers, job.device)),
            num_cpus=1,
            num_gpus=1 if job.device == "cuda" else None,
        )
        for row in rows.iter_rows():
            yield _answered(row)


def _check_address(address: str) -> None:
    """Raise `ConfigError` where nobody listens, which Ray would try for ten minutes."""
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # else "local" or "auto"
            socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        raise ConfigError(
            f"There is no cluster of Ray at RAY_ADDRESS={address}. Name one as HOST:PORT, or unset "
            "it to use this machine alone"
        ) from None


@contextmanager
def _cluster(address: str, workers: int) -> Iterator[None]:
    """A cluster to work on, of this machine alone or one that is there, and Ray Data set up."""
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    new = {"num_cpus": workers} if address == "local" and workers else {}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address, **quiet, **new)
    except Exception as error:  # of any kind, a bare Exception among them
        raise ConfigError(
            f"Ray could not begin at RAY_ADDRESS={address}: {_last_line(error)}. Mend that, or "
            "leave --ray out"
        ) from error
    try:
        log = logging.getLogger("ray.data")
        log.setLevel(logging.ERROR)
        for handler in log.handlers:
            if isinstance(handler, logging.StreamHandler):  # what ends a job is raised as well
                handler.setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.target_max_block_size = 1  # bytes: each window is a block, for any worker
        context.enable_progress_bars = False
        yield
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours in a task, with its traceback
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise Interrupted(
            f"Ray broke off: {_last_line(error)}. Its logs tell more (/tmp/ray/session_latest/logs "
            "on each machine). Begin again when that is mended"
        ) from error
    finally:
        ray.shutdown()


def _last_line(error: Exception) -> str:
    """What happened, without what Ray says before it of processes and stacks."""
    lines = str(error).split("\n")
    return next((line.strip(" .") for line in reversed(lines) if line.strip(" .")), repr(error))


def _count(workers: int, device: str) -> int:
    """How many workers there will be. Raises `ConfigError` where there is no room for them."""
    import ray

    unit = "GPU" if device == "cuda" else "CPU"
    room = int(ray.cluster_resources().get(unit, 0))
    if max(1, workers) > room:
        raise ConfigError(
            f"A worker of Ray's takes a {unit}, and there are {room} for {max(1, workers)}. Ask "
            "for fewer (--ray-workers), or for another --device"
        )
    return workers or room


class _Worker:
    """Loaded models in a process of Ray's, or why they cannot be loaded, which answers all rows.

    Ray would make a traceback of an error that a constructor raises.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.answerer: Answerer | JumokError
        try:
            self.answerer = Answerer(job, name)
        except JumokError as error:
            self.answerer = error

    def __call__(self, row: Row) -> Row:
        read = _answered(row)
        if read.error is not None:
            return row
        try:
            if isinstance(self.answerer, JumokError):
                raise self.answerer
            found = self.answerer(row["before"], read.lines)
        except JumokError as error:
            found = Answered([], "", error)
        return _row(row["before"], found.lines, found.text, found.error, row["share"])


def _windows(source: Source, before: int, size: int) -> Any:
    """A data source of Ray Data: one task that reads a file and hands on a window at a time."""
    import pyarrow
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    here, name = Source(str(Path(source.file).absolute()), source.encoding), source.name

    def read() -> Iterator[Row]:
        done, lines = before, here.lines()
        try:
            for _ in islice(lines, before):
                pass
            for window in here.windows(lines, size):
                yield _row(done, window, "", None, here.share())
                done += len(window)
        except DataError as error:
            named = DataError(error.reason, path=name, line=error.line)
            yield _row(done, [], "", named, here.share())

    class Windows(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, *args: Any, **options: Any) -> list[Any]:
            unknown = BlockMetadata(
                num_rows=None, size_bytes=None, exec_stats=None, input_files=None
            )
            return [ReadTask(lambda: (pyarrow.Table.from_pylist([r]) for r in read()), unknown)]

    return Windows()


def _row(
    before: int, lines: Sequence[str], text: str, error: JumokError | None, share: float | None
) -> Row:
    return {
        "before": before,
        "count": len(lines),  # no lines and one empty line look alike when they are joined
        "lines": "\n".join(lines),
        "text": text,
        "error": "" if error is None else _packed(error),
        "share": share,
    }


def _answered(row: Row) -> Answered:
    error = _unpacked(row["error"]) if row["error"] else None
    lines = row["lines"].split("\n") if row["count"] else []
    return Answered(lines, row["text"], error, row["share"])


def _packed(error: JumokError) -> str:
    return json.dumps([type(error).__name__, str(error), vars(error)], default=str)


def _unpacked(packed: str) -> JumokError:
    """The same error, made without its constructor, as each kind's has arguments of its own."""
    name, message, fields = json.loads(packed)
    kind: type[JumokError] = getattr(errors, name)
    error = kind.__new__(kind, message)
    if fields.get("path") is not None:
        fields["path"] = Path(fields["path"])
    vars(error).update(fields)
    return error


def _absolute(job: Job) -> Job:
    """With paths that mean the same wherever a worker begins."""
    judge = job.language_model
    return replace(
        job,
        models=[str(Path(model).absolute()) for model in job.models],
        language_model=None if judge is None else str(Path(judge).absolute()),
    )
