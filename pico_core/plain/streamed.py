"""A request whose response is a stream: the body is handed on as it comes, and waits where it cannot be taken.

Start at ``StreamedRequest``.
"""

from collections.abc import Sequence
from typing import Protocol

import h11

from pico_core.config.values import Address
from pico_core.machine.parts import Connector
from pico_core.plain.client import PlainAsker, PlainRequest
from pico_core.timers import NEVER


class StreamAsker(PlainAsker, Protocol):
    """The part that makes a ``StreamedRequest``: a response without status 200 is told as that of a ``PlainRequest``.

    Otherwise ``on_stream`` comes first, and ``on_over`` last.
    """

    def on_stream(self, content_type: str, now: float) -> None:
        """The head of the stream has come."""

    def on_more(self, data: bytes, now: float) -> None:
        """More of its body has come. Next: ``pause`` of the request, where no more can be taken now."""

    def on_over(self, now: float) -> None:
        """The stream has ended, was cut, or told nothing for too long."""


class StreamedRequest(PlainRequest):
    """One request without a body, whose response goes on for as long as it is read, and the server sends.

    The head of the response has ``timeout_s``, and each part of its body may take ``idle_s`` from the one before, also
    while the request is paused.
    """

    __slots__ = ("_idle_s", "_is_begun", "_streamer")

    def __init__(
        self,
        connector: Connector,
        address: Address,
        target: str,
        asker: StreamAsker,
        timeout_s: float,
        now: float,
        *,
        idle_s: float,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._streamer = asker
        self._idle_s = idle_s
        self._is_begun = False
        super().__init__(connector, address, target, asker, timeout_s, now, fields=fields)

    def pause(self) -> None:
        """Have the server wait: no more can be taken now."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume(self) -> None:
        """Take more again."""
        if self._channel is not None:
            self._channel.resume_reading()

    def stop(self) -> None:
        """Give the request up. The asker is told nothing more."""
        if self.deadline_at == NEVER:
            return
        self._end()
        if self._channel is None:
            self._connector.cancel_connect(self._connection)
        else:
            self._channel.abort()

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED], now: float) -> bool:
        if isinstance(event, h11.Response) and event.status_code == 200:
            self._is_begun = True
            self.deadline_at = now + self._idle_s
            kind = next((value for name, value in event.headers if name == b"content-type"), b"")
            self._streamer.on_stream(kind.decode("latin-1"), now)
        elif self._is_begun and isinstance(event, h11.Data):
            self.deadline_at = now + self._idle_s
            self._streamer.on_more(bytes(event.data), now)
        elif self._is_begun and isinstance(event, h11.EndOfMessage):
            self._fail("", now)
        else:
            return super()._take(event, now)
        return self.deadline_at != NEVER

    def _fail(self, reason: str, now: float) -> None:
        if not self._is_begun:
            super()._fail(reason, now)
            return
        self.stop()
        self._streamer.on_over(now)
