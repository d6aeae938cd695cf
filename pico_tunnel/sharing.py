"""``pico_tunnel.share``: an application or a port is reachable by one line of a script or a notebook."""

import asyncio
import functools
import inspect
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from html import escape
from types import TracebackType
from typing import Any

from pico_core.config.agent import AgentConfig
from pico_core.errors import ConfigError
from pico_tunnel import sync

URL = "PICO_URL"
TOKEN = "PICO_TOKEN"  # noqa: S105 - the name of a variable
ENDPOINT = "PICO_ENDPOINT"

PATIENCE_S = 10.0
"""How long a cell waits for a server that is away."""

_RANDOM_BYTES = 8
"""Nobody guesses the name of an endpoint that was not given one."""


def share(
    target: Any,
    *,
    endpoint: str = "",
    url: str = "",
    token: str = "",
    settings: Mapping[str, str] | None = None,
    patience_s: float = PATIENCE_S,
) -> "Share":
    """Register ``target`` as an endpoint until ``stop`` or the end of Python; return a ``Share`` once it is registered.

    ``target`` is an ASGI or WSGI application, or a service's port, ``host:port`` or ``http://`` URL. ``url`` is the
    upstream port of a server, by default ``PICO_URL`` of the environment, else the port of this machine as for ``pico
    agent``. ``endpoint`` is by default ``PICO_ENDPOINT``, else a name drawn at random, the same for the whole process.
    ``token`` is by default ``PICO_TOKEN``; ``settings`` are as in ``connect``. A share that has the same endpoint at
    the same server is stopped first, so that a cell can be run again.

    Raises ``RefusedError``, ``UnreachableError`` after ``patience_s``, ``AppError`` and ``ConfigError``.
    """
    url = url or os.environ.get(URL) or str(AgentConfig().connect.url)
    endpoint = endpoint or os.environ.get(ENDPOINT) or _drawn()
    token = token or os.environ.get(TOKEN, "")
    kind = _kind_of(target)
    key = (url, endpoint.lower())
    with _lock:
        before = _shares.pop(key, None)
        if before is not None:
            before.stop()
        with ExitStack() as blocks:
            client = blocks.enter_context(sync.connect(url, token=token, settings=settings))
            listener = blocks.enter_context(_served(client, endpoint, target, kind, patience_s))
            made = _shares[key] = Share(listener, url, blocks.pop_all())
    return made


class Share:
    """An endpoint that is registered until it is stopped. ``share`` makes it. ``str`` gives its URL.

    As a context manager it stops at the end of the block; a notebook shows it as a link.
    """

    def __init__(self, listener: sync.Listener, server: str, blocks: ExitStack) -> None:
        self.server = server
        """The URL of the upstream port."""
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
        shown = f'<a href="{escape(self.url)}" target="_blank" rel="noopener">{text}</a>' if is_link else text
        return f"<span>{shown} ({self.state})</span>"


_lock = threading.Lock()
_shares: dict[tuple[str, str], Share] = {}


@functools.cache
def _drawn() -> str:
    return f"share-{secrets.token_hex(_RANDOM_BYTES)}"


def _served(
    client: sync.Client, endpoint: str, target: Any, kind: str, patience_s: float
) -> AbstractContextManager[sync.Listener]:
    """Return the block in which ``target`` is registered."""
    if kind == "asgi":
        return client.serve(endpoint, target, patience_s=patience_s)
    if kind == "wsgi":
        return client.serve_wsgi(endpoint, target, patience_s=patience_s)
    return client.forward(endpoint, str(target), patience_s=patience_s)


def _kind_of(target: Any) -> str:
    """Return how ``target`` is served. Raises ``ConfigError`` if that cannot be told."""
    if isinstance(target, str | int) and not isinstance(target, bool):
        return "addr"
    if not callable(target):
        raise ConfigError(f"share: wants an application, a port or an address, found {type(target).__name__}")
    call = inspect.unwrap(target.func if isinstance(target, functools.partial) else target)
    if asyncio.iscoroutinefunction(call) or asyncio.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004
        return "asgi"
    wanted = _arguments(target)
    if wanted in (2, 3):
        return "wsgi" if wanted == 2 else "asgi"
    raise ConfigError(
        "share: cannot tell whether this is ASGI or WSGI; wrap it in 'async def app(scope, receive, send)'"
    )


def _arguments(target: Callable[..., Any]) -> int:
    """Return how many arguments an application has to be given."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)
