"""What a person at a terminal sees of a server and an agent, and a pipeline of logs does not."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import Origin
from tests.e2e.wire import request
from tests.waiting import wait_until

CLOCK = r"\d\d:\d\d:\d\d"


class Terminal:
    """A command whose standard streams are one terminal."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = {"TERM": "xterm", "COLUMNS": "100", **environment}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "pico_tunnel", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environment},
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""
        self._interrupted = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 4_096):
                self.raw += data.decode()
        except OSError:  # the last process with the terminal has ended
            pass

    @property
    def text(self) -> str:
        """What can be read, without colours."""
        return re.sub(r"\x1b\[\d*m", "", self.raw).replace("\r\n", "\n")

    def shows(self, pattern: str) -> re.Match[str]:
        wait_until(lambda: re.search(pattern, self.text) is not None, f"{pattern} in {self.text}")
        found = re.search(pattern, self.text)
        assert found is not None
        return found

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._interrupted = True
        self.popen.send_signal(signal.SIGINT)

    def close(self) -> None:
        if not self._interrupted:
            self.interrupt()
        assert self.popen.wait(20) == 0, self.text
        self._thread.join(5)
        os.close(self._ours)


@contextmanager
def terminal(fleet: Fleet, *arguments: str, **environment: str) -> Iterator[Terminal]:
    shown = Terminal(*arguments, "--runtime", fleet.runtime, **environment)
    try:
        yield shown
    finally:
        shown.close()


def agent_flags(server: Server) -> tuple[str, str]:
    return "--connect.url", f"http://{LOCAL}:{server.upstream_port}"


