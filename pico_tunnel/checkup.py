"""The checks of ``pico doctor``: what usually goes wrong, tried from where the command runs. They change nothing.

Each check yields findings. A finding is ``ok``, ``warn`` or ``FAIL``, and says what to do next unless it is ``ok``.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from pico_core.config.agent import AgentConfig, ListenerConfig
    from pico_core.config.forward import ForwardConfig
    from pico_core.config.server import ServerConfig
    from pico_core.config.tls import ClientTlsConfig
    from pico_core.config.values import Address, Origin

OK, WARN, FAIL = "ok", "warn", "FAIL"

TIMEOUT_S = 5.0
"""Of each question: somebody waits at a terminal."""
CLOCK_S = 30.0
"""Clocks that differ by more make tokens look expired, or not valid yet."""

FEW_FILES = 1_024

NOBODY = "pico-doctor"
"""The endpoint to ask for where the configuration names none, and the node that asks a node by gossip."""

EXPIRY_S = 14 * 86_400.0
"""A certificate that expires sooner should have been renewed: one of ACME is after two thirds of its 90 days."""


class Finding(NamedTuple):
    """The result of one check; ``advice`` is what to do, empty where nothing is wrong."""

    verdict: str
    subject: str
    text: str
    advice: str = ""


class Answer(NamedTuple):
    """The answer of a port to one request."""

    status: int
    fields: dict[str, str]
    body: str


def check_process() -> Iterator[Finding]:
    """Look at this process: versions, and how many files it may open."""
    from pico_core import __version__

    try:
        runtime = f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        runtime = "asyncio"
    versions = f"pico {__version__}, python {sys.version.split()[0]}, {runtime}"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding(OK, "versions", versions)
    if 0 <= hard < FEW_FILES:
        text = f"at most {hard} open files: a connection takes one or two"
        yield Finding(WARN, "open files", text, "raise the hard limit: 'ulimit -Hn', LimitNOFILE of systemd")
    else:
        yield Finding(OK, "open files", "no limit" if hard < 0 else f"up to {hard}")


def check_unexpanded(shown: dict[str, str]) -> Iterator[Finding]:
    """Tell which values still have a ``${VARIABLE}`` in them."""
    for key, value in shown.items():
        yield Finding(WARN, key, f"has {value!r}, as it is", "expand the environment with --config.expand-env")


# --- the server as an agent or a forwarder sees it -------------------------------------------------------------------


class Way(NamedTuple):
    """How an agent or a forwarder goes to its server: for which endpoint, with which header fields."""

    port: str
    endpoint: str
    fields: str


def way_of(port: str, config: AgentConfig | ForwardConfig, endpoint: str) -> Way:
    """Return the way to ``port`` with the token and the tenant of a configuration."""
    connect = config.connect
    token = connect.token if connect.token_file is None else connect.token_file.content
    bearer = f"Authorization: Bearer {token.reveal()}\r\n" if token is not None else ""
    tenant = f"x-piko-tenant-id: {connect.tenant_id}\r\n" if connect.tenant_id else ""
    return Way(port, endpoint, bearer + tenant)


def check_server(url: Origin, tls: ClientTlsConfig, way: Way) -> Iterator[Finding]:
    """Try the way to a server's port: its name, a connection, TLS, whether it is the right port, and the token."""
    addresses, why = resolve(url)
    if not addresses:
        yield Finding(FAIL, f"name {url.host}", why, "check connect.url and the resolver of this machine")
        return
    yield Finding(OK, f"name {url.host}", ", ".join(addresses))
    for address in addresses:
        yield from _check_address(url, address, tls, way)


def _check_address(url: Origin, address: str, tls: ClientTlsConfig, way: Way) -> Iterator[Finding]:
    subject = f"{address} port {url.port}"
    began = time.monotonic()
    try:
        answer = ask(url, address, tls, _question(way, url))
    except ssl.SSLCertVerificationError as error:
        advice = CERTIFICATE_ADVICE.get(error.verify_code, "see docs/tls.md")
        yield Finding(FAIL, subject, f"its certificate is refused: {error.verify_message}", advice)
        return
    except ssl.SSLError as error:
        advice = "does the port speak TLS? connect.url says https://" if url.is_secure else "see docs/tls.md"
        yield Finding(FAIL, subject, f"TLS failed: {error.reason or error}", advice)
        return
    except (OSError, HTTPException, ValueError) as error:
        yield Finding(FAIL, subject, _reason(error), "is the server running, and does a firewall let this machine in?")
        return
    took_ms = (time.monotonic() - began) * 1000
    yield judge_port(subject, way.port, answer, took_ms)
    if "date" in answer.fields:
        yield from _check_clock(answer.fields["date"])


