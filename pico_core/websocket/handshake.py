"""The opening handshake, both sides (RFC 6455 section 4).

A server calls ``accept_handshake`` with a request's head; a client drives a ``ClientHandshake``. wsproto does the
server's half, h11 reads the answer for the client (``docs/decisions/websocket-handshake.md`` says why).
"""

import base64
import re
from collections.abc import Sequence
from typing import NoReturn

import h11

from pico_core.entropy import Entropy
from pico_core.errors import LocalProtocolError, RemoteProtocolError
from pico_core.http.message import MAX_OWN_HEAD_BYTES, field_values
from pico_core.websocket.refusal import Refusal, read_code, read_refusal, read_retry_after

MAX_REFUSAL_BYTES = 16_384
"""Of the body of a refused handshake, beside ``MAX_OWN_HEAD_BYTES`` for its head. Pico's own is one line."""

MAX_HANDSHAKE_RESPONSE_BYTES = 65_536
"""Of everything before the client handshake is decided: interim responses, the head, the refusal with its framing."""

MAX_REASON_CHARACTERS = 200
"""Of a refusal that is repeated: it goes into one line of a log."""

NOT_GET = "a WebSocket is opened with GET"
"""The text of the 405 to a request with another method."""

NOT_OF_VERSION_13 = "not a WebSocket handshake of version 13"

_REQUEST_LINE = re.compile(rb"GET [!-~]+ HTTP/1\.[1-9]\r\n")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class HandshakeError(RemoteProtocolError):
    """The handshake failed. Next, on a server: answer with ``status``; on both sides: close the connection.

    ``http.writing.error_message`` knows what an answer with 405 or 426 has to say. On a client ``status`` is that
    of the answer, or 0 when there was no valid one. ``reason`` is one short line, fit for a log. ``refusal`` says what
    the next attempt can expect; a server puts its ``refusal.mark`` into the answer. ``retry_after_s`` is how long it
    should wait, 0 where nothing is said. ``code`` is the reason's name in ``proxy.reasons``, empty where the status
    says as much, or where the server does not name it.
    """

    def __init__(
        self, status: int, reason: str, refusal: Refusal = Refusal.PASSING, *, retry_after_s: int = 0, code: str = ""
    ) -> None:
        super().__init__(f"WebSocket handshake failed: {status} {reason}")
        self.status = status
        self.reason = reason
        self.refusal = refusal
        self.retry_after_s = retry_after_s
        self.code = code


def check_handshake(fields: bytes) -> None:
    """Check the field lines of a request that asks for a WebSocket (RFC 6455 section 4.2.1).

    Raises ``HandshakeError``. Next: answer with a 101 of one's own; ``accept_handshake`` does both for a whole head.
    """
    if field_values(fields, b"sec-websocket-version") != [b"13"]:
        raise HandshakeError(426, NOT_OF_VERSION_13)
    _check_key(field_values(fields, b"sec-websocket-key"))


def _check_key(keys: list[bytes]) -> None:
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise HandshakeError(400, "invalid Sec-WebSocket-Key")


