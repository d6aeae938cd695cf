"""``pico server status``: its requests, its output, and one line for everything that goes wrong."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pico_core.config.agent import AgentConnectConfig
from pico_core.config.forward import ForwardConnectConfig
from pico_core.config.server import ServerConfig
from pico_core.gossip.status import NodeStatus
from pico_tunnel import bench, status
from pico_tunnel.cli import main

JSON = "application/json"


class Answering:
    """A server that answers one connection with literal bytes and keeps the target of the request."""

    def __init__(self, listener: socket.socket, data: bytes) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.target = ""
        self._listener = listener
        self._data = data

    def serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += connection.recv(4096)
            self.target = asked.split(b" ")[1].decode()
            connection.sendall(self._data)


@contextmanager
def answering(body: str, status: int = 200, kind: str = JSON) -> Iterator[Answering]:
    head = f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Answering(listener, (head + body).encode())
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        thread.join(10)


def printed(capsys: pytest.CaptureFixture[str], body: str, *arguments: str) -> tuple[str, str]:
    """Run a status command against a server that answers with ``body``; return its target and its output."""
    with answering(body) as server:
        assert main(("server", "status", *arguments, "--server.url", server.url)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return server.target, captured.out


def complaint(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(("server", *arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pico: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("pico: ").rstrip("\n")


NODES = '[{"id":"b","status":"active","endpoints":0},{"id":"a","status":"left","endpoints":3}]'


def test_the_statuses_of_nodes_are_those_of_gossip() -> None:
    assert tuple(each.value for each in NodeStatus) == status.NODE_STATUSES


def test_commands_ask_the_ports_that_a_server_has_by_default() -> None:
    config, local = ServerConfig(), "http://localhost"
    assert f"{local}:{config.admin.bind_addr.port}" == status.DEFAULT_ADMIN_URL
    assert f"{local}:{config.proxy.bind_addr.port}" == bench.DEFAULT_PROXY_URL
    assert str(AgentConnectConfig().url) == f"{local}:{config.upstream.bind_addr.port}"
    assert str(ForwardConnectConfig().url) == f"{local}:{config.proxy.bind_addr.port}"


@pytest.mark.parametrize(
    ("arguments", "target", "body", "out"),
    [
        ("upstream endpoints", "/status/upstream/endpoints", '{"zoo":2,"bar":1}', "zoo: 2\nbar: 1\n"),
        ("upstream endpoints", "/status/upstream/endpoints", "{}", "{}\n"),
        ("upstream agents", "/status/upstream/agents", '{"count":0,"rows":[]}', "count: 0\nrows: []\n"),
        (
            "cluster nodes",
            "/status/cluster/nodes",
            NODES,
            "- id: b\n  status: active\n  endpoints: 0\n- id: a\n  status: left\n  endpoints: 3\n",
        ),
        ("cluster nodes --status left", "/status/cluster/nodes", NODES, "- id: a\n  status: left\n  endpoints: 3\n"),
        ("cluster nodes --status unreachable", "/status/cluster/nodes", NODES, "[]\n"),
        (
            "cluster node local",
            "/status/cluster/nodes/local",
            '{"id":"a","endpoints":{"e1":1}}',
            "id: a\nendpoints:\n  e1: 1\n",
        ),
        ("cluster node a/b", "/status/cluster/nodes/a%2Fb", '{"id":"a/b"}', "id: a/b\n"),
        ("gossip nodes", "/status/gossip/nodes", '[{"id":"a","silent_s":0.5}]', "- id: a\n  silent_s: 0.5\n"),
        ("gossip node a", "/status/gossip/nodes/a", '{"id":"a","entries":[]}', "id: a\nentries: []\n"),
        ("gossip nodes --forward n&2", "/status/gossip/nodes?forward=n%262", "[]", "[]\n"),
    ],
)
def test_requests_and_output(
    capsys: pytest.CaptureFixture[str], arguments: str, target: str, body: str, out: str
) -> None:
    assert printed(capsys, body, *arguments.split()) == (target, out)


def test_limits_are_asked_for_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    body = (
        '[{"key":"max_connections","limit":9,"used":1,"then":"503"},{"key":"proxy.timeout","limit":"30s","used":null}]'
    )
    with answering(body) as server:
        assert main(("server", "limits", "--forward", "n-2", "--server.url", server.url)) == 0
    assert server.target == "/status/limits?forward=n-2"
    first, second = capsys.readouterr().out.split("- key: proxy.timeout\n")
    assert first == "- key: max_connections\n  limit: 9\n  used: 1\n  then: '503'\n"
    assert second == "  limit: 30s\n  used: null\n"


def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    body = '[{"id":"a","status":"left"},{"id":"\\u001b","status":"active"}]'
    _, out = printed(capsys, body, "cluster", "nodes", "--status", "active", "--json")
    assert out == '[\n  {\n    "id": "\\u001b",\n    "status": "active"\n  }\n]\n'


@pytest.mark.parametrize(
    ("status", "body", "port"),
    [
        (400, '{"error":"missing endpoint id","reason":"no-endpoint","by":"server","request_id":"1"}', "proxy"),
        (401, '{"error":"missing authorization","reason":"x","by":"server","request_id":"1"}', "proxy"),
        (404, '{"error":"not found: agents connect to /pico/v1/upstream/{endpoint}"}', "upstream"),
    ],
)
@pytest.mark.parametrize(
    "command", ["server status cluster nodes", "server limits", "log-level gossip debug", "explain x"]
)
def test_another_port_is_named(
    capsys: pytest.CaptureFixture[str], command: str, status: int, body: str, port: str
) -> None:
    with answering(body, status) as server:
        assert main((*command.split(), "--server.url", server.url)) == 1
    assert capsys.readouterr().err == (
        f"pico: {server.url} is the {port} port of a Pico server, not its admin port: "
        "give that one with --server.url, such as http://localhost:8002\n"
    )


def test_nothing_reaches_a_terminal_as_a_control_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    _, out = printed(capsys, '{"id":"\\u001b[2Jä"}', "cluster", "node", "local")
    assert out == 'id: "\\e[2J\\xE4"\n'


@pytest.mark.parametrize(
    ("status", "kind", "body", "reason"),
    [
        (404, JSON, '{"error": "unknown node \'x\'"}', "answered 404: unknown node 'x'"),
        (502, JSON, '{"error":"node \'n\' does not answer"}', "answered 502: node 'n' does not answer"),
        (200, "text/html", "<html>", "is not the admin port of a Pico server: it answered 200 text/html;"),
        (200, JSON, "{}", "is not the admin port of a Pico server: it answered 200 application/json;"),
        (404, "text/plain", "no", "is not the admin port of a Pico server: it answered 404 text/plain;"),
        (404, JSON, "{}", "is not the admin port of a Pico server: it answered 404 application/json;"),
        (301, "", "", "is not the admin port of a Pico server: it answered 301 without a content type;"),
    ],
)
def test_invalid_answers(capsys: pytest.CaptureFixture[str], status: int, kind: str, body: str, reason: str) -> None:
    with answering(body, status, kind) as server:
        text = complaint(capsys, 1, "status", "cluster", "nodes", "--server.url", server.url)
    assert text.startswith(f"{server.url} {reason}")


@pytest.mark.parametrize("body", ["{}", "[{}]", '[{"id": 1, "status": "active"}]', '{"nodes": [1]}', "[[]]"])
def test_explain_and_what_is_not_a_pico_server(capsys: pytest.CaptureFixture[str], body: str) -> None:
    with answering(body, 200, JSON) as server:
        assert main(("explain", "e", "--server.url", server.url)) == 1
    assert "is not the admin port of a Pico server: it answered 200 application/json" in capsys.readouterr().err


def test_no_server(capsys: pytest.CaptureFixture[str], unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    text = complaint(capsys, 1, "status", "gossip", "nodes", "--server.url", url)
    assert text == f"no answer from {url}: connection refused; give the admin address of a server with --server.url"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            "status cluster nodes --server.url pico:8002",
            "--server.url: wants a URL such as http://localhost:8002, found 'pico:8002'",
        ),
        ("status cluster nodes --status gone", "invalid value for '--status'"),
        ("status cluster node", "missing argument 'ID|local'"),
        ("status cluster noeds", "there is no command 'noeds'; did you mean 'nodes'?"),
        ("statsu", "there is no command 'statsu'; did you mean 'status'? (see 'pico server --help')"),
        ("3000", "got unexpected extra argument (3000) (see 'pico server --help')"),
        (
            "--proxy.timeout 3s status cluster nodes",
            "the flags of 'pico server' are of no use to 'status'; its own come after it (see 'pico server --help')",
        ),
        ("--runtime trio status", "the flags of 'pico server' are of no use to 'status'"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: str, reason: str) -> None:
    assert complaint(capsys, 2, *arguments.split()).startswith(reason)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["Commands:\n", "  status    Show what a running server knows.\n", "pico server status cluster nodes"]),
        ("status", ["  cluster   Nodes", "--forward pico-1-x7k2m9q"]),
        ("status upstream", ["  endpoints  Print"]),
        ("status upstream endpoints", ["Examples:\n  pico server status", "http://localhost:8002]"]),
        ("status cluster", ["  node   Print", "  nodes  Print"]),
        ("status cluster nodes", ["--status [active|unreachable|left]", "--forward NODE"]),
        ("status cluster node", ["ID|local", "pico server status cluster node local"]),
        ("status gossip", ["pico server status gossip nodes"]),
        ("status gossip node", ["pico server status gossip node"]),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], command: str, words: list[str]) -> None:
    assert main(("server", *command.split(), "--help")) == 0
    text = capsys.readouterr().out
    for word in words:
        assert word in text


# --- as processes ----------------------------------------------------------------------------------------------------


def run(line: str, url: str) -> subprocess.CompletedProcess[str]:
    pico = f"{sys.executable} -m pico_tunnel server status cluster nodes --server.url {url}"
    return subprocess.run(["sh", "-c", f"{pico} {line}"], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("line", "out", "error"),
    [
        ("| head -c 1", "-", ""),
        (">/dev/full; echo $?", "1\n", "pico: cannot write the answer: No space left on device\n"),
        (">&-; echo $? >&2", "", "0\n"),
    ],
)
def test_the_answer_into_streams_that_are_closed_or_full(line: str, out: str, error: str) -> None:
    with answering('[{"id":"a"}]') as server:
        done = run(line, server.url)
    assert (done.stdout, done.stderr) == (out, error)


def test_an_interrupt_while_it_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "pico_tunnel", "server", "status", "gossip", "nodes", "--server.url", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, listener.accept()[0] as silent:
            silent.recv(4096)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "pico: interrupted\n")


def test_a_running_server(local_addresses: list[str]) -> None:
    flags = [*local_addresses, "--drain-delay", "0s", "--cluster.node-id", "me"]
    command = [sys.executable, "-m", "pico_tunnel", "server", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b'"admin"' in line and b'"listening"' in line:
                port = line.partition(b"127.0.0.1:")[2].partition(b'"')[0].decode()
            if b'"ready"' in line:
                break
        done = run("--status active", f"http://127.0.0.1:{port}")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("- id: me\n  status: active\n  proxy_addr: 127.0.0.1:")
