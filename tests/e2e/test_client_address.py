"""The client's address behind balancers, with real processes: two nodes, HAProxy with PROXY headers, nginx.

All of 127.0.0.0/8 is this machine, so clients and balancers connect from addresses of their own there.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.harness import LOCAL, Fleet, Process, Server
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, receive_response, request, request_bytes
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

CLIENT = "127.0.0.77"
BALANCER = "127.0.0.9"
LINE = b"PROXY TCP4 192.0.2.99 127.0.0.9 5000 8000\r\n"
FAMILY = (
    "X-Forwarded-For: 6.6.6.6, 192.0.2.99\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
    "X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /shop\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Server: edge\r\n"
    "X-Real-IP: 192.0.2.99\r\nForwarded: for=192.0.2.99\r\nX_Real_IP: 7.7.7.7\r\nProxy: http://7.7.7.7\r\n"
)

HAPROXY = """
global
  maxconn 100
defaults
  mode {mode}
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen proxy
  bind {host}:{proxy}
  server s {host}:{proxy_to} source {balancer} {send}
listen upstream
  bind {host}:{upstream}
  server s {host}:{upstream_to} source {balancer} {send}
"""

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{to};
            proxy_bind {balancer};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Real-IP $remote_addr;
        }}
    }}
}}
"""

