"""The ``pico`` command: configuration files, logs and the choice of a runtime around the machines of ``pico_core``.

``share`` makes an application or a port reachable in one line, ``sync`` is the SDK for programs without a loop.
"""

from typing import TYPE_CHECKING, Any

from pico_core import __version__

if TYPE_CHECKING:
    from pico_tunnel.sharing import Share as Share
    from pico_tunnel.sharing import share as share

__all__ = ["Share", "__version__", "share"]


def __getattr__(name: str) -> Any:
    """Import what a program uses when it does; the command does without."""
    if name in ("Share", "share"):
        from pico_tunnel import sharing

        return getattr(sharing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
