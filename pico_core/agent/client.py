"""The agent inside a program: its listeners come and go as the program asks, and the program may serve them itself.

It is the machine of ``pico agent`` with other inputs: tunnels, moves, pauses, drain and bounds are the same.
``pico_core.program`` has the records by which the two talk.
"""

from pico_core.agent.app_call import AppUpstream
from pico_core.agent.app_streams import AppStreams
from pico_core.agent.app_websocket import WebSocketUpstream
from pico_core.agent.listener import AgentListener, StreamHandler
from pico_core.agent.machine import AgentMachine
from pico_core.agent.program_streams import Offer, ProgramStreams
from pico_core.boundary import Exit, Listening, ShutdownRequested
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.inspect import PORT
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.errors import LocalProtocolError
from pico_core.program import (
    APP,
    STREAMS,
    CallAccepts,
    CallCloses,
    CallContinues,
    CallEnded,
    CallResponds,
    CallSends,
    CallTook,
    CloseListener,
    ListenerClosed,
    ListenerLost,
    ListenerRefused,
    ListenerRegistered,
    ListenerUnreachable,
    NodeServes,
    OpenListener,
    OpenStream,
    StreamTaken,
)
from pico_core.timers import Timer


class Endpoint:
    """One listener of the program, whatever number of tunnels it has."""

    __slots__ = ("closing", "config", "is_cut", "is_registered", "number", "patience", "served_by")

    def __init__(self, number: int, config: ListenerConfig, served_by: str) -> None:
        self.number = number
        self.config = config
        self.served_by = served_by
        self.is_registered = False
        self.patience: Timer | None = None
        self.closing: Timer | None = None
        self.is_cut = False

    def stop_waiting(self) -> None:
        """The first tunnel is there, or not wanted any more."""
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None


