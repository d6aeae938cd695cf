"""An exchange knows neither of its ends: a second downstream and a second upstream work without a change elsewhere."""

from collections.abc import Mapping

from pico_core.boundary import Accepted, Connect, Connected, Received, Send, Tick
from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.writing import error_message
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import UPSTREAM_TIMEOUT
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.proxy.pool import ConnectionPool
from tests.core.proxy.ends import FunctionUpstream, LineDownstream
from tests.play import Play

CLIENT = 1
SERVICE = 2


def shout(method: bytes, target: bytes, body: bytes) -> tuple[int, bytes]:
    return 200, b"%b %b %b" % (method, target, body.upper())


class Seam(BaseMachine):
    """A ``Router`` of lines; below ``/app`` an app in this process serves them, else a service over HTTP/1.1."""

    idle_timeout_s = response_timeout_s = 30.0
    timed_out = UPSTREAM_TIMEOUT

    def __init__(self) -> None:
        super().__init__()
        self.finished_with: list[int] = []
        self._pool = ConnectionPool(
            self,
            "service",
            80,
            UpstreamConnection,
            limit=1,
            idle_timeout_s=60.0,
            connect_timeout_s=5.0,
            response_limits=HeadLimits(),
            heads=HeadBudget(),
        )

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        LineDownstream(channel, self)

    def begin(self, exchange: Exchange, now: float) -> None:
        if exchange.head.target.startswith(b"/app"):
            app = FunctionUpstream(shout)
            exchange.forward(app, b"", now)
            self.timers.schedule(now + 1.0, app.run)
        else:
            self._pool.send(exchange, b"", now, self._unreachable)

    def _unreachable(self, exchange: Exchange, reason: str, now: float) -> None:
        exchange.fail(502, reason, now)

    def answered(self, exchange: Exchange, now: float) -> None:
        """Nothing is kept of it."""

    def failed(self, exchange: Exchange, now: float) -> None:
        """Nothing is kept of it."""

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        return error_message(status, message, fields)

    def retry(self, exchange: Exchange, now: float) -> None:
        self.begin(exchange, now)

    def finished(self, exchange: Exchange, now: float) -> None:
        self.finished_with.append(exchange.status)


class HttpSeam(Seam):
    """The same router with what HTTP/1.1 asks besides: a ``RequestSource``."""

    head_limits = HeadLimits()
    heads = HeadBudget()
    header_timeout_s = 30.0
    closing = False

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        DownstreamConnection(channel, self, self, ClientFacts(channel.host), now)

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        raise AssertionError("every request here is one")


def accepted(machine: Seam) -> tuple[Play, Seam]:
    return Play(machine) >> Tick() >> Accepted(CLIENT, "clients", "192.0.2.7", 5000), machine


def test_lines_to_an_app() -> None:
    play, machine = accepted(Seam())
    assert play >> Received(CLIENT, b"/app/a hi\n") >> 1.0 << Send(CLIENT, b"200 GET /app/a HI\n")
    assert play >> Received(CLIENT, b"/app/b\n") >> 2.0 << Send(CLIENT, b"200 GET /app/b \n")
    assert machine.finished_with == [200, 200]


def test_http_to_an_app() -> None:
    play, machine = accepted(HttpSeam())
    request = b"POST /app HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nPOST /app HI"
    assert play >> Received(CLIENT, request) >> 1.0 << Send(CLIENT, answer)
    assert (
        play
        >> Received(CLIENT, request[:-1])
        >> 1.5
        >> Received(CLIENT, b"o")
        >> 2.5
        << Send(CLIENT, answer[:-1] + b"O")
    )
    assert machine.finished_with == [200, 200]


def test_lines_to_a_service_over_http() -> None:
    play, machine = accepted(Seam())
    assert (
        play
        >> Received(CLIENT, b"/x hi\n")
        << Connect(SERVICE, "service", 80, 5.0)
        >> Connected(SERVICE, "192.0.2.80", 80)
        << Send(SERVICE, b"GET /x HTTP/1.1\r\nHost: line.example\r\nContent-Length: 2\r\n\r\nhi")
        >> Received(SERVICE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        << Send(CLIENT, b"200 ")
        << Send(CLIENT, b"ok")
        >> Received(SERVICE, b"3\r\n, b\r\n0\r\n\r\n")
        << Send(CLIENT, b", b\n")
        >> Received(CLIENT, b"/y\n")
        << Send(SERVICE, b"GET /y HTTP/1.1\r\nHost: line.example\r\n\r\n")
        >> Received(SERVICE, b"HTTP/1.1 204 No Content\r\n\r\n")
        << Send(CLIENT, b"204 ")
        << Send(CLIENT, b"\n")
    )
    assert machine.finished_with == [200, 204]
