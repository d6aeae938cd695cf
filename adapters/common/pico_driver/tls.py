"""TLS for one connection, the same under every loop: a filter between a connection's bytes and the machine's.

A ``SecureConnection`` is the owner of a plain connection, which tells it what arrived; towards the driver it is a
connection like any other. In between is an ``SSLObject`` with two memory buffers, so that no loop takes part.

States: the handshake; open; ended. Only open connections are known to the machine. The ends of both directions are the
``close_notify`` alerts (RFC 8446, section 6.1), and a stream that ends without one was cut.
"""

import contextlib
import ssl
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol, cast

from pico_core.boundary import Data, EofReceived, Input, Received, WritingPaused, WritingResumed
from pico_driver.connection import ConnectionOwner
from pico_driver.sockets import HandshakeRefusedError
from pico_driver.tls_errors import TlsError, explain
from pico_driver.tls_profiles import Profile

RECORD_BYTES: Final = 16_384
"""The most that one record carries (RFC 8446, section 5.1): pieces that are smaller are joined up to this size."""

PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 54\r\nConnection: close\r\n\r\n"
    b'{"error":"this port speaks TLS: begin with https://"}\n'
)
"""The answer to a client that speaks HTTP where a TLS handshake must come first."""


class Raw(Protocol):
    """The plain connection underneath."""

    def send(self, data: Data) -> None:
        """Send bytes, or buffer what the kernel does not take now."""

    def close(self) -> None:
        """Close, after everything that is buffered."""

    def reset(self) -> None:
        """Throw away everything that is buffered and reset the connection."""

    def pause_reading(self) -> None:
        """Stop receiving."""

    def resume_reading(self) -> None:
        """Receive again."""

    @property
    def unsent(self) -> bool:
        """Whether something waits for the peer to take it."""

    def flush(self) -> None:
        """Send buffered bytes as far as it goes without waiting."""


