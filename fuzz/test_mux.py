"""yamux and the tunnel: any cut, garbage, and two ends that must never lose, reorder or hold back a byte."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fuzz.cuts import cut
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    NoticeReceived,
    PongReceived,
    SessionFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from pico_core.mux.frame import HEADER
from pico_core.mux.frame import INITIAL_WINDOW_BYTES as WINDOW
from pico_core.mux.session import Session
from pico_core.mux.stream import MuxStream, StreamState
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.encoding import encode_control, encode_frame
from pico_core.websocket.frame import PING as WEBSOCKET_PING
from tests.core.memory import reachable_bytes
from tests.core.websocket.keys import Keys, flat

CUTS = st.lists(st.integers(1, 60), max_size=60)


def story(events: list[MuxEvent]) -> list[object]:
    """Events as plain values that two sessions can be compared by, with the data of neighbouring events joined."""
    result: list[object] = []
    for event in events:
        if isinstance(event, StreamData):
            last = result[-1] if result else None
            if isinstance(last, tuple) and last[0] == "data" and last[1] == event.stream.id:
                result[-1] = ("data", event.stream.id, last[2] + bytes(event.data))
            else:
                result.append(("data", event.stream.id, bytes(event.data)))
        elif isinstance(event, SessionFailed):
            result.append((event.reason, [stream.id for stream in event.streams]))
        elif isinstance(event, (GoAwayReceived, NoticeReceived, PongReceived)):
            result.append(event)
        else:
            result.append((type(event).__name__, event.stream.id))
    return result


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One frame, most of the time a sensible one."""
    kind = draw(st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4)))
    flags = draw(st.sampled_from((0, 0, 0, 1, 1, 2, 4, 8, 5, 9, 16)))
    stream_id = draw(st.sampled_from((2, 2, 4, 4, 6, 0, 3)))
    if kind == 0:
        body = draw(st.binary(max_size=40))
        return HEADER.pack(kind, flags, stream_id, len(body)) + body
    return HEADER.pack(kind, flags, 0 if kind > 1 else stream_id, draw(st.sampled_from((0, 1, 70_000, 2**32 - 1))))


SCRIPTS = st.one_of(st.lists(frames(), max_size=12).map(b"".join), st.binary(max_size=200))


@given(SCRIPTS, CUTS)
def test_any_cut_of_a_session_gives_the_same(script: bytes, sizes: list[int]) -> None:
    whole, parts = (Session(client=True, max_incoming_streams=2) for _ in range(2))
    expected = story(whole.receive(script, 0.0))
    events = [event for piece in cut(script, sizes) for event in parts.receive(memoryview(piece), 0.0)]
    assert story(events) == expected
    assert b"".join(parts.take_output(1_000_000)[0]) == b"".join(whole.take_output(1_000_000)[0])


@given(st.lists(SCRIPTS, max_size=6), st.binary(max_size=12), CUTS)
def test_any_cut_of_a_tunnel_gives_the_same(scripts: list[bytes], tail: bytes, sizes: list[int]) -> None:
    keys = Keys()
    messages = [flat(encode_frame([script], len(script), keys)) for script in scripts]
    data = b"".join((*messages, encode_control(WEBSOCKET_PING, b"p", keys), tail))
    whole, parts = (Tunnel(0.0, entropy=None, max_incoming_streams=2) for _ in range(2))
    expected = story(whole.receive(data, 0.0))
    events = [event for piece in cut(data, sizes) for event in parts.receive(piece, 0.0)]
    assert story(events) == expected
    assert parts.take_output() == whole.take_output()


@given(st.booleans(), st.lists(SCRIPTS, max_size=30))
def test_a_peer_cannot_make_a_session_grow(client: bool, scripts: list[bytes]) -> None:
    session = Session(client=client, max_incoming_streams=2, max_outgoing_streams=0)
    for script in scripts:
        session.receive(script, 0.0)
        assert len(session.streams) <= 2
        assert session.unread_bytes <= 2 * WINDOW
        assert len(session.ready) <= 2
        assert session.output_bytes < 200_000
    while session.take_output(1_000_000)[1]:
        pass
    assert reachable_bytes(session) < 5_000


