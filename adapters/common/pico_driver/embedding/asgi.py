"""ASGI 3 applications without a port: scopes and messages made of the records that the machine says, and back.

https://asgi.readthedocs.io/en/stable/specs/www.html.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from pico_core.config.values import DEFAULT_PORTS
from pico_core.pieces import Piece
from pico_core.program import (
    CallAccepts,
    CallBegins,
    CallBody,
    CallCancelled,
    CallCloses,
    CallContinues,
    CallDropped,
    CallEnded,
    CallMessage,
    CallPaused,
    CallResponds,
    CallResumed,
    CallSends,
    CallTook,
    Fields,
)
from pico_driver.embedding.errors import AppError
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.listener import Listener
from pico_driver.embedding.runtime import Event, Latch
from pico_driver.handshakes import Cancellable

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
AsgiSend: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""Scope, ``receive`` and ``send``; frameworks differ in how they type them."""

_VERSIONS = {"version": "3.0", "spec_version": "2.4"}

LEAST_STOP_S = 5.0
"""What an application may take to stop, also where its requests are cut at once: as long as ``GRACE_S`` otherwise."""

_logger = logging.getLogger("pico.app")


class ClientGoneError(OSError):
    """The client has left: what the application sends reaches no one."""


class AppListener(Listener):
    """A listener whose requests an application answers, each in a task of its own."""

    __slots__ = ("_app", "_calls", "_state")

    def __init__(self, hub: Hub, endpoint: str, app: AsgiApp, state: dict[str, Any]) -> None:
        super().__init__(hub, endpoint)
        self._app = app
        self._state = state
        self._calls: dict[AppCall, None] = {}  # an empty set takes more

    def on_call(self, event: CallBegins) -> None:
        """A request has come: call the application, in a task of its own."""
        call = (WebSocketCall if event.is_websocket else AppCall)(self.hub, event)
        self.hub.calls[event.call] = call
        self._calls[call] = None
        call.task = self.hub.runtime.spawn(self._run(call, scope_of(event, self._state)))

    async def _run(self, call: "AppCall", scope: dict[str, Any]) -> None:
        try:
            await call.run(self._app, scope)
        finally:
            self._calls.pop(call, None)

    def cancel_calls(self) -> None:
        """End what still runs of the application: the listener is over."""
        for call in list(self._calls):
            call.on_call_event(CallCancelled(0))


def scope_of(event: CallBegins, state: dict[str, Any]) -> dict[str, Any]:
    """Return the ``http`` scope of a request."""
    raw_path, _, query = event.target.partition(b"?")
    if b"%" in raw_path or not raw_path.isascii():
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    else:
        path = raw_path.decode("ascii")
    host, _, port = event.host.decode("latin-1").rpartition(":")
    if not port.isdigit():
        host, port = event.host.decode("latin-1").removesuffix(":"), ""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": "1.1" if event.minor_version else "1.0",
        "method": event.method.decode("ascii"),
        "scheme": event.scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": list(event.fields),
        "client": (event.client, 0) if event.client else None,
        "server": (host, int(port) if port else DEFAULT_PORTS[event.scheme]),
        "state": state.copy(),
        "extensions": {"http.response.trailers": {}},
    }
    if event.is_websocket:
        del scope["method"], scope["extensions"]
        scheme = "wss" if event.scheme == "https" else "ws"
        scope |= {"type": "websocket", "scheme": scheme, "subprotocols": list(event.subprotocols)}
    return scope


