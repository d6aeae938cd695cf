"""``pico`` as the first process of a PID namespace, as in a container: the kernel treats such a process differently.

It ignores signals for which the process has no handler, and gives it every process whose parent has ended
(pid_namespaces(7)).
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Command, ask, get
from tests.e2e.harness import AT_ONCE_S, LOCAL
from tests.e2e.wire import receive_response
from tests.ports import reserved_port
from tests.waiting import wait_until

pytestmark = pytest.mark.namespaces

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class Container(Command):
    """A command as the first process of a namespace of its own."""

    def __init__(self, *command: str) -> None:
        super().__init__(*UNSHARE, *command)

    @property
    def first(self) -> int:
        """The first process, as it is called outside of the namespace."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        wait_until(lambda: children.read_text().split(), "a first process")
        return int(children.read_text())

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.first, number)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"PID namespaces are not allowed here: {done.stderr.strip()}")


@pytest.fixture
def contain(runtime: str) -> Iterator[Callable[..., Container]]:
    """Return what starts a ``pico`` command in a container. All are killed in the end."""
    started: list[Container] = []

    def start(*arguments: str) -> Container:
        command = (sys.executable, "-m", "pico_tunnel", *arguments, "--runtime", runtime)
        started.append(Container(*command))
        return started[-1]

    yield start
    for each in started:
        if each.alive:
            each.signal(signal.SIGKILL)
            each.wait()


@pytest.fixture
def admin_port() -> Iterator[int]:
    with reserved_port() as port:
        yield port


def server_flags(admin_port: int) -> list[str]:
    zero = (f"--{port}.bind-addr={LOCAL}:0" for port in ("proxy", "upstream", "cluster.gossip"))
    return ["server", *zero, f"--admin.bind-addr={LOCAL}:{admin_port}", "--drain-delay", "0s"]


def children(pid: int) -> list[str]:
    """Return the states of a process's children."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                states.append(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return states


def handles(status: str, number: signal.Signals) -> bool:
    """Say whether a process has a handler for a signal, by its /proc/PID/status."""
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def leave_orphans(first: int, count: int) -> None:
    """Do what ``kubectl exec`` does with a command that leaves processes behind; they end at once."""
    script = f"for each in $(seq {count}); do sleep 0 & done"
    done = subprocess.run(["nsenter", "-t", str(first), "-p", "sh", "-c", script], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_reaps_orphans_and_ends_at_sigterm(
    contain: Callable[..., Container], admin_port: int, workers: int
) -> None:
    server = contain(*server_flags(admin_port), "--workers", str(workers))
    address = (LOCAL, admin_port)
    wait_until(lambda: ask(address, "/ready") == 200, "ready")
    own = len(children(server.first))
    assert own == (workers if workers > 1 else 0)
    leave_orphans(server.first, 20)
    wait_until(lambda: len(children(server.first)) == own, "orphans are reaped", AT_ONCE_S)
    assert "Z" not in children(server.first)
    assert ask(address, "/ready") == 200
    server.signal()
    assert server.wait() == 0
    server.check()


def test_a_worker_that_is_killed_is_replaced(contain: Callable[..., Container], admin_port: int) -> None:
    server = contain(*server_flags(admin_port), "--workers", "2")
    server.await_log("all workers are ready")
    victim = int(Path(f"/proc/{server.first}/task/{server.first}/children").read_text().split()[0])
    os.kill(victim, signal.SIGKILL)
    assert server.await_log("worker ended")["reason"] == "it was ended by SIGKILL"

    def are_ready() -> bool:
        with get((LOCAL, admin_port), "/status/workers") as wire:
            rows = json.loads(receive_response(wire)[1])
        return sorted((each["restarts"], each["state"]) for each in rows) == [(0, "ready"), (1, "ready")]

    wait_until(are_ready, "another worker")
    server.signal()
    assert server.wait() == 0
    server.check()


def test_sigterm_ends_it_while_it_still_starts(contain: Callable[..., Container], admin_port: int) -> None:
    """A pod that is deleted while it starts, which takes a second of a quarter of a CPU: no second signal comes."""
    server = contain(*server_flags(admin_port))
    status = Path(f"/proc/{server.first}/status")
    wait_until(lambda: handles(status.read_text(), signal.SIGHUP), "the first handler", AT_ONCE_S)
    server.signal()
    server.wait(AT_ONCE_S)
    assert not server.logged("ready")


@pytest.mark.parametrize("command", ["agent", "forward"])
def test_the_other_commands_reap_orphans_and_end_at_sigterm(contain: Callable[..., Container], command: str) -> None:
    with socket.create_server((LOCAL, 0)) as deaf:
        url = ("--connect.url", f"http://{LOCAL}:{deaf.getsockname()[1]}")
        arguments = {
            "agent": ("agent", "http", "web", "3000", "--admin.bind-addr", f"{LOCAL}:0"),
            "forward": ("forward", "tcp", f"{LOCAL}:0", "db"),
        }
        process = contain(*arguments[command], *url)
        process.await_log("listening")
        leave_orphans(process.first, 5)
        wait_until(lambda: not children(process.first), "orphans are reaped", AT_ONCE_S)
        process.signal()
        assert process.wait() == 0
        process.check()