CERTIFICATE_ADVICE = {
    10: "renew the certificate of the server",  # X509_V_ERR_CERT_HAS_EXPIRED
    62: "connect to a name that the certificate has, or set connect.tls.server_name",  # X509_V_ERR_HOSTNAME_MISMATCH
}


def _question(way: Way, url: Origin) -> str:
    """Return a request that a port refuses in a way of its own: a handshake with an invalid key registers nothing.

    A port that asks for a token looks at it first. A proxy port is asked whether an endpoint can be reached.
    """
    from pico_core.proxy.way_check import QUERY

    path = "/pico/v1/upstream/" if way.port == "upstream" else "/_pico/v1/tcp/"
    query = f"?{QUERY.decode()}" if way.port == "proxy" and way.endpoint != NOBODY else ""
    return (
        f"GET {url.path}{path}{quote(way.endpoint, safe='')}{query} HTTP/1.1\r\nHost: {url.host}\r\n{way.fields}"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: doctor\r\n\r\n"
    )


def judge_port(subject: str, port: str, answer: Answer, took_ms: float) -> Finding:
    """Tell from the answer to ``_question`` what is at the other end, and whether upgrades reach it."""
    from pico_core.proxy.failures import STATUSES
    from pico_core.proxy.reasons import REASONS
    from pico_core.proxy.way_check import REACHABLE

    took = f"{took_ms:.0f} ms"
    is_proxy = "x-pico-request-id" in answer.fields
    code = answer.fields.get("x-pico-error", "").partition(";")[0]
    if port == "proxy" and code in STATUSES:
        text = f"a Pico proxy port, upgrades pass, but the endpoint cannot be reached: {code}"
        return Finding(FAIL, subject, f"{text}: {_said(answer)}", REASONS[code].advice)
    if REACHABLE in answer.body:
        return Finding(OK, subject, f"a Pico proxy port, upgrades pass, the endpoint has a tunnel, {took}")
    if "invalid Sec-WebSocket-Key" in answer.body:
        if is_proxy is (port == "proxy"):
            return Finding(OK, subject, f"a Pico {port} port, upgrades pass, {took}")
        return _wrong_port(subject, port, "proxy" if is_proxy else "upstream")
    if "WebSocket" in answer.body and '"error"' in answer.body:
        text = "a Pico server, but the upgrade to WebSocket does not reach it"
        return Finding(FAIL, subject, text, "let the balancer or proxy before it pass Upgrade and Connection")
    if answer.status in REFUSALS and answer.fields.get("x-pico-error"):
        verdict, advice = REFUSALS[answer.status]
        from pico_core.access.grant import ADVICE

        said = _said(answer)
        advice = ADVICE.get(said, advice) if answer.status == 401 else advice
        return Finding(verdict, subject, f"a Pico server, which answers {answer.status}: {said}", advice)
    if "not found: agents connect to" in answer.body:
        return _wrong_port(subject, port, "upstream")
    if is_proxy and port == "upstream":
        return _wrong_port(subject, port, "proxy")
    if answer.status == 404 and answer.body == '{"error": "not found"}':
        return _wrong_port(subject, port, "admin")
    text = f"not a Pico {port} port: it answered {answer.status} {answer.fields.get('server', '')}".rstrip()
    return Finding(FAIL, subject, text, "check host and port of connect.url")


REFUSALS = {
    401: (FAIL, "give a token of the server's issuer that has not expired, with connect.token or connect.token_file"),
    403: (FAIL, "give a token that permits the endpoint: 'pico token inspect' says which ones a token permits"),
    503: (WARN, "nothing, unless it stays: agents and forwarders try again, at another node where there is one"),
}
"""The refusals of a server that is reached: what each means for the client, and what to do."""


def _said(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, LookupError, TypeError):
        return answer.body.strip()[:120]


