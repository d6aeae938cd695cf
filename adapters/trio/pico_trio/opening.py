"""Opening outgoing TCP connections under trio."""

import contextlib
import socket

import trio

from pico_driver.sockets import FALLBACK_DELAY_S, SocketAddress, raise_error_of, refuse_itself, start_connect


async def connect(addresses: list[SocketAddress]) -> socket.socket:
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
    address: SocketAddress,
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


async def _connect(address: SocketAddress) -> socket.socket:
    connecting = start_connect(address[0])
    try:
        with contextlib.suppress(BlockingIOError):
            connecting.connect(address[1])
        await trio.lowlevel.wait_writable(connecting)
        raise_error_of(connecting)
        refuse_itself(connecting)
    except BaseException:
        connecting.close()
        raise
    return connecting
