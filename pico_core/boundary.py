"""The whole contract between a Pico machine and the world, on one page.

A *machine* is a protocol engine without I/O. A *driver* (``pico_asyncio``, ``pico_trio``, or the simulator) owns
sockets, TLS, timers, DNS and signals. It hands what happened to ``Machine.handle`` as input records, fetches command
records with ``Machine.poll`` and carries them out. A program that embeds a driver gives it further inputs through an
``Inbox`` or a ``Hub`` (``program``). Nothing else crosses: no callback, no future, no clock, no random number, no key.

Rules both sides rely on:

1. Handle one or more inputs, drain ``poll()`` to ``None``, then read ``deadline()``. A driver that has several inputs
   ready hands over all of them before it polls: whatever goes to one connection then leaves in one write.
2. ``now`` is a monotonic clock in seconds, as is ``deadline()``. ``Tick`` says that time passed, and what the wall
   clock shows: an early or spurious tick does nothing. The first input is a tick.
3. The peer can never make ``handle`` raise. Misuse by our own code raises ``LocalProtocolError``.
4. Connections are numbered. The driver numbers those it accepted (odd), the machine those it asks for (even).
5. Every connection that was ``Accepted`` or ``Connected`` ends with exactly one ``ConnectionLost``, even after
   ``Close`` and ``Abort``; every ``Connect`` is answered by exactly one of ``Connected`` and ``ConnectFailed``.
   Commands for a connection that is already gone are ignored by the driver.
6. ``PauseReading`` is advisory: what is already on its way may still arrive and the machine must take it.
7. The end of a stream is ``EofReceived``, never empty bytes. After it the other direction still works (half-close).
8. TLS is the driver's work. The machine names one of its profiles (keys, trust, protocols) when it listens or connects;
   a connection whose peer is not verified never opens. Bytes and ends are the same as over TCP.
"""

from typing import Protocol, TypeAlias

import msgspec

from pico_core.pieces import Piece
from pico_core.program import ProgramCommand, ProgramInput
from pico_core.records import AccessLog, Log, MeasureProcess, ProcessMeasured, Record, Spans, UseLogConfig

Data: TypeAlias = bytes | tuple[Piece, ...]
"""The bytes that ``Send`` carries: one piece, or several that the driver writes in order without joining them first."""


# --- inputs: what happened -------------------------------------------------------------------------------------------


class Listening(Record, frozen=True, gc=False):
    """A ``Listen`` or ``ListenDatagram`` succeeded; ``port`` is the real one where 0 was asked for."""

    listener: str
    host: str
    port: int


class ListenFailed(Record, frozen=True, gc=False):
    """A listener could not be opened; ``reason`` is one readable clause, such as ``address already in use``."""

    listener: str
    reason: str


class Accepted(Record, frozen=True, gc=False):
    """A peer connected to ``listener``, from ``host`` and ``port``; where that has TLS, its handshake is done."""

    connection: int
    listener: str
    host: str
    port: int


class AcceptFailed(Record, frozen=True, gc=False):
    """The system has no room for a connection to ``listener``; the driver tries again by itself after a moment."""

    listener: str
    reason: str


class HandshakeBegan(Record, frozen=True, gc=False):
    """A peer connected to ``listener``, which begins with TLS. One ``Accepted`` or ``HandshakeFailed`` ends it."""

    listener: str


class HandshakeFailed(Record, frozen=True, gc=False):
    """A peer at ``host`` did not get through the TLS handshake of ``listener``; ``reason`` is one readable clause."""

    listener: str
    host: str
    reason: str


class Connected(Record, frozen=True, gc=False):
    """The connection asked for with ``Connect`` is open; ``host`` is the IP address that answered."""

    connection: int
    host: str
    port: int


OUT_OF_DESCRIPTORS = "too many open files"
"""The reason of a failure that says nothing about the peer: this process, or its host, has no descriptor left."""


class ConnectFailed(Record, frozen=True, gc=False):
    """A ``Connect`` failed; ``reason`` is one readable clause, and ``OUT_OF_DESCRIPTORS`` where that was it."""

    connection: int
    reason: str


class TlsStarted(Record, frozen=True, gc=False):
    """The handshake that ``StartTls`` asked for is done."""

    connection: int


class Received(Record, frozen=True, gc=False):
    """Bytes arrived (never empty)."""

    connection: int
    data: bytes


