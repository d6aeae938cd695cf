"""The target that one line of a script or a test serves: an application of either kind, or a service on a socket."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from pico_core.errors import ConfigError
from pico_core.program import SOCKET

ASGI = "asgi"
WSGI = "wsgi"

REGISTERED_WITHIN_S = 10.0
"""How long a line of a script or a test waits for a server that is away: somebody looks on, so it is less than the
``PATIENCE_S`` of a program."""


def register(client: Any, endpoint: str, target: Any, patience_s: float) -> Any:
    """Return the block in which ``target`` is registered as ``endpoint``; it gives a listener.

    ``client`` is a ``Client``, of ``pico_tunnel.sync`` or of a runtime: the block is of the same kind. Raises
    ``ConfigError`` if ``target`` cannot be served.
    """
    kind = kind_of(target)
    if kind == ASGI:
        return client.serve(endpoint, target, patience_s=patience_s)
    if kind == WSGI:
        return client.serve_wsgi(endpoint, target, patience_s=patience_s)
    return client.forward(endpoint, str(target), patience_s=patience_s)


def kind_of(target: Any) -> str:
    """Return how ``target`` is served. Raises ``ConfigError`` if that cannot be told."""
    if isinstance(target, str | int) and not isinstance(target, bool):
        return SOCKET
    if not callable(target):
        raise ConfigError(f"wants an application, a port or an address, found {type(target).__name__}")
    call = inspect.unwrap(target.func if isinstance(target, functools.partial) else target)
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004
        return ASGI
    wanted = _arguments(target)
    if wanted in (2, 3):
        return WSGI if wanted == 2 else ASGI
    raise ConfigError("cannot tell whether this is ASGI or WSGI; wrap it in 'async def app(scope, receive, send)'")


def _arguments(target: Callable[..., Any]) -> int:
    """Return how many arguments an application has to be given."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)
