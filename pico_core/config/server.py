"""The configuration of ``pico server``: every key, its default, and why."""

from typing import Annotated

from pico_core.config.auth import AuthConfig
from pico_core.config.declare import (
    ADVERTISED_ADDRESS,
    BIND_ADDRESS,
    DURATION,
    DURATION_OR_ZERO,
    FILE,
    GOSSIP_KEYS,
    MAX_PREFIX_CHARACTERS,
    MEMBERS,
    OPTIONAL_IDENTIFIER,
    PREFIX,
    RANDOM_LENGTH,
    SWITCH,
    Key,
    Section,
    decimal_number,
    number_or_auto,
    whole_number,
)
from pico_core.config.gossip_key import MAX_GOSSIP_KEYS, GossipKey, repeated_key
from pico_core.config.logs import LogConfig
from pico_core.config.policies import PolicyConfig, check_reach, check_tenants
from pico_core.config.ports import ADVERTISED_WHY, AdminConfig, ProxyConfig, UpstreamConfig
from pico_core.config.tracing import TracingConfig
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.errors import ConfigError

WORKER_CHARACTERS = 16
"""How much longer the node ID of a worker is: two dashes, the worker's number and that of the process."""

MAX_WORKERS = 64
"""Of one server. Each is a process and a node of the cluster, and a cluster knows 4,096 nodes."""

DRAIN_DELAY_S = 5.0
"""The default of ``drain_delay``."""

_NODE_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class GossipConfig(Section, frozen=True, kw_only=True):
    """Gossip port (UDP and TCP): how nodes learn of each other."""

    bind_addr: Annotated[
        Address,
        Key(
            BIND_ADDRESS,
            "Where to listen for other nodes, on UDP and TCP.",
            "8003 on every address, as the Kubernetes page promises.",
        ),
    ] = Address("", 8003)
    advertise_addr: Annotated[
        Address | None,
        Key(ADVERTISED_ADDRESS, "The gossip address told to other nodes.", ADVERTISED_WHY),
    ] = None
    interval_s: Annotated[
        float,
        Key(
            DURATION,
            "Time between two rounds of gossip.",
            "100 ms spreads a change through a large cluster within a second for a few packets each.",
        ),
    ] = 0.1
    max_packet_size: Annotated[
        int,
        Key(
            whole_number(1200, 65507),
            "The longest gossip datagram, in bytes.",
            "1400 passes an Ethernet with room for tunnels' headers, without fragments.",
        ),
    ] = 1400
    keys: Annotated[
        tuple[GossipKey, ...],
        Key(
            GOSSIP_KEYS,
            "The keys of the cluster, each of 32 bytes in base64 or hexadecimal digits: the first one seals what this "
            "node says, each of them opens what others say. 'pico server key' makes one.",
            "Empty: gossip is neither encrypted nor authenticated, and the port must be private. Piko's nodes have no "
            "keys.",
        ),
    ] = ()
    keys_file: Annotated[
        str,
        Key(FILE, "A file with the keys, one a line, in place of cluster.gossip.keys.", "Empty: there is none."),
    ] = ""

    def __post_init__(self) -> None:
        if self.keys and self.keys_file:
            raise ConfigError("keys and keys_file exclude each other; give one of them")
        if len(self.keys) > MAX_GOSSIP_KEYS:
            raise ConfigError(
                f"keys: there are {len(self.keys)}, at most {MAX_GOSSIP_KEYS} can be given; remove old ones"
            )
        repeated = repeated_key(self.keys)
        if repeated:
            raise ConfigError(f"keys: {repeated}")

    @property
    def secrets(self) -> list[bytes]:
        """The keys as gossip takes them."""
        return [key.secret for key in self.keys]


class ClusterConfig(Section, frozen=True, kw_only=True):
    """Cluster: the name of this node, and the nodes it joins."""

    node_id: Annotated[
        str,
        Key(
            OPTIONAL_IDENTIFIER,
            "The ID of this node, unique in the cluster and over time.",
            "Empty: a new random ID at each start, so that a restarted node is never taken for the one that ended.",
        ),
    ] = ""
    node_id_prefix: Annotated[
        str,
        Key(
            PREFIX,
            "What the random ID begins with, such as the name of the pod and a dash.",
            "Empty; it excludes cluster.node_id, which leaves nothing to prefix.",
        ),
    ] = ""
    join: Annotated[
        tuple[Address, ...],
        Key(
            MEMBERS,
            "Nodes to join: IP addresses, or names that resolve to the addresses of all nodes. "
            "Without a port, the gossip port is assumed.",
            "Empty: a cluster of one, which others may join.",
        ),
    ] = ()
    join_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long joining may take before cluster.abort_if_join_fails looks at it.",
            "1 m outlasts a slow DNS and a node that is just restarting.",
        ),
    ] = 60.0
    abort_if_join_fails: Annotated[
        bool,
        Key(
            SWITCH,
            "Exit when there were other nodes to join and none answered in time.",
            "true: a node that serves alone behind the cluster's balancer loses requests silently.",
        ),
    ] = True
    gossip: GossipConfig = GossipConfig()

    def __post_init__(self) -> None:
        if self.node_id and self.node_id_prefix:
            raise ConfigError("node_id and node_id_prefix exclude each other; give one of them")

    @property
    def seeds(self) -> list[str]:
        """The nodes to join as gossip takes them: ``host:port``, or the host alone for the gossip port."""
        return [str(member) if member.port else member.host for member in self.join]


