"""Other nodes of the cluster in the play of a server: real gossip engines, which the play directs.

A ``Neighbour`` joins over TCP as a node does, and gossips with the server and with the other neighbours until it
``falls_silent``. Its gossip does not appear in the play. What the play has it say reaches the server at once. Time
passes for all neighbours when the server sends something to one of them, which is every round.
"""

import itertools
import random
from collections.abc import Callable

from pico_core.boundary import Accepted, Close, ConnectionLost, DatagramReceived, Received, Send, SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import Output, SendStreamData, StreamRequest
from pico_core.records import Record
from pico_core.server.node import ServerNode
from tests.play import Play, joined

FIRST_STREAM = 900_001
"""The connections on which neighbours join have numbers from here on."""
ROUND_S = 0.1
ROUNDS = 30
"""A round reaches one of the nodes that a neighbour knows; so many reach the server."""
JOIN_S = 5.0

_streams = itertools.count(FIRST_STREAM, 2)


class Neighbour:
    """Another node, which has joined the cluster of the server in ``play``. ``told`` are keys of its state."""

    def __init__(self, play: Play, node_id: str, host: str, port: int = 8003, **told: str) -> None:
        assert isinstance(play.machine, ServerNode)
        facts = play.machine.facts
        self.id = node_id
        self.host = host
        self._play = play
        self.port = port
        self._server = facts.addresses["gossip"]
        self._server_gossip = facts.gossip
        self.is_silent = False
        self.now = play.now
        keys = [each.secret for each in facts.config.cluster.gossip.keys]
        self.gossip = Gossip(node_id, entropy=random.Random(node_id), seeds=[str(self._server)], keys=keys)
        for key, value in told.items():
            self.gossip.set_local(key, value, self.now)
        play.neighbours[host] = self
        self._join()

    def hear(self, data: bytes, now: float) -> list[DatagramReceived]:
        """Take a datagram of the server; return what the neighbours send to it thereupon."""
        self.take(data, self._server.host, self._server.port)
        for each in self._all():
            each.pass_time(now)
        return self._to_server()

    # --- what the play has it do ---

    def serves(self, endpoint: str, upstreams: int = 1, claim: str = "") -> None:
        """Tell how many upstreams it has for an endpoint, and whose they are; with 0 it has none any more."""
        self._tell(lambda: self.gossip.set_endpoint(endpoint, upstreams, self.now, claim))

    def says(self, key: str, value: str) -> None:
        """Tell the value of a key of its state."""
        self._tell(lambda: self.gossip.set_local(key, value, self.now))

    def drains(self) -> None:
        """Ask the others to prefer other nodes."""
        self._tell(lambda: self.gossip.set_draining(self.now))

    def leaves(self) -> None:
        """Leave the cluster, and then be silent."""
        self._tell(lambda: self.gossip.leave(self.now))
        self.falls_silent()

    def falls_silent(self) -> None:
        """Answer nothing from now on, as a node does that has lost its power."""
        self.is_silent = True

    # --- inside ---

    def _join(self) -> None:
        play, stream = self._play, next(_streams)
        before = play.take_with_ids()
        self.gossip.start(f"{self.host}:{self.port}", self.now)
        (request,) = [each for each in self.outputs() if isinstance(each, StreamRequest)]
        play.machine.handle(Accepted(stream, "gossip-streams", self.host, 6000), play.now)
        play.machine.handle(Received(stream, request.data), play.now)
        others: list[Record] = []
        is_over = False
        give_up_at = play.now + JOIN_S
        while not is_over:
            assert play.now < give_up_at, "the server does not answer"
            commands = play.take_with_ids()
            if not commands:
                play >> play.now + ROUND_S  # the server works in turns
            for each in commands:
                if isinstance(each, Send) and each.connection == stream:
                    is_over = self._answered(request.number, stream, joined(each.data))
                elif each != Close(stream):
                    others.append(each)
        play.machine.handle(ConnectionLost(stream, ""), play.now)
        others += [each for each in play.take_with_ids() if each != Close(stream)]
        play.put_back([*before, *others])
        assert self.id in self._versions(), "the server does not take it for a node"

    def _answered(self, number: int, stream: int, data: bytes) -> bool:
        """Take a part of the server's answer; return whether it is whole."""
        is_over = self.gossip.stream_received(number, data, self.now)
        while self.gossip.is_stream_busy(number):
            is_over = self.gossip.stream_work(number, self.now)
        for each in self.outputs():
            if isinstance(each, SendStreamData):
                self._play.machine.handle(Received(stream, each.data), self._play.now)
        return is_over

    def _tell(self, change: Callable[[], None]) -> None:
        """Change its state, and hold rounds until the server knows of it."""
        change()
        own = self.gossip.snapshot(self.now)[0].version
        for _ in range(ROUNDS):
            for event in self._to_server():
                self._play.machine.handle(event, self._play.now)
            self._play.hear_neighbours()
            if self._versions()[self.id] >= own:
                return
            self.pass_time(self.now + ROUND_S)
        raise AssertionError("the server does not hear of it")

    def _versions(self) -> dict[str, int]:
        return {row.id: row.version for row in self._server_gossip.snapshot(self._play.now)}

    def outputs(self) -> list[Output]:
        found = []
        while (output := self.gossip.poll()) is not None:
            found.append(output)
        return found

    def _all(self) -> list["Neighbour"]:
        return [each for each in self._play.neighbours.values() if isinstance(each, Neighbour)]

    def pass_time(self, now: float) -> None:
        if now > self.now:
            self.now = now
            self.gossip.tick(now)

    def take(self, data: bytes, host: str, port: int) -> None:
        if not self.is_silent:
            self.gossip.receive_datagram(data, host, port, self.now)

    def _to_server(self) -> list[DatagramReceived]:
        """Deliver what the neighbours send to each other; return what they send to the server."""
        found: list[DatagramReceived] = []
        while sent := [(each, output) for each in self._all() for output in each.outputs()]:
            for sender, output in sent:
                if isinstance(output, StreamRequest):
                    sender.gossip.stream_failed(output.number, sender.now)
                elif sender.is_silent or not isinstance(output, SendDatagram):
                    continue
                elif (output.host, output.port) == (self._server.host, self._server.port):
                    found.append(DatagramReceived("gossip", output.data, sender.host, sender.port))
                elif output.host in self._play.neighbours:
                    receiver = self._play.neighbours[output.host]
                    assert isinstance(receiver, Neighbour)
                    receiver.take(output.data, sender.host, sender.port)
        return found


def know(play: Play, node: int, endpoint: str = "e1", claim: str = "") -> Neighbour:
    """Let the server hear that node 20 (or 21 ...) at 192.0.2.20 serves an endpoint, unless that is empty."""
    host = f"192.0.2.{node}"
    neighbour = play.neighbours.get(host)
    if neighbour is None:
        neighbour = Neighbour(play, f"node-{node}", host, proxy_addr=f"{host}:8000", admin_addr=f"{host}:8002")
    assert isinstance(neighbour, Neighbour)
    if endpoint:
        neighbour.serves(endpoint, 1, claim)
    return neighbour