def accept_handshake(head: bytes, fields: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the 101 response to a request head, which ends with its empty line (RFC 6455 section 4.2).

    ``fields`` come after those of the handshake. Raises ``HandshakeError``. The caller checks before whether the
    target and the credentials are acceptable. Next: send the response; ``decoding.FrameDecoder(masked=True)`` reads
    the bytes behind the head.
    """
    if len(head) > MAX_OWN_HEAD_BYTES:
        raise HandshakeError(400, "request head too large")
    if not head.startswith(b"GET "):
        raise HandshakeError(405, NOT_GET)
    if not _REQUEST_LINE.match(head):
        raise HandshakeError(400, "not a request in HTTP/1.1")
    from wsproto import ConnectionType  # wsproto takes 10 ms, which a start does not wait for
    from wsproto.events import AcceptConnection, Request
    from wsproto.handshake import H11Handshake
    from wsproto.utilities import RemoteProtocolError as HandshakeRefusal

    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(head)
        request = next(handshake.events(), None)
    except HandshakeRefusal as error:
        status = 426 if getattr(error.event_hint, "status_code", 400) == 426 else 400
        raise HandshakeError(status, NOT_OF_VERSION_13) from error
    except UnicodeError as error:  # wsproto decodes some headers before it looks at them
        raise HandshakeError(400, NOT_OF_VERSION_13) from error
    if not isinstance(request, Request):
        raise HandshakeError(400, "incomplete request head")
    names = [name.lower() for name, _ in request.extra_headers]
    _check_key([value for name, value in request.extra_headers if name.lower() == b"sec-websocket-key"])
    if b"content-length" in names or b"transfer-encoding" in names:
        raise HandshakeError(400, "WebSocket handshake with a body")
    return handshake.send(AcceptConnection(extra_headers=list(fields)))


class ClientHandshake:
    """The client's side of the opening handshake: ``request_bytes``, then ``receive`` until it is decided."""

    def __init__(self, host: str, target: str, headers: Sequence[tuple[bytes, bytes]], entropy: Entropy | None) -> None:
        """``host`` is the value of the Host field; ``headers`` come after those of the handshake.

        A subprotocol among them is offered; the server may leave it out. ``entropy`` makes the key, which must be
        random (RFC 6455 section 4.1). Without it there is no key, so that the server has to refuse. Raises
        ``LocalProtocolError`` if the host, the target or a header cannot be put into a request.
        """
        self._key = b"" if entropy is None else base64.b64encode(entropy.getrandbits(128).to_bytes(16, "big"))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_OWN_HEAD_BYTES)
        self._received_bytes = 0
        self._refusal: h11.Response | None = None
        self.answer: tuple[tuple[bytes, bytes], ...] = ()
        """The fields of the 101, names in lower case; none before it."""
        self._offered = [value for name, value in headers if name.lower() == b"sec-websocket-protocol"]
        self._body = b""
        fields = [
            (b"Host", host.encode()),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            *([(b"Sec-WebSocket-Key", self._key)] if self._key else ()),
            (b"Sec-WebSocket-Version", b"13"),
            *headers,
        ]
        try:
            request = h11.Request(method=b"GET", target=target.encode(), headers=fields)
            self._request = self._http.send(request) or b""
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(f"no WebSocket handshake for {host} {target}: {error}") from error

    def request_bytes(self) -> bytes:
        """Return the request to send first. Next: ``receive``."""
        return self._request

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the answer; return ``None`` while it is undecided.

        Once the server has accepted, returns the bytes behind the 101, which may be none. Next:
        ``decoding.FrameDecoder(masked=False)`` reads them. Raises ``HandshakeError``, with the text of the server's
        ``{"error": ...}`` as its reason where there is one.
        """
        self._http.receive_data(data)
        rest = self._progress()
        self._received_bytes += len(data)
        if rest is None and self._received_bytes > MAX_HANDSHAKE_RESPONSE_BYTES:
            self._give_up("the answer is too large")
        return rest

    def receive_eof(self) -> NoReturn:
        """Take the end of the stream before the handshake was accepted; always raises ``HandshakeError``."""
        self._give_up("connection closed during the handshake")

    def _progress(self) -> bytes | None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._give_up("the answer is not HTTP/1.1")
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._check(event)
                    self.answer = tuple(event.headers)
                    return self._http.trailing_data[0]
            elif isinstance(event, h11.Response):
                self._refusal = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_REFUSAL_BYTES:
                    self._give_up("refused")
            elif isinstance(event, h11.EndOfMessage):
                self._give_up("refused")
            else:
                return None

    def _check(self, response: h11.InformationalResponse) -> None:
        """Check the 101 against RFC 6455 section 4.1; no extension was offered, so none may have been agreed on."""
        from wsproto.utilities import generate_accept_token

        fields: dict[bytes, list[bytes]] = {}
        for name, value in response.headers:
            fields.setdefault(name, []).append(value.strip())
        connection = [token.strip().lower() for token in b",".join(fields.get(b"connection", ())).split(b",")]
        if (
            [value.lower() for value in fields.get(b"upgrade", ())] != [b"websocket"]
            or b"upgrade" not in connection
            or fields.get(b"sec-websocket-accept") != [generate_accept_token(self._key)]
            or b"sec-websocket-extensions" in fields
            or fields.get(b"sec-websocket-protocol", self._offered) != self._offered
        ):
            raise HandshakeError(101, "the answer does not complete the WebSocket handshake", Refusal.FOREIGN)

    def _give_up(self, reason: str) -> NoReturn:
        """Raise with the refusal of the server, or with ``reason`` if it gave no valid status."""
        if self._refusal is None:
            raise HandshakeError(0, reason)
        refusal, text = read_refusal(self._refusal.status_code, self._refusal.headers, self._body)
        reason = text or self._refusal.reason.decode("latin-1")
        printable = "".join(each for each in reason if each.isprintable())
        raise HandshakeError(
            self._refusal.status_code,
            printable[:MAX_REASON_CHARACTERS] or "refused",
            refusal,
            retry_after_s=read_retry_after(self._refusal.headers),
            code=read_code(self._refusal.headers),
        )
