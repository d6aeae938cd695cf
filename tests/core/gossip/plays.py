"""Literal datagrams and times for plays of the gossip engine, one engine or two."""

import random

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import Lookup, Output, StreamRequest
from pico_core.gossip.keys import PICO_KEY, SILENT_KEY
from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.gossip.wire.records import Delta, Digest, DigestEntry, Entry
from tests.gossip_streams import received, take_answer

A, B, C, D = "10.0.0.1:8003", "10.0.0.2:8003", "10.0.0.3:8003", "10.0.0.4:8003"
HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3", "d": "10.0.0.4"}


class Steady(random.Random):
    """Entropy whose numbers are all in the middle."""

    def random(self) -> float:
        return 0.5


def engine(
    name: str,
    *seeds: str,
    default_port: int | None = None,
    max_packet_bytes: int = 1400,
    is_name_fixed: bool = False,
) -> Gossip:
    """Return an engine that is not started, with one key of its own."""
    made = Gossip(
        name,
        entropy=Steady(),
        seeds=seeds,
        default_port=default_port,
        max_packet_bytes=max_packet_bytes,
        is_name_fixed=is_name_fixed,
    )
    made.set_local("proxy_addr", f"{HOSTS[name]}:8000", 0.0)
    return made


def drain(gossip: Gossip) -> list[Output]:
    outputs = []
    while (output := gossip.poll()) is not None:
        outputs.append(output)
    return outputs


def status_of(gossip: Gossip, node_id: str) -> str | None:
    """Return the status of a node in the table, ``None`` if it is not there."""
    return {row.id: row.status for row in gossip.snapshot(0.0)}.get(node_id)


def version_of(gossip: Gossip) -> int:
    """Return the version of a node's own state."""
    return gossip.snapshot(0.0)[0].version


def entries_of(gossip: Gossip, node_id: str) -> list[Entry]:
    """Return the entries that an engine holds of a node, which must be in its table."""
    entries = gossip.entries(node_id)
    assert entries is not None
    return entries


def report_of(gossip: Gossip) -> str | None:
    """Return the report that a node publishes of the nodes it finds silent, one a line."""
    return {each.key: each.value for each in entries_of(gossip, gossip.id)}.get(SILENT_KEY)


def digest_of(message: Digest | Delta) -> Digest:
    """Return a message that must be a digest."""
    assert isinstance(message, Digest)
    return message


def delta_of(message: Digest | Delta) -> Delta:
    """Return a message that must be a delta."""
    assert isinstance(message, Delta)
    return message


def only_datagrams(outputs: list[Output]) -> list[SendDatagram]:
    """Return the outputs, all of which must be datagrams."""
    found = [each for each in outputs if isinstance(each, SendDatagram)]
    assert found == outputs
    return found


def sent(outputs: list[Output]) -> list[Digest | Delta]:
    return [decode_datagram(each.data) for each in outputs if isinstance(each, SendDatagram)]


def events(outputs: list[Output]) -> list[Output]:
    return [each for each in outputs if not isinstance(each, SendDatagram | StreamRequest | Lookup)]


def request_of(outputs: list[Output]) -> StreamRequest:
    (found,) = [each for each in outputs if isinstance(each, StreamRequest)]
    return found


def accepted(gossip: Gossip, host: str, now: float) -> InboundStream:
    """Return the stream for a connection from ``host``, which the engine must accept."""
    stream = gossip.accept_stream(host, now)
    assert stream is not None
    return stream


def answer_of(gossip: Gossip, host: str, request: bytes, now: float) -> bytes:
    """Return the engine's answer to a whole request that comes over a new connection from ``host``."""
    stream = accepted(gossip, host, now)
    answer = received(stream, request, now)
    assert stream.is_done
    return answer


def pass_on(source: Gossip, target: Gossip, now: float) -> list[Output]:
    """Deliver the datagrams of ``source`` to ``target``, whichever address they go to; return the other outputs."""
    outputs = drain(source)
    for each in outputs:
        if isinstance(each, SendDatagram):
            target.receive_datagram(each.data, HOSTS[source.id], 8003, now)
    return events(outputs)


def talk(first: Gossip, second: Gossip, now: float, turns: int = 6) -> list[Output]:
    """Let two engines answer each other until they are silent; return their events."""
    told = []
    for _ in range(turns):
        told += pass_on(first, second, now) + pass_on(second, first, now)
    return told


def joined(*, started: bool = True) -> tuple[Gossip, Gossip]:
    """Two engines that know each other."""
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(A, 0.0)
    second.start(B, 0.0)
    request = request_of(drain(second))
    reply = answer_of(first, "10.0.0.2", request.data, 0.01)
    assert take_answer(second, request.number, reply, 0.02)
    drain(first), drain(second)
    if started:
        first.tick(0.06)
        talk(first, second, 0.06)
    return first, second


def digest(node_id: str, addr: str, *entries: DigestEntry, request: bool = True) -> bytes:
    data = writing.digest_head(node_id, addr, request=request)
    return data + b"".join(writing.digest_entry(e.id, e.addr, e.version, left=e.left) for e in entries)


def delta(node_id: str, addr: str, of: str, of_addr: str, *entries: Entry, after: int | None = None) -> bytes:
    data = writing.delta_head(node_id, addr) + writing.delta_node(of, of_addr, len(entries), after)
    return data + b"".join(map(writing.pack_entry, entries))


def join_request_of(name: str, addr: str) -> StreamRequest:
    gossip = Gossip(name, entropy=Steady(), seeds=("10.0.0.1",))
    gossip.start(addr, 0.0)
    return request_of(drain(gossip))


def prove(first: Gossip, name: str, addr: str, *listed: DigestEntry, at: float) -> None:
    """Let a node send a digest from its address, and answer the one that comes back."""
    host, _, port = addr.rpartition(":")
    padding = [DigestEntry("left", "", 0, True)] * 5  # as many bytes as our answer to a stranger may have
    first.receive_datagram(digest(name, addr, *listed, *padding), host, int(port), at)
    first.receive_datagram(writing.delta_head(name, addr), host, int(port), at)


def introduce(first: Gossip, name: str) -> None:
    """Let a node know ``name``, which answers, and is a Pico node."""
    host, addr = HOSTS[name], f"{HOSTS[name]}:8003"
    prove(first, name, addr, DigestEntry(name, addr, 1, False), at=0.1)
    pico = Entry(PICO_KEY, "1", 1, True, False)
    first.receive_datagram(delta(name, addr, name, addr, pico), host, 8003, 0.1)
    drain(first)


def report_silent(first: Gossip, name: str, silent: str, at: float) -> None:
    """Let ``name``, which was introduced, report a node as silent."""
    addr = f"{HOSTS[name]}:8003"
    report = Entry(SILENT_KEY, silent, 2, True, False)
    first.receive_datagram(delta(name, addr, name, addr, report), HOSTS[name], 8003, at)


def pass_time(gossip: Gossip, start: float, end: float, *answering: str) -> list[Output]:
    """Let time pass in which only the nodes in ``answering`` answer."""
    outputs = []
    at = start
    while at < end:
        gossip.tick(at)
        outputs += drain(gossip)
        for name in answering:
            data = writing.delta_head(name, f"{HOSTS[name]}:8003")
            gossip.receive_datagram(data, HOSTS[name], 8003, at)
        at += 0.1
    return outputs
