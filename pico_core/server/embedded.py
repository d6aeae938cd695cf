"""The server node inside a program, which learns when the node is ready, and where."""

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS, Ports
from pico_core.entropy import Entropy
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_core.program import NodeServes
from pico_core.server.node import ServerNode


class EmbeddedNode(ServerNode):
    """A ``Machine``: a node that says ``NodeServes`` when it is ready. The program decides what is logged."""

    def __init__(
        self,
        config: ServerConfig,
        node_id: str,
        entropy: Entropy,
        descriptors: int = MAX_DESCRIPTORS,
        ports: Ports = PORTS,
    ) -> None:
        super().__init__(config, node_id, entropy, descriptors, ports=ports)
        self._admin.levels.is_embedded = True

    def on_ready(self, now: float) -> None:
        """Tell the program the addresses of all ports, by the names of their listeners."""
        self.emit(NodeServes(tuple((name, str(address)) for name, address in self.bound.items())))
