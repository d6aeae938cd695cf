"""SIGHUP: the configuration is read again, what can change changes, and no request fails meanwhile."""

import os
import signal
import threading
from pathlib import Path

from tests.certificates import issue, write_authority
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.wire import dial, receive_response, request, request_bytes
from tests.ports import reserved_port
from tests.waiting import wait_until

RELOADS = 20


def test_a_server_reloads_under_requests(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "pico.yaml"

    def write(text: str) -> None:
        file.write_text(text)

    write("log: {level: info}\n")
    server = fleet.server("--config.path", str(file))
    fleet.agent(server, "origin", origin.port)
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.append(request(server.proxy_port, "origin", "/describe")[0].status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(RELOADS):
            write(f"grace_period: {number + 10}s\n")
            server.process.signal(signal.SIGHUP)
            wait_until(
                lambda number=number: server.process.errors().count("configuration read again") > number,  # type: ignore[misc]
                "the reload",
            )
    finally:
        stop.set()
        thread.join()
    assert set(statuses) == {200}

    write("policies: [{endpoints: [origin], denied_networks: [loopback]}]\nupstream: {rebalance: {threshold: 0.5}}\n")
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: "some changes need a restart" in server.process.errors(), "what needs a restart is named")
    assert '"keys":"upstream.rebalance.threshold"' in server.process.errors()
    assert request(server.proxy_port, "origin", "/describe")[0].status == 403

    write("policies: [{endpoint: [origin]}]\n")
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: "the changed configuration is not used" in server.process.errors(), "the mistake is told")
    assert "pico.yaml:1: " in server.process.errors()
    assert request(server.proxy_port, "origin", "/describe")[0].status == 403


