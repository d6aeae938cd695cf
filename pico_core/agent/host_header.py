"""An ``http`` listener whose service is told another Host than the client's (``host_header`` of the listener)."""

import re

from msgspec.structs import replace

from pico_core.agent.http_streams import HttpStreams
from pico_core.agent.service import ServiceHost
from pico_core.config.agent import ListenerConfig
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.exchange import Exchange

_HOST_LINE = re.compile(rb"(?im)^host:[^\r]*\r\n")


class RenamedHostStreams(HttpStreams):
    """``HttpStreams`` that replaces Host. The client's own is in X-Forwarded-Host, which the server adds."""

    __slots__ = ("_name",)

    def __init__(self, host: ServiceHost, config: ListenerConfig, access_log: AccessLogger | None) -> None:
        super().__init__(host, config, access_log)
        name = config.addr.authority if config.host_header == "rewrite" else config.host_header
        self._name = name.encode()

    def begin(self, exchange: Exchange, now: float) -> None:
        """Send the request to the service, with the other Host."""
        head = exchange.head
        fields = b"Host: %b\r\n%b" % (self._name, _HOST_LINE.sub(b"", head.fields))
        exchange.head = replace(head, host=self._name, fields=fields, onward=b"")
        super().begin(exchange, now)
