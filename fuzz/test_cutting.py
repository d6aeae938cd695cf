"""A server and cut input: wherever the bytes of clients and agents are cut, the same messages come out."""

import random
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from fuzz.payloads import LARGE, REQUESTS, RESPONSES
from fuzz.tunnels import Tunnels
from pico_core.boundary import Received
from pico_core.config.server import ServerConfig
from pico_core.http.body import ChunkedBody, request_body, response_body
from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.mux.events import StreamData
from pico_core.mux.stream import MuxStream
from pico_core.server.node import ServerNode
from tests.play import joined

WHOLE_REQUESTS = (
    *(request for number, request in enumerate(REQUESTS) if number in (0, 1, 4, 5, 6, 7)),
    b"POST /a HTTP/1.1\r\nx-pico-endpoint: e1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1;a=b\r\nx\r\n11170\r\n" + bytes(LARGE) + b"\r\n0\r\nChecksum: 1\r\n\r\n",
)
WHOLE_RESPONSES = (
    *(response for number, response in enumerate(RESPONSES) if number in (0, 1, 3, 4, 7)),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170;x\r\n" + bytes(LARGE) + b"\r\n0\r\nA: b\r\n\r\n",
)
HEAD_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

Message: TypeAlias = tuple[bytes, bytes, bytes]
"""Head, payload and trailers: the parts that do not depend on where chunks were cut."""
Outcome: TypeAlias = tuple[list[Message], list[list[Message]]]


def messages(data: bytes, *, responses: bool, methods: list[bytes]) -> list[Message]:
    """Return each complete message. ``methods`` are those of the requests that ``responses`` answer."""
    reader = HeadReader(HeadLimits(), response=responses)
    found: list[Message] = []
    while data and (read := reader.receive(data)) is not None:
        head, data = read
        if responses:
            body = response_body(parse_response_head(head, HeadLimits()), methods[len(found)])
        else:
            body = request_body(parse_request_head(head, HeadLimits()))
        pieces: list[bytes | memoryview] = []
        if body is not None:
            pieces, data = body.receive(data)
            if not body.done:
                break
        trailers = body.trailers if isinstance(body, ChunkedBody) else b""
        found.append((head, b"".join(pieces), trailers))
    return found


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return ``data`` in pieces of the given sizes, over and over."""
    pieces = []
    at = 0
    number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        number += 1
        pieces.append(data[at : at + size])
        at += size
    return pieces


class Agent:
    """The far end of the server's one tunnel: it answers each whole request with the next response, cut."""

    def __init__(self, hand: Tunnels, responses: list[bytes], sizes: list[int]) -> None:
        ((self._connection, far),) = hand.far_ends.items()
        self.heard: dict[int, bytes] = {}
        """The bytes of each stream."""
        self._hand = hand
        self._tunnel = far.tunnel
        self._responses = iter(responses)
        self._sizes = sizes
        self._answered: dict[int, int] = {}

    def read(self) -> None:
        """Take everything that the server has sent, and answer."""
        line = self._hand.ends[self._connection]
        while line.output:
            events = self._tunnel.receive(line.take_output(), self._hand.world.now)
            for event in events:
                if isinstance(event, StreamData):
                    self.heard[event.stream.id] = self.heard.get(event.stream.id, b"") + bytes(event.data)
                    event.stream.consume(len(event.data))
            self._speak()
            for event in events:
                if isinstance(event, StreamData):
                    self._answer(event.stream)

    def _answer(self, stream: MuxStream) -> None:
        complete = messages(self.heard[stream.id], responses=False, methods=[])
        if len(complete) > self._answered.get(stream.id, 0):
            self._answered[stream.id] = len(complete)
            response = next(self._responses)
            if complete[-1][0].startswith(b"HEAD"):
                response = HEAD_RESPONSE
            for piece in cut(response, self._sizes):
                stream.send(piece)
                self._speak()

    def _speak(self) -> None:
        while (message := self._tunnel.take_output()) is not None:
            for piece in cut(joined(message), self._sizes):
                self._hand.tell(Received(self._connection, piece))


def exchange(requests: list[bytes], responses: list[bytes], sizes: list[int]) -> Outcome:
    """Return the messages that the client received, and those of each stream."""
    hand = Tunnels(ServerNode(ServerConfig(), "node-1", random.Random(1)))
    hand.register()
    agent = Agent(hand, responses, sizes)
    client = hand.accept("proxy")
    for piece in cut(b"".join(requests), sizes):
        hand.tell(Received(client, piece))
        agent.read()
    agent.read()
    return (
        client_messages(hand.ends[client].output, requests),
        [messages(data, responses=False, methods=[]) for data in agent.heard.values()],
    )


def client_messages(output: bytes, requests: list[bytes]) -> list[Message]:
    """Return the final responses that a client received, with the number of interim responses before them."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    count = output.count(interim)
    methods = [request.partition(b" ")[0] for request in requests]
    found = messages(output.replace(interim, b""), responses=True, methods=methods)
    return [(b"%d interim" % count, b"", b""), *found]


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, len(WHOLE_REQUESTS) - 1), st.integers(0, len(WHOLE_RESPONSES) - 1)),
        min_size=1,
        max_size=4,
    ),
    sizes=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 100_000)), min_size=1, max_size=6),
)
def test_cutting_the_bytes_anywhere_changes_nothing(pairs: list[tuple[int, int]], sizes: list[int]) -> None:
    if sum(sizes) < 1_000 * len(sizes):
        sizes = [*sizes, 20_000]  # a large body in small pieces alone would take too long
    requests = [WHOLE_REQUESTS[number] for number, _ in pairs]
    responses = [WHOLE_RESPONSES[number] for _, number in pairs]
    whole = exchange(requests, responses, [10**9])
    assert len(whole[0]) == 1 + len(requests)
    assert exchange(requests, responses, sizes) == whole
