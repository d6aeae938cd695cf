"""A load balancer as Kubernetes has it: an address whose connections go to the pods whose readiness probe succeeds.

It chooses a pod for each new connection and takes no part in it afterwards. It asks every pod's admin port for
``/ready``, and acts on a change of the answer only after a lag: so long it takes until every host knows of it.
"""

from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from tests.sim.world import World

PROBE_INTERVAL_S = 0.5
PROBE_TIMEOUT_S = 1.0
ADMIN_PORT = 8002


class Balancer(BaseMachine):
    """The machine behind one virtual address. ``add`` and ``remove`` pods; the network calls ``choose``."""

    def __init__(self, world: World, lag_s: float = 1.0) -> None:
        super().__init__()
        self.ready: list[str] = []
        """The addresses of the pods that connections go to, in the order in which they became ready."""
        self._world = world
        self._lag_s = lag_s
        self._pods: dict[str, _Pod] = {}
        self._turn = 0

    def add(self, address: str, now: float) -> None:
        """Probe a pod from now on."""
        if address not in self._pods:
            self._pods[address] = pod = _Pod(self, address)
            self.timers.schedule(now + PROBE_INTERVAL_S * self._world.random.random(), pod.probe)

    def remove(self, address: str, now: float) -> None:
        """The pod is deleted for good."""
        pod = self._pods.pop(address, None)
        if pod is not None:
            pod.delete(now)

    def choose(self, port: int) -> str:
        """Return the address of the pod whose turn it is; empty if none is ready."""
        if not self.ready:
            return ""
        self._turn += 1
        return self.ready[self._turn % len(self.ready)]

    def change(self, address: str, *, ready: bool) -> None:
        """Act on the answer of a probe a while later."""
        self._world.after(self._lag_s * (0.7 + 0.6 * self._world.random.random()), self._publish, address, ready)

    def _publish(self, address: str, ready: bool) -> None:
        pod = self._pods.get(address)
        if ready and pod is not None and pod.is_ready and address not in self.ready:
            self.ready.append(address)
        elif not ready and address in self.ready and (pod is None or not pod.is_ready):
            self.ready.remove(address)


class _Pod:
    """One pod as the balancer sees it, and the probe that is under way."""

    def __init__(self, balancer: Balancer, address: str) -> None:
        self.is_ready = False
        self._balancer = balancer
        self._address = address
        self._answer = b""
        self._channel: TcpChannel | None = None
        self._deleted = False

    def probe(self, now: float) -> None:
        """Ask for readiness; a pod that does not answer in time is not ready."""
        if self._channel is not None:
            self._channel.abort()
            self._channel = None
            self.seen(False, now)
        self._answer = b""
        if self._deleted:
            return
        self._balancer.timers.schedule(now + PROBE_INTERVAL_S, self.probe)
        self._balancer.connect(self._address, ADMIN_PORT, PROBE_TIMEOUT_S, self)

    def seen(self, ready: bool, now: float) -> None:
        """The pod has answered, or failed to."""
        if ready is not self.is_ready and not (ready and self._deleted):
            self.is_ready = ready
            self._balancer.change(self._address, ready=ready)

    def delete(self, now: float) -> None:
        """End the probes."""
        self._deleted = True
        self.seen(False, now)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        if self._channel is not None:
            self._channel.abort()
        self._channel = channel
        channel.user = self
        channel.send(b"GET /ready HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % self._address.encode())

    def on_connect_failed(self, reason: str, now: float) -> None:
        self.seen(False, now)

    def on_data(self, data: Piece, now: float) -> None:
        self._answer += bytes(data)
        if len(self._answer) >= 12 and self._channel is not None:
            self._channel.close()
            self._channel = None
            self.seen(self._answer[9:12] == b"200", now)

    def on_eof(self, now: float) -> None:
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self.seen(False, now)

    def on_writable(self, now: float) -> None:
        pass
