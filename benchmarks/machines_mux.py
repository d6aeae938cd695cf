"""How fast the WebSocket, yamux and tunnel engines are alone.

Each figure is the best of several rounds, in microseconds per operation, of one thread.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.machines_http import microseconds
from benchmarks.machines_server import as_bytes
from pico_core.mux.events import StreamData
from pico_core.mux.frame import DATA, HEADER, SYN, WINDOW_UPDATE
from pico_core.mux.session import Session
from pico_core.mux.stream import MuxStream
from pico_core.pieces import Piece
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.decoding import FrameDecoder
from pico_core.websocket.encoding import encode_frame
from tests.masks import ZeroMask

BODY = bytes(200)


class Keys:
    """A source of masks that gives one key, as fast as a generator would."""

    def getrandbits(self, _k: int, /) -> int:
        return 0x12345678


class Meter:
    """Measures, and keeps what it found, in microseconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.found: dict[str, float] = {}

    def __call__(self, name: str, operation: Callable[[], object], per_run: int = 1) -> None:
        self.found[name] = microseconds(operation, self.seconds) / per_run


def decode_messages(measure: Meter) -> None:
    frame = HEADER.pack(DATA, 0, 2, len(BODY)) + BODY
    for name, entropy in (("random key", Keys()), ("zero key", ZeroMask()), ("unmasked", None)):
        message = as_bytes(encode_frame([frame], len(frame), entropy))
        decoder = FrameDecoder(masked=entropy is not None)
        measure(f"decode a WebSocket message of 212 bytes, {name}", partial(decoder.receive, message))
    for name, entropy in (("random key", Keys()), ("zero key", ZeroMask())):
        message = as_bytes(encode_frame([bytes(65_536)], 65_536, entropy))
        decoder = FrameDecoder(masked=True)
        measure(f"decode a WebSocket message of 64 KiB, {name}", partial(decoder.receive, message))


def encode_messages(measure: Meter) -> None:
    pieces = [HEADER.pack(DATA, 0, 2, len(BODY)), BODY]
    keys = Keys()
    measure("encode a WebSocket message of 212 bytes, unmasked", lambda: encode_frame(pieces, 212, None))
    measure("encode a WebSocket message of 212 bytes, random key", lambda: encode_frame(pieces, 212, keys))
    large: list[Piece] = [HEADER.pack(DATA, 0, 2, 65_536), bytes(65_536)]
    measure("encode a WebSocket message of 64 KiB, unmasked", lambda: encode_frame(large, 65_548, None))
    measure("encode a WebSocket message of 64 KiB, random key", lambda: encode_frame(large, 65_548, keys))


def receive_frames(measure: Meter) -> None:
    count = 50
    session = Session(client=True, max_incoming_streams=1_024)
    session.receive(b"".join(HEADER.pack(WINDOW_UPDATE, SYN, 2 * i, 0) for i in range(1, count + 1)), 0.0)
    data = b"".join(HEADER.pack(DATA, 0, 2 * i, len(BODY)) + BODY for i in range(1, count + 1))

    def run() -> None:
        for event in session.receive(data, 0.0):
            if type(event) is StreamData:
                event.stream.consume(len(event.data))
        session.take_output(1 << 20)

    measure("receive a data frame of 200 bytes, and consume it", run, count)


def send_frames(measure: Meter) -> None:
    count = 50
    session = Session(client=False)
    streams = [session.open_stream() for _ in range(count)]
    session.take_output(1 << 20)
    updates = b"".join(HEADER.pack(WINDOW_UPDATE, 0, stream.id, 1_000 * len(BODY)) for stream in streams)

    def run() -> None:
        if streams[0].send_window_bytes < len(BODY):  # once in a thousand runs
            session.receive(updates, 0.0)
        for stream in streams:
            stream.send(BODY)
        session.take_output(1 << 20)

    measure("send a data frame of 200 bytes", run, count)


def exchange(measure: Meter) -> None:
    for count in (1, 50):
        server = Tunnel(0.0, entropy=None)
        agent = Tunnel(0.0, entropy=Keys(), max_incoming_streams=1_024)
        streams = [server.open_stream() for _ in range(count)]

        def answer(receiver: Tunnel, sender: Tunnel, reply: bytes) -> None:
            while (message := sender.take_output()) is not None:
                for event in receiver.receive(as_bytes(message), 0.0):
                    if type(event) is StreamData:
                        event.stream.consume(len(event.data))
                        if reply:
                            event.stream.send(reply)

        def run(server: Tunnel = server, agent: Tunnel = agent, streams: list[MuxStream] = streams) -> None:
            for stream in streams:
                stream.send(BODY)
            answer(agent, server, BODY)
            answer(server, agent, b"")

        measure(f"request and answer, both ends, {count} streams in a message", run, count)


def bulk(measure: Meter) -> None:
    server = Tunnel(0.0, entropy=None)
    agent = Tunnel(0.0, entropy=ZeroMask(), max_incoming_streams=1)
    stream = server.open_stream()
    chunk = bytes(65_536)

    def run() -> None:
        stream.send(chunk)
        while (message := server.take_output()) is not None:
            for event in agent.receive(as_bytes(message), 0.0):
                if type(event) is StreamData:
                    event.stream.consume(len(event.data))
        while (message := agent.take_output()) is not None:
            server.receive(as_bytes(message), 0.0)

    measure("64 KiB through both ends, one copy in between", run)


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds per operation. ``seconds`` go to each kind of operation, about."""
    measure = Meter(seconds / 3)
    for each in (decode_messages, encode_messages, receive_frames, send_frames, exchange, bulk):
        each(measure)
    return measure.found
