"""Datagrams from strangers to the gossip port of a live cluster: refused and counted, and nothing comes of them.

Gossip has no key. But what comes from an address that has not answered is not believed, and little of it is read.
"""

import contextlib
import json
import random
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import DELTA, DIGEST, JOIN, Entry
from tests.cluster.harness import FULL_VIEW_S, Cluster, NodeProcess, await_route
from tests.cluster.load import Load, echo_origin
from tests.e2e.harness import LOCAL, MIB
from tests.e2e.wire import Wire
from tests.waiting import wait_until

SEED = 20260101
BATCH_BYTES = 100_000
OVERHEAD_BYTES = 1_000
"""The room that a datagram takes in a socket's buffer besides its bytes; the default buffer is twice as large."""

STRANGER = "127.0.0.9"
"""An address without a node."""

LARGEST = 65_507
"""The longest payload UDP has over IPv4."""


def counter(node: NodeProcess, name: str) -> int:
    match = re.search(rf"^pico_gossip_{name}_total (\S+)$", node.fetch("/metrics").decode(), re.MULTILINE)
    assert match is not None, name
    return int(float(match[1]))


def taken(node: NodeProcess, name: str) -> int:
    """Return how many datagrams were counted as ``name``, or not read since a stranger may send only so much."""
    return counter(node, name) + counter(node, "datagrams_refused")


def table(node: NodeProcess) -> list[dict[str, Any]]:
    """Return the node's state of all nodes, without the values that change by themselves."""
    rows = json.loads(node.fetch("/status/cluster/nodes"))
    details = [json.loads(node.fetch(f"/status/gossip/nodes/{row['id']}")) for row in rows]
    for detail in details:
        del detail["silent_s"]
    return [*rows, *details]


def gossip_addr(node: NodeProcess) -> str:
    return f"{LOCAL}:{node.place.gossip_port}"


def send_all(node: NodeProcess, datagrams: Iterable[bytes], counted_as: str, source: str = STRANGER) -> int:
    """Send datagrams, each of which raises the counter, and never more than fit the socket; return how many."""
    count = 0
    room_bytes = BATCH_BYTES
    counted = taken(node, counted_as)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for datagram in datagrams:
            room_bytes -= len(datagram) + OVERHEAD_BYTES
            if room_bytes < 0:
                wait_until(lambda: taken(node, counted_as) >= counted + count, counted_as)  # noqa: B023 - waited for
                room_bytes = BATCH_BYTES
            sender.sendto(datagram, (LOCAL, node.place.gossip_port))
            count += 1
    wait_until(lambda: taken(node, counted_as) >= counted + count, counted_as)
    return count


def garbage(entropy: random.Random) -> Iterator[bytes]:
    """Bytes without a meaning, of all lengths, with and without a good beginning."""
    for head in (b"", DIGEST, DELTA, JOIN, b"\x01\x01", b"\xff\x00", DIGEST + b"\x83\xa7node_id"):
        for size in (1, 2, 3, 17, 100, 1400, 9000, LARGEST - len(head)):
            yield head + b"\xc1" + entropy.randbytes(size - 1)
    yield DIGEST + b"\x91" * 60_000  # as deep as it gets
    yield DELTA + b"\xdf\xff\xff\xff\xff"
    yield DIGEST + b"\xdb\xff\xff\xff\xff"


def torn() -> Iterator[bytes]:
    """A real digest and a real delta, cut and spoilt at every place before their first entry ends."""
    digest = writing.digest_head("n9", f"{STRANGER}:1", request=True)
    delta = writing.delta_head("n9", f"{STRANGER}:1")
    for message in (digest, delta):
        yield from (message[:size] for size in range(1, len(message)))
        yield from (
            message[:at] + b"\xc1" + message[at + 1 :] for at in range(2, len(message), 3) if message[at] > 0x7F
        )


def strange() -> Iterator[bytes]:
    """Well-formed deltas about unknown nodes."""
    entry = Entry("endpoint:e1", "1000000", 1, False, False)
    for number in range(200):
        name, addr = f"unknown-{number}", f"10.9.9.{number}:8003"
        yield writing.delta_head(name, addr) + writing.delta_node(name, addr, 1, 0) + writing.pack_entry(entry)


