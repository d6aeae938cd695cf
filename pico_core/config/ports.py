"""The configuration of a server's ports for clients, agents and operators: every key, its default, and why."""

from typing import Annotated

from pico_core.bounds import TUNNEL_STREAMS
from pico_core.config.auth import AuthConfig
from pico_core.config.declare import (
    ADVERTISED_ADDRESS,
    BIND_ADDRESS,
    DURATION,
    DURATION_OR_ZERO,
    NETWORKS,
    TENANT,
    Key,
    Section,
    decimal_number,
    one_of,
    whole_number,
)
from pico_core.config.logs import AccessLogConfig
from pico_core.config.networks import NamedNetwork
from pico_core.config.tls import ProxyTlsConfig, ServerTlsConfig
from pico_core.config.values import Address
from pico_core.config.web import HOST_NAMES, PUBLIC_URL, WEB_ORIGINS
from pico_core.errors import ConfigError

ADVERTISED_WHY = (
    "Empty: the bind address if it names an IP address, else the address that packets to the nodes to join come from."
)
MAX_TENANTS = 4_096
"""A file of 1 MiB has room for no more that have keys of their own."""

REQUIRED = "required"


def _check_proxy_protocol(proxy_protocol: str, trusted: tuple[NamedNetwork, ...]) -> None:
    if proxy_protocol == REQUIRED and not trusted:
        raise ConfigError("proxy_protocol is required, but trusted_proxies names nobody who may send it")


class ProxyHttpConfig(Section, frozen=True, kw_only=True):
    """Limits on what clients may do to an HTTP connection."""

    read_header_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long a client may take to send a whole request head.",
            "10 s suits the slowest phone and still frees the connections a slow-loris attack holds.",
        ),
    ] = 10.0
    idle_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long a connection is kept without a request.",
            "5 m is longer than common load balancers keep theirs, so that they close first and no request is lost.",
        ),
    ] = 300.0
    max_header_bytes: Annotated[
        int,
        Key(
            whole_number(1024, 1 << 24),
            "The longest request or response head, in bytes; longer ones get 431 or 502.",
            "1 MiB refuses nothing that works elsewhere, and bounds the memory of a connection.",
        ),
    ] = 1 << 20
    max_unfinished_bytes: Annotated[
        int,
        Key(
            whole_number(65_536, 1 << 40),
            "How many bytes all heads that have not come whole may have together; "
            "beyond it the longest ones are refused with 503 or 502.",
            "16 MiB is thousands of heads that come in pieces; max_header_bytes is the least.",
        ),
    ] = 1 << 24


