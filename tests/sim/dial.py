"""The opening of a TCP connection: names, virtual addresses, SYN, refusal and timeout."""

from typing import TYPE_CHECKING

from tests.sim.network import Network
from tests.sim.tcp import End

if TYPE_CHECKING:
    from tests.sim.process import Process


class Dial:
    """A connection being opened: names resolved, addresses tried one after the other, all within one timeout."""

    def __init__(self, network: Network, process: "Process", number: int, host: str, port: int) -> None:
        self._network = network
        self._process = process
        self._number = number
        self._port = port
        self._host = host
        self._addresses: list[str] = []
        self._reason = "no address"
        self.over = False

    def begin(self, timeout_s: float) -> None:
        """Begin. Next: the process is told by ``dialed`` or ``dial_failed``."""
        self._network.world.after(timeout_s, self._time_out)
        if self._host.replace(".", "").isdigit():
            self._resolved((self._host,), "")
        else:
            self._network.names.look_up(self._host, self._process.host.address, timeout_s, self._resolved)

    def _resolved(self, addresses: tuple[str, ...], error: str) -> None:
        self._addresses = list(addresses)
        self._reason = error or self._reason
        self._next_address()

    def _next_address(self) -> None:
        if self.over:
            return
        if not self._addresses:
            self._fail(self._reason)
            return
        address = target = self._addresses.pop(0)
        virtual = self._network.virtual.get(address)
        if virtual is not None:
            target = virtual.choose(self._port)
            if not target:
                self._reason = "connection refused"
                self._next_address()
                return
        self._knock(address, target, 1.0)

    def _knock(self, address: str, target: str, again_s: float) -> None:
        """Send SYN."""
        if not self.over:
            self._network.world.after(self._network.segment_delay_s(), self._syn_arrives, address, target, again_s)

    def _syn_arrives(self, address: str, target: str, again_s: float) -> None:
        network, world = self._network, self._network.world
        own = self._process.host.address
        if self.over:
            return
        if network.blocked(own, target) or network.blocked(target, own):
            world.after(again_s, self._knock, address, target, 2 * again_s)
            return
        listening = network.hosts[target].listeners.get(self._port)
        if listening is None:
            world.sometimes["connection refused"] += 1
            self._reason = "connection refused"
            world.after(network.delay_s(), self._next_address)
            return
        process, listener = listening
        end = End(network, self._process, self._number, own)
        end.peer = process.accept(end, listener, target)
        delay_s = network.delay_s()
        end.peer.not_before(world.now + delay_s)
        world.after(delay_s, self._open, end, address)

    def _open(self, end: End, address: str) -> None:
        if self.over:
            end.refuse()
        else:
            self.over = True
            self._process.dialed(end, address, self._port)

    def _time_out(self) -> None:
        if not self.over:
            self._network.world.sometimes["connection timed out"] += 1
            self._fail("timed out")

    def _fail(self, reason: str) -> None:
        self.over = True
        self._process.dial_failed(self._number, reason)
