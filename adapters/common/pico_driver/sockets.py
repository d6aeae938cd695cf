"""Plain socket calls. Everything here returns at once, except ``lookup``, which belongs in a thread."""

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from pico_core.boundary import OUT_OF_DESCRIPTORS
from pico_core.config.values import show_figure

SocketAddress: TypeAlias = tuple[int, tuple[Any, ...]]
"""An address family and a socket address of that family."""

BACKLOG: Final = 4096
"""Connections the kernel may hold for us before we accept them: what Linux allows by default since 5.4."""

FALLBACK_DELAY_S: Final = 0.25
"""How long one address of a name may take before the next one is tried beside it (RFC 8305, section 5)."""

LOOKUPS_AT_ONCE: Final = 16
"""Threads that may wait for DNS at the same time; further lookups wait for one of them within their own timeout."""

LISTEN_LOOKUP_S: Final = 10.0
"""How long the lookup of a name to listen on may take."""

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted from one listener before the others get their turn."""

ACCEPT_RETRY_S: Final = 0.1
"""How long a listener rests when the system has no descriptors or memory for its connections.

The machine closes idle ones meanwhile. A peer that waits in the backlog hardly notices, and ten attempts a second cost
nothing."""

MAX_UNREAD_BYTES: Final = 1_048_576
"""The most that is read from a connection after a write to it has failed: an answer, and the beginning of its body."""

UNSENT_BYTES: Final = 65_536
"""Bytes of a connection that the kernel may hold beyond those on their way to the peer. Without a bound it takes up to
4 MiB for a client that does not read, and later bytes, such as the answer to a ping, wait behind all of them."""

READ_BYTES: Final = 65_536
"""The bytes that a read takes where there is no receive buffer for it."""

DATAGRAMS_PER_TURN: Final = 64
"""Datagrams taken from one socket before the others get their turn."""

UNUSABLE: Final = (OSError, ValueError, OverflowError)
"""The errors of opening and looking up: the system's own, names that cannot be encoded, ports out of range."""

_LARGEST_DATAGRAM_BYTES = 65_535
"""A UDP packet has a length of 16 bits (RFC 768)."""
_ANY_PORT = 9
"""A route does not depend on the port, but some systems refuse port 0; 9 is "discard" (RFC 863)."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_NO_ROOM = (*_NO_DESCRIPTORS, errno.ENOBUFS, errno.ENOMEM)
_UNKNOWN_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_MAPPED_PREFIX = "::ffff:"
_RESET = struct.pack("ii", 1, 0)


class HandshakeRefusedError(ConnectionError):
    """The peer did not take our part of a TLS handshake; ``str()`` is one readable clause."""


def describe(error: BaseException | None) -> str:
    """Say in one short clause why a connection, listener or lookup failed; empty for ``None``."""
    if error is None:
        return ""
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return OUT_OF_DESCRIPTORS
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    if isinstance(error, ValueError | OverflowError):
        return "invalid address"
    return str(error) or type(error).__name__


def received_before_loss(descriptor: int) -> Iterator[bytes]:
    """Yield the bytes that the kernel still holds of a connection that was lost while it was written to.

    A peer may answer early and then reset the connection, because it does not want the rest of what we send. A write
    fails then, before the answer was read. ``descriptor`` is that of a non-blocking socket.
    """
    left_bytes = MAX_UNREAD_BYTES
    while left_bytes > 0:
        try:
            data = os.read(descriptor, min(left_bytes, READ_BYTES))
        except OSError:
            return
        if not data:
            return
        left_bytes -= len(data)
        yield data


def timed_out(timeout_s: float) -> TimeoutError:
    """Return the error of something that took longer than it was given; ``describe`` says just that of it."""
    return TimeoutError(f"timed out after {show_figure(timeout_s)} s")


def lookup(host: str, port: int, flags: int = 0) -> list[SocketAddress]:
    """Return the TCP addresses of a name, best first; blocks unless ``flags`` holds ``AI_NUMERICHOST``.

    Raises one of ``UNUSABLE``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except OSError:
        if not flags:
            _require_descriptor()
        raise
    return [(family, address) for family, _, _, _, address in found]


