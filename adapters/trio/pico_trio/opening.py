"""Looking up names and opening outgoing TCP connections under trio."""

import contextlib
import os
import socket
from typing import Final

import trio

from pico_driver.sockets import FALLBACK_DELAY_S, Address, endpoint, lookup, start_connect

_LOOKUPS_AT_ONCE: Final = 16
"""Threads that may wait for DNS at the same time; further lookups wait for one of them within their own timeout."""


class Resolver:
    """Looks names up in threads that are abandoned when the time is over: ``getaddrinfo`` cannot be stopped."""

    def __init__(self) -> None:
        self._slots = trio.CapacityLimiter(_LOOKUPS_AT_ONCE)

    async def lookup(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a name or IP address; raises one of ``UNUSABLE``. The caller sets the timeout."""
        with contextlib.suppress(socket.gaierror):
            return lookup(host, port, socket.AI_NUMERICHOST)
        return await trio.to_thread.run_sync(lookup, host, port, abandon_on_cancel=True, limiter=self._slots)


async def connect(addresses: list[Address]) -> socket.socket:
    """Return a socket connected to the first of these addresses that answers; raises the first ``OSError``.

    The next address is tried when one has failed or has not answered for a while, as RFC 8305 has it.
    """
    opened: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(_attempt, address, opened, failures, failed, nursery.cancel_scope)
                with trio.move_on_after(FALLBACK_DELAY_S):
                    await failed.wait()
    except BaseException:
        for connected in opened:
            connected.close()
        raise
    if not opened:
        raise failures[0]
    for late in opened[1:]:
        late.close()
    return opened[0]


async def _attempt(
    address: Address,
    opened: list[socket.socket],
    failures: list[OSError],
    failed: trio.Event,
    race: trio.CancelScope,
) -> None:
    try:
        opened.append(await _connect(address))
        race.cancel()
    except OSError as error:
        failures.append(error)
        failed.set()


async def _connect(address: Address) -> socket.socket:
    connecting = start_connect(address[0])
    try:
        with contextlib.suppress(BlockingIOError):
            connecting.connect(address[1])
        await trio.lowlevel.wait_writable(connecting)
        _raise_error_of(connecting)
    except BaseException:
        connecting.close()
        raise
    return connecting


def _raise_error_of(connecting: socket.socket) -> None:
    error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def peer(connected: socket.socket) -> tuple[str, int]:
    """Return host and port of the other side, or an empty host when it is gone already."""
    try:
        return endpoint(connected.getpeername())
    except OSError:
        return "", 0
