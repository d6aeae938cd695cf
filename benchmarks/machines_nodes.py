"""CPU per request of two server machines alone: one that forwards, and the one with the tunnel.

Measured as in ``machines_server``, whose heads these are. Both nodes are real and know each other by gossip; what one
sends to the other is handed over at once. A profile: python -m benchmarks.machines_nodes entry|tunnel [seconds]
"""

import cProfile
import pstats
import random
import sys
import time
from collections.abc import Callable, Iterable

import msgspec

from benchmarks.machines_server import (
    BROWSER_REQUEST,
    BROWSER_RESPONSE,
    CLIENTS,
    REQUEST,
    RESPONSE,
    WALL_S,
    Agent,
    as_bytes,
    as_new,
    drain,
    first_decile,
)
from pico_core.boundary import (
    Accepted,
    Close,
    Command,
    Connect,
    Connected,
    ConnectionLost,
    DatagramReceived,
    Input,
    Listening,
    Received,
    Send,
    SendDatagram,
    Tick,
)
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address, member
from pico_core.server.node import ServerNode

ENTRY, TUNNEL = "entry node", "tunnel node"
PORTS = {"admin": 8002, "upstream": 8001, "proxy": 8000, "gossip-streams": 8003, "gossip": 8003}
LISTENERS = {8000: "proxy", 8003: "gossip-streams"}
FIRST_CLIENT = 100_001
"""Connections that a node accepts have odd numbers; those of clients are far from those of the other node."""
JOIN_S = 5.0
ROUND_S = 0.1


class MachineNode:
    """One of the two nodes. ``spent_s`` is what its machine took since it was last set to zero."""

    def __init__(self, name: str, host: str, join: tuple[Address, ...], clock: Callable[[], float]) -> None:
        self.host = host
        self.spent_s = 0.0
        self.profile: cProfile.Profile | None = None
        self.peers: dict[int, int] = {}
        """The other node's number of each connection to it, by our own."""
        self._accepted = 3
        self._clock = clock
        replace = msgspec.structs.replace
        config = ServerConfig()
        proxy = replace(
            config.proxy,
            access_log=replace(config.proxy.access_log, disable=True),
            advertise_addr=Address(host, PORTS["proxy"]),
        )
        gossip = replace(config.cluster.gossip, advertise_addr=Address(host, PORTS["gossip"]))
        cluster = replace(config.cluster, gossip=gossip, join=join)
        admin = replace(config.admin, advertise_addr=Address(host, PORTS["admin"]))
        config = replace(config, proxy=proxy, cluster=cluster, admin=admin)
        self.machine = ServerNode(config, name, random.Random(name))
        self.machine.handle(Tick(WALL_S), 0.0)
        for listener, port in PORTS.items():
            self.machine.handle(Listening(listener, host, port), 0.0)

    def take(self, inputs: Iterable[Input], now: float) -> list[Command]:
        """Give the machine the inputs of one turn, and return its commands."""
        if self.profile is not None:
            self.profile.enable()
        began = self._clock()
        for each in inputs:
            self.machine.handle(each, now)
        commands = drain(self.machine)
        self.spent_s += self._clock() - began
        if self.profile is not None:
            self.profile.disable()
        return commands

    def accept(self, number: int, listener: str, host: str) -> tuple[int, Accepted]:
        """Return a connection of the other node, which it knows by ``number``."""
        self._accepted += 2
        self.peers[self._accepted] = number
        return self._accepted, Accepted(self._accepted, listener, host, 40_000)


