"""Pico with what it is measured beside: a fixed reply, a service, other proxies before the same service."""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from benchmarks.cases import Run
from benchmarks.processes import Process, await_port, reserve_port
from benchmarks.trees import Tree

ENDPOINT = "e1"
BIG_BYTES = 1 << 30

NGINX_HEAD = """
worker_processes 1; daemon off; master_process off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 100000000; sendfile on;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi; uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
"""
SERVICE = (
    NGINX_HEAD
    + """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "hello\\n"; }}
    location /big {{ alias {folder}/big; }}
  }}
}}
"""
)
NGINX = (
    NGINX_HEAD
    + """
  upstream service {{ server 127.0.0.1:{service}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096 {tls};
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgraded;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off;
    }}
  }}
  map $http_upgrade $upgraded {{ default upgrade; '' ''; }}
}}
"""
)
HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode {mode}
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{port} backlog 4096 {tls}
  default_backend services
backend services
  {options}
  server service 127.0.0.1:{service}
"""


@dataclass(frozen=True)
class Subject:
    """The target of a load: its port, its field, and the processes that count, by name."""

    port: int
    processes: Mapping[str, Process]
    tls: bool = False

    def url(self, path: str = "/") -> str:
        """Return a URL of it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"


class Site:
    """A fixed reply, nginx as the service, and processes that end with the site."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pico-bench-"))
        self.processes: list[Process] = []
        self._held = ExitStack()
        try:
            self.floor = self.python("benchmarks.services", "fixed", stdout=subprocess.PIPE)
            self.floor_port = self.floor.read_number()
            with (self.folder / "big").open("wb") as file:
                file.truncate(BIG_BYTES)
            self.service_port = self.start_nginx("service", SERVICE)[1]
        except BaseException:
            self.close()
            raise

    def start(
        self,
        *command: str,
        stdout: int | IO[str] | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a process."""
        process = Process(*command, stdout=stdout, stderr=stderr, env=env)
        self.processes.append(process)
        return process

    def python(
        self, module: str, *arguments: str, stdout: int | IO[str] | None = None, stderr: int | None = None
    ) -> Process:
        """Start a module of this checkout."""
        return self.start(sys.executable, "-m", module, *arguments, stdout=stdout, stderr=stderr)

    def start_service(self, kind: str) -> int:
        """Start a service of ``benchmarks.services``, and return its port."""
        return self.python("benchmarks.services", kind, stdout=subprocess.PIPE).read_number()

    def reserve(self) -> int:
        """Return a port for a program that cannot say which one the kernel chose for it."""
        held = self._held.enter_context(reserve_port())
        port: int = held.getsockname()[1]
        return port

    def start_nginx(self, name: str, text: str, service: int = 0, tls: str = "") -> tuple[Process, int]:
        """Start nginx; return it with its port."""
        port = self.reserve()
        name = f"{name}-{port}"
        config = self.folder / f"{name}.conf"
        config.write_text(text.format(folder=self.folder, name=name, port=port, service=service, tls=tls))
        process = self.start("nginx", "-c", str(config), "-e", str(self.folder / f"{name}.log"))
        await_port(port)
        return process, port

    def start_haproxy(self, service: int, *, tcp: bool = False, tls: str = "") -> tuple[Process, int]:
        """Start haproxy; return it with its port."""
        port = self.reserve()
        config = self.folder / f"haproxy-{port}.conf"
        mode, options = ("tcp", "") if tcp else ("http", "http-reuse always\n  option forwardfor")
        config.write_text(HAPROXY.format(mode=mode, options=options, port=port, service=service, tls=tls))
        process = self.start("haproxy", "-db", "-q", "-f", str(config))
        await_port(port)
        return process, port

    def references(
        self, service: int | None = None, *, fixed: bool = True, tls: tuple[Path, Path] | None = None
    ) -> list[Subject]:
        """Start what figures are compared with, as far as it is installed. ``tls``: files of a chain and of its key."""
        service = self.service_port if service is None else service
        found = [Subject(self.floor_port, {"fixed reply": self.floor})] if fixed else []
        secure = tls is not None
        nginx_tls = f"ssl; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}" if tls else ""
        process, port = self.start_nginx("nginx", NGINX, service, nginx_tls)
        found.append(Subject(port, {"nginx": process}, secure))
        if shutil.which("haproxy"):
            pem = self.folder / "haproxy.pem"
            if tls:
                pem.write_text(tls[0].read_text() + tls[1].read_text())
            process, port = self.start_haproxy(service, tls=f"ssl crt {pem}" if tls else "")
            found.append(Subject(port, {"haproxy": process}, secure))
        if shutil.which("piko") and not tls:
            found.append(self._piko(service))
        return found

    def _piko(self, service: int) -> Subject:
        proxy, upstream, admin, gossip = (self.reserve() for _ in range(4))
        ports = {"proxy": proxy, "upstream": upstream, "admin": admin, "cluster.gossip": gossip}
        flags = [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]
        nowhere = subprocess.DEVNULL
        server = self.start("piko", "server", "--proxy.access-log.disable", *flags, stdout=nowhere, stderr=nowhere)
        await_port(upstream)
        url = f"--connect.url=http://127.0.0.1:{upstream}"
        agent = self.start(
            "piko", "agent", "http", ENDPOINT, str(service), "--access-log.disable", url, stdout=nowhere, stderr=nowhere
        )
        return Subject(proxy, {"piko": server, "piko agent": agent})

    def close(self) -> None:
        """End every process, and remove the folder."""
        for process in reversed(self.processes):
            process.stop()
        self._held.close()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class MeasuredNode:
    """A server and the agents that belong to it, on a site, of one tree."""

    def __init__(self, site: Site, runtime: str, *flags: str, tree: Tree | None = None) -> None:
        self.site, self.runtime, self.tree = site, runtime, tree
        self.server = self.pico(
            "server", "--proxy.access-log.disable=true",
            *(f"--{name}.bind-addr=127.0.0.1:0" for name in ("proxy", "upstream", "admin", "cluster.gossip")), *flags,
        )  # fmt: skip
        self.ports = self.server.await_ready()
        if any(flag.startswith("--workers") for flag in flags):
            self.server.await_log("all workers are ready")

    def start_agent(self, endpoint: str, port: int, *flags: str, kind: str = "http") -> Process:
        """Start an agent, and return it when its endpoint is registered."""
        agent = self.pico(
            "agent", kind, endpoint, f"127.0.0.1:{port}", "--access-log.disable=true",
            f"--connect.url=http://127.0.0.1:{self.ports['upstream']}", *flags,
        )  # fmt: skip
        agent.await_log("endpoint registered")
        return agent

    def pico(self, *arguments: str) -> Process:
        """Start the program."""
        environment = self.tree.environment if self.tree else None
        command = (sys.executable, "-P", "-m", "pico_tunnel", *arguments, "--runtime", self.runtime)
        return self.site.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


class Stack(Site):
    """A site with one node and its agent; ``with Stack(runtime) as stack``."""

    def __init__(self, runtime: str, *server_flags: str) -> None:
        super().__init__()
        try:
            node = MeasuredNode(self, runtime, *server_flags)
            self.server, self.ports = node.server, node.ports
            node.start_agent(ENDPOINT, self.service_port)
        except BaseException:
            self.close()
            raise
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"


def nodes(run: Run, site: Site, *flags: str) -> dict[str, MeasuredNode]:
    """Start a node for each runtime and tree; return them by the words that tell them apart."""
    return {
        f"{runtime}{tree.suffix}": MeasuredNode(site, runtime, *flags, tree=tree)
        for runtime in run.runtimes
        for tree in run.trees
    }


def subjects(run: Run, site: Site, service: int, *flags: str, tls: bool = False) -> list[Subject]:
    """Start a node with an agent for each runtime and tree."""
    return [
        Subject(
            node.ports["proxy"],
            {f"server {name}": node.server, f"agent {name}": node.start_agent(ENDPOINT, service)},
            tls,
        )
        for name, node in nodes(run, site, *flags).items()
    ]


def connect(port: int) -> socket.socket:
    """Connect to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), 10)
