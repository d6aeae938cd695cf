"""A server node in the hands of the program."""

from pico_core.boundary import Exit
from pico_driver.embedding.errors import ClosedError
from pico_driver.embedding.hub import Hub


class Node:
    """A node that serves while its block runs. ``serve_node`` makes it. Addresses are ``host:port``."""

    def __init__(self, hub: Hub, node_id: str, *, is_secure: bool) -> None:
        """``is_secure`` says that the proxy port and the upstream port speak TLS."""
        self.node_id = node_id
        self._hub = hub
        self._scheme = "https" if is_secure else "http"

    def __repr__(self) -> str:
        state = "stopped" if self._hub.closed.is_set() else f"{self.proxy_url}, upstream {self.upstream_url}"
        return f"<Node {self.node_id!r} {state}>"

    def address_of(self, port: str) -> str:
        """Where the port of that name listens. Raises ``KeyError`` if the node has none."""
        return self._hub.addresses[port]

    @property
    def proxy_address(self) -> str:
        """Where clients connect."""
        return self.address_of("proxy")

    @property
    def upstream_address(self) -> str:
        """Where agents connect."""
        return self.address_of("upstream")

    @property
    def admin_address(self) -> str:
        """Where operators connect."""
        return self.address_of("admin")

    @property
    def gossip_address(self) -> str:
        """Where other nodes join."""
        return self.address_of("gossip")

    @property
    def proxy_url(self) -> str:
        """The URL for clients, and for ``dial``."""
        return f"{self._scheme}://{self.proxy_address}"

    @property
    def upstream_url(self) -> str:
        """The URL for agents, and for ``connect``."""
        return f"{self._scheme}://{self.upstream_address}"

    async def wait_closed(self) -> None:
        """Wait until the node has stopped."""
        await self._hub.closed.wait()


async def ready(hub: Hub) -> None:
    """Wait until a node serves, or an inspector. Raises ``ClosedError`` that says why if it does not come to that."""
    await hub.served.wait()
    if not hub.addresses:
        outcome = hub.outcome
        raise ClosedError(outcome.message if isinstance(outcome, Exit) else "the machine has ended")
