"""The race between the addresses of a name (RFC 8305), on both runtimes."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

import pico_asyncio.opening
import pico_trio.opening
from pico_driver.sockets import FALLBACK_DELAY_S, SocketAddress
from tests.ports import reserved_port

NEVER_S = 3_600.0
"""Longer than any test may take."""

Connect = Callable[[list[SocketAddress]], socket.socket]


@pytest.fixture(params=["asyncio", "trio"])
def connect(request: pytest.FixtureRequest) -> Connect:
    if request.param == "trio":
        return lambda addresses: trio.run(pico_trio.opening.connect, addresses)
    return lambda addresses: asyncio.run(pico_asyncio.opening.connect(addresses))


@pytest.fixture(params=["asyncio", "trio"])
def connect_often(request: pytest.FixtureRequest) -> Callable[[SocketAddress, int], int]:
    """Make connections to one address, one after the other, and count those that succeed."""
    connect = pico_trio.opening.connect if request.param == "trio" else pico_asyncio.opening.connect

    async def count(address: SocketAddress, attempts: int) -> int:
        opened = 0
        for _ in range(attempts):
            with contextlib.suppress(ConnectionRefusedError):
                (await connect([address])).close()
                opened += 1
        return opened

    if request.param == "trio":
        return lambda address, attempts: trio.run(count, address, attempts)
    return lambda address, attempts: asyncio.run(count(address, attempts))


@pytest.fixture
def good() -> Iterator[SocketAddress]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield socket.AF_INET, listener.getsockname()


@pytest.fixture
def refusing() -> Iterator[SocketAddress]:
    with reserved_port() as port:
        yield socket.AF_INET, ("127.0.0.1", port)


@pytest.fixture
def silent() -> Iterator[SocketAddress]:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield socket.AF_INET, listener.getsockname()


def test_one_address(connect: Connect, good: SocketAddress) -> None:
    with connect([good]) as connected:
        assert connected.getpeername() == good[1]
        assert connected.gettimeout() == 0.0


def test_after_a_refusal_the_next_is_tried_at_once(
    connect: Connect, refusing: SocketAddress, good: SocketAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pico_asyncio.opening, pico_trio.opening):
        monkeypatch.setattr(module, "FALLBACK_DELAY_S", NEVER_S)
    with connect([refusing, refusing, good]) as connected:
        assert connected.getpeername() == good[1]


def test_a_silent_address_is_overtaken(connect: Connect, silent: SocketAddress, good: SocketAddress) -> None:
    begun_at = time.monotonic()
    with connect([silent, good]) as connected:
        assert connected.getpeername() == good[1]
    assert time.monotonic() - begun_at > FALLBACK_DELAY_S * 0.9


def test_the_first_failure_is_reported(connect: Connect, refusing: SocketAddress) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect([refusing, (socket.AF_INET, ("255.255.255.255", 80))])
    with pytest.raises(ConnectionRefusedError):
        connect([refusing])


def test_timeout_leaves_no_socket_behind(silent: SocketAddress) -> None:
    async def on_asyncio() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(FALLBACK_DELAY_S * 1.5):
                await pico_asyncio.opening.connect([silent, silent])

    async def on_trio() -> None:
        with trio.move_on_after(FALLBACK_DELAY_S * 1.5):
            await pico_trio.opening.connect([silent, silent])
            raise AssertionError

    asyncio.run(on_asyncio())
    trio.run(on_trio)


def test_cancelled_in_the_turn_a_connection_opens(good: SocketAddress) -> None:
    """The winner is closed and not forgotten: an unclosed socket would be a ResourceWarning, which fails the test."""

    async def on_asyncio() -> None:
        racing = asyncio.create_task(pico_asyncio.opening.connect([good, good]))
        for _ in range(2):
            await asyncio.sleep(0)
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing

    async def on_trio() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pico_trio.opening.connect, [good, good])
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

    asyncio.run(on_asyncio())
    trio.run(on_trio)


def test_late_answers_of_the_resolver_are_dropped() -> None:
    """A lookup ends in its thread after the caller has given up, or after the loop is closed."""

    async def on_asyncio() -> None:
        resolver = pico_asyncio.opening.Resolver(asyncio.get_running_loop())
        for _ in range(40):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0):
                    await resolver.lookup("localhost", 80)
        assert await resolver.lookup("localhost", 80), "the threads are free again"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0):
                await resolver.lookup("localhost", 80)

    asyncio.run(on_asyncio())


def test_no_connection_leads_to_itself(connect_often: Callable[[SocketAddress, int], int]) -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with socket.socket() as probe:
        port = next(port for port in range(first + first % 2, last, 2) if probe.connect_ex(("127.0.0.1", port)))
    # Linux gives even ports to outgoing connections first, nearly in their order: so many attempts come upon this one.
    assert connect_often((socket.AF_INET, ("127.0.0.1", port)), last - first) == 0
