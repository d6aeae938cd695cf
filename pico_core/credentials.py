"""The credentials of an agent or a forwarder: its tenant, and a token from its configuration or from a file.

A file is read again and again, so that a program that renews tokens only has to write it.
"""

from collections.abc import Callable
from typing import Protocol

from pico_core.access.secret import Secret
from pico_core.access.token import MAX_TOKEN_BYTES
from pico_core.config.secrets import SecretFile, token_in
from pico_core.config.values import Origin, is_loopback
from pico_core.errors import ConfigError
from pico_core.machine.parts import FileReader, Logger
from pico_core.timers import Timer, Timers

READ_AGAIN_S = 5.0
"""How often a token file is read: less than the time before the end of its token in which a server asks for another."""

MAX_TOKEN_FILE_BYTES = 2 * MAX_TOKEN_BYTES
"""A token, and blanks around it."""


CLEAR_TEXT = "the token is sent without encryption: use https:// unless the way to the server is trusted"


class CredentialsHost(FileReader, Logger, Protocol):
    """The part of the machine that credentials need."""

    timers: Timers


class Credentials:
    """The fields that every handshake with the server has. ``on_change(now)`` is called when a file has a new token.

    Next: ``start``.
    """

    def __init__(
        self,
        host: CredentialsHost,
        subsystem: str,
        token: Secret | None,
        file: SecretFile | None,
        tenant_id: str,
        on_change: Callable[[float], None],
    ) -> None:
        self.path = "" if file is None else file.path
        """The token file; empty where the token is fixed, or where there is none."""
        self._host = host
        self._subsystem = subsystem
        self._token = token if file is None else file.content
        self._tenant_id = tenant_id
        self._on_change = on_change
        self._timer: Timer | None = None

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the fields to send, in the spelling that Piko's servers read as well."""
        fields = []
        if self._token is not None:
            fields.append((b"Authorization", b"Bearer " + self._token.reveal().encode("ascii")))
        if self._tenant_id:
            fields.append((b"x-piko-tenant-id", self._tenant_id.encode("ascii")))
        return tuple(fields)

    def warn_of_clear_text(self, server: Origin) -> None:
        """Tell an operator whose token every machine on the way to the server can read."""
        if self._token is not None and not server.is_secure and not is_loopback(server.host):
            self._host.log("warning", self._subsystem, CLEAR_TEXT, url=str(server))

    def start(self, now: float) -> None:
        """Begin to read the file again and again, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._host.timers.schedule(now + READ_AGAIN_S, self._read) if self.path else None

    def read_now(self, now: float) -> None:
        """Read the file at once, since the server has refused the token."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._read(now)

    def reload(self, token: Secret | None, file: SecretFile | None, tenant_id: str, now: float) -> None:
        """Take over what another configuration says; ``on_change`` is called if there is anything new."""
        before = self.fields
        self.path = "" if file is None else file.path
        self._token = token if file is None else file.content
        self._tenant_id = tenant_id
        self.start(now)
        if self.fields != before:
            self._on_change(now)

    def _read(self, now: float) -> None:
        self._timer = None
        self._host.read_file(self.path, MAX_TOKEN_FILE_BYTES, self)

    def on_file(self, content: bytes, error: str, now: float) -> None:
        """Take the token; a file that has none just now leaves the last one."""
        if not self.path:
            return  # another configuration has come meanwhile
        self.start(now)
        if error:
            self._keep(f"cannot read '{self.path}': {error}")
            return
        try:
            token = token_in(self.path, content.decode("latin-1"))
        except ConfigError as problem:
            self._keep(str(problem))
            return
        if token != self._token:
            self._token = token
            self._host.log("info", self._subsystem, "new token", file=self.path)
            self._on_change(now)

    def _keep(self, reason: str) -> None:
        self._host.warn(self._subsystem, "the last token is used: its file has none now", reason=reason)
