"""What a session reports: the events of its streams, and its own."""

from typing import TypeAlias

from pico_core.boundary import Record
from pico_core.mux.stream import Stream


class StreamOpened(Record, frozen=True, gc=False):
    """The peer opened a stream. Set its ``owner``; the acknowledgement is sent on its own."""

    stream: Stream


class StreamData(Record, frozen=True, gc=False):
    """Bytes of a stream, as they came; below 4 KiB always ``bytes``. Next: ``Stream.consume`` when done with them."""

    stream: Stream
    data: bytes | memoryview


class StreamEnded(Record, frozen=True, gc=False):
    """The peer sent its end of the stream; we can still send."""

    stream: Stream


class StreamReset(Record, frozen=True, gc=False):
    """The stream is gone in both directions: reset by the peer, or by us for hoarding unread bytes."""

    stream: Stream


class StreamWritable(Record, frozen=True, gc=False):
    """``Stream.writable`` is True again after somebody saw it False."""

    stream: Stream


class GoAwayReceived(Record, frozen=True, gc=False):
    """The peer takes no new streams; those that are open go on. Comes once."""

    code: int


class PongReceived(Record, frozen=True, gc=False):
    """The answer to ``Session.ping``, with the number that it returned."""

    number: int


class SessionFailed(Record, frozen=True, gc=False):
    """The session is over, ``reason`` in one clause; ``streams`` are those that were open and are gone now."""

    reason: str
    streams: tuple[Stream, ...]


MuxEvent: TypeAlias = (
    StreamOpened
    | StreamData
    | StreamEnded
    | StreamReset
    | StreamWritable
    | GoAwayReceived
    | PongReceived
    | SessionFailed
)
