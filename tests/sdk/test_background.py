"""The loop behind programs that have none: an interrupt at any place of a wait leaves it at work."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import pytest

from pico_tunnel.background import Background
from tests.waiting import PATIENCE_S

MAX_PLACES = 2_000
WAITING = ("pico_tunnel/background.py", "threading.py", "concurrent/futures/_base.py")
"""Where a thread waits. An interrupt in a callback of a weak reference is lost, in Python itself."""


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


@contextmanager
def interrupted_at(place: int) -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` as a signal would: at the line, call or return with this number in what waits."""
    left = place

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        nonlocal left
        left -= frame.f_code.co_filename.endswith(WAITING)
        if left == 0 and frame.f_code.co_filename.endswith(WAITING):
            left = -1
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def answers(background: Background) -> bool:
    """Return whether the loop still works."""
    answered = threading.Event()

    def ask() -> None:
        background.call(asyncio.sleep, 0)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PATIENCE_S)


def interrupt_everywhere(background: Background, action: Callable[[], object]) -> int:
    """Carry out ``action`` with an interrupt at each of its places in turn, and return how many there are."""
    for place in range(1, MAX_PLACES):
        try:
            with interrupted_at(place):
                action()
        except KeyboardInterrupt:
            assert answers(background), f"the loop hangs after an interrupt at place {place}"
        else:
            return place
    raise AssertionError("an interrupt at the last place was not raised")


def test_a_call(background: Background) -> None:
    background.call(asyncio.sleep, 0)
    assert interrupt_everywhere(background, lambda: background.call(asyncio.sleep, 0)) > 10


def test_a_block(background: Background) -> None:
    @asynccontextmanager
    async def manager() -> AsyncIterator[str]:
        yield "entered"

    def enter_and_leave() -> None:
        with background.held(manager()) as value:
            assert value == "entered"

    enter_and_leave()
    assert interrupt_everywhere(background, enter_and_leave) > 20
