"""The inspector of an agent: what it records, and its port. Only an agent with ``inspect.bind_addr`` has one."""

from typing import Protocol

from pico_core.agent.inspector.pages import InspectorHost, InspectorPages
from pico_core.agent.inspector.replaying import MAX_EDIT_BYTES
from pico_core.agent.inspector.store import Store
from pico_core.agent.inspector.streams import InspectedStreams, RecordingHost
from pico_core.agent.listener import StreamHandler
from pico_core.agent.request_streams import RequestStreams
from pico_core.boundary import Listen
from pico_core.config.inspect import PORT, InspectConfig
from pico_core.config.values import Address
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Emitter
from pico_core.plain.server import PlainConnection


class AgentHost(RecordingHost, InspectorHost, Emitter, Protocol):
    """The part of the agent that the inspector needs."""


class Inspector:
    """Next: ``tap`` for the streams of each listener, and ``listen`` once."""

    def __init__(self, config: InspectConfig, address: Address, host: AgentHost) -> None:
        self.address = address
        self._host = host
        self.store = Store(config, host.timers)
        self._pages = InspectorPages(config, self.store, host)

    def tap(self, streams: StreamHandler) -> StreamHandler:
        """Return the part that records the requests that ``streams`` serves; streams of raw bytes are left alone."""
        return InspectedStreams(streams, self.store, self._host) if isinstance(streams, RequestStreams) else streams

    def listen(self) -> None:
        """Open the port."""
        self._host.emit(Listen(PORT, self.address.host, self.address.port))

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Answer a viewer."""
        PlainConnection(channel, self._pages, self._host, now, MAX_EDIT_BYTES)