class ProxyConfig(Section, frozen=True, kw_only=True):
    """Proxy port: requests from clients and from other nodes."""

    bind_addr: Annotated[
        Address,
        Key(BIND_ADDRESS, "Where to listen for clients.", "8000 on every address, as the Kubernetes page promises."),
    ] = Address("", 8000)
    advertise_addr: Annotated[
        Address | None,
        Key(ADVERTISED_ADDRESS, "The address other nodes forward requests to.", ADVERTISED_WHY),
    ] = None
    max_connections: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many connections of clients the port has at once, beside those of other nodes; "
            "0: what max_connections leaves it.",
            "0: beyond it idle connections are closed first, then new ones get a 503.",
        ),
    ] = 0
    timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long an upstream may take to begin its response, or to take more of a request; "
            "then the client gets 504.",
            "30 s is what clients and balancers commonly allow; what streams on after the head is never cut.",
        ),
    ] = 30.0
    wait_timeout_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "How long a request waits where its endpoint lost its last agent a moment ago, or this node has just "
            "started; then the client gets the answer that it would have got at once. 0: it does not wait.",
            "3 s: an agent whose tunnel broke is back within a second, and all nodes know it a second later.",
        ),
    ] = 3.0
    max_waiting: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000),
            "How many requests wait so at once; others are answered at once.",
            "512, for the moment of a restart: each keeps up to 64 KiB of its body.",
        ),
    ] = 512
    trusted_proxies: Annotated[
        tuple[NamedNetwork, ...],
        Key(
            NETWORKS,
            "Networks of the balancers and proxies before this port. What they say of their clients is believed and "
            "passed on: X-Forwarded-*, Forwarded, X-Real-IP, and PROXY headers.",
            "Empty: what others say is removed, since every client can say it. Give all nodes of a cluster the same.",
        ),
    ] = ()
    proxy_protocol: Annotated[
        str,
        Key(
            one_of("off", REQUIRED),
            "required: connections from proxy.trusted_proxies begin with a PROXY header, version 1 or 2.",
            "off: a proxy that sends none would be refused. There is no optional: clients of such a proxy could send "
            "their own.",
        ),
    ] = "off"
    allowed_origins: Annotated[
        tuple[str, ...],
        Key(
            WEB_ORIGINS,
            "Pages that may reach tcp endpoints from a browser, by their origin; others get 403.",
            "Empty: forwarders are programs. What an http endpoint lets pages do is its service's decision.",
        ),
    ] = ()
    error_detail: Annotated[
        str,
        Key(
            one_of("none", "reason", "full"),
            "What answers of the server's own tell the client beside their text: nothing; the reason and the request's "
            "ID; or the endpoint, the node and advice as well.",
            "reason: a client can tell whose fault it was, and learns nothing about the cluster.",
        ),
    ] = "reason"
    public_url: Annotated[
        str,
        Key(
            PUBLIC_URL,
            "Where clients reach an endpoint, with {endpoint} as the first label of the host name. Agents are told, "
            "and print it.",
            "Empty: agents are told the address that the server knows of itself.",
        ),
    ] = ""
    auth: AuthConfig = AuthConfig()
    access_log: AccessLogConfig = AccessLogConfig()
    http: ProxyHttpConfig = ProxyHttpConfig()
    tls: ProxyTlsConfig = ProxyTlsConfig()

    def __post_init__(self) -> None:
        _check_proxy_protocol(self.proxy_protocol, self.trusted_proxies)


class UpstreamTlsConfig(ServerTlsConfig, frozen=True, kw_only=True):
    """TLS of the upstream port. The files are read again when they change."""


class AdminTlsConfig(ServerTlsConfig, frozen=True, kw_only=True):
    """TLS of the admin port. The files are read again when they change."""


class RebalanceConfig(Section, frozen=True, kw_only=True):
    """Moving tunnels from nodes that have more than their share to the others."""

    threshold: Annotated[
        float,
        Key(
            decimal_number(0, 1000),
            "Shed tunnels when this node has more than the cluster's average by this fraction; 0 never sheds.",
            "0: moving a tunnel is a small disturbance that an operator should choose.",
        ),
    ] = 0.0
    shed_rate: Annotated[
        float,
        Key(
            decimal_number(0, 1),
            "The fraction of its tunnels that a node sheds each second while above the threshold.",
            "0.005 moves a fifth of the tunnels in about 45 s, and never many at once.",
        ),
    ] = 0.005
    min_conns: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "Shed nothing while this node has fewer tunnels than this.",
            "50: with a few tunnels the average says little.",
        ),
    ] = 50


class TenantConfig(Section, frozen=True, kw_only=True):
    """A tenant: endpoints, keys and limits of its own."""

    id: Annotated[str, Key(TENANT, "What x-pico-tenant-id says, on the upstream port and on the proxy port.")]
    auth: AuthConfig = AuthConfig()
    max_tunnels: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many tunnels the tenant has at this node at once; more get a 503. 0: any number.",
            "0: what the node takes at all (upstream.max_connections) limits it.",
        ),
    ] = 0
    max_streams: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many requests and connections all its tunnels at this node carry at once; more get a 503. 0: any "
            "number.",
            "0: what each tunnel carries (upstream.max_streams) limits it.",
        ),
    ] = 0
    registration_rate: Annotated[
        float,
        Key(
            decimal_number(0.1, 1_000_000),
            "How many tunnels a second the tenant may register in the long run; more get a 503.",
            "100, as for one client address.",
        ),
    ] = 100.0
    registration_burst: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000_000),
            "How many tunnels the tenant may register at once.",
            "5000, as for one client address.",
        ),
    ] = 5_000