def under_its_own_name(node: NodeProcess) -> Iterator[bytes]:
    """Messages that claim to be from the node they go to."""
    left = Entry(LEFT_KEY, "", 1_000, True, False)
    addr = gossip_addr(node)
    for _ in range(100):
        yield writing.delta_head(node.id, addr) + writing.delta_node(node.id, addr, 1, None) + writing.pack_entry(left)
        yield writing.digest_head(node.id, addr, request=True) + writing.digest_entry(node.id, addr, 9_999, left=True)


def gaps(other: NodeProcess) -> Iterator[bytes]:
    """Entries of a node that follow on versions that no node has."""
    addr = gossip_addr(other)
    far = Entry("endpoint:e1", "7", 1 << 40, False, False)
    for _ in range(50):
        delta = writing.delta_node(other.id, addr, 1, (1 << 40) - 1) + writing.pack_entry(far)
        yield writing.delta_head(other.id, addr) + delta


def old_news(other: NodeProcess) -> Iterator[bytes]:
    """Entries that the node has replaced since."""
    addr = gossip_addr(other)
    old = Entry("endpoint:e1", "7", 1, False, False)
    for _ in range(50):
        yield writing.delta_head(other.id, addr) + writing.delta_node(other.id, addr, 1, None) + writing.pack_entry(old)


def left_in_digests(other: NodeProcess) -> Iterator[bytes]:
    """Digests that call a node left, which only its own state can say."""
    addr = gossip_addr(other)
    for _ in range(50):
        yield writing.digest_head(other.id, addr, request=False) + writing.digest_entry(other.id, addr, 0, left=True)


def test_strangers_change_nothing(three: Cluster) -> None:
    target, other, _ = three.nodes
    with echo_origin() as (origin, path):
        three.agent(other.place.upstream, "e1", (LOCAL, origin.port))
        for node in three.nodes:
            await_route(node.place, "e1", path)
        wait_until(lambda: table(target) == table(target), "a quiet table")
        before = [table(node)[: len(three.nodes)] for node in three.nodes]
        memory_bytes = target.process.resident_bytes()
        kinds = (
            ("malformed", [*garbage(random.Random(SEED)), *torn()]),
            ("strangers_refused", strange()),
            ("own_name", under_its_own_name(target)),
            ("strangers_refused", gaps(other)),
            ("strangers_refused", old_news(other)),
            ("digest_entries_inbound", left_in_digests(other)),
        )
        with Load("e1", path, [node.place.proxy for node in three.nodes]) as load:
            for name, datagrams in kinds:
                print(f"\n{name}: {send_all(target, datagrams, name)}", end="")
        load.check(1)
        assert three.is_whole()
        assert [table(node)[: len(three.nodes)] for node in three.nodes] == before
        assert target.process.resident_bytes() - memory_bytes < 4 * MIB


def test_garbage_over_tcp_changes_nothing(three: Cluster) -> None:
    target = three.nodes[0]
    before = counter(target, "malformed")
    streams = list(garbage(random.Random(SEED)))
    for data in streams:
        with (
            Wire(socket.create_connection((LOCAL, target.place.gossip_port))) as connection,
            contextlib.suppress(ConnectionError),  # the node may refuse before all of it was sent
        ):
            connection.send(data)
            connection.send_eof()
            connection.receive_rest()
    counted = counter(target, "malformed") - before
    print(f"\n{len(streams)} streams, {counted} counted")
    assert counted == len(streams) - 1  # one is a single byte, and ends before it could be wrong
    assert three.is_whole()


@pytest.mark.parametrize("source", [LOCAL, STRANGER])
def test_forged_news_about_a_node_is_not_believed(three: Cluster, source: str) -> None:
    """A message with the right name and version says that a node left, but does not come from that node's address."""
    target, victim, _ = three.nodes
    version = next(row["version"] for row in table(target) if row.get("id") == victim.id and "version" in row)
    left = Entry(LEFT_KEY, "", version + 1, True, False)
    addr = gossip_addr(victim)
    news = writing.delta_head(victim.id, addr) + writing.delta_node(victim.id, addr, 1, version)
    send_all(target, [news + writing.pack_entry(left)], "strangers_refused", source)
    for node in three.nodes:
        assert {row["status"] for row in table(node) if row["id"] == victim.id} == {"active"}
    assert not target.process.logged("node left")
    assert three.await_whole(FULL_VIEW_S) < FULL_VIEW_S