class EofReceived(Record, frozen=True, gc=False):
    """The peer sent its end of stream; it can still receive.

    Over TLS this is the peer's ``close_notify`` alert and nothing else: a TCP stream that ends without one may have
    been cut by an attacker, and is reported as ``ConnectionLost`` with a reason.
    """

    connection: int


class ConnectionLost(Record, frozen=True, gc=False):
    """The connection is gone in both directions. ``reason`` is empty after an orderly end.

    A TLS stream that was truncated (it ended without ``close_notify``) is lost with a reason, and no ``EofReceived``
    comes before it: what was received may be incomplete (RFC 8446, section 6.1).

    ``refused`` says that the peer did not take our part of the TLS handshake. In TLS 1.3 a client is told so only after
    ``Connected``, because its own part is done before the server has looked at its certificate.
    """

    connection: int
    reason: str
    refused: bool = False


class WritingPaused(Record, frozen=True, gc=False):
    """The driver's send buffer of this connection is above its high-water mark: produce no more for it."""

    connection: int


class WritingResumed(Record, frozen=True, gc=False):
    """The driver's send buffer of this connection has drained below its low-water mark."""

    connection: int


class DatagramReceived(Record, frozen=True, gc=False):
    """A datagram arrived on the datagram listener ``listener``."""

    listener: str
    data: bytes
    host: str
    port: int


class Resolved(Record, frozen=True, gc=False):
    """Answer to ``Resolve``: the addresses of a name (IP address literals), or none.

    Without an address, ``error`` is one readable clause where the lookup failed; it is empty where the name system
    answered that the name is unknown, or has no address.
    """

    query: int
    addresses: tuple[str, ...]
    error: str


class SourceSelected(Record, frozen=True, gc=False):
    """Answer to ``SelectSource``: the IP address that packets to the remote one come from; empty without a route."""

    query: int
    host: str


class FileRead(Record, frozen=True, gc=False):
    """Answer to ``ReadFile``: the content of the file, or nothing and one readable clause in ``error``.

    ``repr()`` does not show the content, which may be a secret.
    """

    query: int
    content: bytes
    error: str

    def __repr__(self) -> str:
        return f"FileRead(query={self.query}, {len(self.content)} bytes, error={self.error!r})"


class Tick(Record, frozen=True, gc=False):
    """Time passed: at least until the last ``deadline()``, or earlier.

    ``wall_s`` is the host's wall clock at this tick, in seconds since the epoch; 0.0 means the driver does not know.
    Unlike ``now`` it can jump in both directions: take it for dates and expiry, never for intervals.
    """

    wall_s: float = 0.0


class ShutdownRequested(Record, frozen=True, gc=False):
    """The operator asks for an orderly stop (SIGTERM, SIGINT, SIGQUIT). A second one asks for a stop at once."""


class SignalReceived(Record, frozen=True, gc=False):
    """The operator sent a signal that asks for nothing else; ``name`` is its name, such as ``SIGHUP`` or ``SIGUSR1``.

    SIGHUP is ``ConfigReloaded`` or ``ConfigRefused`` where the driver was given a way to read the configuration.
    """

    name: str


class LogLinesDropped(Record, frozen=True, gc=False):
    """The sink has dropped lines that its streams did not take: ``total`` in all since the start."""

    total: int


class ConfigRefused(Record, frozen=True, gc=False):
    """The operator asked for the configuration to be read again, and it is not valid: the old one stays."""

    reason: str


class ConfigReloaded(Record, frozen=True, gc=False):
    """The operator's configuration was read again and is valid: take over the changes that need no restart."""

    config: msgspec.Struct


Input: TypeAlias = (
    Listening
    | ListenFailed
    | Accepted
    | AcceptFailed
    | HandshakeBegan
    | HandshakeFailed
    | Connected
    | ConnectFailed
    | TlsStarted
    | Received
    | EofReceived
    | ConnectionLost
    | WritingPaused
    | WritingResumed
    | DatagramReceived
    | Resolved
    | SourceSelected
    | FileRead
    | ProcessMeasured
    | Tick
    | ShutdownRequested
    | SignalReceived
    | LogLinesDropped
    | ConfigRefused
    | ConfigReloaded
    | ProgramInput
)


# --- commands: what to do --------------------------------------------------------------------------------------------