def test_an_agent_and_a_forwarder_read_theirs_again(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    server = fleet.server()
    agent_file, forward_file = tmp_path / "agent.yaml", tmp_path / "forward.yaml"
    agent_file.write_text("grace_period: 9s\n")
    forward_file.write_text("log: {level: info}\n")
    agent = fleet.agent(server, "origin", origin.port, "--config.path", str(agent_file))
    forwarder, _ = fleet.forward(server, "origin", "--config.path", str(forward_file))
    agent_file.write_text("grace_period: 8s\n")
    forward_file.write_text("connect: {proxy_url: 'http://127.0.0.1:9', timeout: 9s}\n")
    agent.signal(signal.SIGHUP)
    forwarder.signal(signal.SIGHUP)
    wait_until(lambda: '"changed":"grace_period"' in agent.errors(), "the agent has read it")
    wait_until(lambda: '"keys":"connect.proxy_url"' in forwarder.errors(), "the forwarder has read it")
    assert '"changed":"connect.timeout"' in forwarder.errors()
    assert request(server.proxy_port, "origin", "/describe")[0].status == 200


def test_an_agent_registers_changes_and_leaves_endpoints_under_requests(
    fleet: Fleet, origin: Origin, tmp_path: Path
) -> None:
    server = fleet.server()
    file = tmp_path / "agent.yaml"
    url = f"http://{LOCAL}:{server.process.port('upstream')}"

    def write(*listeners: str) -> None:
        lines = "".join(f"  - {{addr: {origin.port}, {each}}}\n" for each in listeners)
        file.write_text(f"connect: {{url: '{url}'}}\nlisteners:\n{lines}")

    def status(endpoint: str) -> int:
        return request(server.proxy_port, endpoint, "/describe")[0].status

    write("endpoint_id: kept", "endpoint_id: changed", "endpoint_id: gone")
    agent = fleet.start("agent", "start", "--config.path", str(file))
    for endpoint in ("kept", "changed", "gone"):
        wait_until(lambda endpoint=endpoint: status(endpoint) == 200, f"{endpoint} is registered")  # type: ignore[misc]
    statuses: dict[str, set[int]] = {"kept": set(), "changed": set()}
    stop = threading.Event()

    def ask(endpoint: str) -> None:
        while not stop.is_set():
            statuses[endpoint].add(status(endpoint))

    threads = [threading.Thread(target=ask, args=(endpoint,)) for endpoint in statuses]
    for thread in threads:
        thread.start()
    try:
        for number in range(3):
            write("endpoint_id: kept", f"endpoint_id: changed, timeout: {number + 5}s", f"endpoint_id: new-{number}")
            agent.signal(signal.SIGHUP)
            wait_until(lambda number=number: status(f"new-{number}") == 200, "the new one is registered")  # type: ignore[misc]
            old = "gone" if not number else f"new-{number - 1}"
            wait_until(lambda old=old: status(old) == 502, "the old one is left")  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == {"kept": {200}, "changed": {200}}
    assert len(agent.logged("leaving an endpoint")) == 6
    assert not agent.logged("some changes need a restart")
    agent.stop()


def test_a_forwarder_opens_and_closes_ports_while_others_go_on(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    server = fleet.server()
    fleet.agent(server, "kept", origin.port, kind="tcp")
    file = tmp_path / "forward.yaml"
    url = f"http://{LOCAL}:{server.proxy_port}"

    def write(*ports: int) -> None:
        lines = "".join(f"  - {{addr: {port}, endpoint_id: kept}}\n" for port in ports)
        file.write_text(f"connect: {{url: '{url}'}}\nports:\n{lines}")

    with reserved_port() as kept, reserved_port() as gone, reserved_port() as new:
        write(kept, gone)
        forwarder = fleet.start("forward", "start", "--config.path", str(file))
        for port in (kept, gone):
            wait_until(lambda port=port: answers(port), "the port is open")  # type: ignore[misc]
        connection = dial(gone)
        connection.send(request_bytes("kept", "/describe"))
        assert receive_response(connection)[0].status == 200
        write(kept, new)
        forwarder.signal(signal.SIGHUP)
        wait_until(lambda: answers(new), "the new port is open")
        wait_until(lambda: not answers(gone), "the old port is closed")
        connection.send(request_bytes("kept", "/describe"))
        assert receive_response(connection)[0].status == 200, "a connection of the old port goes on"
        connection.socket.close()
        assert answers(kept)
        assert not forwarder.logged("some changes need a restart")
        forwarder.stop()


WAITING = 100
"""More connections than a driver accepts in one turn."""


def test_connections_that_wait_while_a_forwarder_closes_their_port_are_served(
    fleet: Fleet, origin: Origin, tmp_path: Path
) -> None:
    """The kernel has accepted them, so their clients take them for open."""
    server = fleet.server()
    fleet.agent(server, "kept", origin.port, kind="tcp")
    file = tmp_path / "forward.yaml"

    def write(*ports: int) -> None:
        lines = "".join(f"  - {{addr: {port}, endpoint_id: kept}}\n" for port in ports)
        file.write_text(f"connect: {{url: 'http://{LOCAL}:{server.proxy_port}'}}\nports:\n{lines}")

    with reserved_port() as kept, reserved_port() as gone:
        write(kept, gone)
        forwarder = fleet.start("forward", "start", "--config.path", str(file))
        for port in (kept, gone):
            wait_until(lambda port=port: answers(port), "the port is open")  # type: ignore[misc]
        forwarder.signal(signal.SIGSTOP)
        connections = [dial(gone) for _ in range(WAITING)]
        write(kept)
        forwarder.signal(signal.SIGHUP)
        forwarder.signal(signal.SIGCONT)
        for connection in connections:
            connection.send(request_bytes("kept", "/describe"))
        for connection in connections:
            assert receive_response(connection)[0].status == 200
            connection.socket.close()
        wait_until(lambda: not answers(gone), "the port is closed")
        assert answers(kept)
        forwarder.stop()


def answers(port: int) -> bool:
    try:
        dial(port).socket.close()
    except ConnectionRefusedError:
        return False
    return True


def test_files_that_a_reload_reads_again_are_told_of(fleet: Fleet, tmp_path: Path) -> None:
    """Their names in the configuration are as before, so no key has changed."""
    ca, files = write_authority(tmp_path), issue(tmp_path, LOCAL)
    flags = ("--proxy.tls.cert", files.cert, "--proxy.tls.key", files.key, "--proxy.tls.client-cas", ca)
    server = fleet.server(*flags)
    with open(ca, "a") as file:
        file.write("\n")
    server.process.signal(signal.SIGHUP)
    server.process.await_log("configuration read again: no key has changed")
    assert "certificates and keys loaded again" in server.process.errors()
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: server.process.errors().count("no key has changed") == 2, "the second reload")
    assert server.process.errors().count("certificates and keys loaded again") == 1


def test_tls_that_a_reload_would_begin_or_end_is_named_and_the_rest_counts(fleet: Fleet, tmp_path: Path) -> None:
    write_authority(tmp_path)
    files = issue(tmp_path, LOCAL)
    file = tmp_path / "pico.yaml"
    tls = f"{{cert: {files.cert}, key: {files.key}}}"
    for before, after in (("{}", tls), (tls, "{}")):
        file.write_text(f"proxy: {{tls: {before}}}\n")
        server = fleet.server("--config.path", str(file))
        file.write_text(f"proxy: {{tls: {after}, timeout: 7s}}\n")
        server.process.signal(signal.SIGHUP)
        server.process.await_log("some changes need a restart")
        (named,) = server.process.logged("some changes need a restart")
        assert named["keys"] == "proxy.tls.cert, proxy.tls.key"
        (taken,) = server.process.logged("configuration read again")
        assert taken["changed"] == "proxy.timeout"
        server.process.stop()


def test_a_pipe_is_not_read_again(fleet: Fleet, tmp_path: Path) -> None:
    """As ``--config.path <(...)`` gives it: read again, it would be empty, and the port would ask for no token."""
    pipe = tmp_path / "pico.yaml"
    os.mkfifo(pipe)
    text = "proxy: {auth: {hmac_secret_key: b3f9c2d1e8a7465b90c1d2e3f4a5b6c7d8e9f0a1}}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    server = fleet.server("--config.path", str(pipe))
    writer.join()
    assert request(server.proxy_port, "nobody", "/")[0].status == 401
    server.process.signal(signal.SIGHUP)
    told = server.process.await_log("the changed configuration is not used", subsystem="config")
    assert "cannot be read again: restart instead" in str(told["reason"])
    assert request(server.proxy_port, "nobody", "/")[0].status == 401
