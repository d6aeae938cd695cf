"""The facts that the parts of a server know of the node, in one record that the node keeps up to date.

The parts read it and each other's public methods; what they may do to the node are the narrow protocols of
``machine.parts``.
"""

from enum import Enum

import msgspec

from pico_core.cluster.view import ClusterView
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS, Ports
from pico_core.config.values import Address
from pico_core.gossip.engine import Gossip
from pico_core.machine.admission import Admission
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.logs import LogLimits
from pico_core.proxy.exchange import Exchange
from pico_core.server.metrics import ServerMetrics
from pico_core.server.policies import Policies
from pico_core.server.registry import Registry
from pico_core.server.stories import Stories
from pico_core.server.tunnels import TunnelConnection
from pico_core.server.worker import Worker
from pico_core.timers import NEVER


class NodePhase(Enum):
    """Where a node stands; ``server.node`` has the drawing."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Facts(msgspec.Struct, eq=False):
    """The state of one server node.

    ``addresses`` are what the node tells others, by port: ``gossip``, ``proxy``, ``admin``; empty until its ports are
    open. ``tunnels`` are all open tunnels in the order they came, ``registry`` those that take requests. ``view`` is
    what the node knows of the others, ``gossip`` how it came to know it. ``ready_at`` is when balancers could first
    send requests here, ``NEVER`` before. ``left`` says that the others were told of the node's leave.
    ``waiting`` are the requests that wait for a route, each until its instant. ``worker`` is set where several nodes
    share their ports. ``ports`` are the rows of its ports, without those that only a worker has.
    """

    node_id: str
    config: ServerConfig
    gossip: Gossip
    view: ClusterView
    registry: Registry[TunnelConnection]
    metrics: ServerMetrics
    admission: Admission
    log_limits: LogLimits
    heads: HeadBudget
    policies: Policies
    tunnels: dict[TunnelConnection, None]
    addresses: dict[str, Address]
    worker: Worker | None = None
    ports: Ports = PORTS
    state: NodePhase = NodePhase.STARTING
    ready_at: float = NEVER
    left: bool = False
    waiting: dict[Exchange, float] = msgspec.field(default_factory=dict)
    stories: Stories = msgspec.field(default_factory=Stories)

    @property
    def unanswered_names(self) -> dict[str, str]:
        """The names to join that no lookup has answered, with the reason of each; none once another node is known."""
        return {} if self.view else self.gossip.seeds.unanswered

    @property
    def ready(self) -> bool:
        """Whether balancers may send requests here."""
        return self.state is NodePhase.RUNNING

    @property
    def draining(self) -> bool:
        """Whether the node takes no new tunnels."""
        return self.state is NodePhase.DRAINING or self.state is NodePhase.STOPPED
