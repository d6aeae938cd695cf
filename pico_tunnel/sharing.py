"""``pico_tunnel.share``: an application or a port is reachable by one line of a script or a notebook."""

import functools
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from html import escape
from types import TracebackType
from typing import Any

from pico_core.config.agent import AgentConfig
from pico_driver.embedding.arguments import text
from pico_tunnel import sync
from pico_tunnel.targets import REGISTERED_WITHIN_S, kind_of, register

URL = "PICO_URL"
TOKEN = "PICO_TOKEN"  # noqa: S105 - the name of a variable
ENDPOINT = "PICO_ENDPOINT"

_RANDOM_BYTES = 8
"""The name of an endpoint that was not given one cannot be guessed."""


def share(
    target: Any,
    *,
    endpoint: str = "",
    url: str = "",
    token: str = "",
    inspect: str | int = "",
    settings: Mapping[str, str] | None = None,
    patience_s: float = REGISTERED_WITHIN_S,
) -> "Share":
    """Register ``target`` as an endpoint until ``stop`` or the end of Python; return a ``Share`` once it is registered.

    ``target`` is an ASGI or WSGI application, or a service's port, ``host:port`` or ``http://`` URL. ``url`` is the
    upstream port of a server, by default ``PICO_URL`` of the environment, else the port of this machine as for ``pico
    agent``. ``endpoint`` is by default ``PICO_ENDPOINT``, else a name drawn at random, the same for the whole process.
    ``token`` is by default ``PICO_TOKEN``; ``inspect`` and ``settings`` are as in ``connect``. A share that has
    the same endpoint at the same server is stopped first, so that a cell can be run again.

    Raises ``RefusedError``, ``UnreachableError`` after ``patience_s``, ``AppError`` and ``ConfigError``.
    """
    url = text("url", url) or os.environ.get(URL) or str(AgentConfig().connect.url)
    endpoint = text("endpoint", endpoint) or os.environ.get(ENDPOINT) or _drawn()
    token = token or os.environ.get(TOKEN, "")
    kind_of(target)  # what cannot be served stops no share
    key = (url, endpoint.lower())
    with _lock:
        before = _shares.pop(key, None)
        if before is not None:
            before.stop()
        with ExitStack() as blocks:
            client = blocks.enter_context(sync.connect(url, token=token, inspect=inspect, settings=settings))
            listener = blocks.enter_context(register(client, endpoint, target, patience_s))
            made = _shares[key] = Share(listener, url, client.inspector_url, blocks.pop_all())
    return made


class Share:
    """An endpoint that is registered until it is stopped. ``share`` makes it. ``str`` gives its URL.

    As a context manager it stops at the end of the block; a notebook shows it as a link.
    """

    def __init__(self, listener: sync.Listener, server: str, inspector_url: str, blocks: ExitStack) -> None:
        self.server = server
        """The URL of the upstream port."""
        self.inspector_url = inspector_url
        """Where the requests can be seen; empty without ``inspect``."""
        self._listener = listener
        self._blocks = blocks
        self._stopped = False

    @property
    def endpoint(self) -> str:
        """The endpoint ID."""
        return self._listener.endpoint

    @property
    def url(self) -> str:
        """Where clients reach the endpoint; empty where the server does not tell (its key ``proxy.public_url``)."""
        return self._listener.url

    @property
    def state(self) -> str:
        """``open``, ``reconnecting`` or ``stopped``."""
        if self._stopped:
            return "stopped"
        return "open" if self._listener.is_registered else "reconnecting"

    def wait(self) -> None:
        """Wait until the share is stopped, or for an interrupt of the program."""
        for _ in self._listener.events():
            pass

    def stop(self) -> None:
        """Stop serving; what is in flight has 5 s. Does nothing twice."""
        self._stopped = True
        self._blocks.close()

    def __enter__(self) -> "Share":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __str__(self) -> str:
        return self.url or f"endpoint '{self.endpoint}' of {self.server}"

    def __repr__(self) -> str:
        return f"<Share {self}, {self.state}>"

    def _repr_html_(self) -> str:
        """Show a notebook the link, and what became of it."""
        text = escape(str(self))
        is_link = self.url.startswith(("http://", "https://")) and not self._stopped
        shown = _link(self.url, text) if is_link else text
        requests = f", {_link(self.inspector_url, 'requests')}" if self.inspector_url and not self._stopped else ""
        return f"<span>{shown} ({self.state}){requests}</span>"


def _link(url: str, text: str) -> str:
    """Return a link of a notebook's page; ``text`` is HTML."""
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{text}</a>'


_lock = threading.Lock()
_shares: dict[tuple[str, str], Share] = {}


@functools.cache
def _drawn() -> str:
    return f"share-{secrets.token_hex(_RANDOM_BYTES)}"
