"""Starting threads, where the system or the container may have no room for one more."""

import threading
from collections.abc import Callable
from typing import Any


class NoThreadError(OSError):
    """The bound on threads, such as the one on tasks of a container, is reached. It may be free again soon."""

    def __init__(self) -> None:
        super().__init__("no thread can be started")


def start_thread(name: str, work: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Run ``work`` in a daemon thread, since Python waits for other threads before it ends.

    Raises ``NoThreadError``.
    """
    thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise NoThreadError from None
    return thread
