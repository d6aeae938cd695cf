"""Lies about a node that come from its own address, such as those of a sidecar: the node wins back its entries.

The clusters are whole and without a key. The forger is not a node of them: it sends what the owner could send, from the
owner's address, and with any version that can be read.
"""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import StreamRequest
from pico_core.gossip.keys import COMPACT_KEY, DRAINING_KEY, ENDPOINT_PREFIX, LEFT_KEY, PICO_KEY
from pico_core.gossip.knowledge import MAX_SUPERSEDED_VERSION
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import MAX_VERSION, DigestEntry, Entry
from tests.core.gossip.plays import HOSTS, answer_of, delta, digest, drain, engine, entries_of, status_of, version_of
from tests.gossip_streams import packed_state, take_answer

WON_BACK_S = 4.0
VERSIONS = (
    10,
    MAX_SUPERSEDED_VERSION - 1,
    MAX_SUPERSEDED_VERSION,
    MAX_SUPERSEDED_VERSION + 1,
    MAX_VERSION - 1,
    MAX_VERSION,
)
LIES = {
    "address": ("proxy_addr", "192.0.2.66:8000", False, False),
    "endpoint": (ENDPOINT_PREFIX + "bank", "1", False, False),
    "deleted": (ENDPOINT_PREFIX + "mine", "", False, True),
    "left": (LEFT_KEY, "", True, False),
    "draining": (DRAINING_KEY, "1", True, False),
    "not pico": (PICO_KEY, "", True, True),
    "compacted": (COMPACT_KEY, str(MAX_VERSION), True, False),
}


class Net:
    """Engines that hear each other at once, on the clock of this object. ``b`` is the one that is lied about."""

    def __init__(self, *names: str, is_name_fixed: bool = False) -> None:
        self.now = 0.0
        self.engines: dict[str, Gossip] = {}
        for name in names:
            self.engines[name] = made = engine(name, "10.0.0.1", is_name_fixed=is_name_fixed)
            made.set_endpoint("mine", 1, 0.0)
            made.start(address(name), 0.0)
        self.run(3.0)
        assert all(self.agrees(name) for name in names)

    def run(self, duration_s: float) -> None:
        end = self.now + duration_s
        while self.now < end:
            self.now += 0.05
            for each in self.engines.values():
                each.tick(self.now)
            self.deliver()

    def deliver(self) -> None:
        by_host = {HOSTS[name]: each for name, each in self.engines.items()}
        for _ in range(8):
            for name, each in self.engines.items():
                for output in drain(each):
                    target = by_host.get(getattr(output, "host", ""))
                    if isinstance(output, SendDatagram) and target is not None:
                        target.receive_datagram(output.data, HOSTS[name], 8003, self.now)
                    elif isinstance(output, StreamRequest) and target is not None and target is not each:
                        reply = answer_of(target, HOSTS[name], output.data, self.now)
                        take_answer(each, output.number, reply, self.now)
                    elif isinstance(output, StreamRequest):
                        each.stream_failed(output.number, self.now)

    def lie(self, to: str, entry: Entry, *, over_tcp: bool = False) -> None:
        """Tell ``to`` an entry of ``b``, from the address of ``b``."""
        listener = self.engines[to]
        if over_tcp:
            state = packed_state("b", address("b"), [writing.pack_entry(entry)])
            answer_of(listener, HOSTS["b"], writing.join_request("b", address("b"), state, []), self.now)
        else:
            data = delta("b", address("b"), "b", address("b"), entry, after=0)
            listener.receive_datagram(data, HOSTS["b"], 8003, self.now)

    def agrees(self, owner: str) -> bool:
        """Return whether all nodes hold exactly the entries that a node has, and take it for active."""
        own = entries_of(self.engines[owner], owner)
        return all(each.entries(owner) == own and status_of(each, owner) == "active" for each in self.engines.values())


def address(name: str) -> str:
    return f"{HOSTS[name]}:8003"


@pytest.mark.parametrize("over_tcp", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("nodes", ["ab", "abc"])
def test_a_live_owner_wins_back_its_entries(nodes: str, lie: str, version: int, over_tcp: bool) -> None:
    net = Net(*nodes)
    key, value, internal, deleted = LIES[lie]
    net.lie("a", Entry(key, value, version, internal, deleted), over_tcp=over_tcp)
    assert net.engines["a"].entries("b") != entries_of(net.engines["b"], "b")
    net.run(WON_BACK_S)
    assert net.agrees("b")
    net.engines["b"].set_endpoint("later", 1, net.now)
    net.run(1.0)
    assert net.agrees("b")


@pytest.mark.parametrize("is_name_fixed", [False, True])
@pytest.mark.parametrize("nodes", ["ab", "abc"])
def test_an_owner_that_was_driven_to_the_end_of_the_versions_still_wins(nodes: str, is_name_fixed: bool) -> None:
    net = Net(*nodes, is_name_fixed=is_name_fixed)
    for version in (MAX_SUPERSEDED_VERSION - 1, MAX_VERSION - 1, MAX_VERSION, MAX_SUPERSEDED_VERSION - 1, MAX_VERSION):
        for to in nodes.replace("b", ""):
            net.lie(to, Entry("proxy_addr", "192.0.2.66:8000", version, False, False))
        net.run(WON_BACK_S)
        assert net.agrees("b")
    assert MAX_SUPERSEDED_VERSION < version_of(net.engines["b"]) < MAX_VERSION
    net.engines["b"].set_endpoint("later", 1, net.now)
    net.run(WON_BACK_S)
    assert net.agrees("b")


def test_a_node_that_comes_after_the_lies_gets_what_the_owner_says() -> None:
    net = Net("a", "b")
    net.lie("a", Entry("proxy_addr", "192.0.2.66:8000", MAX_SUPERSEDED_VERSION - 1, False, False))
    net.run(WON_BACK_S)
    net.engines["c"] = engine("c", "10.0.0.1")
    net.engines["c"].start(address("c"), net.now)
    net.run(WON_BACK_S)
    assert net.agrees("b")
    assert net.agrees("c")


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_a_process_that_follows_on_one_that_was_driven_there(version: int) -> None:
    """Its versions begin low again."""
    net = Net("a", "b", "c", is_name_fixed=True)
    for to in "ac":
        net.lie(to, Entry("proxy_addr", "192.0.2.66:8000", version, False, False))
    net.engines["b"] = again = engine("b", "10.0.0.1", is_name_fixed=True)
    again.start(address("b"), net.now)
    net.run(WON_BACK_S)
    assert net.agrees("b")


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_versions_that_an_owner_could_not_go_beyond_are_taken_from_the_owner_alone(version: int) -> None:
    """They would go round among the others, which hear of each other sooner than from the owner."""
    net = Net("a", "b", "c")
    before = entries_of(net.engines["a"], "b")
    lie = Entry("proxy_addr", "192.0.2.66:8000", version, False, False)
    net.engines["a"].receive_datagram(
        delta("c", address("c"), "b", address("b"), lie, after=0), HOSTS["c"], 8003, net.now
    )
    assert entries_of(net.engines["a"], "b") == before
    listed = DigestEntry("b", address("b"), version, False)
    net.engines["a"].receive_datagram(digest("c", address("c"), listed), HOSTS["c"], 8003, net.now)
    net.run(WON_BACK_S)
    assert net.engines["a"].counters.syncs == 0
    assert net.agrees("b")