class Listen(Record, frozen=True, gc=False):
    """Open a TCP listener. ``host`` empty means every address. Answered by ``Listening`` or ``ListenFailed``.

    ``tls`` names a TLS profile that the driver holds; empty means plain TCP. A connection is ``Accepted`` when its
    handshake is done. A driver that does not hold the profile answers ``no TLS profile named '...'``.
    """

    listener: str
    host: str
    port: int
    tls: str = ""


class ListenDatagram(Record, frozen=True, gc=False):
    """Open a UDP socket. Answered by ``Listening`` or ``ListenFailed``."""

    listener: str
    host: str
    port: int


class StopListening(Record, frozen=True, gc=False):
    """Close a listener, not what it accepted. ``leaves_waiting``: peers that wait go to another process that has it."""

    listener: str
    leaves_waiting: bool = False


class Connect(Record, frozen=True, gc=False):
    """Open a TCP connection to a name or address, trying every address of a name, within ``timeout_s`` in all.

    ``tls`` is as in ``Listen``; ``timeout_s`` includes the handshake. The certificate must be for ``server_name``, or
    for ``host`` where that is empty.
    """

    connection: int
    host: str
    port: int
    timeout_s: float
    tls: str = ""
    server_name: str = ""


class StartTls(Record, frozen=True, gc=False):
    """Begin a TLS handshake on an open connection; nothing may be sent before ``TlsStarted``.

    The profile says whether as the client or as the server, whose ``server_name`` is empty. ``received`` is what of the
    handshake has come already.
    """

    connection: int
    tls: str
    server_name: str
    received: bytes = b""


class Send(Record, frozen=True, gc=False):
    """Send bytes, after all that was sent before on this connection."""

    connection: int
    data: Data


class SendEof(Record, frozen=True, gc=False):
    """Send our end of stream once everything before it is sent; keep receiving.

    Over TLS this is a ``close_notify`` alert, after which the peer may still send (RFC 8446, section 6.1). A TLS 1.2
    peer that follows RFC 5246, section 7.2.1 to the letter discards what it has not sent yet and answers with its own.
    """

    connection: int


class Close(Record, frozen=True, gc=False):
    """Send buffered bytes, then close both directions."""

    connection: int


class Abort(Record, frozen=True, gc=False):
    """Throw away buffered bytes and reset the connection at once; also ends a pending ``Connect``."""

    connection: int


class PauseReading(Record, frozen=True, gc=False):
    """Stop receiving on this connection (advisory, see rule 6)."""

    connection: int


class ResumeReading(Record, frozen=True, gc=False):
    """Receive again after ``PauseReading``."""

    connection: int


class SendDatagram(Record, frozen=True, gc=False):
    """Send one datagram from a datagram listener; losing it is not an error."""

    listener: str
    data: bytes
    host: str
    port: int


class Resolve(Record, frozen=True, gc=False):
    """Look up the addresses of a name, within ``timeout_s``. Answered by one ``Resolved``."""

    query: int
    name: str
    timeout_s: float


class SelectSource(Record, frozen=True, gc=False):
    """Ask which address of this host packets to ``address``, an IP address, come from: one ``SourceSelected``."""

    query: int
    address: str


class ReadFile(Record, frozen=True, gc=False):
    """Read a small regular file of this host, such as a token. Answered by one ``FileRead``.

    A file above ``max_bytes`` counts as one that cannot be read. The content is a secret: a driver does not show it.
    """

    query: int
    path: str
    max_bytes: int


class Exit(Record, frozen=True, gc=False):
    """Leave the driver with this exit code; a non-zero code comes with the one line that says why and what to do."""

    code: int
    message: str


Command: TypeAlias = (
    Listen
    | ListenDatagram
    | StopListening
    | Connect
    | StartTls
    | Send
    | SendEof
    | Close
    | Abort
    | PauseReading
    | ResumeReading
    | SendDatagram
    | Resolve
    | SelectSource
    | ReadFile
    | MeasureProcess
    | UseLogConfig
    | Log
    | AccessLog
    | Spans
    | Exit
    | ProgramCommand
)


class Machine(Protocol):
    """A state machine that a driver runs, such as a node or an agent. See the rules at the top of this module."""

    def handle(self, event: Input, now: float) -> None:
        """Take one input; the only mutation from outside. Next: more inputs of this turn, then ``poll``."""

    def poll(self) -> Command | None:
        """Return the next command, or ``None`` when there is nothing to do now. Next: ``deadline``."""

    def deadline(self) -> float | None:
        """Return when the next ``Tick`` is due, in seconds on the clock of ``now``; ``None`` for never."""