def test_an_agent(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    with terminal(fleet, "agent", "http", "web", str(origin.port), *agent_flags(server)) as shown:
        block = shown.shows(r"(?s)\A\n  pico .*\n\n(.*?)\n\n")
        assert re.fullmatch(
            rf"  URL          http://web\.localhost:{server.proxy_port}\n"
            rf"  service      localhost:{origin.port}   answers\n"
            rf"  server       http://{LOCAL}:{server.upstream_port}   node \w+",
            block[1],
        )
        assert f"agent, {fleet.runtime}" in block[0]
        assert "Ctrl-C stops it" in block[0]
        assert request(server.proxy_port, "web", "/describe?secret=1")[0].status == 200
        shown.shows(rf"\n{CLOCK}  200  GET     /describe +\d+ ms  \d+ B\n")
        assert "secret" not in shown.text
        assert "\x1b[32m" in shown.raw
        shown.interrupt()
        shown.shows(rf"\n{CLOCK}       stopping when the last request is over, in 60 s at most; Ctrl-C again")
        shown.shows(rf"\n{CLOCK}       stopped\n")


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_agents_of_one_name_are_both_told(fleet: Fleet, origin: Origin, nodes: int) -> None:
    first = fleet.server()
    second = first if nodes == 1 else fleet.server("--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    text = rf"\n{CLOCK}       another agent serves 'web' too: requests are shared between you\n"
    with terminal(fleet, "agent", "http", "web", str(origin.port), *agent_flags(first)) as one:
        one.shows(r"service      localhost:\d+   answers\n")
        wait_until(lambda: request(second.proxy_port, "web", "/describe")[0].status == 200, "the route is known")
        assert "another agent" not in one.text
        with terminal(fleet, "agent", "http", "web", str(origin.port), *agent_flags(second)) as other:
            one.shows(text)
            other.shows(text)
        assert len(re.findall("another agent", one.text)) == 1


def test_a_service_that_comes_later(fleet: Fleet) -> None:
    server, port = fleet.server(), fleet.reserve_port()
    with terminal(fleet, "agent", "http", "web", str(port), *agent_flags(server)) as shown:
        shown.shows(rf"service      localhost:{port}   does not answer yet: connection refused\n")
        for _ in range(3):
            assert request(server.proxy_port, "web", "/x")[0].status == 502
        shown.shows(rf"\n{CLOCK}       service localhost:{port}: service-refused: connection refused\n")
        shown.shows(rf"\n{CLOCK}  502  GET     /x +\d+ ms  \d+ B  service-refused  \w+\n")
        running = subprocess.Popen(
            [sys.executable, "-m", "http.server", str(port), "--bind", LOCAL],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            shown.shows(rf"\n{CLOCK}       service localhost:{port} answers\n")
            assert request(server.proxy_port, "web", "/")[0].status == 200
            shown.shows(rf"(?s)502  GET /x  2 more, service-refused\n.*{CLOCK}  200  GET     / ")
        finally:
            running.kill()
            running.wait()
        assert len(re.findall("service-refused: connection refused", shown.text)) == 1


def test_a_server_that_is_not_there_and_comes_back(fleet: Fleet, origin: Origin) -> None:
    port = fleet.reserve_port()
    flags = ("--connect.url", f"http://{LOCAL}:{port}", "--connect.backoff.longest", "1s")
    with terminal(fleet, "agent", "http", "web", str(origin.port), *flags) as shown:
        shown.shows(r"server       \S+   not connected yet\n")
        shown.shows(rf"\n{CLOCK}       cannot reach the server: connection refused; trying again in \S+ s\n")
        shown.shows(rf"\n{CLOCK}       connecting to http://{LOCAL}:{port} \(1 s\): cannot reach the server")
        server = fleet.server(upstream_port=port)
        shown.shows(rf"\n{CLOCK}       connected again after \d+\.\d s, node \w+\n")
        server.process.kill()
        shown.shows(rf"\n{CLOCK}       tunnel lost: .*; trying again in \S+ s\n")


def test_without_colours(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    command = ("agent", "http", "web", str(origin.port), *agent_flags(server))
    with terminal(fleet, *command, NO_COLOR="1") as shown:
        shown.shows(r"service      localhost:\d+   answers\n")
        request(server.proxy_port, "web", "/describe")
        shown.shows(r"GET     /describe")
    assert "\x1b" not in shown.raw


def test_a_pipe_gets_records_and_its_service_no_visit(fleet: Fleet) -> None:
    with socket.create_server((LOCAL, 0)) as service:
        service.settimeout(0.5)
        agent = fleet.agent(fleet.server(), "web", service.getsockname()[1])
        with pytest.raises(TimeoutError):
            service.accept()
    assert all(json.loads(line) for line in agent.stderr.lines)


def check_block(block: str, ports: dict[str, int]) -> None:
    """Compare the next steps in the block of a server with its ports."""
    here = f"http://localhost:{ports['upstream']}"
    assert f"  agents       pico agent http my-endpoint 3000 --connect.url {here}\n" in block
    assert f"  clients      http://my-endpoint.localhost:{ports['proxy']}/\n" in block
    assert f"  dashboard    http://localhost:{ports['admin']}/" in block


@pytest.mark.parametrize("flags", [("--dev",), ()])
def test_a_server(fleet: Fleet, origin: Origin, flags: tuple[str, ...]) -> None:
    ports = {name: fleet.reserve_port() for name in ("proxy", "upstream", "admin", "gossip")}
    sections = {"gossip": "cluster.gossip"}
    host = LOCAL if flags else ""
    binds = [f"--{sections.get(name, name)}.bind-addr={host}:{port}" for name, port in ports.items()]
    with terminal(fleet, "server", *flags, "--drain-delay", "0s", *binds) as shown:
        shown.shows(rf"\n{CLOCK}       ready, node \w+\n")
        block = shown.shows(r"(?s)\A\n  pico .*?   server, \w+ +Ctrl-C stops it\n\n(.*?)\n\n")[1]
        check_block(block, ports)
        assert ("everybody who reaches this machine" in shown.text) is not bool(flags)
        assert ("from another machine" in block) is not bool(flags)
        assert (f":{ports['gossip']}, TCP and UDP" in block) is not bool(flags)
        fleet.agent(ports["upstream"], "web", origin.port).await_log("endpoint registered")
        shown.shows(rf"\n{CLOCK}       agent at {LOCAL} serves 'web'\n")
        assert request(ports["proxy"], "web", "/describe")[0].status == 200
        shown.shows(rf"\n{CLOCK}  200  web  GET     /describe +\d+ ms  \d+ B\n")


def test_workers_share_one_block(fleet: Fleet, origin: Origin) -> None:
    ports = {name: fleet.reserve_port() for name in ("proxy", "upstream", "admin", "cluster.gossip")}
    binds = [f"--{name}.bind-addr={LOCAL}:{port}" for name, port in ports.items()]
    with terminal(fleet, "server", "--workers", "2", "--drain-delay", "0s", *binds) as shown:
        shown.shows(rf"\n{CLOCK}       ready, 2 workers\n")
        block = shown.shows(r"(?s)\A\n  pico .*?   server, \w+, 2 workers +Ctrl-C stops it\n\n(.*?)\n\n")[1]
        check_block(block, ports)
        agent = fleet.agent(ports["upstream"], "web", origin.port)
        agent.await_log("endpoint registered")
        shown.shows(rf"\n{CLOCK}       agent at {LOCAL} serves 'web'\n")
        wait_until(lambda: request(ports["proxy"], "web", "/describe")[0].status == 200, "all workers know the route")
        before = len(re.findall("GET     /describe", shown.text))
        clients = [threading.Thread(target=many, args=(ports["proxy"],)) for _ in range(4)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        wait_until(lambda: len(re.findall("GET     /describe", shown.text)) >= before + 4 * MANY, "a line for each")
        found = json.loads(ask_admin(ports["admin"], "/status/workers"))
        os.kill(found[1]["pid"], signal.SIGKILL)
        shown.shows(rf"\n{CLOCK}       worker 2 has ended: it was ended by SIGKILL; another one follows in \S+ s\n")
        shown.shows(rf"\n{CLOCK}       worker 2 starts, process \d+\n")
        wait_until(lambda: b"2 of 2" in ask_admin(ports["admin"], "/ready"), "both are ready again")
        shown.interrupt()
        shown.shows(rf"\n{CLOCK}       stopping: 2 workers finish their requests, 45 s at most; Ctrl-C again")
        shown.shows(rf"\n{CLOCK}       stopped\n")
    assert shown.text.count("Ctrl-C stops it") == 1
    lines = shown.text.partition("\n\n" + clock_of(shown.text))[2].splitlines()[1:]
    usual = rf"{CLOCK}(  (200|502|503)  web  GET     /describe .* B(  .*)?|       .*|\.\d{{3}} WARNING .*)"
    assert [line for line in lines if not re.fullmatch(usual, line)] == [], "no line is cut by another one"


MANY = 50


def many(port: int) -> None:
    for _ in range(MANY):
        request(port, "web", "/describe")


def clock_of(text: str) -> str:
    """Return the time at which the first line behind the block begins."""
    found = re.search(rf"\n\n({CLOCK})", text)
    assert found is not None, text
    return found[1]


def ask_admin(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{LOCAL}:{port}{path}", timeout=10) as answer:
        return bytes(answer.read())


def test_a_terminal_that_wants_json(fleet: Fleet) -> None:
    with terminal(fleet, "server", "--dev", "--log.format", "json", *(f"--{key}={LOCAL}:0" for key in BINDS)) as shown:
        shown.shows(r'"message":"ready"')
    assert all(json.loads(line) for line in shown.text.splitlines())


BINDS = ("proxy.bind-addr", "upstream.bind-addr", "admin.bind-addr", "cluster.gossip.bind-addr")


def test_an_application(fleet: Fleet, tmp_path: Path) -> None:
    server = fleet.server()
    (tmp_path / "shown_app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': b'hello'})\n"
    )
    command = ("agent", "asgi", "web", "shown_app:app", *agent_flags(server))
    with terminal(fleet, *command, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}") as shown:
        shown.shows(r"service      shown_app:app, in this process\n")
        assert request(server.proxy_port, "web", "/")[0].status == 200
        shown.shows(rf"\n{CLOCK}  200  GET     / ")
