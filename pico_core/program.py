"""The records that a program and the machine that it embeds exchange: a part of the boundary (``boundary``).

The program's side of a raw stream is a connection like any other: numbered, and the records of connections carry
its bytes, ends and pauses. What is here says to which listener such a connection belongs, what becomes of a listener,
and how a request is passed to an application in the program. The driver's ``Hub`` takes the commands.

Listeners are numbered by the program, calls of applications by the machine. For a listener or call that is over, either
side ignores what the other still says.

A supervisor of worker processes is embedded too, in the program that runs them. Workers are numbered from 1; each of
their processes has a number of its own, which no later process gets again.
"""

from typing import TypeAlias

import msgspec

from pico_core.pieces import Piece
from pico_core.records import Record

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, and values."""

STREAMS = "streams"
APP = "app"
SOCKET = "socket"
"""The services of listeners: the program with raw streams, an application in the program, or a service on a socket."""

DIAL = "dial "
"""The beginning of the listener's name of a connection that the program dials; behind it comes the endpoint."""


# --- inputs: what the program wants ----------------------------------------------------------------------------------


class OpenListener(Record, frozen=True, gc=False):
    """Register an endpoint. ``config`` is its ``ListenerConfig``, ``served_by`` one of the three names above.

    After ``patience_s`` without a tunnel the machine says ``ListenerUnreachable`` once, and tries on.
    """

    listener: int
    config: msgspec.Struct
    served_by: str
    patience_s: float


class CloseListener(Record, frozen=True, gc=False):
    """Leave an endpoint: take nothing new, and cut what is still open after ``grace_s``. Answer: ``ListenerClosed``."""

    listener: int
    grace_s: float


class StreamTaken(Record, frozen=True, gc=False):
    """The program has taken a stream that was waiting for it."""

    connection: int


class CallTook(Record, frozen=True, gc=False):
    """The application has taken ``size`` bytes of its request's body."""

    call: int
    size: int


class CallResponds(Record, frozen=True, gc=False):
    """The application begins its response, with the first piece of the body; ``last`` says that this is all of it."""

    call: int
    status: int
    fields: Fields
    body: bytes
    last: bool


class CallContinues(Record, frozen=True, gc=False):
    """The application sends more of its response; ``trailers`` come with the last piece."""

    call: int
    body: bytes
    last: bool
    trailers: Fields = ()


class CallAccepts(Record, frozen=True, gc=False):
    """The application accepts the WebSocket; ``fields`` have the subprotocol that it chose, if it did."""

    call: int
    fields: Fields


class CallSends(Record, frozen=True, gc=False):
    """The application sends one message over the WebSocket."""

    call: int
    message: bytes | str


class CallCloses(Record, frozen=True, gc=False):
    """The application closes the WebSocket, or refuses it with 403 if it has not accepted it."""

    call: int
    code: int
    reason: str


class CallEnded(Record, frozen=True, gc=False):
    """The application has returned, or failed: ``failure`` is one readable clause then. The last of a call."""

    call: int
    failure: str


class WorkerStarted(Record, frozen=True, gc=False):
    """A process runs. ``gossip_port`` is where other nodes reach it, ``control_port`` is open for its parent only."""

    process: int
    pid: int
    gossip_port: int
    control_port: int


class WorkerEnded(Record, frozen=True, gc=False):
    """A process has ended, or could not be started.

    ``code`` is its exit code, negative for the signal that ended it. ``reason`` is one readable line; empty where the
    process itself has said why it left.
    """

    process: int
    code: int
    reason: str


class SuccessorServes(Record, frozen=True, gc=False):
    """To a worker: another process accepts from its ports now. Accept nothing more, finish, and leave."""


ProgramInput: TypeAlias = (
    OpenListener
    | CloseListener
    | StreamTaken
    | CallTook
    | CallResponds
    | CallContinues
    | CallAccepts
    | CallSends
    | CallCloses
    | CallEnded
    | WorkerStarted
    | WorkerEnded
    | SuccessorServes
)


# --- commands: what the program has to know or do --------------------------------------------------------------------


class ListenerRegistered(Record, frozen=True, gc=False):
    """The endpoint is registered: clients reach it at ``url``, through the node ``node``; empty where not told.

    ``moved`` says that the endpoint was reachable all the time: another tunnel has taken over.
    """

    listener: int
    url: str
    node: str
    moved: bool


