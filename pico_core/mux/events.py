"""The events that a session reports: those of its streams, and its own."""

from typing import TypeAlias

from pico_core.mux.stream import MuxStream
from pico_core.pieces import Piece
from pico_core.records import Record


class StreamOpened(Record, frozen=True, gc=False):
    """The peer opened a stream. Next: set its ``owner``. The session acknowledges it on its own."""

    stream: MuxStream


class StreamAccepted(Record, frozen=True, gc=False):
    """The peer acknowledged a stream that this end opened. A stream that is reset before was not used by the peer."""

    stream: MuxStream


class StreamData(Record, frozen=True, gc=False):
    """Bytes of a stream, as they came; below ``VIEW_BYTES`` always ``bytes``. Next: ``stream.consume``, once used."""

    stream: MuxStream
    data: Piece


class StreamEnded(Record, frozen=True, gc=False):
    """The peer sent its end of the stream; we can still send. Next: ``MuxStream.send_eof``, after the last byte."""

    stream: MuxStream


class StreamReset(Record, frozen=True, gc=False):
    """The stream is gone in both directions: the peer reset it, or we did (``Session`` says when).

    No event of this stream follows, and its unread bytes count as consumed.
    """

    stream: MuxStream


class StreamWritable(Record, frozen=True, gc=False):
    """``MuxStream.writable`` is True again, after it was read as False. Next: ``MuxStream.send``."""

    stream: MuxStream


class GoAwayReceived(Record, frozen=True, gc=False):
    """The peer takes no new streams; those that are open go on. Comes once.

    ``code`` is a ``GoAwayCode``, or any other number.
    """

    code: int


class PongReceived(Record, frozen=True, gc=False):
    """The answer to ``Session.ping``, with the number that it returned."""

    number: int


class NoticeReceived(Record, frozen=True, gc=False):
    """The peer told something that it need not: nothing depends on it, and no answer is due."""

    text: bytes


class SessionFailed(Record, frozen=True, gc=False):
    """The session is over, for ``reason`` in one clause; ``streams`` are those that were open and are gone now.

    Always the last event. Next: ``Session.take_output``, for the frames that tell the peer.
    """

    reason: str
    streams: tuple[MuxStream, ...]


MuxEvent: TypeAlias = (
    StreamOpened
    | StreamAccepted
    | StreamData
    | StreamEnded
    | StreamReset
    | StreamWritable
    | GoAwayReceived
    | PongReceived
    | NoticeReceived
    | SessionFailed
)