class AppCall:
    """One call: ``receive`` and ``send`` of one request."""

    __slots__ = (
        "_begun",
        "_body",
        "_cancelled",
        "_code",
        "_dropped",
        "_head",
        "_hub",
        "_last",
        "_messages",
        "_number",
        "_over",
        "_paused",
        "_reason",
        "_runs",
        "_told_last",
        "_trailers",
        "_waiting",
        "task",
    )

    def __init__(self, hub: Hub, event: CallBegins) -> None:
        self.task: Cancellable | None = None
        self._hub = hub
        self._number = event.call
        self._body: deque[Piece] = deque([event.body] if event.body else [])
        self._last = event.last
        self._messages: deque[bytes | str] = deque()
        self._code = 1006
        self._reason = ""
        self._told_last = False
        self._cancelled = False
        self._runs = False
        self._dropped = False
        self._paused = False
        self._over = False
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._head: tuple[int, Fields] | None = None
        self._begun = False  # the head and the first piece of the body are on their way
        self._waiting: Event | None = None

    async def run(self, app: AsgiApp, scope: dict[str, Any]) -> None:
        """Call the application, and tell the machine how it ended."""
        failure = "it was cancelled"
        self._runs = True
        try:
            if not self._cancelled:
                await app(scope, self.receive, self.send)
            failure = ""
        except (Exception, SystemExit) as error:  # a loop would end with the program, as no server of requests does
            if not self._dropped:
                failure = f"{type(error).__name__}: {error}"[:200]
                _logger.exception("the application failed: %s %s", scope["type"], scope["path"])
        finally:
            if self._dropped:
                failure = ""  # Pico ended it: its client has left, or its listener is over
            self._hub.calls.pop(self._number, None)
            self._hub.announce(CallEnded(self._number, failure))

    def on_call_event(
        self, event: CallBody | CallPaused | CallResumed | CallDropped | CallMessage | CallCancelled
    ) -> None:
        """Take an event of the machine."""
        if isinstance(event, CallBody):
            self._body.extend(event.pieces)
            self._last = event.last
        elif isinstance(event, CallPaused):
            self._paused = True
            return
        elif isinstance(event, CallResumed):
            self._paused = False
        elif isinstance(event, CallMessage):
            self._messages.append(event.message)
        else:
            if isinstance(event, CallDropped):
                self._code, self._reason = event.code, event.reason
            self._dropped = True
            if isinstance(event, CallCancelled):
                self._cancelled = True
                # A task of asyncio that is cancelled before its first step runs nothing: not even what tells the end.
                if self._runs and self.task is not None:
                    self.task.cancel()
        self._wake()

    # --- what the application calls ---

    async def receive(self) -> Message:
        """Return more of the body, or that the client is gone or has all it gets."""
        while True:
            if self._dropped or self._over:
                return {"type": "http.disconnect"}
            if not self._told_last and (self._body or self._last):
                body = b"".join(self._body)
                self._body.clear()
                self._told_last = self._last
                if not self._last:
                    self._hub.announce(CallTook(self._number, len(body)))
                return {"type": "http.request", "body": body, "more_body": not self._last}
            await self._change()

    async def send(self, message: Message) -> None:
        """Take a part of the response; waits while the client does not read.

        Raises ``ClientGoneError`` when the client has left, and ``RuntimeError`` for a message that is out of order.
        """
        if self._dropped:
            raise ClientGoneError("the client has left")
        kind = message["type"]
        if kind == "http.response.body":
            await self._send_body(message.get("body", b""), more=bool(message.get("more_body", False)))
        elif kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("http.response.start was sent before")
            self._head = int(message["status"]), _fields(message)
            if message.get("trailers", False):
                self._trailers = []
        elif kind == "http.response.trailers" and self._trailers is not None and self._begun and not self._over:
            self._trailers.extend(_fields(message))
            if not message.get("more_trailers", False):
                self._end(CallContinues(self._number, b"", True, tuple(self._trailers)))
        else:
            raise RuntimeError(f"the message {kind!r} is not permitted here")

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._head is None:
            raise RuntimeError("http.response.body comes before http.response.start")
        if self._over:
            raise RuntimeError("the response is complete already")
        more = more or self._trailers is not None
        event: CallResponds | CallContinues
        if self._begun:
            event = CallContinues(self._number, _bytes(body), not more)
        else:
            event = CallResponds(self._number, *self._head, _bytes(body), not more)
            self._begun = True
        if not more:
            self._end(event)
            return
        self._hub.announce(event)
        await self._hub.runtime.checkpoint()
        while self._paused and not self._dropped:
            await self._change()

    # --- inside ---

    def _end(self, event: CallResponds | CallContinues) -> None:
        self._over = True
        self._hub.announce(event)
        self._wake()

    async def _change(self) -> None:
        if self._waiting is None:
            self._waiting = self._hub.runtime.event()
        await self._waiting.wait()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set()


