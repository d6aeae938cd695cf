"""Waiting for what no event tells a test: a condition is looked at again and again, and has a deadline."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 20.0
"""How long a test waits for something that must happen."""

POLL_S = 0.005
"""Between two looks at a condition."""


def wait_until(condition: Callable[[], object], goal: str, timeout_s: float = PATIENCE_S) -> None:
    """Look until the condition holds; fails with ``goal`` where that takes longer than ``timeout_s``."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, f"{goal}: not within {timeout_s:g} s"
        time.sleep(POLL_S)


def connected(port: int) -> socket.socket:
    """Connect to a port of loopback as soon as it is open."""
    found: list[socket.socket] = []

    def connect() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            found.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        return bool(found)

    wait_until(connect, f"port {port} is open")
    return found[0]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    return bool(int(_status(pid, "SigCgt"), 16) >> (number - 1) & 1)


def sleeps(pid: int) -> int:
    """Return how often the main thread of a process has waited: one that spins does not."""
    return int(_status(pid, "voluntary_ctxt_switches"))


def _status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
