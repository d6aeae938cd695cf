"""The errors of the SDK. Each is a ``PicoError``, and ``str(error)`` is one readable line."""

from pico_core.errors import PicoError


class ConnectFailedError(PicoError):
    """An endpoint could not be registered, or reached."""


class RefusedError(ConnectFailedError):
    """The server refuses the endpoint; trying again changes nothing. ``status`` is that of its answer."""

    def __init__(self, endpoint: str, status: int, reason: str) -> None:
        super().__init__(f"the server refuses endpoint '{endpoint}': {reason}")
        self.endpoint = endpoint
        self.status = status
        self.reason = reason


class UnreachableError(ConnectFailedError):
    """The server did not answer in time, or it has no way to the endpoint. A later attempt may succeed."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"endpoint '{endpoint}': {reason}")
        self.endpoint = endpoint
        self.reason = reason


class StreamError(PicoError):
    """The stream cannot be used."""


class StreamBrokenError(StreamError):
    """The stream was reset before its end: what was read may be incomplete, and what was written may be lost."""


class StreamClosedError(StreamError):
    """This side has closed or ended the stream itself."""


class ClosedError(PicoError):
    """The client or node was closed, or has stopped."""


class AppError(PicoError):
    """The application did not start: its lifespan failed, or it cannot be imported."""
