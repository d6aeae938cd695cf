"""The table of an exchange: every call in every state either leads where the table says, or is refused."""

from collections.abc import Callable, Mapping

import pytest

from pico_core.boundary import Command
from pico_core.errors import LocalProtocolError
from pico_core.http.date import Dates
from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.writing import error_message
from pico_core.machine.channel import Channel, TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.lingering import Lingering
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import NODE_LOST, STREAM_REFUSED, TUNNEL_LOST, UPSTREAM_TIMEOUT, Failure
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.proxy.kept import KeptUpstream
from pico_core.proxy.states import TRANSITIONS, ExchangeState
from pico_core.timers import Timers
from tests.core.machine.channels import no_turns

OK = ResponseHead(200, 1, b"OK", b"", True, 2)
SWITCH = ResponseHead(101, 1, b"Switching Protocols", b"", True, upgrade=b"echo")
POST = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 9\r\n\r\nab"


class Scene:
    """A client's connection and one to a service, over channels whose commands gather; it routes by hand."""

    head_limits = HeadLimits()
    heads = HeadBudget()
    header_timeout_s = idle_timeout_s = response_timeout_s = 30.0
    timed_out = UPSTREAM_TIMEOUT
    closing = False
    believes_failures = True
    response_limits = head_limits

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.exchanges: list[Exchange] = []
        self.over: list[int] = []
        self._number = 0
        self.timers = Timers()
        self.lingering = Lingering(self.timers)
        self.dates = Dates(float)
        self.downstream = DownstreamConnection(self.channel(), self, self, ClientFacts("192.0.2.7"), 0.0)

    def channel(self) -> TcpChannel:
        self._number += 1
        return TcpChannel(self._number, "192.0.2.7", self.commands.append, lambda connection: None, no_turns())

    def upstream(self) -> UpstreamConnection:
        return UpstreamConnection(self.channel(), self)

    # --- as the source of requests ---

    def begin(self, exchange: Exchange, now: float) -> None:
        self.exchanges.append(exchange)

    def answered(self, exchange: Exchange, now: float) -> None:
        """Nothing is kept of it."""

    def failed(self, exchange: Exchange, now: float) -> None:
        """Nothing is kept of it."""

    def retry(self, exchange: Exchange, now: float) -> None:
        """Choose later."""

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        return error_message(status, message, fields)

    def finished(self, exchange: Exchange, now: float) -> None:
        self.over.append(exchange.status)

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        raise AssertionError("every request here is one")

    # --- as the source of upstreams ---

    def failure_of_loss(self, upstream: KeptUpstream) -> Failure:
        return TUNNEL_LOST

    def release(self, upstream: KeptUpstream, now: float) -> None:
        """Forget it."""

    def retired(self, upstream: KeptUpstream) -> None:
        """Forget it."""

    def discard(self, upstream: KeptUpstream, now: float) -> None:
        """Forget it."""


def exchange_in(state: ExchangeState) -> tuple[Scene, Exchange]:
    """Return an exchange that has come to ``state``; its request is not whole yet."""
    scene = Scene()
    scene.downstream.on_data(POST, 0.0)
    (exchange,) = scene.exchanges
    if state is not ExchangeState.CHOOSING:
        exchange.forward(scene.upstream(), b"", 0.0)
    if state is ExchangeState.RESPONDING:
        exchange.respond(OK, [b"o"], 0.0, last=False)
    elif state is ExchangeState.PIPED:
        exchange.switch_protocols(SWITCH, b"", 0.0)
    elif state is ExchangeState.OVER:
        exchange.respond_whole(OK, b"ok", 0.0)
    assert exchange.state is state
    return scene, exchange


def _raw(channel: Channel) -> Channel:
    return channel


def _give_up(exchange: Exchange) -> None:
    exchange.failure = TUNNEL_LOST
    exchange.give_up(1.0)


CALLS: dict[str, Callable[[Scene, Exchange], None]] = {
    "receive": lambda scene, exchange: exchange.receive([b"c"], 1.0, last=False),
    "forward": lambda scene, exchange: exchange.forward(scene.upstream(), b"", 1.0),
    "join": lambda scene, exchange: exchange.join(scene.upstream(), SWITCH, _raw, 1.0),
    "request_writable": lambda scene, exchange: exchange.request_writable(1.0),
    "respond_interim": lambda scene, exchange: exchange.respond_interim(ResponseHead(103, 1, b"", b"", True), 1.0),
    "respond": lambda scene, exchange: exchange.respond(OK, [b"o"], 1.0, last=False),
    "respond_whole": lambda scene, exchange: exchange.respond_whole(OK, b"ok", 1.0),
    "respond_more": lambda scene, exchange: exchange.respond_more([b"k"], 1.0, last=True),
    "response_writable": lambda scene, exchange: exchange.response_writable(1.0),
    "switch_protocols": lambda scene, exchange: exchange.switch_protocols(SWITCH, b"", 1.0),
    "failed": lambda scene, exchange: exchange.failed(TUNNEL_LOST, 1.0),
    "give_up": lambda scene, exchange: _give_up(exchange),
    "abandon_upstream": lambda scene, exchange: exchange.abandon_upstream(NODE_LOST, 1.0),
    "fail": lambda scene, exchange: exchange.fail(502, "no", 1.0),
    "on_deadline": lambda scene, exchange: exchange.on_deadline(1.0),
    "client_error": lambda scene, exchange: exchange.client_error(MessageError(400, "no"), 1.0),
    "client_lost": lambda scene, exchange: exchange.client_lost(1.0),
}


@pytest.mark.parametrize("state", ExchangeState)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_in_every_state(call: str, state: ExchangeState) -> None:
    scene, exchange = exchange_in(state)
    over, commands = list(scene.over), list(scene.commands)
    permitted = TRANSITIONS[state].get(call)
    if permitted is None:
        with pytest.raises(LocalProtocolError, match=f"^{call} is not permitted while an exchange is {state.value}$"):
            CALLS[call](scene, exchange)
        assert (exchange.state, scene.over, scene.commands) == (state, over, commands)
    else:
        CALLS[call](scene, exchange)
        assert exchange.state in permitted
        assert len(scene.over) == len(over) + (exchange.state is ExchangeState.OVER)


def test_the_table_names_calls_that_exist() -> None:
    assert {call for calls in TRANSITIONS.values() for call in calls} == set(CALLS)
    assert set(TRANSITIONS) == set(ExchangeState)


def test_an_exchange_is_not_sent_to_more_upstreams_than_the_limit() -> None:
    scene, exchange = exchange_in(ExchangeState.CHOOSING)
    for _ in range(4):
        exchange.forward(scene.upstream(), b"", 0.0)
        exchange.failed(STREAM_REFUSED, 0.0)
    assert (exchange.state, scene.over) == (ExchangeState.OVER, [502])
