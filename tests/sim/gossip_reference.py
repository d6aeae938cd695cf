"""A peer that behaves as Piko does on the gossip port, as far as the wire shows: for clusters of both kinds.

It knows no key of ours, lists its nodes in random order, takes a dead node for alive once it is listed to it again,
takes deltas on trust, and answers to the address inside the packet. It never calls a node unreachable, so it lists
dead nodes for ever.
"""

import random
from collections import deque

from pico_core.boundary import SendDatagram
from pico_core.gossip.address import split_address
from pico_core.gossip.events import LISTENER, Output, StreamRequest
from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.state import Budget, LocalState, NodeState
from pico_core.gossip.streams import InboundStream, OutboundStream, Purpose, Steps
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import StreamReader, decode_datagram
from pico_core.gossip.wire.records import Delta, Digest, DigestEntry, Entry, FullState
from tests.gossip_streams import digest_entries_of, packed_state, reply_of_states, states_of, walked


class Reference:
    """The part of the engine's interface that the simulation uses (``gossip_node.Engine``)."""

    def __init__(self, node_id: str, addr: str, seeds: tuple[tuple[str, int], ...], entropy: random.Random) -> None:
        self.id = node_id
        self.addr = addr
        self._state = LocalState(Budget(1 << 30))
        self.known: dict[str, tuple[str, NodeState]] = {node_id: (addr, self._state)}
        self._seeds = seeds
        self._random = entropy
        self._outputs: deque[Output] = deque()
        self._round_at: float | None = None
        self._streams: dict[int, OutboundStream] = {}

    def set_local(self, key: str, value: str, now: float) -> None:
        self._state.set(key, value)

    def entries(self, node_id: str) -> list[Entry] | None:
        known = self.known.get(node_id)
        return None if known is None else list(known[1].entries.values())

    def start(self, now: float) -> None:
        self._round_at = now + 0.1 * self._random.random()
        for number, address in enumerate(self._seeds):
            own = packed_state(self.id, self.addr, [writing.pack_entry(each) for each in self._state.after(0)])
            data = writing.join_request(self.id, self.addr, own, self._digest_entries())
            self._streams[number] = OutboundStream(Purpose.JOIN, address, {}, now)
            self._outputs.append(StreamRequest(number, *address, data, 5.0))

    def deadline(self) -> float | None:
        return self._round_at

    def poll(self) -> Output | None:
        return self._outputs.popleft() if self._outputs else None

    def tick(self, now: float) -> None:
        if self._round_at is None or now < self._round_at:
            return
        self._round_at = now + 0.1
        others = [addr for name, (addr, _) in self.known.items() if name != self.id]
        if others:
            self._send(self._digest(request=True), self._random.choice(others))

    def receive_datagram(self, data: bytes, host: str, port: int, now: float) -> None:
        message = decode_datagram(data)
        if isinstance(message, Delta):
            for node in message.nodes:
                if node.id in self.known:
                    self.known[node.id][1].apply(node.entries)
            return
        self._send(self._delta(message), message.addr)
        self._meet(message.entries)
        if message.request:
            self._send(self._digest(request=False), message.addr)

    def accept_stream(self, host: str, now: float) -> InboundStream:
        return InboundStream(self, host, now)

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """A reference counts nothing."""

    def answer_stream(self, reader: StreamReader, host: str, accepted_at: float) -> Steps:
        yield 0.0
        node_id, _ = reader.sender()
        self._take(states_of(reader))
        if reader.is_leave:
            yield writing.leave_reply(self.id, self.addr)
            return
        digest = digest_entries_of(reader)
        known = {entry.id: entry.version for entry in digest}
        states = []
        for name, (addr, state) in self.known.items():
            entries = state.after(known.get(name, 0))
            if entries and name != node_id:
                states.append(packed_state(name, addr, [writing.pack_entry(each) for each in entries]))
        self._meet(digest)
        yield reply_of_states(self.id, self.addr, states)

    def stream_received(self, number: int, data: bytes, now: float) -> bool:
        reader = self._streams.pop(number).work.reader
        assert walked(reader, data)
        self._take(states_of(reader))
        return True

    def stream_work(self, number: int, now: float) -> bool:
        return True

    def is_stream_busy(self, number: int) -> bool:
        return False

    def stream_failed(self, number: int, now: float) -> None:
        self._streams.pop(number, None)

    def _take(self, states: list[FullState]) -> None:
        for state in states:
            self._meet([DigestEntry(state.id, state.addr, 0, False)])
            if state.id != self.id:
                self.known[state.id][1].apply(state.entries or [])

    def _meet(self, entries: list[DigestEntry]) -> None:
        for entry in entries:
            if entry.id not in self.known and not entry.left:
                self.known[entry.id] = (entry.addr, NodeState(Budget(1 << 30)))

    def _digest_entries(self) -> list[bytes]:
        entries = []
        for name, (addr, state) in self.known.items():
            left = state.value(LEFT_KEY) is not None
            entries.append(writing.digest_entry(name, addr, state.version, left=left))
        self._random.shuffle(entries)
        return entries

    def _digest(self, *, request: bool) -> bytes:
        data = writing.digest_head(self.id, self.addr, request=request)
        for entry in self._digest_entries():
            if len(data) + len(entry) > 1400:
                break
            data += entry
        return data

    def _delta(self, digest: Digest) -> bytes:
        data = writing.delta_head(self.id, self.addr)
        for asked in digest.entries:
            if asked.id in self.known:
                entries = self.known[asked.id][1].after(asked.version)
                head = writing.delta_node(asked.id, self.known[asked.id][0], len(entries), None)
                for entry in entries:
                    packed = writing.pack_entry(entry)
                    if len(data) + len(head) + len(packed) > 1400:
                        return data
                    data += head + packed
                    head = b""
        return data

    def _send(self, data: bytes, addr: str) -> None:
        address = split_address(addr)
        assert address is not None
        self._outputs.append(SendDatagram(LISTENER, data, *address))
