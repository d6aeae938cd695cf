"""The records of an agent, the last ones within its bounds. Start at ``Store.begin``."""

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.agent.inspector.redaction import Nothing, Redaction
from pico_core.agent.inspector.searching import Searches
from pico_core.config.inspect import InspectConfig
from pico_core.proxy.exchange import Exchange
from pico_core.timers import Timers


class Store:
    """Keeps at most ``max_requests`` records that take at most ``max_memory_bytes``; the oldest leave first.

    Also one that is still in flight leaves: its exchange goes on, and nothing more of it is recorded. ``version`` grows
    with each change, so that a page sees at once whether there is something new.
    """

    def __init__(self, config: InspectConfig, timers: Timers) -> None:
        self.searches = Searches(timers)
        self.redaction = Nothing() if config.show_secrets else Redaction(config.redact)
        self.most_body_bytes = config.max_body_bytes
        self.records: dict[int, CapturedRequest] = {}
        self.version = 0
        self.memory_bytes = 0
        self.dropped = 0
        """How many records have left."""
        self._config = config
        self._number = 0

    def begin(self, exchange: Exchange, lines: bytes, now: float, wall_s: float) -> CapturedRequest:
        """Return the record of a request whose head has come; ``lines`` are the field lines beside those of the head.

        Next: ``CapturedRequest.respond`` and so on, and in the end ``CapturedRequest.end``.
        """
        self._number += 1
        record = CapturedRequest(self._number, self, exchange, lines, now, wall_s)
        self.records[record.id] = record
        self.changed(record.memory_bytes)
        return record

    def changed(self, more_bytes: int) -> None:
        """See ``Keeper``."""
        self.version += 1
        self.memory_bytes += more_bytes
        config = self._config
        while self.memory_bytes > config.max_memory_bytes or len(self.records) > config.max_requests:
            oldest = self.records.pop(next(iter(self.records)))
            self.memory_bytes -= oldest.memory_bytes
            self.dropped += 1
            oldest.leave()

    def clear(self) -> None:
        """Drop every record."""
        for record in self.records.values():
            record.leave()
        self.dropped += len(self.records)
        self.records.clear()
        self.memory_bytes = 0
        self.version += 1
