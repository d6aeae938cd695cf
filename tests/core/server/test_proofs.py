"""Nodes prove themselves to each other on the proxy port, where the cluster has a key."""

import random

import msgspec
import pytest
from msgspec.structs import replace

from pico_core.boundary import Accepted, Connected, Received, Send, Tick
from pico_core.config.gossip_key import GossipKey
from pico_core.config.server import ClusterConfig, GossipConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import SendStreamData, StreamRequest
from pico_core.gossip.keys import MARK_KEY
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.proofs import Proofs
from pico_core.server.exposure import OPEN
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, GET, NUMBERED, OK, QUIET, error
from tests.core.server.test_peers import FIRST, FROM_NODE, GET_FORWARDED, dial
from tests.neighbours import know
from tests.play import Data, Open, Play, Reset, joined, server_play

KEY = bytes(range(32))
KEYED: ServerConfig = replace(QUIET, cluster=ClusterConfig(gossip=GossipConfig(keys=(GossipKey(KEY),))))
NODE_HOST = "192.0.2.20"
GOSSIP_STREAM = 31
BELIEVED = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
NOT_BELIEVED = b"X-Forwarded-For: 192.0.2.20\r\nX-Forwarded-Proto: http\r\n"
OTHER = Proofs(Keyring([KEY]), random.Random(20))
"""Those of node 20."""


def keyed(config: ServerConfig = KEYED, *, serves: bool = True) -> tuple[Play, ServerNode]:
    """Return a server with a key that knows node 20, and perhaps has an agent for e1."""
    play = server_play(config)
    machine = play.machine
    assert isinstance(machine, ServerNode)
    know(play, 20)
    if serves:
        play.agent_registers(AGENT, "e1")
    return play, machine


def mark_of(machine: ServerNode) -> str:
    entries = machine.facts.gossip.entries("node-1")
    assert entries is not None
    return next(entry.value for entry in entries if entry.key == MARK_KEY)


def proved(machine: ServerNode) -> bytes:
    """Return a forwarded request with a proof of node 20."""
    return FROM_NODE[:-2] + b"X-Pico-Proof: %b\r\n\r\n" % OTHER.make(mark_of(machine))


def joining_peer(play: Play) -> Gossip:
    """Let node 20, which serves e1, join by a sealed stream; return its engine."""
    peer = Gossip("node-20", entropy=random.Random(20), seeds=["10.0.0.1:8003"], keys=[KEY])
    peer.set_local("proxy_addr", f"{NODE_HOST}:8000", play.now)
    peer.set_endpoint("e1", 1, play.now)
    peer.start(f"{NODE_HOST}:8003", play.now)
    request = peer.poll()
    assert isinstance(request, StreamRequest)
    play >> Accepted(GOSSIP_STREAM, "gossip-streams", NODE_HOST, 6000) >> Received(GOSSIP_STREAM, request.data)
    hello = play.take()[0]
    assert isinstance(hello, Send)
    peer.stream_received(request.number, joined(hello.data), play.now)
    join = peer.poll()
    assert isinstance(join, SendStreamData)
    play >> Received(GOSSIP_STREAM, join.data) >> play.now + 0.1
    play.take()
    return peer


def to_service(fields: bytes) -> bytes:
    return (
        b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n"
        + fields
        + b"X-Forwarded-Host: e1.example.com\r\n"
        + NUMBERED
        + b"\r\n"
    )


def test_a_node_that_proves_itself_is_believed_for_as_long_as_its_connection_lasts() -> None:
    play, machine = keyed()
    play >> Accepted(9, "proxy", NODE_HOST, 7000) >> Received(9, proved(machine))
    play << Open(AGENT, 2) << Data(AGENT, 2, to_service(BELIEVED)) >> Data(AGENT, 2, OK) << Send(9, OK)
    assert play >> Received(9, FROM_NODE) << Data(AGENT, 2, to_service(BELIEVED))


