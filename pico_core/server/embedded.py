"""The server node inside a program, which learns when the node is ready, and where."""

from pico_core.program import NodeServes
from pico_core.server.node import ServerNode


class EmbeddedNode(ServerNode):
    """A ``Machine``: a node that says ``NodeServes`` when it is ready."""

    def on_ready(self, now: float) -> None:
        """Tell the program the addresses of all ports, by the names of their listeners."""
        self.emit(NodeServes(tuple((name, str(address)) for name, address in self.bound.items())))
