"""HTTP clients that keep connections alive. They log the outcome of every request."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import h11

from pico_core.boundary import Exit, ShutdownRequested
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.timers import Timer
from tests.sim.origin import pattern
from tests.sim.process import Process
from tests.sim.tcp import End
from tests.sim.world import World

MISDIRECTED = 421

IDLE_S = 20.0
"""A connection that was idle for this long is not used again."""

Target = tuple[str, int]


@dataclass
class Load:
    """The requests of a client. Sizes in bytes, shares between 0 and 1."""

    rate: float = 20.0
    """Requests per second, at random moments."""
    posts: float = 0.2
    large: float = 0.02
    large_bytes: int = 300_000
    slow: float = 0.2
    slow_ms: int = 200
    dawdlers: float = 0.0
    """The share of requests whose client stops reading in the middle of the response for a second."""
    quitters: float = 0.0
    """The share of requests whose client resets the connection before the response is complete."""
    timeout_s: float = 45.0
    keep_alive: bool = False
    """Whether connections are probed, so that the client notices a host that lost its power."""
    any_answer: bool = False
    """Whether services may answer what they like: then only the framing is checked."""


@dataclass
class Request:
    """One request and its outcome: ``ok``, ``status 502``, ``cut``, ``refused``, ``lost``, ``timeout``, ``quit``."""

    number: int
    method: str
    endpoint: str
    size: int
    body_size: int
    delay_ms: int
    target: Target
    began_at: float
    ended_at: float = 0.0
    outcome: str = ""
    attempts: int = 0
    detail: str = ""
    dawdles: bool = False
    quits: bool = False
    host_was_dark: bool = False
    """Whether it ended on a connection to a host that had lost its power, which no server can help."""
    history: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        duration_s = self.ended_at - self.began_at
        return (
            f"request {self.number} {self.method} {self.endpoint} to {self.target[0]} at {self.began_at:.3f} s: "
            f"{self.outcome} after {duration_s:.3f} s {self.detail}"
        )


class HttpClient(BaseMachine):
    """Sends requests to its targets in turn, over connections that it keeps, until ``stop``."""

    process: Process

    def __init__(
        self,
        world: World,
        entropy: random.Random,
        targets: Sequence[Target],
        endpoints: Sequence[str],
        load: Load,
        first_number: int,
    ) -> None:
        super().__init__()
        self.world = world
        self.targets = list(targets)
        self.endpoints = list(endpoints)
        self.load = load
        self.requests: list[Request] = []
        self.stopped = False
        self.new_token: Callable[[], str] | None = None
        """Makes the token that each request shows, where the servers ask for one."""
        self._entropy = entropy
        self._number = first_number
        self._idle: dict[Target, list[_Connection]] = {}

    @property
    def in_flight(self) -> int:
        """How many requests are not over."""
        return sum(not request.outcome for request in self.requests)

    def stop(self) -> None:
        """Begin no more requests."""
        self.stopped = True

    def on_start(self, now: float) -> None:
        if self.load.rate:
            self.timers.schedule(now + self._entropy.expovariate(self.load.rate), self._next)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        self.emit(Exit(0, ""))

    def _next(self, now: float) -> None:
        if self.stopped:
            return
        self.timers.schedule(now + self._entropy.expovariate(self.load.rate), self._next)
        target = self.targets[self._number % len(self.targets)]
        self.ask(target, self._entropy.choice(self.endpoints), now)

    def ask(self, target: Target, endpoint: str, now: float) -> Request:
        """Begin a request of random shape."""
        load, draw = self.load, self._entropy.random
        method = "POST" if draw() < load.posts else "GET"
        size = load.large_bytes if draw() < load.large else int(2000 * draw())
        body_size = 0 if method == "GET" else load.large_bytes if draw() < load.large else int(2000 * draw())
        delay_ms = int(load.slow_ms * draw()) if draw() < load.slow else 0
        request = Request(self._number, method, endpoint, size, body_size, delay_ms, target, now)
        request.dawdles = draw() < load.dawdlers
        request.quits = draw() < load.quitters
        self._number += 1
        self.requests.append(request)
        self._send(request, now)
        return request

    def _send(self, request: Request, now: float) -> None:
        connection = self._take_idle(request.target, now)
        request.attempts += 1
        if connection is None:
            connection = _Connection(self, request.target)
            connection.open(request, now)
        else:
            connection.begin(request, now)

    def _take_idle(self, target: Target, now: float) -> "_Connection | None":
        idle = self._idle.get(target, [])
        while idle:
            connection = idle.pop()
            if now - connection.idle_at < IDLE_S:
                return connection
            connection.close()
        return None

    def keep(self, connection: "_Connection", now: float) -> None:
        """Keep a connection for the next request."""
        connection.idle_at = now
        self._idle.setdefault(connection.target, []).append(connection)

    def drop(self, connection: "_Connection") -> None:
        """Forget a connection that was lost while idle."""
        idle = self._idle.get(connection.target, [])
        if connection in idle:
            idle.remove(connection)

    def over(self, request: Request, outcome: str, now: float, detail: str = "") -> None:
        """A request has ended."""
        assert not request.outcome, f"{request} ends twice"
        request.ended_at = now
        request.outcome = outcome
        request.detail = detail

    def again(self, request: Request, reason: str, now: float) -> None:
        """Send a request again: the server closed an idle connection just as it was used for this request."""
        self.world.sometimes["client tried a fresh connection"] += 1
        request.history.append(reason)
        self._send(request, now)


class _Connection:
    """One connection of a client: its dialer, then the user of its channel."""

    def __init__(self, client: HttpClient, target: Target) -> None:
        self.target = target
        self.idle_at = 0.0
        self._client = client
        self._channel: TcpChannel | None = None
        self._wire: End | None = None
        self._number = 0
        self._http = h11.Connection(h11.CLIENT)
        self._request: Request | None = None
        self._reused = False
        self._response: h11.Response | None = None
        self._body: list[bytes] = []
        self._rest = b""
        self._timer: Timer | None = None

    def open(self, request: Request, now: float) -> None:
        """Connect, then send the request."""
        self._request = request
        self._timer = self._client.timers.schedule(now + self._client.load.timeout_s, self._time_out)
        self._number = self._client.connect(*self.target, self._client.load.timeout_s, self)

    def begin(self, request: Request, now: float) -> None:
        """Send a request over the open connection."""
        channel = self._channel
        assert channel is not None
        self._request = request
        self._response = None
        self._body = []
        if self._timer is None:
            self._timer = self._client.timers.schedule(now + self._client.load.timeout_s, self._time_out)
        headers = [
            (b"host", request.endpoint.encode() + b".example.com"),
            (b"x-number", b"%d" % request.number),
            (b"x-attempt", b"%d.%d" % (request.number, request.attempts)),
        ]
        new_token = self._client.new_token
        if new_token is not None:
            headers.append((b"authorization", b"Bearer " + new_token().encode()))
        if request.method == "POST":
            chunked = request.number % 3 == 0
            headers.append(
                (b"transfer-encoding", b"chunked") if chunked else (b"content-length", b"%d" % request.body_size)
            )
        target = b"/%d/%d" % (request.size, request.delay_ms)
        head = h11.Request(method=request.method.encode(), target=target, headers=headers)
        channel.send(self._http.send(head) or b"")
        self._rest = pattern(request.number, request.body_size)
        self._send_body()

    def _send_body(self) -> None:
        channel = self._channel
        assert channel is not None
        while self._rest and channel.writable:
            piece, self._rest = self._rest[:16_384], self._rest[16_384:]
            channel.send(self._http.send(h11.Data(data=piece)) or b"")
        if not self._rest and self._http.our_state is h11.SEND_BODY:
            end = self._http.send(h11.EndOfMessage())
            if end:
                channel.send(end)

    def close(self) -> None:
        """End an idle connection."""
        if self._channel is not None:
            self._channel.close()

    # --- as a dialer ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        self._channel = channel
        channel.user = self
        self._wire = self._client.process.ends[channel.id]
        if self._client.load.keep_alive:
            self._wire.keep_alive()
        request = self._request
        if request is None:
            channel.abort()
        else:
            self.begin(request, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        if self._request is not None:
            self._end("refused", now, reason)

    # --- as the user of the connection ---

    def on_data(self, data: Piece, now: float) -> None:
        if self._request is None:
            self.close()
            self._client.drop(self)
            return
        try:
            self._http.receive_data(bytes(data))
            self._advance(now)
        except h11.RemoteProtocolError as error:
            raise self._client.world.violation(f"a client was sent bytes that are not a response: {error}") from error

    def _advance(self, now: float) -> None:
        while self._request is not None:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.InformationalResponse):
                continue
            if isinstance(event, h11.Response):
                self._response = event
                if self._leaves_early(self._request, now):
                    return
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._complete(self._request, now)
            else:
                return

    def _leaves_early(self, request: Request, now: float) -> bool:
        """Stop reading for a while, or reset the connection, if this request says so."""
        channel = self._channel
        assert channel is not None
        if request.quits:
            channel.abort()
            self._end("quit", now)
            return True
        if request.dawdles:
            request.dawdles = False
            channel.pause_reading()
            self._client.timers.schedule(now + 1.0, lambda _: channel.resume_reading())
        return False

    def _complete(self, request: Request, now: float) -> None:
        response, channel, http = self._response, self._channel, self._http
        assert response is not None
        assert channel is not None
        self._check(request, response)
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self._reused = True
            reusable = True
        else:
            channel.close()
            reusable = False
        status = response.status_code
        body = b"" if status == 200 else b"".join(self._body)
        self._end("ok" if status == 200 else f"status {status}", now, body.decode(errors="replace"))
        if reusable:
            self._client.keep(self, now)

    def _check(self, request: Request, response: h11.Response) -> None:
        """A response with status 200 must belong to this request in every part."""
        world = self._client.world
        if self._client.load.any_answer:
            return
        if response.status_code == MISDIRECTED:
            raise world.violation(f"{request} was answered with a status that is for nodes alone")
        if response.status_code != 200:
            return
        fields = dict(response.headers)
        if int(fields[b"x-number"]) != request.number:
            raise world.violation(f"{request} got the response to {fields[b'x-number']!r}")
        if int(fields[b"x-received"]) != request.body_size:
            raise world.violation(f"{request}: of {request.body_size} bytes {fields[b'x-received']!r} were received")
        if b"".join(self._body) != pattern(request.number, request.size):
            raise world.violation(f"{request} got {len(b''.join(self._body))} bytes of body, or not its own")

    def on_eof(self, now: float) -> None:
        self._gone(now, "closed")

    def on_lost(self, now: float) -> None:
        self._gone(now, "reset")

    def _gone(self, now: float, reason: str) -> None:
        self.close()
        request = self._request
        if request is None:
            self._client.drop(self)
            return
        if self._response is not None:
            self._end("cut", now, reason)
        elif self._reused and not (self._is_host_dark() and request.method == "POST"):
            self._request = None
            self._cancel()
            self._client.again(request, reason, now)
        else:
            self._end("lost", now, reason)

    def on_writable(self, now: float) -> None:
        if self._request is not None:
            self._send_body()

    def _time_out(self, now: float) -> None:
        if self._channel is not None:
            self._channel.abort()
        else:
            self._client.cancel_connect(self._number)
        self._end("timeout", now)

    def _is_host_dark(self) -> bool:
        return self._wire is not None and self._wire.is_peer_dark

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, outcome: str, now: float, detail: str = "") -> None:
        request, self._request = self._request, None
        self._cancel()
        if request is not None:
            request.host_was_dark = self._is_host_dark()
            self._client.over(request, outcome, now, detail)