class ClientMachine(AgentMachine):
    """A ``Machine``. It ends when the program asks for a shutdown, once its listeners have drained."""

    def __init__(self, config: AgentConfig, entropy: Entropy, *, is_watched: bool = False) -> None:
        """``config.listeners`` stay empty: listeners come with ``OpenListener``."""
        super().__init__(config, entropy, is_watched=is_watched)
        self._endpoints: dict[int, Endpoint] = {}
        self._by_config: dict[int, Endpoint] = {}
        self._untaken: dict[int, Offer] = {}
        self._calls: dict[int, AppUpstream | WebSocketUpstream] = {}
        self._call_numbers = 0
        self._handlers |= {
            OpenListener: self._open_listener,
            CloseListener: self._close_listener,
            StreamTaken: self._stream_taken,
            CallTook: self._call_took,
            CallResponds: self._call_says,
            CallContinues: self._call_says,
            CallAccepts: self._websocket_says,
            CallSends: self._websocket_says,
            CallCloses: self._websocket_says,
            CallEnded: self._call_ended,
        }

    # --- what the program asks for ---

    def _open_listener(self, event: OpenListener, now: float) -> None:
        config = event.config
        assert isinstance(config, ListenerConfig), "a listener comes with its configuration"
        if event.listener in self._endpoints:
            raise LocalProtocolError(f"listener {event.listener} is open already")
        if self.draining:
            self.emit(ListenerClosed(event.listener))
            return
        endpoint = self._endpoints[event.listener] = Endpoint(event.listener, config, event.served_by)
        self._by_config[id(config)] = endpoint

        def waited(_now: float) -> None:
            if not endpoint.is_registered:
                self.emit(ListenerUnreachable(endpoint.number, self._trouble(endpoint)))

        endpoint.patience = self.timers.schedule(now + event.patience_s, waited)
        self.begin(config, now)

    def _close_listener(self, event: CloseListener, now: float) -> None:
        endpoint = self._endpoints.get(event.listener)
        if endpoint is None:
            return
        endpoint.stop_waiting()
        if endpoint.closing is not None:
            endpoint.closing.cancel()
        if event.grace_s > 0:
            endpoint.closing = self.timers.schedule(now + event.grace_s, lambda now: self._cut(endpoint, now))
            for listener in self._tunnels_of(endpoint):
                listener.drain(now)
        else:
            self._cut(endpoint, now)

    def _cut(self, endpoint: Endpoint, now: float) -> None:
        """Close what is left of an endpoint; its application is not waited for any longer."""
        endpoint.is_cut = True
        for listener in self._tunnels_of(endpoint):
            listener.cut(now)
        self._close_if_over(endpoint)

    def _tunnels_of(self, endpoint: Endpoint) -> list[AgentListener]:
        return [each for each in self.listeners if each.config is endpoint.config]

    def _trouble(self, endpoint: Endpoint) -> str:
        return next((each.trouble for each in self._tunnels_of(endpoint) if each.trouble), "the server does not answer")

    def on_listening(self, event: Listening, now: float) -> None:
        """Tell the program as well where its requests can be seen."""
        super().on_listening(event, now)
        if event.listener == PORT:
            self.emit(NodeServes(((PORT, str(Address(event.host, event.port))),)))

    # --- what serves its listeners ---

    def handler(self, listener: ListenerConfig) -> StreamHandler:
        """Return the part that serves the streams of a listener: the program, or a service on a socket."""
        endpoint = self._by_config[id(listener)]
        if endpoint.served_by == STREAMS:
            return ProgramStreams(self, listener, endpoint.number)
        if endpoint.served_by == APP:
            return AppStreams(self, listener, self.access_logger(listener), endpoint.number)
        return super().handler(listener)

    def offer(self, listener: int, offer: Offer) -> int:
        """Offer a stream to the program; return the number of its connection."""
        connection = self.expect_connection(offer)
        self._untaken[connection] = offer
        self.emit(OpenStream(connection, listener))
        return connection

    def withdraw(self, connection: int) -> None:
        """Forget an offer."""
        self._untaken.pop(connection, None)

    def _stream_taken(self, event: StreamTaken, now: float) -> None:
        offer = self._untaken.pop(event.connection, None)
        if offer is not None:
            offer.taken()

    def new_call(self, streams: AppStreams, *, is_websocket: bool) -> AppUpstream | WebSocketUpstream:
        """Return a call of the application of ``streams``."""
        self._call_numbers = number = self._call_numbers + 1
        call: AppUpstream | WebSocketUpstream
        call = WebSocketUpstream(streams, number, self) if is_websocket else AppUpstream(streams, number)
        self._calls[number] = call
        return call

    def _call_took(self, event: CallTook, now: float) -> None:
        call = self._calls.get(event.call)
        if call is not None:
            call.took(event.size, now)

    def _call_says(self, event: CallResponds | CallContinues, now: float) -> None:
        call = self._calls.get(event.call)
        if isinstance(call, AppUpstream):
            (call.responds if isinstance(event, CallResponds) else call.continues)(event, now)  # type: ignore[arg-type]

    def _websocket_says(self, event: CallAccepts | CallSends | CallCloses, now: float) -> None:
        call = self._calls.get(event.call)
        if not isinstance(call, WebSocketUpstream):
            return
        if isinstance(event, CallSends):
            call.sends(event, now)
        elif isinstance(event, CallAccepts):
            call.accepts(event, now)
        else:
            call.closes(event, now)

    def _call_ended(self, event: CallEnded, now: float) -> None:
        call = self._calls.pop(event.call, None)
        if call is not None:
            call.host.call_over()
            call.ended(event, now)
            if not call.host.running and (endpoint := self._endpoints.get(call.host.listener)) is not None:
                self._close_if_over(endpoint)
            self._end_if_over(now)

    # --- what its listeners report ---

    def listener_opened(self, listener: AgentListener, now: float) -> None:
        """Tell the program, unless this is a further tunnel."""
        super().listener_opened(listener, now)
        endpoint = self._by_config.get(id(listener.config))
        if endpoint is None or self.is_further(listener):
            return
        endpoint.stop_waiting()
        self.emit(ListenerRegistered(endpoint.number, listener.url, listener.node, endpoint.is_registered))
        endpoint.is_registered = True

    def listener_lost(self, listener: AgentListener, reason: str, now: float) -> None:
        """Tell the program if no other tunnel of the endpoint is left."""
        endpoint = self._by_config.get(id(listener.config))
        if endpoint is None or not endpoint.is_registered or any(e.has_tunnel for e in self._tunnels_of(endpoint)):
            return
        endpoint.is_registered = False
        self.emit(ListenerLost(endpoint.number, reason))

    def listener_refused(self, listener: AgentListener, reason: str, now: float) -> None:
        """Tell the program, unless it was a further tunnel."""
        is_further = self.is_further(listener)
        super().listener_refused(listener, reason, now)
        if not is_further and (endpoint := self._by_config.get(id(listener.config))) is not None:
            self._forget(endpoint)
            for each in self._tunnels_of(endpoint):
                each.cut(now)
            self.emit(ListenerRefused(endpoint.number, listener.refused_with, reason))

    def listener_done(self, listener: AgentListener, now: float) -> None:
        """Tell the program when the last tunnel of the endpoint has drained, and its application is over."""
        super().listener_done(listener, now)
        if (endpoint := self._by_config.get(id(listener.config))) is not None:
            self._close_if_over(endpoint)

    def _close_if_over(self, endpoint: Endpoint) -> None:
        """Close an endpoint without a tunnel, unless its application has work left behind its last response.

        Frameworks do so with background tasks. Such work gets the time that requests in flight get.
        """
        if self._tunnels_of(endpoint) or endpoint.number not in self._endpoints:
            return
        is_waited_for = not endpoint.is_cut and (endpoint.closing is not None or self.draining)
        if is_waited_for and any(each.host.listener == endpoint.number for each in self._calls.values()):
            return
        self._forget(endpoint)
        self.emit(ListenerClosed(endpoint.number))

    def _forget(self, endpoint: Endpoint) -> None:
        del self._by_config[id(endpoint.config)]
        del self._endpoints[endpoint.number]
        endpoint.stop_waiting()
        if endpoint.closing is not None:
            endpoint.closing.cancel()

    # --- the end ---

    def on_last_refused(self, message: str, now: float) -> None:
        """Go on: the program is told, and may open other listeners."""

    def on_last_done(self, now: float) -> None:
        """End, if the program has asked for it."""
        self._end_if_over(now)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """Drain; a second request ends at once."""
        super().on_shutdown_requested(event, now)
        self._end_if_over(now)

    def _end_if_over(self, now: float) -> None:
        """End a client that drains, without tunnels and calls; calls are waited for in the grace period.

        It ends behind the commands of this turn, which tell the program what became of its listeners.
        """
        if self.draining and not self.listeners and not self._calls:
            self.timers.schedule(now, lambda _now: self.emit(Exit(0, "")))

    def listen_anew(self, now: float) -> None:
        """Leave the listeners alone: they are the program's, and not of the configuration."""


class EmbeddedClient(ClientMachine):
    """A ``ClientMachine`` of a program that decides itself what is logged."""

    def __init__(self, config: AgentConfig, entropy: Entropy) -> None:
        super().__init__(config, entropy)
        self._pages.levels.is_embedded = True