class UpstreamConfig(Section, frozen=True, kw_only=True):
    """Upstream port: tunnels from agents."""

    bind_addr: Annotated[
        Address,
        Key(BIND_ADDRESS, "Where to listen for agents.", "8001 on every address, as the Kubernetes page promises."),
    ] = Address("", 8001)
    max_connections: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many connections of agents the port has at once; 0: what max_connections leaves it.",
            "0: beyond it agents get a 503 and try another node; tunnels that are open are never closed for it.",
        ),
    ] = 0
    max_streams: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000),
            "How many requests and connections one tunnel carries at once.",
            "1024 bounds a tunnel's memory. Beyond it requests go to another tunnel of the endpoint, or get a 503.",
        ),
    ] = TUNNEL_STREAMS
    registration_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long an agent that connected may take to register.",
            "10 s suit every way to the server: agents send their head at once.",
        ),
    ] = 10.0
    registration_rate: Annotated[
        float,
        Key(
            decimal_number(0.1, 1_000_000),
            "How many tunnels a second one client address may register in the long run; more get a 503.",
            "100: with one log line and one message of gossip each, a thousand a second would take a core.",
        ),
    ] = 100.0
    registration_burst: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000_000),
            "How many tunnels one client address may register at once.",
            "5000: a host with hundreds of endpoints, or all agents behind one balancer, come back at once when a "
            "node restarts.",
        ),
    ] = 5_000
    trusted_proxies: Annotated[
        tuple[NamedNetwork, ...],
        Key(
            NETWORKS,
            "Networks of the balancers and proxies before this port, as proxy.trusted_proxies: the agents' addresses "
            "that they tell count for limits and are in the log.",
            "Empty: agents usually come through another balancer than clients, or none.",
        ),
    ] = ()
    proxy_protocol: Annotated[
        str,
        Key(
            one_of("off", REQUIRED),
            "required: connections from upstream.trusted_proxies begin with a PROXY header, version 1 or 2.",
            "off, as for proxy.proxy_protocol.",
        ),
    ] = "off"
    allowed_origins: Annotated[
        tuple[str, ...],
        Key(
            WEB_ORIGINS,
            "Pages that may register endpoints from a browser, by their origin; others get 403.",
            "Empty: agents are programs.",
        ),
    ] = ()
    auth: AuthConfig = AuthConfig()
    tenants: tuple[TenantConfig, ...] = ()
    rebalance: RebalanceConfig = RebalanceConfig()
    tls: UpstreamTlsConfig = UpstreamTlsConfig()

    def __post_init__(self) -> None:
        ids = [tenant.id for tenant in self.tenants]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(f"tenants: the ID '{twice}' is there twice")
        if len(ids) > MAX_TENANTS:
            raise ConfigError(f"tenants: {len(ids)} are more than {MAX_TENANTS}")
        _check_proxy_protocol(self.proxy_protocol, self.trusted_proxies)


class AdminConfig(Section, frozen=True, kw_only=True):
    """Admin port: health, readiness, metrics and status."""

    bind_addr: Annotated[
        Address,
        Key(BIND_ADDRESS, "Where to listen for operators.", "8002 on every address, as the Kubernetes page promises."),
    ] = Address("", 8002)
    advertise_addr: Annotated[
        Address | None,
        Key(ADVERTISED_ADDRESS, "The address other nodes ask for this node's status.", ADVERTISED_WHY),
    ] = None
    tls: AdminTlsConfig = AdminTlsConfig()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Key(
            HOST_NAMES,
            "Further names in Host by which metrics and status may be asked for; others get 421.",
            "Empty: IP addresses, names without a dot, those below .localhost, .svc, .cluster.local, .internal and "
            ".home.arpa, and names that the configuration has for nodes suffice. Others may be those of a page.",
        ),
    ] = ()
    auth: AuthConfig = AuthConfig()