class WebSocketCall(AppCall):
    """One WebSocket: ``receive`` and ``send`` of its application."""

    __slots__ = ("_accepted", "_connected")

    def __init__(self, hub: Hub, event: CallBegins) -> None:
        super().__init__(hub, event)
        self._connected = False
        self._accepted = False

    async def receive(self) -> Message:
        """Return that the client connects, then its messages, and at last that it is gone."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._messages:
            if self._dropped:
                return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
            await self._change()
        message = self._messages.popleft()
        self._hub.announce(CallTook(self._number, len(message)))
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def send(self, message: Message) -> None:
        """Accept, send or close.

        Raises ``ClientGoneError`` when the client has left, ``RuntimeError`` for a message that is out of order,
        ``UnicodeEncodeError`` for text that UTF-8 cannot write, and ``ValueError`` for a close code that is not one.
        """
        if self._dropped:
            raise ClientGoneError("the client has left")
        kind = message["type"]
        if self._over:
            raise RuntimeError("the WebSocket is closed already")
        if kind == "websocket.close":
            closes = CallCloses(self._number, _close_code(message), _writable(message.get("reason") or ""))
            self._over = True
            self._hub.announce(closes)
        elif kind == "websocket.accept" and not self._accepted:
            fields = _fields(message)
            if subprotocol := message.get("subprotocol"):
                fields = (*fields, (b"sec-websocket-protocol", subprotocol.encode("latin-1")))
            self._accepted = True
            self._hub.announce(CallAccepts(self._number, fields))
        elif kind == "websocket.send" and self._accepted:
            text = message.get("text")
            self._hub.announce(CallSends(self._number, _bytes(message["bytes"]) if text is None else _writable(text)))
        else:
            raise RuntimeError(f"the message {kind!r} is not permitted here")
        await self._hub.runtime.checkpoint()
        while self._paused and not self._dropped:
            await self._change()


def _fields(message: Message) -> Fields:
    return tuple((_bytes(name), _bytes(value)) for name, value in message.get("headers", ()))


def _bytes(value: object) -> bytes:
    """Return bytes as they are. Raises ``TypeError`` for what is not bytes: ``bytes`` makes zeros of a number."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"wants bytes, found {type(value).__name__}")


def _writable(text: str) -> str:
    """Return a text that UTF-8 can write. Raises ``UnicodeEncodeError`` for half of a surrogate pair."""
    str.encode(text)
    return text


def _close_code(message: Message) -> int:
    """Return the code of a close message, 1000 where it has none. Raises ``ValueError`` outside of RFC 6455 7.4.2."""
    code = int(message.get("code") or 1000)
    if not 1000 <= code <= 4999:
        raise ValueError(f"{code} is not a WebSocket close code: 1000 to 4999")
    return code


class Lifespan:
    """The lifespan of an application: ``start`` before its first request, ``stop`` after its last.

    An application that raises at its start does not know the lifespan protocol, and is served without. ``state`` is
    what it keeps for its requests. ``is_supported`` says, once it has started, whether it will be told of its end.
    """

    __slots__ = (
        "_app", "_failure", "_hub", "_received", "_started", "_stopped", "_stopping", "_task", "is_supported", "state",
    )  # fmt: skip

    def __init__(self, hub: Hub, app: AsgiApp) -> None:
        self.state: dict[str, Any] = {}
        self._hub = hub
        self._app = app
        self._started = Latch(hub.runtime)
        self._stopping = Latch(hub.runtime)
        self._stopped = Latch(hub.runtime)
        self.is_supported = False
        self._failure = ""
        self._received = 0
        self._task: Cancellable | None = None

    async def start(self) -> None:
        """Start the application. Raises ``AppError`` if it says that it cannot."""
        self._task = self._hub.runtime.spawn(self._run())
        await self._started.wait()
        if self._failure:
            raise AppError(f"the application did not start: {self._failure}")

    async def stop(self, grace_s: float) -> None:
        """Stop the application, and wait until it has stopped, for ``grace_s`` and not less than ``LEAST_STOP_S``.

        Raises ``AppError`` if it says that it failed, or takes longer.
        """
        if not self.is_supported:
            return
        self._stopping.set()
        allowed_s = max(grace_s, LEAST_STOP_S)
        if not await self._hub.runtime.wait(self._stopped, allowed_s):
            raise AppError(f"the application did not stop within {allowed_s:g} s")
        if self._failure:
            raise AppError(f"the application did not stop well: {self._failure}")

    def cancel(self) -> None:
        """End the application now."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except (Exception, SystemExit) as error:
            if self.is_supported or isinstance(error, SystemExit):
                self._failure = f"{type(error).__name__}: {error}"
                _logger.exception("the application's lifespan failed")
        finally:
            self.is_supported = self.is_supported and self._stopping.is_set()
            self._started.set()
            self._stopped.set()

    async def _receive(self) -> Message:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._failure = str(message.get("message", "")) or "it does not say why"
        if kind.startswith("lifespan.startup"):
            self.is_supported = kind == "lifespan.startup.complete"
            self._started.set()
        elif kind.startswith("lifespan.shutdown"):
            self._stopped.set()
        else:
            raise RuntimeError(f"the message {kind!r} is not permitted here")
