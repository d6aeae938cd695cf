"""Gossip streams in tests: all turns at once, and whole messages as bytes and as records."""

from typing import Protocol

from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import StreamReader
from pico_core.gossip.wire.records import DigestEntry, FullState


class Asker(Protocol):
    """An engine, as far as its own requests are concerned."""

    def stream_received(self, number: int, data: bytes, now: float) -> bool: ...

    def stream_work(self, number: int, now: float) -> bool: ...

    def is_stream_busy(self, number: int) -> bool: ...


def received(stream: InboundStream, data: bytes, now: float) -> bytes:
    """Return what a stream answers to some bytes, after all the turns that it takes."""
    stream.gather(data)
    answer = b""
    while stream.is_busy:
        answer += stream.work(now)
    return answer


def take_answer(engine: Asker, number: int, data: bytes, now: float) -> bool:
    """Give an engine bytes of the answer to a request of its own, and all turns; return whether the stream is over."""
    is_over = engine.stream_received(number, data, now)
    while engine.is_stream_busy(number):
        is_over = engine.stream_work(number, now)
    return is_over


def walked(reader: StreamReader, data: bytes) -> bool:
    """Give a reader bytes; return whether its message is whole."""
    reader.receive(data)
    while reader.walk(100) == 100:
        pass
    return reader.is_whole


def states_of(reader: StreamReader) -> list[FullState]:
    """Return the states of a whole message."""
    return [
        FullState(each.id, each.addr, [entry for part in each.entries() for entry in part]) for each in reader.states()
    ]


def digest_entries_of(reader: StreamReader) -> list[DigestEntry]:
    """Return the digest of a whole message."""
    return [entry for part, _ in reader.digest() for entry in part]


def packed_state(node_id: str, addr: str, entries: list[bytes]) -> bytes:
    """Return one node with its packed entries, as streams carry it."""
    return writing.pack_state(node_id, addr, len(entries)) + b"".join(entries)


def reply_of_states(node_id: str, addr: str, states: list[bytes]) -> bytes:
    """Return the answer to a join from packed states."""
    return writing.join_reply_head(node_id, addr, len(states)) + b"".join(states)
