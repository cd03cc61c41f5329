"""Jobs and batches, without any web and without any model."""

from __future__ import annotations

import threading
import time
import weakref
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
        batcher.close(30.0)


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


def test_what_is_dropped_is_never_begun_and_not_kept() -> None:
    class Item:
        pass

    answers, item = Answers(), Item()
    there = weakref.ref(item)
    with busy(answers) as batcher:
        gone, alone = batcher.submit("a", [item]), batcher.submit("b", [2])
        gone.drop()
        alone.drop()
        del item, gone
        assert batcher.waiting == 0
        kept = batcher.submit("a", [3])
        assert batcher.waiting == 1 and there() is None
        answers.go.set()
        assert kept.result(30) == [("a", 3)]
    assert answers.batches == [("busy", ["first"]), ("a", [3])]


def test_what_waits_is_answered_before_it_ends() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        last = batcher.submit("a", [1])
        ending = threading.Thread(target=batcher.close, args=[30.0])
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


def test_what_nobody_wants_any_more_can_be_broken_off() -> None:
    seen: list[bool] = []
    begun, go = threading.Event(), threading.Event()

    def answer(key: str, items: list[int]) -> list[int]:
        begun.set()
        assert go.wait(30)
        seen.append(batcher.wanted)
        if not batcher.wanted:
            raise InterruptedError
        return items

    batcher: Batcher[str] = Batcher(answer, 4, 100)
    dropped = batcher.submit("a", [1])
    assert begun.wait(30)
    one, other = batcher.submit("b", [2]), batcher.submit("b", [3])
    dropped.drop()
    assert not dropped.cancelled() and not batcher.wanted
    go.set()
    assert isinstance(dropped.exception(30), InterruptedError)
    assert (one.result(30), other.result(30)) == ([2], [3])
    begun.clear()
    go.clear()
    one, other = batcher.submit("b", [4]), batcher.submit("c", [5])
    assert begun.wait(30)
    one.drop()
    go.set()
    assert isinstance(one.exception(30), InterruptedError) and other.result(30) == [5]
    batcher.close(30.0)
    assert seen == [False, True, False, True]


def test_one_who_stays_is_answered_though_another_goes() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        go, begun = threading.Event(), threading.Event()
        one, other = batcher.submit("a", [1]), batcher.submit("a", [2])
        answers.go, answers.begun, first = go, begun, answers.go
        first.set()
        assert begun.wait(30)
        one.drop()
        assert batcher.wanted
        go.set()
        assert other.result(30) == [("a", 2)]


def test_it_ends_though_an_answer_takes_too_long() -> None:
    begun = threading.Event()

    def endless(key: str, items: list[int]) -> list[int]:
        begun.set()
        while batcher.wanted:
            time.sleep(0.01)
        raise InterruptedError

    batcher: Batcher[str] = Batcher(endless, 4, 100)
    made = batcher.submit("a", [1])
    assert begun.wait(30)
    waiting = batcher.submit("b", [2])
    start = time.monotonic()
    batcher.close(0.2)
    assert 0.2 <= time.monotonic() - start < 10
    assert isinstance(made.exception(0), InterruptedError) and waiting.cancelled()


def test_it_can_be_opened_again() -> None:
    answers = Answers()
    answers.go.set()
    batcher = Batcher(answers, 4, 10)
    assert batcher.submit("a", [1]).result(30) == [("a", 1)]
    batcher.close(30.0)
    with pytest.raises(Overloaded):
        batcher.submit("a", [2])
    batcher.open()
    assert batcher.submit("a", [3]).result(30) == [("a", 3)]
    batcher.close(30.0)


def test_a_heavy_item_counts_as_many() -> None:
    answers = Answers()
    with busy(answers) as batcher:
        for item, weight in ((1, 2), (2, 3), (3, 1), (4, 9), (5, None)):
            batcher.submit("a", [item], weight)
        assert batcher.waiting == 5
    assert [items for _, items in answers.batches] == [["first"], [1, 3, 5], [2], [4]]


def test_it_tells_how_large_batches_were() -> None:
    told: list[int] = []
    batcher = Batcher(lambda key, items: items, 4, 10, told.append)
    batcher.submit("a", [1, 2, 3]).result(30)
    batcher.close(30.0)
    assert told == [3]
