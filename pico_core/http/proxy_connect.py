"""The client's side of CONNECT: a proxy opens a connection to a server and passes bytes on (RFC 9110 section 9.3.6)."""

from typing import NoReturn

import h11

from pico_core.errors import RemoteProtocolError
from pico_core.http.message import MAX_OWN_HEAD_BYTES


class ProxyError(RemoteProtocolError):
    """The proxy did not open the connection; ``str()`` is one short line, fit for a log. Next: close the connection."""


class ProxyConnect:
    """One CONNECT request: ``request_bytes``, then ``receive`` until the proxy has opened the connection."""

    def __init__(self, server: str, authorization: str) -> None:
        """``server`` is ``host:port``; ``authorization`` is empty, or for the proxy (RFC 9110 section 11.7.2)."""
        self._server = server
        self._has_credentials = bool(authorization)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_OWN_HEAD_BYTES)
        fields = [("Host", server)]
        if authorization:
            fields.append(("Proxy-Authorization", authorization))
        self._request = self._http.send(h11.Request(method="CONNECT", target=server, headers=fields)) or b""
        self._http.send(h11.EndOfMessage())

    def request_bytes(self) -> bytes:
        """Return the request to send first. Next: ``receive``."""
        return self._request

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the answer; return ``None`` while it is undecided, then the bytes behind it, often none.

        Raises ``ProxyError``.
        """
        self._http.receive_data(data)
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                raise ProxyError("the answer is not HTTP/1.1: is it an HTTP proxy?") from None
            if isinstance(event, h11.Response):
                if not 200 <= event.status_code < 300:
                    self._refused(event.status_code, event.reason.decode("latin-1"))
                return self._http.trailing_data[0]
            if not isinstance(event, h11.InformationalResponse):
                return None

    def receive_eof(self) -> NoReturn:
        """Take the end of the stream before the answer; always raises ``ProxyError``."""
        raise ProxyError("connection closed without an answer to CONNECT: is it an HTTP proxy?")

    def _refused(self, status: int, reason: str) -> NoReturn:
        printable = "".join(each for each in reason if each.isprintable())[:100]
        answer = f"{status} {printable}".rstrip()
        if status == 407 and self._has_credentials:
            raise ProxyError(f"it refused the credentials: {answer}")
        if status == 407:
            raise ProxyError(f"it wants credentials, give them in its URL: {answer}")
        if status >= 500:
            raise ProxyError(f"it cannot reach {self._server}: {answer}")
        raise ProxyError(
            f"it refused to connect to {self._server}: {answer}; is it a proxy that allows CONNECT to this port?"
        )