class _NotAttached:
    """Stands for the plain connection until the loop has opened it: there is nothing to end yet."""

    unsent = False

    def send(self, data: Data) -> None:
        pass

    def close(self) -> None:
        pass

    def reset(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def flush(self) -> None:
        pass


_NOT_ATTACHED: Final = _NotAttached()


class SecureOwner(ConnectionOwner, Protocol):
    """The part of its driver that a secure connection needs."""

    def end_turn(self) -> None:
        """Hand the inputs of this turn to the machine now, and carry its commands out."""

    def secured(self, connection: "SecureConnection") -> None:
        """The handshake is done: announce the connection."""

    def not_secured(self, connection: "SecureConnection", reason: str) -> None:
        """The handshake has failed: forget the connection."""

    def forget_handshake(self, connection: "SecureConnection") -> None:
        """Stop counting the handshake: it is done, or given up."""


class _State(Enum):
    HANDSHAKE = 1
    OPEN = 2
    ENDED = 3


class SecureConnection:
    """One TLS connection; the machine knows it by ``number``. Next: ``attach``.

    ``listener`` is empty for an outgoing one; ``address`` is the peer's. ``upgrade`` says that the machine knows the
    connection already, as plain TCP.
    """

    __slots__ = (
        "_incoming",
        "_outgoing",
        "_owner",
        "_profile",
        "_raw",
        "_read_ended",
        "_resumable",
        "_server_name",
        "_state",
        "_ticket_waits",
        "_tls",
        "address",
        "closing",
        "listener",
        "number",
        "sendable",
        "upgrade",
    )

    def __init__(
        self,
        owner: SecureOwner,
        profile: Profile,
        number: int,
        *,
        listener: str = "",
        server_name: str = "",
        upgrade: bool = False,
    ) -> None:
        """``server_name`` is what the certificate of a server must be for. Raises ``TlsError`` if it cannot be."""
        self.number = number
        self.listener = listener
        self.address = ("", 0)
        self.upgrade = upgrade
        self.sendable = True
        self.closing = False
        self._owner = owner
        self._profile = profile
        self._server_name = profile.server_name or server_name
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = profile.wrap(self._incoming, self._outgoing, self._server_name)
        self._state = _State.HANDSHAKE
        self._read_ended = False
        self._resumable = False
        self._ticket_waits = False
        self._raw: Raw = _NOT_ATTACHED

    def attach(self, raw: Raw, host: str, port: int) -> None:
        """Begin the handshake over ``raw``."""
        self.address = (host, port)
        if self._state is _State.ENDED:
            raw.reset()
            return
        self._raw = raw
        if self._incoming.pending or not self._profile.server_side:  # a server waits for the client's first message
            self._shake_hands()

    def opened(self, raw: Any) -> None:
        """Begin the handshake: the loop has opened the plain connection."""
        self.attach(raw, *raw.address)

    # --- as the owner of the plain connection ---

    @property
    def receive_buffer(self) -> memoryview:
        """The buffer that all connections share."""
        return self._owner.receive_buffer

    @property
    def turn_bytes(self) -> int:
        """Bytes received in this turn."""
        return self._owner.turn_bytes

    @turn_bytes.setter
    def turn_bytes(self, size: int) -> None:
        self._owner.turn_bytes = size

    def end_turn(self) -> None:
        """Hand the inputs of this turn to the machine now, and carry its commands out."""
        self._owner.end_turn()

    def hand_over(self, event: Input) -> None:
        """Take an event of the plain connection."""
        if self._state is _State.ENDED:
            return
        if isinstance(event, Received):
            if self._read_ended:
                return  # nothing comes after the end
            self._incoming.write(event.data)
            if self._state is _State.OPEN:
                self._receive()
            else:
                self._shake_hands()
        elif isinstance(event, EofReceived):
            if not self._read_ended:
                self._end(TlsError("the connection was cut: the peer ended it without the TLS alert for that"))
        elif self._state is _State.OPEN and isinstance(event, WritingPaused | WritingResumed):
            self._owner.hand_over(type(event)(self.number))

    def lost(self, number: int, error: Exception | None) -> None:
        """Take the end of the plain connection."""
        if error is None and self._state is _State.OPEN and not self._read_ended and not self.closing:
            error = TlsError("the connection was cut: the peer ended it without the TLS alert for that")
        self._forget(error)

    # --- what the machine commands ---

    def write(self, data: bytes) -> None:
        """Send one piece."""
        self._encrypt((data,))

    def send_pieces(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        """Send several pieces in order."""
        self._encrypt(pieces)

    def send(self, data: Data) -> None:
        """Send one piece or several."""
        self._encrypt((data,) if isinstance(data, bytes) else data)

    def send_eof(self) -> None:
        """Send the alert that ends our direction; the peer may still send (RFC 8446, section 6.1)."""
        if self.sendable:
            self.sendable = False
            self._notify_close()

    def close(self) -> None:
        """Send the alert if it was not sent, and close after everything that is buffered."""
        if self.closing:
            return
        self.closing = True
        if self._state is _State.OPEN and self.sendable:
            self._notify_close()
        self.sendable = False
        self._raw.close()

    def reset(self) -> None:
        """Throw away everything that is buffered and reset the connection."""
        self.sendable = False
        self.closing = True
        self._raw.reset()

    def cancel(self) -> None:
        """Give the handshake up. The driver hears nothing more of it."""
        self._state = _State.ENDED
        self._owner.forget_handshake(self)
        self.reset()

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._read_ended:
            self._raw.resume_reading()

    @property
    def unsent(self) -> bool:
        """Whether something waits for the peer to take it."""
        return self._raw.unsent

    def flush(self) -> None:
        """Send buffered bytes as far as it goes without waiting."""
        self._raw.flush()

    # --- underneath ---

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self._refuse(error)
            return
        if self.listener and self._tls.version() == "TLSv1.3":
            self._ticket_waits = True  # all that is left to send is the ticket, which goes with the first data
        else:
            self._flush()
        self._state = _State.OPEN
        self._owner.secured(self)
        self._receive()

    def _refuse(self, error: ssl.SSLError) -> None:
        if error.reason == "HTTP_REQUEST":
            self._raw.send(PLAIN_ANSWER)
        reason = explain(error, self._tls, self._server_name, self._profile)
        self._state = _State.ENDED
        self._raw.close()
        self._owner.not_secured(self, reason)

    def _receive(self) -> None:
        """Decrypt what has come, and hand it over in one piece."""
        buffer = self._owner.receive_buffer
        read: Callable[[int, memoryview], int] = cast("Any", self._tls.read)  # with a buffer it returns the size
        incoming, pending = self._incoming, self._tls.pending
        filled = 0
        failure: ssl.SSLError | None = None
        try:
            while (incoming.pending or pending()) and not self._read_ended:
                if filled == len(buffer):
                    self._owner.hand_over(Received(self.number, bytes(buffer)))
                    filled = 0
                size = read(len(buffer) - filled, buffer[filled:])
                self._read_ended = not size
                filled += size
        except ssl.SSLWantReadError:
            pass  # a part of a record waits for its rest
        except ssl.SSLZeroReturnError:
            self._read_ended = True
        except ssl.SSLError as error:
            failure = error
        if filled:
            self._owner.hand_over(Received(self.number, bytes(buffer[:filled])))
        if self._outgoing.pending and not self._ticket_waits:
            self._flush()  # the answer to a key update
        if failure is not None:
            is_refused = not (filled or self._resumable or self.listener)  # the server's first word is an alert
            reason = explain(failure, self._tls, self._server_name, self._profile)
            self._end(HandshakeRefusedError(reason) if is_refused else TlsError(reason))
        elif self._read_ended:
            self._owner.hand_over(EofReceived(self.number))
        if filled and not self._resumable:
            self._resumable = True  # the tickets come before the first data (RFC 8446, section 4.6.1)
            self._profile.remember(self._tls, self._server_name)

    def _encrypt(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        """Encrypt pieces, small ones joined so that each record is full, and send the records in one call."""
        write = self._tls.write
        small: list[bytes | memoryview] = []
        small_bytes = 0
        try:
            for piece in pieces:
                size = len(piece)
                if small_bytes + size > RECORD_BYTES and small:
                    write(b"".join(small))
                    small, small_bytes = [], 0
                if size >= RECORD_BYTES:
                    write(piece)
                elif size:
                    small.append(piece)
                    small_bytes += size
            if small:
                write(small[0] if len(small) == 1 else b"".join(small))
        except ssl.SSLError as error:
            self._end(TlsError(explain(error, self._tls, self._server_name, self._profile)))
            return
        self._flush()

    def _notify_close(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the peer's own alert has not come yet, and need not come
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        self._ticket_waits = False
        if self._outgoing.pending:
            self._raw.send(self._outgoing.read())

    def _end(self, error: Exception) -> None:
        """End a connection on which nothing can be trusted any more."""
        self._flush()
        self.sendable = False
        self.closing = True
        raw = self._raw
        self._forget(error)
        raw.reset()

    def _forget(self, error: Exception | None) -> None:
        state, self._state = self._state, _State.ENDED
        if state is _State.OPEN:
            self._owner.lost(self.number, error)
        elif state is _State.HANDSHAKE:
            self._owner.not_secured(self, str(error or "the peer closed the connection during the TLS handshake"))
