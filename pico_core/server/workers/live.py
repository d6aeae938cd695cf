"""``/status/stream`` of a supervisor: that of one worker, passed on.

A worker is a node: its stream tells of itself as ``here``, and of the other workers and nodes as ``node``. Each viewer
has a request of its own, with the operator's token and Host, so that the worker decides as it would on a port of its
own. Nothing is kept for a viewer that does not read: the worker is made to wait, and drops it.
A stream ends with its worker, and when that is replaced. The page asks anew then, and gets another worker.
"""

from pico_core.config.values import LOCALHOST, Address
from pico_core.machine.parts import PagesHost
from pico_core.plain.client import PlainResponse
from pico_core.plain.server import PlainConnection, Question
from pico_core.plain.streamed import StreamedRequest
from pico_core.server.admin.live import EVERY_S, MAX_VIEWERS, STREAM_PATH, STREAM_S, TOO_MANY_VIEWERS
from pico_core.server.workers.asking import ASK_TIMEOUT_S, Workers, control_fields
from pico_core.server.workers.slots import Process

SILENCE_S = 4 * EVERY_S
"""How long a worker may tell nothing, or a viewer take nothing, before its stream ends."""


class LiveRelay:
    """The streams that are passed on. Next: ``begin`` for each viewer."""

    def __init__(self, host: PagesHost, workers: Workers) -> None:
        self.host = host
        self.workers = workers
        self.viewers: set[Viewer] = set()

    def begin(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Pass the stream of a worker on to one more viewer."""
        if len(self.viewers) >= MAX_VIEWERS:
            connection.refuse(503, TOO_MANY_VIEWERS, now)
            return
        viewer = Viewer(self, connection, question)
        self.viewers.add(viewer)
        viewer.ask(now)

    def leave(self, process: Process, now: float) -> None:
        """End the streams of a process that is to end."""
        for viewer in list(self.viewers):
            if viewer.process is process:
                viewer.leave(now)


class Viewer:
    """One viewer, and the request to a worker for it (a ``StreamAsker``)."""

    def __init__(self, relay: LiveRelay, connection: PlainConnection, question: Question) -> None:
        self.process: Process | None = None
        self._relay = relay
        self._connection = connection
        self._question = question
        self._tried: set[int] = set()
        self._request: StreamedRequest | None = None

    def ask(self, now: float) -> None:
        """Ask the first worker that was not asked yet."""
        workers = self._relay.workers
        for slot in workers.slots:
            process = slot.serving
            if process is not None and process.id not in self._tried:
                self._tried.add(process.id)
                self.process = process
                self._request = StreamedRequest(
                    self._relay.host,
                    Address(LOCALHOST, process.control_port),
                    STREAM_PATH,
                    self,
                    ASK_TIMEOUT_S,
                    now,
                    idle_s=SILENCE_S,
                    fields=control_fields(workers, self._question),
                )
                return
        self._stop()
        self._connection.refuse(503, "no worker answers", now)

    def leave(self, now: float) -> None:
        """End the stream, or ask another worker where it has not begun."""
        if self._request is not None:
            self._request.stop()
        if not self._connection.end_stream(now):
            self.ask(now)

    # --- as the asker ---

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Pass a refusal on."""
        self._stop()
        self._connection.respond(response.status, response.content_type, response.body, now)

    def on_no_response(self, reason: str, now: float) -> None:
        """Ask another worker."""
        self.ask(now)

    def on_stream(self, content_type: str, now: float) -> None:
        """Begin the answer; it is the worker that ends it in time."""
        until = now + STREAM_S + SILENCE_S
        if not self._connection.begin_stream(content_type, until, self._stop, now, self._resume):
            self._stop()

    def on_more(self, data: bytes, now: float) -> None:
        """Pass it on, and have the worker wait where the viewer does."""
        if not self._connection.pass_on(data) and self._request is not None:
            self._request.pause()

    def on_over(self, now: float) -> None:
        """End the answer."""
        self._connection.end_stream(now)

    # --- as the source of the connection's stream ---

    def _resume(self, _now: float) -> None:
        if self._request is not None:
            self._request.resume()

    def _stop(self) -> None:
        self._relay.viewers.discard(self)
        if self._request is not None:
            self._request.stop()
