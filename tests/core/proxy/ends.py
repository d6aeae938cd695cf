"""Two more ends of an exchange, to prove that it knows neither: a client that asks by lines, an app in this process."""

from collections.abc import Callable, Sequence

from pico_core.http.message import RequestHead, ResponseHead
from pico_core.machine.channel import Channel, HoldingChannel, TcpChannel
from pico_core.pieces import Piece
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange, Router


class LineDownstream:
    """A client that sends ``<path> <body>`` and a line end, and gets ``<status> <body>`` and a line end."""

    writable = True

    def __init__(self, channel: TcpChannel, router: Router) -> None:
        self.client = ClientFacts(channel.host)
        self._channel = channel
        self._router = router
        self._line = b""
        channel.user = self

    def on_data(self, data: Piece, now: float) -> None:
        self._line += data
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            path, _, body = line.partition(b" ")
            head = RequestHead(b"GET", path, 1, b"line.example", b"Host: line.example\r\n", True, len(body) or -1)
            exchange = Exchange.start(self._router, self, head, now, not body)
            if body:
                exchange.receive([body], now, last=True)
            self._router.begin(exchange, now)

    def on_eof(self, now: float) -> None:
        self._channel.close()

    def on_lost(self, now: float) -> None: ...

    def on_writable(self, now: float) -> None: ...

    def pause_request(self) -> None: ...

    def resume_request(self) -> None: ...

    def limit_request(self, most_bytes: int) -> None: ...

    def respond_interim(self, head: ResponseHead, now: float) -> None: ...

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self._channel.send(b"%d %b\n" % (head.status, body))

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        self._channel.send(b"%d " % head.status)
        self.respond_more(pieces, now, last=last)

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        self._channel.send((*pieces, b"\n" if last else b""))

    def cut(self, now: float) -> None:
        self._channel.abort()

    abort = cut

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        raise AssertionError("lines are never upgraded")

    def upgrade_over(self, now: float) -> None:
        raise AssertionError("lines are never upgraded")


class FunctionUpstream:
    """A function of method, target and body in this process; it is called when the request has come whole."""

    writable = True

    def __init__(self, app: Callable[[bytes, bytes, bytes], tuple[int, bytes]]) -> None:
        self._app = app
        self._body = b""
        self._exchange: Exchange | None = None

    def request(
        self,
        exchange: Exchange,
        fields: bytes,
        pieces: Sequence[Piece] = (),
        *,
        last: bool = True,
        trailers: bytes = b"",
    ) -> None:
        self._exchange = exchange
        self.request_more(pieces, last=last, trailers=trailers)

    def request_more(self, pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> None:
        self._body += b"".join(pieces)

    def run(self, now: float) -> None:
        """Call the app, as a driver of apps would in its own turn."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            status, body = self._app(exchange.head.method, exchange.head.target, self._body)
            head = ResponseHead(status, 1, b"OK", b"Content-Type: text/plain\r\n", True, len(body))
            exchange.respond_whole(head, body, now)

    def pause_response(self) -> None: ...

    def resume_response(self) -> None: ...

    def upgrade(self) -> Channel:
        raise AssertionError("apps are never upgraded")

    def upgrade_over(self, now: float) -> None:
        raise AssertionError("apps are never upgraded")

    def give_up(self, now: float) -> None:
        self._exchange = None
