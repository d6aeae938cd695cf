"""How the record of a node comes to be: the engine of its gossip, its limits, and all that its parts read."""

from collections.abc import Callable, Mapping
from functools import partial

from pico_core.cluster.view import ClusterView
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import Ports
from pico_core.entropy import Entropy
from pico_core.gossip.engine import Gossip
from pico_core.machine.admission import Admission, ConnectionLimits
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.logs import LogLimits
from pico_core.server.facts import Facts
from pico_core.server.limits import connection_limits, unfinished_bytes
from pico_core.server.metrics import ServerMetrics
from pico_core.server.policies import Policies
from pico_core.server.proxies import TrustedProxies
from pico_core.server.registry import Registry
from pico_core.server.tunnels import TunnelConnection
from pico_core.server.worker import Worker


def make_gossip(config: ServerConfig, node_id: str, entropy: Entropy, worker: Worker | None) -> Gossip:
    """Return the engine of a node's gossip. Raises ``LocalProtocolError`` for an ID or a packet size it cannot use."""
    cluster = config.cluster
    bind_addr = cluster.gossip.bind_addr if worker is None else worker.gossip
    return Gossip(
        node_id,
        entropy=entropy,
        seeds=cluster.seeds,
        default_port=bind_addr.port or None,
        interval_s=cluster.gossip.interval_s,
        max_packet_bytes=cluster.gossip.max_packet_size,
        is_name_fixed=bool(cluster.node_id),
        keys=cluster.gossip.secrets,
    )


def limits_of(
    descriptors: int, proxies: Mapping[str, TrustedProxies], view: ClusterView, worker: Worker | None, ports: Ports
) -> Callable[[ServerConfig], ConnectionLimits]:
    """Return a function from a configuration to limits of a node; the process may have ``descriptors`` open."""
    return partial(
        connection_limits,
        descriptors=descriptors,
        balancers=proxies,
        may_be_node=view.is_member,
        is_worker=worker is not None,
        ports=ports,
    )


def make_facts(
    config: ServerConfig,
    gossip: Gossip,
    view: ClusterView,
    registry: Registry[TunnelConnection],
    admission: Admission,
    log_limits: LogLimits,
    worker: Worker | None,
    ports: Ports,
) -> Facts:
    """Return the record of a node that has not started."""
    return Facts(
        node_id=gossip.id,
        config=config,
        gossip=gossip,
        view=view,
        registry=registry,
        metrics=ServerMetrics(ports),
        admission=admission,
        log_limits=log_limits,
        heads=HeadBudget(unfinished_bytes(config)),
        policies=Policies(config.policies),
        tunnels={},
        addresses={},
        worker=worker,
        ports=ports,
    )
