"""Literal datagrams and times for plays of the gossip engine, one engine or two."""

import random

from pico_core.boundary import SendDatagram
from pico_core.gossip import wire
from pico_core.gossip.events import Lookup, Output, StreamRequest
from pico_core.gossip.machine import Gossip
from pico_core.gossip.wire import Delta, Digest, DigestEntry, Entry, decode_datagram

A, B, C = "10.0.0.1:8003", "10.0.0.2:8003", "10.0.0.3:8003"
HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


class Unmoved(random.Random):
    """Chance that always falls the same way."""

    def random(self) -> float:
        return 0.5


def engine(name: str, *seeds: str, **options: object) -> Gossip:
    made = Gossip(name, f"{HOSTS[name]}:8003", entropy=Unmoved(), seeds=seeds, **options)
    made.set_local("proxy_addr", f"{HOSTS[name]}:8000", 0.0)
    return made


def drain(gossip: Gossip) -> list[Output]:
    outputs = []
    while (output := gossip.poll()) is not None:
        outputs.append(output)
    return outputs


def sent(outputs: list[Output]) -> list[Digest | Delta]:
    return [decode_datagram(each.data) for each in outputs if isinstance(each, SendDatagram)]


def events(outputs: list[Output]) -> list[Output]:
    return [each for each in outputs if not isinstance(each, SendDatagram | StreamRequest | Lookup)]


def exchange_of(outputs: list[Output]) -> StreamRequest:
    (found,) = [each for each in outputs if isinstance(each, StreamRequest)]
    return found


def pass_on(source: Gossip, target: Gossip, now: float) -> list[Output]:
    """Deliver the datagrams of ``source`` to ``target``, whichever address they go to; return the other outputs."""
    outputs = drain(source)
    for each in outputs:
        if isinstance(each, SendDatagram):
            target.receive_datagram(each.data, HOSTS[source.id], 8003, now)
    return events(outputs)


def talk(first: Gossip, second: Gossip, now: float, turns: int = 6) -> list[Output]:
    """Let two engines answer each other until they are silent; return what they told."""
    told = []
    for _ in range(turns):
        told += pass_on(first, second, now) + pass_on(second, first, now)
    return told


def joined(*, started: bool = True) -> tuple[Gossip, Gossip]:
    """Two engines that know each other."""
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(0.0)
    second.start(0.0)
    request = exchange_of(drain(second))
    reply = first.accept_stream("10.0.0.2").receive(request.data, 0.01)
    assert reply is not None
    assert second.exchange_received(request.number, reply, 0.02)
    drain(first), drain(second)
    if started:
        first.tick(0.06)
        talk(first, second, 0.06)
    return first, second


def digest(node_id: str, addr: str, *entries: DigestEntry, request: bool = True) -> bytes:
    data = wire.digest_head(node_id, addr, request=request)
    return data + b"".join(wire.digest_entry(e.id, e.addr, e.version, left=e.left) for e in entries)


def delta(node_id: str, addr: str, of: str, of_addr: str, *entries: Entry, after: int | None = None) -> bytes:
    data = wire.delta_head(node_id, addr) + wire.delta_node(of, of_addr, len(entries), after)
    return data + b"".join(map(wire.pack_entry, entries))


def exchange_of_new(name: str, addr: str) -> StreamRequest:
    gossip = Gossip(name, addr, entropy=Unmoved(), seeds=("10.0.0.1",))
    gossip.start(0.0)
    return exchange_of(drain(gossip))


def introduce_third(first: Gossip) -> None:
    """Let ``a`` know ``c``, which answers, and is one of ours."""
    first.receive_datagram(digest("c", C, DigestEntry("c", C, 1, False)), "10.0.0.3", 8003, 0.1)
    pico = Entry("_internal:pico:version", "1", 1, True, False)
    first.receive_datagram(delta("c", C, "c", C, pico), "10.0.0.3", 8003, 0.1)
    drain(first)


def silence(gossip: Gossip, start: float, end: float) -> list[Output]:
    """Let time pass without an answer from anybody."""
    outputs = []
    at = start
    while at < end:
        gossip.tick(at)
        outputs += drain(gossip)
        at += 0.1
    return outputs