# --- two ends ---

PATTERN = bytes(i % 251 for i in range(251 * 16_384))


class End:
    """One end of the link: a tunnel, its user's model of every stream, and the bytes on their way to the other end."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.wire = bytearray()
        self.streams: dict[int, MuxStream] = {}
        self.sent: dict[int, int] = {}
        self.received: dict[int, int] = {}
        self.ended: set[int] = set()
        self.peer_ended: set[int] = set()
        self.refused: set[int] = set()
        self.unread: dict[int, int] = {}

    def add(self, stream: MuxStream) -> None:
        self.streams[stream.id] = stream
        self.sent[stream.id] = self.received[stream.id] = self.unread[stream.id] = 0

    def send(self, stream_id: int, size: int) -> None:
        stream = self.streams[stream_id]
        at = self.sent[stream_id]
        self.sent[stream_id] += size
        stream.send((PATTERN[at : at + size // 2], PATTERN[at + size // 2 : at + size]))
        if not stream.writable:
            self.refused.add(stream_id)

    def flush(self) -> None:
        while (message := self.tunnel.take_output()) is not None:
            self.wire += flat(message)

    def take(self, events: list[MuxEvent]) -> None:
        for event in events:
            if isinstance(event, StreamOpened):
                self.add(event.stream)
            elif isinstance(event, StreamData):
                stream_id, at = event.stream.id, self.received[event.stream.id]
                assert stream_id not in self.peer_ended
                assert event.data == PATTERN[at : at + len(event.data)]
                self.received[stream_id] += len(event.data)
                self.unread[stream_id] += len(event.data)
            elif isinstance(event, StreamEnded):
                assert event.stream.id not in self.peer_ended
                self.peer_ended.add(event.stream.id)
            elif isinstance(event, StreamWritable):
                self.refused.remove(event.stream.id)
                assert event.stream.writable or event.stream.state is StreamState.CLOSED  # ended by what came behind it
            else:
                assert not isinstance(event, (SessionFailed, StreamReset)), event

    def consume(self, stream_id: int, size: int) -> None:
        self.streams[stream_id].consume(size)
        self.unread[stream_id] -= size


class TwoEnds(RuleBasedStateMachine):
    """Both users open, send, end, read slowly and stall their transports, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.server = End(Tunnel(0.0, entropy=None, max_incoming_streams=3, window_bytes=100_000, shared_bytes=200_000))
        self.agent = End(Tunnel(0.0, entropy=Keys(), max_incoming_streams=3, window_bytes=400_000, shared_bytes=80_000))
        self.ends = (self.server, self.agent)

    def transfer(self, end: End, size: int) -> None:
        other = self.agent if end is self.server else self.server
        data = bytes(end.wire[:size])
        del end.wire[:size]
        if data:
            other.take(other.tunnel.receive(data, 0.0))

    @rule(side=st.integers(0, 1))
    def open_stream(self, side: int) -> None:
        end = self.ends[side]
        if sum(stream_id % 2 == side for stream_id in end.streams) < 3 and end.tunnel.session.can_open_stream:
            end.add(end.tunnel.open_stream())

    @precondition(lambda self: self.server.streams or self.agent.streams)
    @rule(side=st.integers(0, 1), pick=st.integers(0, 5), size=st.sampled_from((0, 1, 100, 5_000, 70_000, 300_000)))
    def send(self, side: int, pick: int, size: int) -> None:
        end = self.ends[side]
        live = [stream_id for stream_id in end.streams if stream_id not in end.ended]
        if live:
            stream_id = live[pick % len(live)]
            if end.sent[stream_id] + size < 2_000_000:
                end.send(stream_id, size)

    @rule(side=st.integers(0, 1), pick=st.integers(0, 5), rest=st.sampled_from((1, 100, 16_383, 16_384)))
    def send_nearly_all_of_the_window(self, side: int, pick: int, rest: int) -> None:
        end = self.ends[side]
        live = [stream_id for stream_id in end.streams if stream_id not in end.ended]
        if live:
            stream_id = live[pick % len(live)]
            stream = end.streams[stream_id]
            size = stream.send_window_bytes - stream.pending_bytes - rest
            if size > 0 and end.sent[stream_id] + size < 2_000_000:
                end.send(stream_id, size)
                end.flush()

    @rule(side=st.integers(0, 1), pick=st.integers(0, 5))
    def send_eof(self, side: int, pick: int) -> None:
        end = self.ends[side]
        live = [stream_id for stream_id in end.streams if stream_id not in end.ended]
        if live:
            stream_id = live[pick % len(live)]
            end.streams[stream_id].send_eof()
            end.ended.add(stream_id)

    @rule(side=st.integers(0, 1), size=st.sampled_from((1, 11, 1_000, 100_000, 10_000_000)))
    def deliver(self, side: int, size: int) -> None:
        self.ends[side].flush()
        self.transfer(self.ends[side], size)

    @rule(side=st.integers(0, 1), pick=st.integers(0, 5), share=st.sampled_from((1, 2, 3)))
    def consume(self, side: int, pick: int, share: int) -> None:
        end = self.ends[side]
        if end.unread:
            stream_id = list(end.unread)[pick % len(end.unread)]
            end.consume(stream_id, end.unread[stream_id] // share)

    @rule(side=st.integers(0, 1))
    def read_everything(self, side: int) -> None:
        end, other = self.ends[side], self.ends[1 - side]
        other.flush()
        self.transfer(other, len(other.wire))
        for stream_id, size in end.unread.items():
            end.consume(stream_id, size)

    @rule(side=st.integers(0, 1))
    def pause(self, side: int) -> None:
        self.ends[side].tunnel.pause_output()

    @rule(side=st.integers(0, 1))
    def resume(self, side: int) -> None:
        end = self.ends[side]
        end.take(end.tunnel.resume_output())

    @rule(side=st.integers(0, 1))
    def ping(self, side: int) -> None:
        self.ends[side].tunnel.session.ping()

    @invariant()
    def balances_hold(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            session = end.tunnel.session
            assert session.unread_bytes == sum(end.unread.values())
            under_way = 0
            for stream in session.streams.values():
                assert stream.send_window_bytes >= 0
                assert stream.receive_window_bytes >= 0
                if stream.state in (StreamState.OPEN, StreamState.LOCAL_ENDED):
                    balance = stream.receive_window_bytes + stream.unread_bytes + stream.credit_bytes
                    assert balance <= session.windows.window_bytes
                    assert balance == session.windows.window_bytes or not under_way, "one frame is under way at most"
                    under_way += session.windows.window_bytes - balance
            assert under_way <= len(other.wire), "what is missing is the rest of a frame, and still to come"

    def teardown(self) -> None:
        """Whatever happened before: once both users read, everything arrives, and ended streams leave nothing."""
        for end in self.ends:
            end.take(end.tunnel.resume_output())
        quiet = False
        while not quiet:
            quiet = True
            for end in self.ends:
                for stream_id, size in end.unread.items():
                    if size:
                        end.consume(stream_id, size)
                end.flush()
                quiet = quiet and not end.wire
                self.transfer(end, 50_000)
        for end, other in (self.ends, self.ends[::-1]):
            assert end.sent == other.received
            assert end.ended == other.peer_ended
            assert not end.refused - end.ended  # a user that ended its direction does not wait to send more
            open_streams = {stream_id for stream_id in end.streams if stream_id not in end.ended & end.peer_ended}
            assert set(end.tunnel.session.streams) == open_streams


TestTwoEnds = TwoEnds.TestCase
