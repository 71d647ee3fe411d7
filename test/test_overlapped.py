"""Reading ahead and writing behind: order, limits, errors, and the thread in which everything happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from vis_ros.replay.offline.overlapped import WriteBehind, read_ahead


def test_items_come_in_order_from_one_other_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        try:
            for number in range(50):
                threads.add(threading.get_ident())
                yield number
        finally:
            threads.add(threading.get_ident())

    assert list(read_ahead(items())) == list(range(50))
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_only_a_few_items_are_read_ahead_and_the_generator_is_closed() -> None:
    read, closed = [], threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(1000):
                read.append(number)
                yield number
        finally:
            closed.set()

    with closing(read_ahead(items())) as ahead:
        assert next(ahead) == 0
    assert closed.is_set() and len(read) <= 4


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError('damaged')

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match='damaged'):
        next(ahead)


def test_functions_are_called_in_order_in_one_other_thread() -> None:
    called, threads = [], set()
    with closing(WriteBehind()) as behind:
        for number in range(50):
            behind(lambda number=number: (called.append(number), threads.add(threading.get_ident())))
        behind.finish()
    assert called == list(range(50)) and len(threads) == 1 and threading.get_ident() not in threads


def test_waiting_functions_are_bounded() -> None:
    gate, called = threading.Event(), []
    with closing(WriteBehind()) as behind:
        for _ in range(3):
            behind(lambda: (gate.wait(30), called.append(1)))
        blocked = threading.Thread(target=lambda: behind(lambda: called.append(2)))
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive() and not called
        gate.set()
        blocked.join(30)
        behind.finish()
    assert called == [1, 1, 1, 2]


def test_what_a_function_raises_reaches_the_caller() -> None:
    def fail() -> None:
        raise OSError('No space left on device')

    with closing(WriteBehind()) as behind:
        behind(fail)
        with pytest.raises(OSError, match='No space left'):
            behind.finish()
        behind.finish()
