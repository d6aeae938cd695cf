"""What the parts of a server know of the node, in one record."""

from enum import Enum


class NodeState(Enum):
    """Where a node stands; ``server.node`` has the drawing."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"
