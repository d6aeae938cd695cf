"""A client's side: reach a ``tcp`` endpoint through the proxy port of a server."""

from pico_core.program import DialFailed, DialOpened
from pico_driver.embedding.errors import ConnectFailedError, RefusedError, UnreachableError
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.stream import Stream

PERMANENT = (400, 401, 403, 404)
"""Answers of a server that another attempt does not change."""


async def open_stream(hub: Hub, endpoint: str, listener: str) -> Stream:
    """Return a stream to ``endpoint``. Raises ``RefusedError`` or ``UnreachableError``."""
    stream = Stream(hub, endpoint)
    decided = hub.runtime.event()
    failures: list[ConnectFailedError] = []

    def on_outcome(event: DialOpened | DialFailed) -> None:
        if isinstance(event, DialFailed):
            if event.status in PERMANENT:
                failures.append(RefusedError(endpoint, event.status, event.reason))
            else:
                failures.append(UnreachableError(endpoint, event.reason))
        decided.set()

    hub.dial(stream.connection, listener, on_outcome)
    try:
        await decided.wait()
    except BaseException:
        stream.abort()
        raise
    if failures:
        stream.abort()
        raise failures[0]
    return stream