class ServerConfig(Section, frozen=True, kw_only=True):
    """General.

    The whole configuration of a node. The line above titles the keys at its top. Next: ``load``, then the machine.
    """

    proxy: ProxyConfig = ProxyConfig()
    upstream: UpstreamConfig = UpstreamConfig()
    admin: AdminConfig = AdminConfig()
    cluster: ClusterConfig = ClusterConfig()
    policies: tuple[PolicyConfig, ...] = ()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    workers: Annotated[
        int,
        Key(
            number_or_auto(MAX_WORKERS),
            "How many processes serve the same ports, each a node of the cluster; auto: one for each core that this "
            "process may use.",
            "1: one process is simplest to watch, and uses one core. Limits and rates hold for each process.",
        ),
    ] = 1
    max_connections: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many connections the node has at once, on all ports and to other nodes; "
            "0: as many as its limit of open descriptors permits.",
            "0: the limit of descriptors less 64. The admin and gossip ports, agents and connections to and from other "
            "nodes each keep a part that clients cannot take.",
        ),
    ] = 0
    max_address_share: Annotated[
        float,
        Key(
            decimal_number(0, 1),
            "The part of a port's connections that one client address, or IPv6 network of /64, may have when 7/8 of "
            "them are in use.",
            "0.5: one client cannot shut out all others. Balancers among the trusted proxies have no share; others, "
            "from whose address all clients come, have 7/8 of the port.",
        ),
    ] = 0.5
    grace_period_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "The longest a stop may take, from the signal to the exit.",
            "45 s leaves room within the 60 s that the Kubernetes page gives a pod.",
        ),
    ] = 45.0
    drain_delay_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "How long a stopping node keeps accepting requests, even when idle.",
            "5 s: balancers and Kubernetes learn late that a node is leaving. It must be shorter than grace_period, "
            "which would cut it short. The default of 5 s may be longer, with a warning: configurations of Piko have "
            "grace_period only.",
        ),
    ] = DRAIN_DELAY_S

    def __post_init__(self) -> None:
        if self.drain_delay_s not in (0.0, DRAIN_DELAY_S) and self.drain_delay_s >= self.grace_period_s:
            raise ConfigError(
                f"drain_delay ({self.drain_delay_s:g} s) must be shorter than "
                f"grace_period ({self.grace_period_s:g} s), which ends the stop"
            )
        speaks_tls = self.proxy.tls.enabled or self.admin.tls.enabled
        no_tls = "neither proxy.tls nor admin.tls has a certificate"
        self.proxy.tls.client.check_use("proxy.tls.client", no_tls, is_secure=speaks_tls)
        check_reach(self.policies)
        check_tenants(self.policies, {each.id for each in self.upstream.tenants})
        if self.workers != 1 and self.cluster.node_id:
            raise ConfigError("workers are nodes with an ID each: give cluster.node_id_prefix, not cluster.node_id")
        most = MAX_PREFIX_CHARACTERS - WORKER_CHARACTERS
        if self.workers != 1 and len(self.cluster.node_id_prefix) > most:
            raise ConfigError(f"workers: cluster.node_id_prefix has room for {most} characters then")


def draw_node_id(cluster: ClusterConfig, entropy: Entropy) -> str:
    """Return the ID of this run of a node: the configured one, or the prefix and random characters."""
    if cluster.node_id:
        return cluster.node_id
    return cluster.node_id_prefix + "".join(
        _NODE_ID_CHARACTERS[int(entropy.random() * len(_NODE_ID_CHARACTERS))] for _ in range(RANDOM_LENGTH)
    )


def auth_sections(config: ServerConfig) -> dict[str, AuthConfig]:
    """Return every section with keys of tokens, by its name."""
    ports = {"proxy.auth": config.proxy.auth, "upstream.auth": config.upstream.auth, "admin.auth": config.admin.auth}
    return ports | {tenant_auth(tenant.id): tenant.auth for tenant in config.upstream.tenants}


def tenant_auth(tenant_id: str) -> str:
    """Return the name of the section with the keys of a tenant."""
    return f"upstream.tenants[{tenant_id}].auth"
