"""Jobs and batches, without any web and without any model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jumok.errors import InputError, Overloaded
from jumok.serving import Batcher


class Answers:
    """Says each item with its key, and remembers the batches. Holds until it is let go."""

    def __init__(self, bad: Callable[[Any], BaseException | None] = lambda item: None) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.go, self.begun = threading.Event(), threading.Event()
        self._bad = bad

    def __call__(self, key: str, items: list[Any]) -> list[Any]:
        self.batches.append((key, items))
        self.begun.set()
        assert self.go.wait(30)
        for item in items:
            error = self._bad(item)
            if error is not None:
                raise error
        return [(key, item) for item in items]


@contextmanager
def opened(answers: Answers, size: int = 4, waiting: int = 100) -> Iterator[Batcher[str]]:
    batcher = Batcher(answers, size, waiting)
    try:
        yield batcher
    finally:
        answers.go.set()
        batcher.close()


@contextmanager
def busy(answers: Answers, size: int = 4, waiting: int = 100) -> Iterator[Batcher[str]]:
    """With a first job that is being answered until the answers are let go."""
    with opened(answers, size, waiting) as batcher:
        batcher.submit("busy", ["first"])
        assert answers.begun.wait(30)
        yield batcher


def test_a_lone_job_is_answered_at_once() -> None:
    answers = Answers()
    answers.go.set()
    with opened(answers) as batcher:
        assert batcher.submit("a", [1, 2]).result(30) == [("a", 1), ("a", 2)]
        assert batcher.submit("a", []).result(30) == []


def test_what_waits_and_is_alike_is_one_batch() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        jobs = [
            ("a", [1]), ("b", [2, 3]), ("a", [4, 5]), ("a", [6, 7]), ("b", [8]), ("a", [9]),
            ("c", [10, 11, 12, 13, 14, 15]), ("c", [16]),
        ]  # fmt: skip
        futures = [batcher.submit(*job) for job in jobs]
        assert batcher.waiting == 16
        answers.go.set()
        for (key, items), future in zip(jobs, futures, strict=True):
            assert future.result(30) == [(key, item) for item in items]
        assert batcher.waiting == 0
    assert answers.batches == [
        ("busy", ["first"]),
        ("a", [1, 4, 5, 9]),  # the first and what is like it, up to four; 6 and 7 do not fit
        ("b", [2, 3, 8]),
        ("a", [6, 7]),
        ("c", [10, 11, 12, 13, 14, 15]),  # larger than a batch: alone
        ("c", [16]),
    ]


@settings(max_examples=50, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=5)), max_size=12
    ),
    size=st.integers(1, 6),
)
def test_every_job_gets_its_own_answers(jobs: list[tuple[str, list[int]]], size: int) -> None:
    answers = Answers()
    with busy(answers, size) as batcher:
        futures = [batcher.submit(key, items) for key, items in jobs]
        answers.go.set()
        for (key, items), future in zip(jobs, futures, strict=True):
            assert future.result(30) == [(key, item) for item in items]
    largest = max((len(items) for _, items in jobs), default=0)
    assert all(len(items) <= max(size, largest) for _, items in answers.batches)


def test_an_error_is_that_of_its_own_job() -> None:
    def bad(item: Any) -> BaseException | None:
        return InputError(f"not {item}") if isinstance(item, str) and item != "first" else None

    answers = Answers(bad)
    with busy(answers, 100) as batcher:
        good = [batcher.submit("a", [number]) for number in range(5)]
        wrong = [batcher.submit("a", [1, word]) for word in ("x", "y")]
        good += [batcher.submit("a", [number]) for number in range(5, 9)]
        answers.go.set()
        assert [future.result(30) for future in good] == [[("a", number)] for number in range(9)]
        assert [str(future.exception(30)) for future in wrong] == ["not x", "not y"]


def test_an_error_of_any_kind_does_not_end_the_thread() -> None:
    answers = Answers(lambda item: SystemExit("out") if item == 1 else None)
    with opened(answers) as batcher:
        answers.go.set()
        assert isinstance(batcher.submit("a", [1]).exception(30), SystemExit)
        assert batcher.submit("a", [2]).result(30) == [("a", 2)]


def test_only_so_much_waits() -> None:
    answers = Answers()
    with busy(answers, waiting=3) as batcher:
        kept = [batcher.submit("a", [1, 2]), batcher.submit("b", [3])]
        with pytest.raises(Overloaded, match="lets 3 texts wait, and 3 do"):
            batcher.submit("a", [4])
        kept[0].cancel()  # whoever asked has gone: there is room again
        kept.append(batcher.submit("a", [5]))
        answers.go.set()
        assert [future.result(30) for future in kept[1:]] == [[("b", 3)], [("a", 5)]]


def test_a_job_larger_than_what_may_wait_has_its_turn() -> None:
    answers = Answers()
    with busy(answers, waiting=3) as batcher:
        large = batcher.submit("a", list(range(10)))
        with pytest.raises(Overloaded):
            batcher.submit("a", [1])
        answers.go.set()
        assert len(large.result(30)) == 10


def test_what_is_cancelled_is_never_begun() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        gone, alone = batcher.submit("a", [1]), batcher.submit("b", [2])
        kept = batcher.submit("a", [3])
        assert gone.cancel() and alone.cancel()
        assert batcher.waiting == 1
        answers.go.set()
        assert kept.result(30) == [("a", 3)]
    assert answers.batches == [("busy", ["first"]), ("a", [3])]


def test_what_waits_is_answered_before_it_ends() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        last = batcher.submit("a", [1])
        ending = threading.Thread(target=batcher.close)
        ending.start()
        while True:
            try:
                batcher.submit("a", [2]).cancel()  # until it is closed
            except Overloaded as error:
                assert "about to end" in str(error)
                break
        answers.go.set()
        ending.join(30)
        assert not ending.is_alive()
        assert last.result(0) == [("a", 1)]


def test_it_tells_how_large_batches_were() -> None:
    told: list[int] = []
    batcher = Batcher(lambda key, items: items, 4, 10, told.append)
    batcher.submit("a", [1, 2, 3]).result(30)
    batcher.close()
    assert told == [3]
