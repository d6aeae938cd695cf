"""Whole exchanges through a server node, with h11 as oracle at both ends: what clients and services send arrives.

h11 writes what the client and the service send, in any pieces, and reads what each gets.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import h11
from hypothesis import given
from hypothesis import strategies as st

from fuzz.tunnels import Tunnels
from pico_core.config.server import ServerConfig
from pico_core.server.node import ServerNode
from tests.play import Data, End, FarEnd, Open, joined

MAX_TURNS = 400
"""Windows are granted in a few turns; an exchange that needs more than this hangs."""

Fields = list[tuple[bytes, bytes]]

NAMES = st.sampled_from([b"X-A", b"x-b", b"Accept", b"Cookie", b"ETag", b"Range", b"Cache-Control", b"Via-Not"])
VALUES = st.sampled_from([b"", b"1", b"a, b", b'"quoted, text"', b"tab\there", b"\xe4\xff", b"x" * 300])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
LONG = st.builds(bytes, st.sampled_from([5_000, 90_000]))
BODIES = st.lists(st.binary(max_size=60) | st.just(b"\r\n0\r\n\r\n") | LONG, max_size=4)
CUTS = st.lists(st.integers(0, 100_000), max_size=12)
TARGETS = st.sampled_from([b"/", b"/a?b=c&d", b"/%2e%2e/x", b"/a//b;c", b"/" + b"long" * 200, b"*"])


@dataclass(repr=False)
class Message:
    """One request or response as it is to be sent."""

    start: bytes
    target: bytes
    fields: Fields
    parts: list[bytes]
    chunked: bool
    cuts: list[int]

    def __repr__(self) -> str:
        return f"{self.start!r} {len(self.fields)} fields, parts of {list(map(len, self.parts))} bytes"

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def framing(self) -> Fields:
        return [(b"Transfer-Encoding", b"chunked")] if self.chunked else [(b"Content-Length", b"%d" % len(self.body))]

    def sent_by(
        self, writer: h11.Connection, head: h11.Request | h11.Response, *, bodiless: bool = False
    ) -> list[bytes]:
        """Return the bytes in pieces."""
        data = writer.send(head) or b""
        for part in () if bodiless else self.parts:
            data += writer.send(h11.Data(data=part)) or b"" if part else b""
        data += writer.send(h11.EndOfMessage()) or b""
        places = sorted({cut % len(data) for cut in self.cuts})
        return [data[start:end] for start, end in pairwise([0, *places, len(data)]) if end > start]


METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"X-ODD"])
REQUESTS = st.builds(Message, METHODS, TARGETS, FIELDS, BODIES, st.booleans(), CUTS).filter(
    lambda each: each.target != b"*" or each.start == b"OPTIONS"
)
RESPONSES = st.builds(
    Message,
    st.sampled_from([b"200", b"201", b"404", b"500", b"299"]),
    st.just(b""),
    FIELDS,
    BODIES,
    st.booleans(),
    CUTS,
)


class Reader:
    """Collects one message that h11 reads."""

    def __init__(self, connection: h11.Connection) -> None:
        self.connection = connection
        self.head: h11.Request | h11.Response | None = None
        self.body = b""
        self.done = False

    def read(self, data: bytes) -> None:
        """Raises ``h11.RemoteProtocolError`` where h11 does not understand."""
        if data:
            self.connection.receive_data(data)
        while not self.done:
            event = self.connection.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.Request | h11.Response):
                self.head = event
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage), event
                self.done = True


class ExchangeScene:
    """A client with one connection, a node, and a service at the far end of a tunnel."""

    def __init__(self) -> None:
        self.hand = Tunnels(ServerNode(ServerConfig(), "node-1", random.Random(1)))
        self.hand.register()
        (self.tunnel,) = self.hand.far_ends
        self.client = self.hand.accept("proxy")
        self.reading = h11.Connection(h11.CLIENT)

    @property
    def far(self) -> FarEnd:
        return self.hand.far_ends[self.tunnel]

    def run(self, request: Message, response: Message) -> tuple[Reader, Reader]:
        """Do one exchange; return what the service got, and what the client got."""
        if self.reading.our_state is h11.DONE:
            self.reading.start_next_cycle()
        fields = [(b"Host", b"e1.example.com"), *request.fields, *request.framing()]
        head = h11.Request(method=request.start, target=request.target, headers=fields)
        asking = request.sent_by(self.reading, head)
        asked, answered = Reader(h11.Connection(h11.SERVER)), Reader(self.reading)
        answers: list[bytes] = []
        stream = 0
        for _ in range(MAX_TURNS):
            if asking and self.hand.ends[self.client].reading:
                self.hand.receive(self.client, asking.pop(0))
            for cue in self.turn():
                if isinstance(cue, Open):
                    assert not stream, "asked twice"
                    stream = cue.stream
                elif isinstance(cue, Data):
                    assert cue.stream == stream
                    asked.read(cue.data)
                else:
                    assert isinstance(cue, End)
                    assert asked.done or cue.stream != stream  # it may be the end of the stream before
            if asked.done and not answered.head and not answers:
                answer = h11.Response(status_code=int(response.start), headers=[*response.fields, *response.framing()])
                answers = response.sent_by(asked.connection, answer, bodiless=request.start == b"HEAD")
            if answers:
                self.far.streams[stream].send(answers.pop(0))
                if not answers:
                    self.far.streams[stream].send_eof()
                self.say()
            answered.read(self.hand.ends[self.client].take_output())
            if answered.done:
                return asked, answered
        raise AssertionError("the exchange does not come to its end")

    def turn(self) -> Sequence[object]:
        """Have the far end read, and say what it has to."""
        cues = self.far.hear(self.tunnel, self.hand.ends[self.tunnel].take_output(), self.hand.world.now)
        self.say()
        return cues

    def say(self) -> None:
        while (message := self.far.tunnel.take_output()) is not None:
            self.hand.receive(self.tunnel, joined(message))


def carried(fields: Sequence[tuple[bytes, bytes]], names: set[bytes]) -> Fields:
    return [(name.lower(), value) for name, value in fields if name.lower() in names]


@given(st.lists(st.tuples(REQUESTS, RESPONSES), min_size=1, max_size=3))
def test_both_ends_get_what_the_other_sent(pairs: list[tuple[Message, Message]]) -> None:
    exchange = ExchangeScene()
    for request, response in pairs:
        asked, answered = exchange.run(request, response)
        assert isinstance(asked.head, h11.Request)
        assert (asked.head.method, asked.head.target) == (request.start, request.target)
        assert asked.body == request.body
        assert answered.head is not None
        assert answered.head.headers is not None
        assert isinstance(answered.head, h11.Response)
        assert answered.head.status_code == int(response.start)
        assert answered.body == (b"" if request.start == b"HEAD" else response.body)
        for got, sent in ((asked.head, request), (answered.head, response)):
            names = {name.lower() for name, _ in sent.fields}
            assert carried(list(got.headers), names) == carried(sent.fields, names)
            own = [name for name, _ in got.headers if name.startswith((b"x-pico", b"x-piko"))]
            is_numbered = got is asked.head or int(response.start) >= 400
            assert own == ([b"x-pico-request-id"] if is_numbered else [])


@given(REQUESTS, RESPONSES, st.integers(0, 200_000), st.booleans())
def test_an_answer_that_breaks_off_is_never_whole(
    request: Message, response: Message, place: int, by_reset: bool
) -> None:
    """A service that dies in the middle: the client gets an error of the node, or an unfinished message."""
    exchange = ExchangeScene()
    writer = h11.Connection(h11.SERVER)
    head = h11.Response(status_code=int(response.start), headers=[*response.fields, *response.framing()])
    writer.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    writer.next_event()
    writer.next_event()
    data = b"".join(response.sent_by(writer, head))
    cut = data[: place % len(data)]
    asking = h11.Connection(h11.CLIENT)
    fields = [(b"Host", b"e1.example.com"), *request.fields, *request.framing()]
    head_sent = h11.Request(method=b"POST", target=b"/", headers=fields)  # no node may try it again
    for piece in request.sent_by(asking, head_sent):
        if exchange.hand.ends[exchange.client].reading:
            exchange.hand.receive(exchange.client, piece)
        exchange.turn()
    for _ in range(20):
        exchange.turn()
    (stream,) = exchange.far.streams.values()
    stream.send(cut)
    exchange.say()
    for _ in range(20):
        exchange.turn()
    if by_reset:
        stream.reset()
    else:
        stream.send_eof()
    exchange.say()
    for _ in range(20):
        exchange.turn()
    line = exchange.hand.ends[exchange.client]
    got = Reader(asking)
    got.read(line.take_output())
    if got.done:
        assert isinstance(got.head, h11.Response)
        assert got.head.status_code in (502, 504)
        assert got.body.startswith(b'{"error":')
    else:
        assert line.closing or line.aborted
