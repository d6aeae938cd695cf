"""Looking up names and opening outgoing TCP connections on an asyncio loop."""

import asyncio
import contextlib
import socket

from pico_driver.sockets import (
    FALLBACK_DELAY_S,
    LOOKUPS_AT_ONCE,
    UNUSABLE,
    SocketAddress,
    lookup,
    refuse_itself,
    start_connect,
)
from pico_driver.threads import NoThreadError, start_thread


class Resolver:
    """Looks names up in daemon threads, so that a resolver that hangs delays neither the loop nor the exit.

    The loop's own executor would: Python waits for its threads before it ends, and ``getaddrinfo`` cannot be stopped.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def lookup(self, host: str, port: int) -> list[SocketAddress]:
        """Return the addresses of a name; raises one of ``UNUSABLE``. The caller sets the timeout."""
        await self._slots.acquire()
        answer: asyncio.Future[list[SocketAddress]] = self._loop.create_future()
        try:
            start_thread("pico-dns", self._work, host, port, answer)
        except NoThreadError:
            self._slots.release()
            raise
        return await answer

    def _work(self, host: str, port: int, answer: asyncio.Future[list[SocketAddress]]) -> None:
        result: list[SocketAddress] | Exception
        try:
            result = lookup(host, port)
        except UNUSABLE as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nothing waits for the answer
            self._loop.call_soon_threadsafe(self._settle, answer, result)

    def _settle(self, answer: asyncio.Future[list[SocketAddress]], result: list[SocketAddress] | Exception) -> None:
        self._slots.release()
        if answer.cancelled():
            return
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


async def connect(addresses: list[SocketAddress]) -> socket.socket:
    """Return a socket connected to the first of these addresses that answers; raises the first ``OSError``.

    The next address is tried when one has failed or has not answered for a while, as RFC 8305 has it.
    """
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    untried = addresses[::-1]
    pending: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while untried or pending:
            if untried:
                pending.add(asyncio.create_task(_attempt(untried.pop())))
            delay_s = FALLBACK_DELAY_S if untried else None
            done, pending = await asyncio.wait(pending, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
            failures += [error for attempt in done if (error := attempt.exception()) is not None]
            opened = [attempt.result() for attempt in done if attempt.exception() is None]
            if opened:
                for late in opened[1:]:
                    late.close()
                return opened[0]
        raise failures[0]
    finally:
        await _abandon(pending)


async def _abandon(attempts: set[asyncio.Task[socket.socket]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()


async def _attempt(address: SocketAddress) -> socket.socket:
    connecting = start_connect(address[0])
    try:
        await asyncio.get_running_loop().sock_connect(connecting, address[1])
        refuse_itself(connecting)
    except BaseException:
        connecting.close()
        raise
    return connecting