def _require_descriptor() -> None:
    """Raise ``OSError`` where no descriptor is left.

    A resolver that has none for its question says "name or service not known" or "invalid argument".
    """
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def lookup_literal(host: str, port: int) -> list[SocketAddress]:
    """Return the address that ``host`` is, or none if it is a name. Raises one of ``UNUSABLE``. Next: ``lookup``."""
    try:
        return lookup(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


def is_unknown_name(error: BaseException) -> bool:
    """Return whether a lookup failed because the name has no address: the name system answered, and said so."""
    return isinstance(error, socket.gaierror) and error.errno in _UNKNOWN_NAME


def hosts(addresses: list[SocketAddress]) -> tuple[str, ...]:
    """Return the distinct hosts of these addresses, in their order."""
    return tuple(dict.fromkeys(str(address[0]) for _, address in addresses))


def source(host: str) -> str:
    """Return the address of this machine that packets to an IP address come from; empty where no route leads there.

    To connect a datagram socket only chooses a route: no packet is sent.
    """
    try:
        for family, address in lookup_literal(host, _ANY_PORT):
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                return endpoint(probe.getsockname())[0]
    except UNUSABLE:  # no route, no such family, not an address
        return ""
    return ""  # a name


def endpoint(address: tuple[Any, ...]) -> tuple[str, int]:
    """Return host and port of a socket address; IPv4 seen through an IPv6 socket is plain IPv4 again.

    The connections of one host share its text.
    """
    host, port = address[:2]
    if host.startswith(_MAPPED_PREFIX) and "." in host:
        host = host[len(_MAPPED_PREFIX) :]
    return sys.intern(host), port


def peer(connected: socket.socket) -> tuple[str, int]:
    """Return host and port of the other side, or an empty host when it is gone already."""
    try:
        return endpoint(connected.getpeername())
    except OSError:
        return "", 0


def local_addresses(host: str, port: int) -> list[SocketAddress]:
    """Return the addresses to listen on for ``host``, or none if it is a name. Raises one of ``UNUSABLE``.

    No ``host`` means every address, IPv4 and IPv6. Next: ``open_listener`` or ``open_datagram``; ``lookup`` for a name.
    """
    if host in ("", "::") and socket.has_dualstack_ipv6():
        return [(socket.AF_INET6, ("::", port))]
    return lookup_literal(host or "0.0.0.0", port)  # noqa: S104 - every address is what was asked for


def open_listener(addresses: list[SocketAddress], *, shares: bool = False) -> socket.socket:
    """Open a listening TCP socket on one of ``addresses``. Raises one of ``UNUSABLE``.

    One that ``shares`` its port gets a part of the connections, where the others have ``SO_REUSEPORT`` too.
    """
    return _bind(socket.SOCK_STREAM, addresses, shares=shares)


def open_datagram(addresses: list[SocketAddress]) -> socket.socket:
    """Open a UDP socket on one of ``addresses``. Raises one of ``UNUSABLE``."""
    return _bind(socket.SOCK_DGRAM, addresses)


def _bind(kind: socket.SocketKind, addresses: list[SocketAddress], *, shares: bool = False) -> socket.socket:
    """A listener has one socket, so of the addresses of both families that a name can have, an IPv4 one is taken."""
    family, address = min(addresses, key=lambda found: found[0] != socket.AF_INET)
    bound = socket.socket(family, kind)
    try:
        bound.setblocking(False)
        if family == socket.AF_INET6:
            everywhere = address[0] == "::" and socket.has_dualstack_ipv6()
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not everywhere)
        if kind is socket.SOCK_STREAM:
            # A restarted node takes its port back at once; accepted connections inherit the other options from here.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _set_tcp_options(bound)
        if shares:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        if kind is socket.SOCK_STREAM:
            bound.listen(BACKLOG)
    except UNUSABLE:
        bound.close()
        raise
    return bound


def start_connect(family: int) -> socket.socket:
    """Return a new non-blocking TCP socket to connect with. Raises ``OSError``."""
    connecting = socket.socket(family, socket.SOCK_STREAM)
    connecting.setblocking(False)
    _set_tcp_options(connecting)
    return connecting


def _set_tcp_options(endpoint: socket.socket) -> None:
    """Send small writes at once, and find out within a minute when the peer's host is gone without a FIN or a reset.

    The kernel's send buffer may be as large as the way to the peer needs, but not hold much that cannot leave yet.
    """
    endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ):
        if hasattr(socket, option):  # not every system has all of them
            endpoint.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def raise_error_of(connecting: socket.socket) -> None:
    """Raise the ``OSError`` for which ``connect`` on a non-blocking socket failed, if it did."""
    error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def refuse_itself(connected: socket.socket) -> None:
    """Raise ``ConnectionRefusedError`` for a socket that is connected to itself, which has to be closed then.

    Where nothing listens on a port that the kernel also gives to outgoing connections, one of some thousand attempts
    gets that very port for its own end. TCP lets it connect (RFC 9293 section 3.5, simultaneous open), and it would
    read what it writes and keep the service from its port.
    """
    if connected.getsockname() == connected.getpeername():
        reset_on_close(connected)
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def reset_on_close(connection: socket.socket) -> None:
    """Make the next ``close`` throw away what is unsent and tell the peer so with a reset."""
    with contextlib.suppress(OSError):  # some systems refuse when the peer was faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def accept(listening: socket.socket, limit: int = ACCEPTS_PER_TURN) -> Iterator[tuple[socket.socket, str, int]]:
    """Yield the connections that wait on a listener, with the peer's host and port.

    Raises ``OSError`` when the system has no room for one: leave the listener alone for ``ACCEPT_RETRY_S``, since it
    stays readable. Other errors are about a peer that is gone again.
    """
    for _ in range(limit):
        try:
            accepted, address = listening.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            return
        accepted.setblocking(False)
        yield accepted, *endpoint(address)


def receive_datagrams(bound: socket.socket) -> list[tuple[bytes, str, int]]:
    """Take the datagrams that wait on a socket, as (data, host, port), up to the bound of one turn."""
    received = []
    for _ in range(DATAGRAMS_PER_TURN):
        try:
            data, address = bound.recvfrom(_LARGEST_DATAGRAM_BYTES)
        except OSError:
            break  # nothing waits, or an earlier datagram of ours was refused: neither needs a report
        received.append((data, *endpoint(address)))
    return received


def send_datagram(bound: socket.socket, data: bytes, host: str, port: int) -> None:
    """Send one datagram to an IP address; what cannot be sent is lost, as datagrams are."""
    try:
        if bound.family == socket.AF_INET6 and ":" not in host:
            host = _MAPPED_PREFIX + host
        socket.inet_pton(bound.family, host)  # a name would make sendto block on DNS
        bound.sendto(data, (host, port))
    except UNUSABLE:
        return
