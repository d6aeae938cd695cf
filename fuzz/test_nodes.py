"""Machines under anything a driver may hand them: they never raise, keep the contract, and hold no more than they may.

The contract is checked by ``tests.sim.driver``, at every command.
"""

import random
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.payloads import FRAMES, PAYLOADS, REQUESTS, RESPONSES
from fuzz.tunnels import Tunnels, open_stream
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import (
    ConnectionLost,
    EofReceived,
    Input,
    Received,
    ShutdownRequested,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.agent import AgentConfig, AgentConnectConfig, ListenerConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Origin
from pico_core.machine.base import CLOSE_LINGER_S, BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.mux.session import DEFAULT_WINDOW_BYTES
from pico_core.mux.stream import MuxStream
from pico_core.proxy.http1.downstream import MAX_BACKLOG_BYTES
from pico_core.server.node import ServerNode
from pico_core.tunnel.channel import StreamChannel
from pico_core.tunnel.tunnel import Tunnel
from tests.play import FarEnd
from tests.sim.held import held_bytes, reachable

MOST_HELD_BYTES = MAX_BACKLOG_BYTES + 2 * max(map(len, PAYLOADS))
"""On one connection: the input that reaches the bound, and one more that was on its way when reading was paused."""

SERVER_URL = AgentConnectConfig(url=Origin("127.0.0.1", 8001, "http"))
IDLE_BYTES = 10_000
"""More than a machine without connections holds."""

STEPS_S = (0.0, 0.05, 0.6, 3.0, 11.0, 31.0, 400.0)
STRANGE: tuple[Input, ...] = (
    Received(9_999, b"x"),
    EofReceived(9_999),
    ConnectionLost(9_999, "reset"),
    WritingPaused(9_999),
    WritingResumed(9_999),
)
"""Inputs about a connection that never was."""

Step: TypeAlias = tuple[str, int, int]


def steps(*names: str) -> st.SearchStrategy[list[Step]]:
    """Return scripts: short ones, which shrink well, and long walks, which get further."""
    step = st.tuples(st.sampled_from(names), st.integers(0, 7), st.integers(0, 63))
    return st.one_of(st.lists(step, max_size=60), st.integers(0, 2**32).map(lambda seed: walk(seed, names)))


def walk(seed: int, names: tuple[str, ...]) -> list[Step]:
    """Return a long script drawn from ``seed``, in which time passes slowly and the machine is seldom stopped."""
    draw = random.Random(seed)
    often = [name for name in names if name != "shutdown" or not draw.randrange(20)]
    return [
        (name, draw.randrange(8), draw.randrange(3 if name == "time" and draw.randrange(4) else 64))
        for name in (draw.choice(often) for _ in range(200))
    ]


SENSIBLE = ("ask", "ask", "ask", "answer", "answer", "answer", "frame", "time", "writing")
COMMON = (
    *SENSIBLE,
    *SENSIBLE,
    "bytes",
    "part",
    "flood",
    "garbage",
    "eof",
    "lose",
    "time",
    "strange",
    "shutdown",
    "tunnel",
)


def act(hand: Tunnels, step: Step) -> None:
    name, which, what = step
    connections = list(hand.ends)
    if name == "time":
        hand.pass_time(STEPS_S[what % len(STEPS_S)])
    elif name == "strange":
        hand.tell(STRANGE[what % len(STRANGE)])
    elif name == "dialed" and hand.dialing:
        hand.answer_dial(list(hand.dialing)[which % len(hand.dialing)], succeeds=what % 4 > 0)
    elif name == "register":
        hand.register()
    elif name == "shutdown":
        if what < 16:
            hand.tell(ShutdownRequested())
    elif name == "accept":
        hand.accept(("proxy", "proxy", "upstream", "admin", "gossip-streams")[what % 5])
    elif not connections:
        return
    elif name in ("ask", "answer", "frame"):
        sensible_step(hand, name, which, what)
    elif name == "tunnel":
        tunnel_step(hand, connections[which % len(connections)], which, what)
    else:
        on_connection(hand, connections[which % len(connections)], name, what)


def sensible_step(hand: Tunnels, name: str, which: int, what: int) -> None:
    """Let a client ask, a service answer, or either speak in frames, where one is connected; in parts now and then."""
    kind = {"ask": "proxy", "answer": "3000", "frame": "proxy"}[name]
    payloads = {"ask": REQUESTS, "answer": RESPONSES, "frame": FRAMES}[name]
    payload = payloads[what % len(payloads)]
    able = [connection for connection, line in hand.ends.items() if line.kind == kind]
    if able:
        hand.receive(able[which % len(able)], payload if what < 48 else payload[: len(payload) // 2])
    elif hand.far_ends:
        tunnels = list(hand.far_ends)
        tunnel_step(hand, tunnels[which % len(tunnels)], which, what % 60)


def on_connection(hand: Tunnels, connection: int, name: str, what: int) -> None:
    payload = PAYLOADS[what % len(PAYLOADS)]
    if name == "bytes":
        hand.receive(connection, payload)
    elif name == "part":
        hand.receive(connection, payload[: 1 + len(payload) * (what % 7) // 7])
    elif name == "flood":
        for _ in range(10):
            hand.receive(connection, payload)  # until the machine pauses it
    elif name == "garbage":
        hand.receive(connection, random.Random(what).randbytes(1 + what))
    elif name == "eof":
        hand.receive_eof(connection)
    elif name == "lose":
        hand.lose(connection)
    elif name == "writing":
        hand.turn_writing(connection)


def tunnel_step(hand: Tunnels, connection: int, which: int, what: int) -> None:
    """Let a far end that speaks the protocol do something, mostly sensible."""
    hand.accept_registration(connection)
    if connection not in hand.far_ends:
        return
    is_server = hand.is_served_by(connection)
    payload = REQUESTS[what % len(REQUESTS)] if is_server else RESPONSES[what % len(RESPONSES)]

    def do(far: FarEnd) -> None:
        if is_server and what % 3 == 0 and far.tunnel.session.can_open_stream:
            open_stream(far)
        streams = list(far.streams.values())
        stream = streams[which % len(streams)] if streams else None
        if what in (62, 63):
            far.tunnel.go_away()
        elif stream is not None and not stream.eof_queued:
            if what == 61:
                stream.reset()
            elif what == 60:
                stream.send_eof()
            else:
                stream.send(payload)

    hand.far_end_turn(connection, do)
    if what == 62 and connection in hand.far_ends:
        hand.close_tunnel(connection)


def play(machine: BaseMachine, hand: Tunnels, script: list[Step]) -> None:
    """Go through a script until the machine ends."""
    for number, step in enumerate(script):
        if hand.exit is not None:
            break
        act(hand, step)
        if number % 8 == 0:
            check_bound(machine, hand)
    check_bound(machine, hand)


def check_bound(machine: BaseMachine, hand: Tunnels) -> None:
    """No peer can make the machine hold more bytes than its connections and streams may take."""
    held = list(reachable(machine))
    assert {each.id for each in held if isinstance(each, TcpChannel)} >= set(hand.ends)
    streams = sum(isinstance(each, MuxStream) for each in held)
    bound = len(hand.ends) * MOST_HELD_BYTES + streams * DEFAULT_WINDOW_BYTES
    assert held_bytes(machine) <= IDLE_BYTES + bound


def take_everything_away(machine: BaseMachine, hand: Tunnels) -> None:
    """Lose every connection; the machine holds nothing of them then, however long it waits."""
    lose_all(hand)
    hand.pass_time(1.0)
    for _ in range(3):
        for connection in list(hand.dialing):
            hand.answer_dial(connection, succeeds=False)
    lose_all(hand)
    hand.pass_time(CLOSE_LINGER_S + 1.0)
    kinds = (TcpChannel, StreamChannel, Tunnel, MuxStream)
    assert [each for each in reachable(machine) if isinstance(each, kinds)] == []


def lose_all(hand: Tunnels) -> None:
    for connection in list(hand.ends):
        hand.lose(connection)


def stop(hand: Tunnels) -> None:
    """Ask the machine to stop; it does, in time, unless it has stopped already."""
    if hand.exit is None:
        hand.tell(ShutdownRequested())
    for _ in range(80):
        hand.pass_time(1.0)
    assert hand.exit is not None


@given(steps("accept", "register", *COMMON), st.sampled_from((0, 1, 2)))
def test_a_server_survives_anything_and_forgets_it(script: list[Step], agents: int) -> None:
    node = ServerNode(ServerConfig(), "node-1", random.Random(1))
    hand = Tunnels(node)
    for _ in range(agents):
        hand.register()
    hand.accept("proxy")
    play(node, hand, script)
    take_everything_away(node, hand)
    assert node.facts.metrics.requests_in_flight == 0
    assert node.facts.registry.counts() == {}
    assert node.facts.tunnels == {}
    stop(hand)


@pytest.mark.parametrize("protocol", ["http", "tcp"])
@given(script=steps("dialed", "dialed", *COMMON))
def test_an_agent_survives_anything_and_forgets_it(protocol: str, script: list[Step]) -> None:
    listener = ListenerConfig(endpoint_id="e1", addr=Origin("127.0.0.1", 3000), protocol=protocol)
    node = AgentMachine(AgentConfig(listeners=(listener,), connect=SERVER_URL), random.Random(1))
    hand = Tunnels(node)
    hand.answer_dial(2, succeeds=True)
    hand.accept_registration(2)
    play(node, hand, script)
    take_everything_away(node, hand)
    stop(hand)