def _wrong_port(subject: str, wanted: str, found: str) -> Finding:
    who = {
        "upstream": "agents connect to the upstream port, 8001 by default",
        "proxy": "forwarders connect to the proxy port, 8000 by default",
    }[wanted]
    return Finding(FAIL, subject, f"this is the {found} port of a Pico server: {who}", "change the port of connect.url")


def _check_clock(date: str) -> Iterator[Finding]:
    try:
        differs_s = time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    if abs(differs_s) > CLOCK_S:
        text = f"this machine's differs by {differs_s:+.0f} s: tokens and certificates will look wrong"
        yield Finding(WARN, "clock", text, "synchronise both clocks (NTP)")
    else:
        yield Finding(OK, "clock", "agrees with the server's")


def check_service(listener: ListenerConfig) -> Iterator[Finding]:
    """Try a connection to the local service of an endpoint."""
    subject = f"service of '{listener.endpoint_id}'"
    try:
        with socket.create_connection((listener.addr.host, listener.addr.port), timeout=TIMEOUT_S):
            yield Finding(OK, subject, f"{listener.addr} takes connections")
    except OSError as error:
        advice = f"start it, or give its address: pico agent {listener.protocol} {listener.endpoint_id} ADDR"
        yield Finding(FAIL, subject, f"{listener.addr}: {_reason(error)}", advice)


# --- a server --------------------------------------------------------------------------------------------------------


def check_ports(config: ServerConfig) -> Iterator[Finding]:
    """Try to bind the ports of a server, as its start would."""
    from pico_core.config.server_ports import ENTRANCES_FIRST

    for port in ENTRANCES_FIRST:
        key, address = port.key, port.bind_addr(config)
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if port.datagrams else (socket.SOCK_STREAM,)
        why = next((why for kind in kinds if (why := _bind(address, kind))), "")
        if why:
            advice = f"end what holds it (perhaps this server, running), or change {key}.bind_addr"
            yield Finding(WARN if "in use" in why else FAIL, f"{key} port {address}", why, advice)
        else:
            yield Finding(OK, f"{key} port {address}", "free")


def check_members(config: ServerConfig) -> Iterator[Finding]:
    """Look up the nodes to join, and try the gossip port of each on TCP and UDP."""
    for member in config.cluster.join:
        addresses, why = resolve(member)
        if not addresses:
            advice = "check cluster.join and the resolver; a node alone behind a balancer loses requests"
            yield Finding(FAIL, f"join {member.host}", why, advice)
            continue
        port = member.port or config.cluster.gossip.bind_addr.port
        for address in addresses:
            subject = f"join {member.host}: {address} port {port}"
            why = _tcp_trouble(address, port)
            yield Finding(WARN if why else OK, subject, why or "takes connections on TCP", GOSSIP_ADVICE if why else "")
            if not why:
                yield _check_udp(config, f"{subject} UDP", address, port)


GOSSIP_ADVICE = "permit TCP and UDP to the gossip port between all nodes, in both directions"


def _tcp_trouble(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT_S):
            return ""
    except OSError as error:
        return _reason(error)


