"""Literal frames for plays of one end of a yamux session."""

from pico_core.mux.events import MuxEvent, SessionFailed
from pico_core.mux.session import Session

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 262_144


def frame(kind: int, flags: int, stream_id: int, value: int, body: bytes = b"") -> bytes:
    numbers = ((0, 1), (kind, 1), (flags, 2), (stream_id, 4), (value, 4))
    return b"".join(number.to_bytes(size, "big") for number, size in numbers) + body


def data(flags: int, stream_id: int, body: bytes) -> bytes:
    return frame(DATA, flags, stream_id, len(body), body)


def output(session: Session, limit: int = 1_000_000) -> bytes:
    pieces, size = session.take_output(limit)
    joined = b"".join(pieces)
    assert len(joined) == size
    return joined


def new_server() -> Session:
    """The end of a tunnel that opens streams."""
    return Session(client=False)


def new_agent(max_incoming_streams: int = 1_024) -> Session:
    """The end of a tunnel that accepts streams."""
    return Session(client=True, max_incoming_streams=max_incoming_streams)


def failure(events: list[MuxEvent]) -> SessionFailed:
    event = events[-1]
    assert isinstance(event, SessionFailed)
    return event