class ListenerLost(Record, frozen=True, gc=False):
    """The endpoint has no tunnel; the machine tries again by itself."""

    listener: int
    reason: str


class ListenerUnreachable(Record, frozen=True, gc=False):
    """The endpoint could not be registered for ``patience_s``; ``reason`` is why the last attempt failed."""

    listener: int
    reason: str


class ListenerRefused(Record, frozen=True, gc=False):
    """The server refuses the endpoint for good with ``status``: the listener is over."""

    listener: int
    status: int
    reason: str


class ListenerClosed(Record, frozen=True, gc=False):
    """The listener is over, as ``CloseListener`` or a shutdown asked."""

    listener: int


class OpenStream(Record, frozen=True, gc=False):
    """Offer a raw stream to the program. Answered by ``Connected``, and ``StreamTaken`` when the program takes it."""

    connection: int
    listener: int


class DialOpened(Record, frozen=True, gc=False):
    """The endpoint that the program dialed is reached: ``connection`` leads there."""

    connection: int


class DialFailed(Record, frozen=True, gc=False):
    """The endpoint cannot be reached. ``status`` is that of the server's answer, 0 where there was none."""

    connection: int
    status: int
    reason: str


class CallBegins(Record, frozen=True, gc=False):
    """Call the application of a listener. ``body`` is what has come of the request's body, ``last`` that it is all.

    ``client`` is the client's address as the server tells it, empty where it does not. ``scheme`` is ``http`` or
    ``https``, ``host`` is Host. ``is_websocket`` says that the client asks for a WebSocket; it offers ``subprotocols``.
    """

    call: int
    listener: int
    method: bytes
    target: bytes
    minor_version: int
    fields: Fields
    client: str
    scheme: str
    host: bytes
    body: bytes
    last: bool
    is_websocket: bool = False
    subprotocols: tuple[str, ...] = ()


class CallBody(Record, frozen=True, gc=False):
    """More of the request's body."""

    call: int
    pieces: tuple[Piece, ...]
    last: bool


class CallPaused(Record, frozen=True, gc=False):
    """The client does not read: the application should send no more for now."""

    call: int


class CallResumed(Record, frozen=True, gc=False):
    """The client reads again."""

    call: int


class CallDropped(Record, frozen=True, gc=False):
    """Nothing is wanted of the application any more: the client left, or was answered otherwise.

    ``code`` and ``reason`` are those of a WebSocket's close frame, 1006 where none came (RFC 6455 section 7.1.5).
    """

    call: int
    code: int = 1006
    reason: str = ""


class CallMessage(Record, frozen=True, gc=False):
    """One message of the client over the WebSocket."""

    call: int
    message: bytes | str


class CallCancelled(Record, frozen=True, gc=False):
    """Stop the application: its listener is closed."""

    call: int


class NodeServes(Record, frozen=True, gc=False):
    """The ports of the machine are open; ``addresses`` has the ``host:port`` of each by its name.

    A node says it once it is ready, an agent when its inspector can be asked.
    """

    addresses: tuple[tuple[str, str], ...]


class StartWorker(Record, frozen=True, gc=False):
    """Start a process of worker ``number``. Answered by ``WorkerStarted``, then ``WorkerEnded``; or by that alone.

    ``siblings`` are the gossip ports of the processes that run already.
    """

    number: int
    process: int
    node_id: str
    siblings: tuple[int, ...]


class SignalWorker(Record, frozen=True, gc=False):
    """Send a signal, such as ``SIGTERM``, to a process."""

    process: int
    signal: str


class TellWorker(Record, frozen=True, gc=False):
    """Have a process get ``SuccessorServes``."""

    process: int


class ClosePorts(Record, frozen=True, gc=False):
    """Close what is kept open of the shared ports for worker ``number``, so that no connection waits for it."""

    number: int


ProgramCommand: TypeAlias = (
    ListenerRegistered
    | ListenerLost
    | ListenerUnreachable
    | ListenerRefused
    | ListenerClosed
    | OpenStream
    | DialOpened
    | DialFailed
    | CallBegins
    | CallBody
    | CallPaused
    | CallResumed
    | CallDropped
    | CallMessage
    | CallCancelled
    | NodeServes
    | StartWorker
    | SignalWorker
    | TellWorker
    | ClosePorts
)
