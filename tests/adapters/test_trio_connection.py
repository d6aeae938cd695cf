"""Moments of a connection under trio that a whole driver meets only by chance: readiness with nothing to do."""

import selectors
import socket
from collections.abc import Iterator

import pytest

from pico_core.boundary import Input, WritingPaused
from pico_driver.sockets import describe
from pico_trio.connection import Connection
from tests.adapters.stage import read_exactly

SIZE = 100_000


class Owner:
    """The part of its driver that a connection needs."""

    def __init__(self) -> None:
        self.receive_buffer = memoryview(bytearray(1_000))
        self.selector = selectors.DefaultSelector()
        self.turn_bytes = 0
        self.events: list[Input] = []
        self.losses: list[tuple[int, str]] = []
        self.hand_over = self.events.append

    def lost(self, number: int, error: Exception | None) -> None:
        self.losses.append((number, describe(error)))


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    with owner.selector:
        yield owner


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    with ours, peer:
        yield ours, peer


def fill(ours: socket.socket) -> int:
    sent = 0
    try:
        while True:
            sent += ours.send(bytes(SIZE))
    except BlockingIOError:
        return sent


def test_sending_into_a_full_socket_buffers_everything(owner: Owner, ends: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = ends
    connection = Connection(owner, owner.selector, 1, ours)
    waiting = fill(ours)
    connection.send(b"hello ")
    connection.send((b"wor", memoryview(b"ld")))
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    assert owner.selector.get_key(ours).events == both
    connection.ready(selectors.EVENT_WRITE)
    assert owner.selector.get_key(ours).events == both
    while waiting:
        waiting -= len(peer.recv(waiting))
    connection.ready(selectors.EVENT_WRITE)
    assert not connection.unsent
    assert read_exactly(peer, 11) == b"hello world"


def test_nothing_to_receive_after_all(owner: Owner, ends: tuple[socket.socket, socket.socket]) -> None:
    connection = Connection(owner, owner.selector, 1, ends[0])
    connection.ready(selectors.EVENT_READ)
    connection.ready(selectors.EVENT_WRITE)
    assert owner.events == []


def test_peer_goes_while_something_is_buffered(owner: Owner, ends: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = ends
    connection = Connection(owner, owner.selector, 1, ours)
    fill(ours)
    connection.send(bytes(SIZE))
    peer.close()
    connection.ready(selectors.EVENT_WRITE)
    assert owner.events == [WritingPaused(1)]
    assert owner.losses == [(1, "broken pipe")]