def _check_udp(config: ServerConfig, subject: str, address: str, port: int) -> Finding:
    """Ask the gossip port as a node would that it cannot take for one: it answers, and keeps nothing of it."""
    gossip = config.cluster.gossip
    if gossip.keys or gossip.keys_file:
        return Finding(OK, subject, "not tried: with a gossip key only nodes are answered")
    if config.workers != 1:
        return Finding(OK, subject, "not tried: each worker has a gossip port of its own")
    from pico_core.gossip.wire import writing
    from pico_core.gossip.wire.reading import decode_datagram
    from pico_core.gossip.wire.records import WireError

    question = writing.digest_head(NOBODY, NOWHERE, request=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(UDP_TIMEOUT_S)
        for _ in range(UDP_TRIES):
            try:
                asking.connect((address, port))
                asking.send(question)
                answer = decode_datagram(asking.recv(65_535))
            except TimeoutError:
                continue
            except OSError as error:
                return Finding(WARN, subject, _reason(error), GOSSIP_ADVICE)
            except WireError:
                return Finding(WARN, subject, "the program that answers is not a node", "check cluster.join")
            return Finding(OK, subject, f"node {quote(answer.node_id)} answers")
    text = f"no answer in {UDP_TRIES} tries: datagrams are lost on the way, or the node has a gossip key, or workers"
    return Finding(WARN, subject, text, GOSSIP_ADVICE)


NOWHERE = "192.0.2.1:9"
"""Not where the question comes from, so that nobody is taken for a node (RFC 5737: an address of nobody)."""

UDP_TIMEOUT_S = 1.0
UDP_TRIES = 3


def check_times(config: ServerConfig) -> Iterator[Finding]:
    """Compare the times of a stop: a node must have left before its grace period ends."""
    if config.drain_delay_s >= config.grace_period_s:
        text = f"drain_delay {config.drain_delay_s:g} s is not shorter than grace_period {config.grace_period_s:g} s"
        yield Finding(FAIL, "times of a stop", text, "requests in flight would be cut: raise grace_period")
    else:
        yield Finding(OK, "times of a stop", "drain_delay is shorter than grace_period")


def check_certificates(config: ServerConfig) -> Iterator[Finding]:
    """Look at when the certificates of the ports expire."""
    from pico_core.config.server_ports import ENTRANCES

    for name, section in ((port.key, port.tls(config)) for port in ENTRANCES if port.tls is not None):
        for path in section.cert:
            try:
                decoded = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined] # noqa: SLF001 - the only one without a connection
                left_s = ssl.cert_time_to_seconds(decoded["notAfter"]) - time.time()
            except (OSError, ValueError) as error:
                yield Finding(FAIL, f"{name} certificate", f"{path}: {error}", f"see {name}.tls.cert")
                continue
            text = f"{path}: expires {decoded['notAfter']}"
            if left_s <= 0:
                yield Finding(FAIL, f"{name} certificate", text, "renew it; a running server reads it again by itself")
            elif left_s < EXPIRY_S:
                yield Finding(WARN, f"{name} certificate", text, "renew it; a running server reads it again by itself")
            else:
                yield Finding(OK, f"{name} certificate", text)


# --- tools -----------------------------------------------------------------------------------------------------------


def resolve(address: Address) -> tuple[list[str], str]:
    """Return the addresses of a name, and why there are none."""
    try:
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return [], f"does not resolve: {error.strerror or error}"
    return list(dict.fromkeys(str(each[4][0]) for each in found)), ""


def ask(url: Origin, address: str, tls: ClientTlsConfig, question: str, max_bytes: int = 4_096) -> Answer:
    """Send one request to one address of a server, and return its answer. Raises ``OSError`` or ``HTTPException``.

    Of its body at most ``max_bytes`` are read.
    """
    with socket.create_connection((address, url.port), timeout=TIMEOUT_S) as plain:
        connection: socket.socket = plain
        if url.is_secure:
            context = ssl.create_default_context(cafile=tls.root_cas or None)
            if tls.insecure_skip_verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if tls.cert:
                context.load_cert_chain(tls.cert, tls.key)
            connection = context.wrap_socket(plain, server_hostname=tls.server_name or url.host)
        connection.sendall(question.encode())
        response = HTTPResponse(connection)
        response.begin()
        fields = {name.lower(): value for name, value in response.getheaders()}
        body = response.read(max_bytes).decode("utf-8", "replace") if response.status != 101 else ""
        return Answer(response.status, fields, body)


def _bind(address: Address, kind: int) -> str:
    host = address.host or "::"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, address.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "in use"
        return os.strerror(error.errno) if error.errno else str(error)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def check_agent(config: AgentConfig) -> Iterator[Finding]:
    """Check all that an agent needs."""
    endpoints = [listener.endpoint_id for listener in config.listeners] or [NOBODY]
    yield from check_server(config.connect.url, config.connect.tls, way_of("upstream", config, endpoints[0]))
    for listener in config.listeners:
        yield from check_service(listener)


def check_forward(config: ForwardConfig) -> Iterator[Finding]:
    """Check all that a forwarder needs."""
    endpoints = [port.endpoint_id for port in config.ports] or [NOBODY]
    yield from check_server(config.connect.url, config.connect.tls, way_of("proxy", config, endpoints[0]))
    for port in config.ports:
        why = _bind(port.addr, socket.SOCK_STREAM)
        name = f"local port {port.addr} for '{quote(port.endpoint_id)}'"
        yield Finding(FAIL if why else OK, name, why or "free", "choose another one" if why else "")


def check_node(config: ServerConfig) -> Iterator[Finding]:
    """Check all that a server needs."""
    yield from check_ports(config)
    yield from check_members(config)
    yield from check_times(config)
    yield from check_certificates(config)