SEALED = ("--cluster.gossip.keys", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
"""Nodes and balancer share an address here: only a key tells them apart."""


def from_host(host: str, port: int) -> Wire:
    return Wire(socket.create_connection((LOCAL, port), PATIENCE_S, source_address=(host, 0)))


def served(origin: Origin, wire: Wire, fields: str = "", target: str = "/describe") -> bytes:
    """Do a request and return its head as the service got it, but for the ID that each request has."""
    wire.send(request_bytes("e1", target, fields=fields))
    assert receive_response(wire)[0].status == 200
    return re.sub(rb"X-Pico-Request-ID: [0-9a-f]{16}\r\n", b"", origin.requests[-1].data)


def about_client(head: bytes) -> list[str]:
    names = ("forwarded", "x-real-ip", "x-forwarded-")
    return [line for line in head.decode().split("\r\n") if line.lower().startswith(names)]


def await_accesses(server: Server, client: str, count: int) -> None:
    wait_until(lambda: len(server.process.accessed(client=client)) == count, f"{count} requests of {client} logged")


@dataclass
class Pair:
    """Two nodes; the agent of e1 has its tunnel at the first one."""

    first: Server
    second: Server


@contextlib.contextmanager
def paired(fleet: Fleet, origin: Origin, *flags: str) -> Iterator[Pair]:
    first = fleet.server(*flags, *SEALED)
    join = ("--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    second = fleet.server(*flags, *SEALED, *join)
    fleet.agent(first, "e1", origin.port)
    wait_until(lambda: request(second.proxy_port, "e1", "/describe")[0].status == 200, "the second node knows e1")
    yield Pair(first, second)
    origin.check()


def test_the_service_gets_the_same_bytes_whichever_node_is_entered(fleet: Fleet, origin: Origin) -> None:
    with paired(fleet, origin, "--proxy.trusted-proxies", BALANCER) as pair:
        for number, (host, address) in enumerate(((CLIENT, CLIENT), (BALANCER, "192.0.2.99"))):
            target = f"/describe?{number}"
            heads = []
            for node in (pair.first, pair.second):
                with from_host(host, node.proxy_port) as wire:
                    heads += [served(origin, wire, FAMILY, target), served(origin, wire, FAMILY, target)]
            assert len(set(heads)) == 1, heads
            chain = CLIENT if host == CLIENT else f"6.6.6.6, 192.0.2.99, {BALANCER}"
            assert f"X-Forwarded-For: {chain}" in about_client(heads[0])
            assert b"7.7.7.7" not in heads[0]
            assert len(about_client(heads[0])) == (3 if host == CLIENT else 9)
            # The first node logs those that came to it, and those that the second one passed on.
            await_accesses(pair.first, address, 4)
            await_accesses(pair.second, address, 2)


def test_a_balancer_has_to_send_a_header_and_others_must_not(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server("--proxy.trusted-proxies", BALANCER, "--proxy.proxy-protocol", "required")
    fleet.agent(server, "e1", origin.port)
    with from_host(BALANCER, server.proxy_port) as wire:
        wire.send(LINE)
        assert "X-Forwarded-For: 192.0.2.99" in about_client(served(origin, wire))
        assert "X-Forwarded-For: 192.0.2.99" in about_client(served(origin, wire, FAMILY))
    with from_host(BALANCER, server.proxy_port) as wire:
        wire.send(request_bytes("e1", "/describe"))
        with contextlib.suppress(ConnectionError):
            assert wire.receive_rest() == b""
    server.process.await_log("closed a connection of a trusted proxy", reason="no PROXY header", proxy=BALANCER)
    with from_host(CLIENT, server.proxy_port) as wire:
        assert f"X-Forwarded-For: {CLIENT}" in about_client(served(origin, wire, FAMILY))
    with from_host(CLIENT, server.proxy_port) as wire:
        wire.send(LINE + request_bytes("e1", "/describe"))
        assert wire.receive_head().status == 400


def test_nodes_whose_addresses_are_trusted_reach_each_other_without_headers(fleet: Fleet, origin: Origin) -> None:
    flags = ("--proxy.trusted-proxies", "loopback", "--proxy.proxy-protocol", "required")
    first = fleet.server(*flags, *SEALED)
    second = fleet.server(*flags, *SEALED, "--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    fleet.agent(first, "e1", origin.port)

    def reached() -> bool:
        with from_host(BALANCER, second.proxy_port) as wire:
            wire.send(LINE + request_bytes("e1", "/describe"))
            return receive_response(wire)[0].status == 200

    wait_until(reached, "the second node knows e1")
    assert "X-Forwarded-For: 192.0.2.99" in about_client(origin.requests[-1].data)
    await_accesses(first, "192.0.2.99", 1)


@contextlib.contextmanager
def haproxy(root: Path, server: Server, mode: str, send: str) -> Iterator[tuple[int, int]]:
    """Run HAProxy before both ports of a server; it connects from ``BALANCER``."""
    with reserved_port() as proxy, reserved_port() as upstream:
        path = root / "haproxy.cfg"
        path.write_text(
            HAPROXY.format(
                mode=mode,
                host=LOCAL,
                balancer=BALANCER,
                send=send,
                proxy=proxy,
                upstream=upstream,
                proxy_to=server.proxy_port,
                upstream_to=server.upstream_port,
            )
        )
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        popen = subprocess.Popen([program, "-db", "-q", "-f", str(path)])
        try:
            wait_until(lambda: is_listening(proxy) and is_listening(upstream), "HAProxy is up")
            yield proxy, upstream
        finally:
            popen.kill()
            popen.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOCAL, port)) == 0


@pytest.mark.debian
@pytest.mark.parametrize(
    "send", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2 proxy-v2-options unique-id,crc32c"]
)
def test_haproxy_with_proxy_headers_before_both_ports(fleet: Fleet, origin: Origin, tmp_path: Path, send: str) -> None:
    flags = [
        flag
        for port in ("proxy", "upstream")
        for flag in (f"--{port}.trusted-proxies={BALANCER}", f"--{port}.proxy-protocol=required")
    ]
    server = fleet.server(*flags)
    with haproxy(tmp_path, server, "tcp", send) as (proxy, upstream):
        agent: Process = fleet.agent(upstream, "e1", origin.port)
        agent.await_log("endpoint registered")
        assert server.process.await_log("tunnel opened")["client"] == LOCAL
        with from_host(CLIENT, proxy) as wire:
            assert f"X-Forwarded-For: {CLIENT}" in about_client(served(origin, wire, FAMILY))
            assert f"X-Forwarded-For: {CLIENT}" in about_client(served(origin, wire, FAMILY))
        server.process.await_access(client=CLIENT, endpoint="e1", status=200)
        agent.stop()
    origin.check()


@pytest.mark.debian
def test_haproxy_with_forwarded_fields(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    server = fleet.server("--proxy.trusted-proxies", BALANCER)
    fleet.agent(server, "e1", origin.port)
    send = "\n  option forwardfor\n  http-request del-header forwarded"
    with haproxy(tmp_path, server, "http", send) as (proxy, _), from_host(CLIENT, proxy) as wire:
        assert f"X-Forwarded-For: {CLIENT}, {BALANCER}" in about_client(served(origin, wire))
        server.process.await_access(client=CLIENT, endpoint="e1", status=200)
    origin.check()


@pytest.mark.debian
def test_nginx_with_x_forwarded_for(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    with paired(fleet, origin, "--proxy.trusted-proxies", BALANCER) as pair:
        heads = []
        for number, node in enumerate((pair.first, pair.second)):
            root = tmp_path / str(number)
            root.mkdir()
            with nginx(root, node.proxy_port) as port, from_host(CLIENT, port) as wire:
                heads.append(served(origin, wire, "X-Forwarded-For: 6.6.6.6\r\n"))
            node.process.await_access(client=CLIENT, endpoint="e1", status=200)
        assert heads[0] == heads[1]
        assert about_client(heads[0]) == [
            f"X-Forwarded-For: 6.6.6.6, {CLIENT}, {BALANCER}",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: e1.pico.test",
            f"X-Real-Ip: {CLIENT}",
        ]


@contextlib.contextmanager
def nginx(root: Path, to: int) -> Iterator[int]:
    """Run nginx before a proxy port; it connects from ``BALANCER``."""
    with reserved_port() as port:
        path = root / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # workers of another user could not use the test's folder
        path.write_text(NGINX.format(root=root, host=LOCAL, port=port, to=to, balancer=BALANCER, user=user))
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        popen = subprocess.Popen([program, "-c", str(path), "-e", str(root / "error.log")])
        try:
            wait_until(lambda: is_listening(port), "nginx is up")
            yield port
        finally:
            popen.terminate()
            popen.wait(PATIENCE_S)
