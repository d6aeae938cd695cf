"""One question to a server's admin port, as a machine of its own: what ``pico server status`` runs."""

from pico_core.access.secret import Secret
from pico_core.boundary import Exit, ShutdownRequested
from pico_core.config.tls import STATUS_PROFILE
from pico_core.config.values import Origin
from pico_core.errors import EXIT_INTERRUPTED
from pico_core.machine.base import BaseMachine
from pico_core.plain.client import PlainRequest, PlainResponse

ANSWER_TIMEOUT_S = 10.0
"""Longer than a node waits for another one it forwards to, so that its explanation comes through."""


class StatusMachine(BaseMachine):
    """A ``Machine`` that ends with its answer. Next: ``response``, if it exits with 0."""

    def __init__(self, server: Origin, target: str, token: Secret | None = None, method: str = "GET") -> None:
        """``target`` is the path and query, ready for the request line; ``token`` is shown to the server."""
        super().__init__()
        self.response: PlainResponse | None = None
        self._server = server
        self._target = target
        self._token = token
        self._method = method

    def on_start(self, now: float) -> None:
        """Send the question to the admin port."""
        fields = [] if self._token is None else [("Authorization", f"Bearer {self._token.reveal()}")]
        tls = STATUS_PROFILE if self._server.is_secure else ""
        PlainRequest(
            self, self._server, self._target, self, ANSWER_TIMEOUT_S, now, fields=fields, tls=tls, method=self._method
        )

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Keep the answer as ``response``, whatever its status, and exit with 0."""
        self.response = response
        self.emit(Exit(0, ""))

    def on_no_response(self, reason: str, now: float) -> None:
        """Say which server did not answer."""
        self.emit(
            Exit(1, f"no answer from {self._server}: {reason}; give the admin address of a server with --server.url")
        )

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """End without an answer."""
        self.emit(Exit(EXIT_INTERRUPTED, "interrupted"))
