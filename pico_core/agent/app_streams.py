"""A listener whose requests an application in the program answers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from pico_core.agent.app_call import AppUpstream
from pico_core.agent.app_websocket import WebSocketUpstream, subprotocols
from pico_core.agent.request_streams import RequestStreams
from pico_core.agent.service import ServiceHost
from pico_core.boundary import Command
from pico_core.config.agent import ListenerConfig
from pico_core.http.client_lines import lines_as_they_came
from pico_core.http.message import RequestHead, ResponseHead, split_fields
from pico_core.http.recent import MAX_REMEMBERED_BYTES
from pico_core.http.writing import error_message
from pico_core.program import CallBegins, Fields
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import APP_FAILED, BUSY
from pico_core.proxy.reasons import REASONS
from pico_core.websocket.handshake import HandshakeError, check_handshake

SPLIT_FIELDS = 256
"""Blocks of field lines whose parts are remembered, each of at most ``MAX_REMEMBERED_BYTES``."""

DETAILS: Mapping[str, str] = {"reason": APP_FAILED.reason, "by": REASONS[APP_FAILED.reason].by}


class AppHost(ServiceHost, Protocol):
    """The part of the machine that the streams need."""

    def emit(self, command: Command, /) -> None:
        """Tell the program."""

    def new_call(self, streams: "AppStreams", *, is_websocket: bool) -> AppUpstream | WebSocketUpstream:
        """Return a call of the application of ``streams``."""


class AppStreams(RequestStreams):
    """The requests of a listener with an application. At most the listener's ``max_streams`` calls run at once.

    A call runs until its application ends, also where its client has left.
    """

    __slots__ = ("_program", "emit", "listener", "running")

    def __init__(self, host: AppHost, config: ListenerConfig, access_log: AccessLogger | None, listener: int) -> None:
        super().__init__(host, config, access_log)
        self.emit = host.emit
        self.running = 0
        self._program = host
        self.listener = listener

    def send(self, exchange: Exchange, now: float, *, fresh: bool = False) -> None:
        """Have the application called."""
        if self.running >= self.config.max_streams:
            exchange.failed(BUSY, now)
            return
        is_websocket = bool(exchange.head.upgrade) and exchange.head.upgrade.lower() == b"websocket"
        if is_websocket:
            try:
                check_handshake(exchange.head.fields)
            except HandshakeError as error:
                exchange.fail(error.status, error.reason, now)
                return
        self.running += 1
        call = self._program.new_call(self, is_websocket=is_websocket)
        exchange.forward(call, lines_as_they_came(exchange.head), now)

    def begin_call(
        self, number: int, exchange: Exchange, fields: bytes, body: bytes, *, last: bool, is_websocket: bool = False
    ) -> None:
        """Tell the program of a request."""
        head = exchange.head
        self.emit(
            CallBegins(
                number,
                self.listener,
                head.method,
                head.target,
                head.minor_version,
                _fields_of(head, fields),
                _client(head.forwarded_for),
                "https" if head.forwarded_proto.rpartition(b",")[2].strip().lower() == b"https" else "http",
                head.host,
                body,
                last,
                is_websocket,
                subprotocols(head.fields) if is_websocket else (),
            )
        )

    def call_over(self) -> None:
        """A call has ended."""
        self.running -= 1

    def complain(self, reason: str) -> None:
        """Warn that the application failed."""
        self.host.warn("agent", "the application failed", endpoint=self.config.endpoint_id, reason=reason)

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """Name the failure; an application that failed is told in the body, since its answer goes to the client."""
        if exchange.reason == APP_FAILED.reason:
            return error_message(status, message, fields, DETAILS)
        return super().own_answer(exchange, status, message, fields)


def _fields_of(head: RequestHead, extra: bytes) -> Fields:
    fields = _split(head.fields) if len(head.fields) <= MAX_REMEMBERED_BYTES else tuple(split_fields(head.fields))
    framing: Fields = ()
    if head.chunked:
        framing = ((b"transfer-encoding", b"chunked"),)
    elif head.content_length >= 0:
        framing = ((b"content-length", b"%d" % head.content_length),)
    return fields + framing + tuple(split_fields(extra))


def _client(forwarded_for: bytes) -> str:
    """Return the client's address: the one that the node wrote, or that a proxy told which the node trusts.

    From any other peer the node replaces the field. To that of a trusted proxy it appends the proxy's address. The
    address before that is the peer that the proxy saw; those further to the left may be made up
    (``docs/client-address.md``).
    """
    addresses = forwarded_for.rsplit(b",", 2)
    return addresses[-2 if len(addresses) > 1 else -1].strip().decode("latin-1")


@lru_cache(maxsize=SPLIT_FIELDS)
def _split(fields: bytes) -> Fields:
    """Split field lines, and remember: a client repeats its own from request to request."""
    return tuple(split_fields(fields))
