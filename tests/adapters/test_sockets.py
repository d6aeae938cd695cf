"""The helpers both drivers have."""

import errno
import socket

import pytest

from pico_driver import sockets


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, ""),
        (ConnectionRefusedError(errno.ECONNREFUSED, "anything"), "connection refused"),
        (OSError(errno.EADDRINUSE, ""), "address already in use"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (OSError("said by a library"), "said by a library"),
        (UnicodeError("label too long"), "invalid address"),
        (OverflowError("port"), "invalid address"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_reasons_are_short_clauses(error: Exception | None, text: str) -> None:
    assert sockets.describe(error) == text


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::ffff:10.1.2.3", 80, 0, 0), ("10.1.2.3", 80)),
        (("::ffff:0:1", 80, 0, 0), ("::ffff:0:1", 80)),
        (("2001:db8::1", 80, 0, 0), ("2001:db8::1", 80)),
    ],
)
def test_endpoints(address: tuple[object, ...], endpoint: tuple[str, int]) -> None:
    assert sockets.endpoint(address) == endpoint


def test_hosts_are_distinct_and_in_order() -> None:
    addresses: list[sockets.SocketAddress] = [
        (socket.AF_INET, (host, 80)) for host in ("10.0.0.2", "10.0.0.1", "10.0.0.2")
    ]
    assert sockets.hosts(addresses) == ("10.0.0.2", "10.0.0.1")


def test_resetting_a_socket_that_is_closed_is_harmless() -> None:
    closed = socket.socket()
    closed.close()
    sockets.reset_on_close(closed)
    assert closed.fileno() == -1
