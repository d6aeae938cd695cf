"""The start of a node: its ports are open before most of its code is imported, and signals are taken from then on."""

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import reserved_port
from tests.runtimes import RUNTIMES
from tests.waiting import PATIENCE_S, catches, connected, wait_until

HELD_START = """
import sys
from importlib.abc import MetaPathFinder

class Holder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.stdin.read()

sys.meta_path.insert(0, Holder())
from pico_tunnel.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""Runs a command, and waits for the end of standard input when it is about to import the module named first."""


class HeldStart:
    """A command that waits where the code of its machine is imported. Next: ``release``."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HELD_START, module, *arguments],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the processor time of the main thread so far."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def release(self) -> None:
        """Let the imports go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def await_log(self, message: str) -> dict[str, object]:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            record: dict[str, object] = json.loads(line)
            if record["message"] == message:
                return record
        raise AssertionError(f"the process ended before {message!r}")

    def ended(self) -> int:
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        for stream in (self._process.stdin, self._process.stderr):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def held_server(*arguments: str) -> Iterator[tuple[HeldStart, dict[str, int]]]:
    with contextlib.ExitStack() as stack:
        names = ("proxy", "upstream", "admin", "cluster.gossip")
        ports = {name: stack.enter_context(reserved_port()) for name in names}
        flags = [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]
        start = HeldStart("pico_core.server.node", "server", *flags, "--drain-delay", "0s", *arguments)
        stack.callback(start.close)
        yield start, ports


def asked(port: int, path: str) -> socket.socket:
    peer = connected(port)
    peer.sendall(b"GET %b HTTP/1.1\r\nhost: pico\r\n\r\n" % path.encode())
    return peer


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_client_that_comes_during_the_imports_waits_and_is_served(runtime: str) -> None:
    with held_server("--runtime", runtime) as (start, ports):
        early = [asked(ports["proxy"], "/"), asked(ports["upstream"], "/"), asked(ports["admin"], "/health")]
        until_open_s = start.cpu_s()
        start.release()
        answers = [peer.recv(12) for peer in early]
        until_served_s = start.cpu_s()
        for peer in early:
            peer.close()
        assert answers == [b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 200"]
        assert until_open_s < 0.7 * until_served_s
        start.signal(signal.SIGTERM)
        assert start.ended() == 0


@pytest.mark.slow
def test_a_client_that_comes_during_the_imports_of_a_forwarder_waits() -> None:
    with reserved_port() as port, reserved_port() as nobody:
        arguments = ("forward", "tcp", str(port), "my-endpoint", "--connect.url", f"http://127.0.0.1:{nobody}")
        start = HeldStart("pico_core.forward.machine", *arguments)
        with contextlib.closing(start):
            peer = connected(port)
            start.release()
            start.await_log("cannot reach the endpoint")
            peer.close()


def used_s(*command: str) -> float:
    """Return the processor time of a whole run of Python: the least of five."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], capture_output=True, timeout=PATIENCE_S, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(run() for _ in range(5))


def started_s(runtime: str) -> tuple[float, float]:
    """Return the processor time of a server until its ports are open, and until it has answered ``/ready``."""
    with contextlib.ExitStack() as stack:
        names = ("proxy", "upstream", "admin", "cluster.gossip")
        ports = {name: stack.enter_context(reserved_port()) for name in names}
        flags = [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]
        start = HeldStart("no.module", "server", *flags, "--drain-delay", "0s", "--runtime", runtime)
        stack.callback(start.close)
        connected(ports["proxy"]).close()
        peer = stack.enter_context(asked(ports["admin"], "/ready"))
        open_s = start.cpu_s()
        peer.settimeout(PATIENCE_S)
        assert peer.recv(12) == b"HTTP/1.1 200"
        return open_s, start.cpu_s()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_start_is_a_few_times_what_a_loop_and_tls_take(runtime: str) -> None:
    """The reference is the import of what every program of this kind needs, on the same machine at the same time."""
    reference_s = used_s("-c", "import asyncio, ssl")
    starts = [started_s(runtime) for _ in range(5)]
    open_s, ready_s = min(each[0] for each in starts), min(each[1] for each in starts)
    print(f"\n{runtime}: reference {reference_s:.3f}, open {open_s:.3f}, ready {ready_s:.3f} CPU s")
    assert open_s < 3 * reference_s
    assert ready_s < 8 * reference_s


@pytest.mark.slow
def test_help_is_hardly_more_than_a_loop_and_tls_take() -> None:
    reference_s, help_s = used_s("-c", "import asyncio, ssl"), used_s("-m", "pico_tunnel", "--help")
    print(f"\nreference {reference_s:.3f}, help {help_s:.3f} CPU s")
    assert help_s < 2 * reference_s


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_port_in_use_is_told_by_the_machine(runtime: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = [f"--{name}.bind-addr=127.0.0.1:0" for name in ("upstream", "admin", "cluster.gossip")]
        command = [sys.executable, "-m", "pico_tunnel", "server", *others, "--proxy.bind-addr", address]
        done = subprocess.run(
            [*command, "--runtime", runtime], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == (
        f"cannot listen on proxy address '{address}': address already in use; choose another one with --proxy.bind-addr"
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_signals_during_the_imports_are_kept(runtime: str) -> None:
    with held_server("--runtime", runtime) as (start, ports):
        connected(ports["admin"]).close()
        await_handler(start, signal.SIGTERM)
        start.signal(signal.SIGUSR1)
        start.signal(signal.SIGTERM)
        start.release()
        assert start.await_log("signal ignored")["signal"] == "SIGUSR1"
        start.await_log("stopped")
        assert start.ended() == 0


def await_handler(start: HeldStart, number: signal.Signals) -> None:
    wait_until(lambda: catches(start.pid, number), f"the process takes {number.name}")