class TwoNodes:
    """Nodes that have joined; the agent is connected to the second one, and the clients to the first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.entry = MachineNode("entry", "192.0.2.1", (), clock)
        self.tunnel = MachineNode("tunnel", "192.0.2.2", (member("192.0.2.1:8003"),), clock)
        self.answers: list[bytes] = []
        """What the clients got."""
        now = 0.0
        self._carry(self.tunnel, self.tunnel.take([], now), now)
        self.agent = Agent(self.tunnel.machine)
        while not self.entry.machine.facts.view.serving("e1"):
            assert now < JOIN_S, "the nodes do not find each other"
            now += ROUND_S
            for node in (self.entry, self.tunnel):
                self._carry(node, node.take([Tick(WALL_S + now)], now), now)
        self.clients = range(FIRST_CLIENT, FIRST_CLIENT + 2 * CLIENTS, 2)
        self.entry.take([Accepted(client, "proxy", "127.0.0.1", 7) for client in self.clients], now)
        self.now = now

    def serve(self, request: bytes) -> int:
        """Let each client send the request; return how many were answered."""
        self.answers = []
        self._carry(self.entry, self.entry.take([Received(client, request) for client in self.clients], self.now))
        return len(self.answers)

    def _carry(self, node: MachineNode, commands: list[Command], now: float | None = None) -> None:
        """Hand over what a node commands until nothing is left to do; the inputs of a turn are taken together."""
        now = self.now if now is None else now
        while commands:
            other = self.tunnel if node is self.entry else self.entry
            own: list[Input] = []
            others: list[Input] = []
            to_agent = b""
            for each in commands:
                if isinstance(each, SendDatagram):
                    others.append(DatagramReceived("gossip", each.data, node.host, PORTS["gossip"]))
                elif isinstance(each, Connect):
                    number, accepted = other.accept(each.connection, LISTENERS[each.port], node.host)
                    node.peers[each.connection] = number
                    others.append(accepted)
                    own.append(Connected(each.connection, each.host, each.port))
                elif isinstance(each, Send) and each.connection in node.peers:
                    others.append(Received(node.peers[each.connection], as_bytes(each.data)))
                elif isinstance(each, Send) and each.connection == 1:
                    to_agent += as_bytes(each.data)
                elif isinstance(each, Send):
                    self.answers.append(as_bytes(each.data))
                elif isinstance(each, Close):
                    own.append(ConnectionLost(each.connection, ""))
                    others.append(ConnectionLost(node.peers[each.connection], ""))
            if to_agent and (answer := self.agent.answer(to_agent)):
                own.append(Received(1, answer))
            if own:
                self._carry(other, other.take(others, now), now)
                commands = node.take(own, now)
            else:
                node, commands = other, other.take(others, now)


def run(
    seconds: float,
    *,
    browser: bool = False,
    new_heads: bool = False,
    profiled: str = "",
    profile: cProfile.Profile | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return microseconds per request of each node; arguments as in ``machines_server.run``."""
    request, response = (BROWSER_REQUEST, BROWSER_RESPONSE) if browser else (REQUEST, RESPONSE)
    nodes = TwoNodes(clock)
    both = {ENTRY: nodes.entry, TUNNEL: nodes.tunnel}
    if profiled:
        both[profiled].profile = profile
    turns: dict[str, list[float]] = {name: [] for name in both}
    count = 0
    until = clock() + seconds
    while clock() < until or count < 2:
        nodes.agent.response = as_new(response, count) if new_heads else response
        answered = nodes.serve(as_new(request, count) if new_heads else request)
        assert answered == CLIENTS, answered
        for name, node in both.items():
            turns[name].append(node.spent_s / CLIENTS * 1e6)
            node.spent_s = 0.0
        count += 1
    return {name: first_decile(each) for name, each in turns.items()}


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds per request by the node and the kind of the heads."""
    kinds = {"equal heads": (False, False), "every head new": (False, True), "heads of a browser, new": (True, True)}
    found = {}
    for kind, (browser, new_heads) in kinds.items():
        for name, value in run(seconds, browser=browser, new_heads=new_heads).items():
            found[f"{name}, {kind}"] = value
    return found


if __name__ == "__main__":
    profile = cProfile.Profile()
    name = next(each for each in (ENTRY, TUNNEL) if each.startswith(sys.argv[1]))
    run(float(sys.argv[2]) if len(sys.argv) > 2 else 2.0, profiled=name, profile=profile)
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)