def test_without_proof_the_address_of_a_member_is_not_enough() -> None:
    play, _ = keyed()
    play >> Accepted(9, "proxy", NODE_HOST, 7000) >> Received(9, FROM_NODE)
    assert play << Open(AGENT, 2) << Data(AGENT, 2, to_service(NOT_BELIEVED))


def test_a_proof_counts_once() -> None:
    play, machine = keyed()
    request = proved(machine)
    play >> Accepted(9, "proxy", NODE_HOST, 7000) >> Received(9, request)
    play << Open(AGENT, 2) << Data(AGENT, 2, to_service(BELIEVED)) >> Data(AGENT, 2, OK) << Send(9, OK)
    play >> Accepted(11, "proxy", NODE_HOST, 7001) >> Received(11, request)
    assert play << Data(AGENT, 2, to_service(NOT_BELIEVED))
    assert [log.message for log in play.logs if log.subsystem == "proxy" and log.level == "warning"] == [
        "a request says that a node forwarded it, without proof"
    ]


def test_a_mark_of_a_forwarded_request_is_the_senders_fault_without_proof_too() -> None:
    """Two nodes whose keys differ do not send a request in circles, and each learns that its route is stale."""
    play, machine = keyed(serves=False)
    misdirected = "X-Pico-Failure: misdirected"
    play >> Accepted(9, "proxy", NODE_HOST, 7000) >> Received(9, FROM_NODE)
    assert play << error(
        421, "Misdirected Request", "no available upstreams", misdirected, client=9, reason="misdirected"
    )
    play >> Accepted(11, "proxy", NODE_HOST, 7001) >> Received(11, proved(machine))
    assert play << error(
        421, "Misdirected Request", "no available upstreams", misdirected, client=11, reason="misdirected", entry=False
    )


def test_a_client_at_the_address_of_a_node_is_not_told_what_else_nodes_tell_each_other() -> None:
    play, _ = keyed()
    play >> Accepted(9, "proxy", NODE_HOST, 7000) >> Received(9, FROM_NODE)
    play.take()
    assert play >> Reset(AGENT, 2) << Open(AGENT, 4) << Data(AGENT, 4, to_service(NOT_BELIEVED))
    assert play >> Reset(AGENT, 4) << error(502, "Bad Gateway", "no available upstreams", client=9)


def test_each_connection_to_a_node_begins_with_a_proof_for_it() -> None:
    play = server_play(KEYED)
    peer = joining_peer(play)
    play >> Accepted(CLIENT, "proxy", "192.0.2.7", 5000) >> Received(CLIENT, GET)
    play << dial(FIRST, 20) >> Connected(FIRST, NODE_HOST, 8000)
    (sent,) = [each for each in play.take() if isinstance(each, Send)]
    head, _, proof = joined(sent.data).removesuffix(b"\r\n\r\n").rpartition(b"\r\nx-pico-proof: ")
    assert head + b"\r\n\r\n" == GET_FORWARDED
    assert peer.takes_proof(proof, play.now)
    play >> Received(FIRST, OK) << Send(CLIENT, OK) >> Received(CLIENT, GET)
    assert play << Send(FIRST, GET_FORWARDED)


@pytest.mark.parametrize(
    ("config", "host", "warned"),
    [(QUIET, "", True), (QUIET, "::1", False), (KEYED, "", False)],
)
def test_the_start_warns_of_a_gossip_port_that_is_open_to_all(config: ServerConfig, host: str, warned: bool) -> None:
    gossip = msgspec.structs.replace(config.cluster.gossip, bind_addr=Address(host, 8003))
    config = msgspec.structs.replace(config, cluster=msgspec.structs.replace(config.cluster, gossip=gossip))
    play = Play(ServerNode(config, "node-1", random.Random(1))) >> Tick()
    play.take()
    (line,) = [log for log in play.logs if log.message == OPEN]
    assert ("gossip :8003" in str(line.fields["ports"])) is warned
    assert ("cluster.gossip.keys" in str(line.fields["keys"])) is warned
