"""The conditions that hold while a deployment runs, and those that hold a bounded time after the last fault."""

from pico_core.cluster.view import RemoteNode
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.wire.records import Entry
from tests.sim.client import Load, Request
from tests.sim.deployment import Deployment, Observed, Server
from tests.sim.hostile_peers import is_refused_in_time
from tests.sim.network import NameFaults

CHECK_INTERVAL_S = 1.0

DEAD_KNOWN_S = 15.0
"""So long after a node died, and after the observer was last disturbed, the observer must not take it for alive."""

FORGOTTEN_S = 90.0
"""A node is forgotten 60 s after it was found dead or left; no table may hold it for much longer."""

GRACE_AFTER_DEATH_S = 1.0
"""For so long after a process died, bytes that it sent before may still arrive."""

LATE_S = 3.0
"""For so long after a process died, or its observer was paused, a whole message that it sent may be taken for new."""


class Checks:
    """Watches a deployment: ``step`` every second of virtual time, ``rest_problem`` when all faults have ended."""

    def __init__(self, deployment: Deployment, *, mild: bool = False) -> None:
        """``mild``: the faults are so small that no live node may be called unreachable."""
        self._deployment = deployment
        self._world = deployment.world
        self._mild = mild
        self._read = 0
        self._found_dead: dict[tuple[str, str], None] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._seen_dead_at: dict[tuple[str, str], float] = {}
        self._in_order_since: float | None = None
        self._requests_read: dict[int, int] = {}
        self._world.after(CHECK_INTERVAL_S, self._step)

    def _step(self) -> None:
        self.step()
        if self.order_problem() or self._connection_problem():
            self._in_order_since = None
        elif self._in_order_since is None:
            self._in_order_since = self._world.now
        self._world.after(CHECK_INTERVAL_S, self._step)

    def step(self) -> None:
        """Check the events since the last step, and all tables of all servers."""
        if not self._deployment.network.is_whole:
            self._deployment.disturb()
        self._read_events()
        for observer in self._deployment.alive():
            if observer.process.paused:
                continue
            for remote in observer.node.facts.view:
                owner = self._deployment.history.get(remote.id)
                if owner is None:
                    raise self._world.violation(f"{observer.id} knows {remote.id}, which never existed")
                self._check_status(observer, remote, owner)
                self._check_entries(observer, owner)

    # --- I4, I6, I8: the events of each node ---

    def _read_events(self) -> None:
        observed = self._deployment.observed
        for event in observed[self._read :]:
            owner = self._deployment.history.get(str(event.fields.get("node", "")))
            if owner is not None:
                self._check_event(event, owner)
        self._read = len(observed)

    def _check_event(self, event: Observed, owner: Server) -> None:
        pair = (event.observer, owner.id)
        world = self._world
        dead_for_s = event.time - owner.ended_at if owner.ended_at is not None else -1.0
        if event.message == "node left":
            if not owner.left:
                raise world.violation(f"I8: {event.observer} takes {owner.id} for left, which was not asked to stop")
            self._found_dead[pair] = None
        elif event.message == "node forgotten":
            self._versions.pop(pair, None)
        elif event.message == "node unreachable":
            if dead_for_s < 0:
                self._live_called_unreachable(event, owner)
            else:
                self._found_dead[pair] = None
        elif event.message in ("node joined", "node reachable") and dead_for_s > GRACE_AFTER_DEATH_S:
            if pair in self._found_dead:
                raise world.violation(f"I4: {owner.id} is dead and comes back at {event.observer}: {event.message}")
            observer = self._deployment.history[event.observer]
            if event.time - max(observer.paused_until, owner.ended_at or 0.0) > LATE_S:
                raise world.violation(f"I4: {event.observer} takes {owner.id} for alive, which died before")
            world.sometimes["late message of a dead node"] += 1

    def _live_called_unreachable(self, event: Observed, owner: Server) -> None:
        self._world.sometimes["live node called unreachable"] += 1
        if self._mild:
            raise self._world.violation(f"I6: {event.observer} calls {owner.id} unreachable, which is alive")

    # --- I7, I10, I11: the status of each node at each other one ---

    def _check_status(self, observer: Server, remote: RemoteNode, owner: Server) -> None:
        if owner.ended_at is None:
            return
        now = self._world.now
        pair = (observer.id, owner.id)
        since = now - max(owner.ended_at, observer.disturbed_at)
        if remote.status is NodeStatus.ACTIVE:
            self._seen_dead_at.pop(pair, None)
            if since > DEAD_KNOWN_S:
                raise self._world.violation(f"I7: {observer.id} takes {owner.id} for alive, dead since {since:.1f} s")
        else:
            seen_at = self._seen_dead_at.setdefault(pair, now)
            if now - max(seen_at, observer.disturbed_at) > FORGOTTEN_S:
                raise self._world.violation(f"I10: {observer.id} has not forgotten {owner.id}")
        for endpoint in remote.endpoints:
            chosen = self._chosen(observer, endpoint)
            if chosen == owner.id and since > DEAD_KNOWN_S:
                raise self._world.violation(f"I11: {observer.id} routes {endpoint} to {owner.id}, which is dead")

    def _chosen(self, observer: Server, endpoint: str) -> str:
        """Return the one node that a lookup can return; empty if there are several or none.

        The lookup itself would draw from the node's entropy.
        """
        view = observer.node.facts.view
        serving = [node for node in view if endpoint in node.endpoints and node.status is NodeStatus.ACTIVE]
        return serving[0].id if len(serving) == 1 else ""

    # --- I1, I2, I3: the entries of each node at each other one ---

    def _check_entries(self, observer: Server, owner: Server) -> None:
        held, own = _entries(observer, owner.id), _entries(owner, owner.id)
        if not held or not own:
            return
        pair = (observer.id, owner.id)
        version, own_version = held[-1].version, own[-1].version
        if version > own_version:
            raise self._world.violation(
                f"I1: {observer.id} holds version {version} of {owner.id}, which has written {own_version}"
            )
        if version < self._versions.get(pair, 0):
            raise self._world.violation(f"I3: {observer.id} went back to version {version} of {owner.id}")
        self._versions[pair] = version
        by_key = {entry.key: entry for entry in held}
        for entry in own:
            if entry.version <= version and by_key.get(entry.key) != entry:
                raise self._world.violation(
                    f"I2: {observer.id} at version {version} of {owner.id} lacks {entry}, has {by_key.get(entry.key)}"
                )

    # --- at rest ---

    def view_problem(self) -> str:
        """Return which live node does not know another one, or its endpoints, correctly; empty if all do."""
        alive = self._deployment.serving()
        for observer in alive:
            view = observer.node.facts.view
            for other in alive:
                if other is observer:
                    continue
                seen = view.get(other.id)
                if seen is None or seen.status is not NodeStatus.ACTIVE:
                    return f"{observer.id} sees {other.id} as {seen.status.value if seen else 'unknown'}"
                if seen.proxy_addr is None or seen.proxy_addr.host != other.host.address:
                    return f"{observer.id} knows {other.id} at {seen.proxy_addr}"
                if self._deployment.undisputed(seen.endpoints) != self._deployment.tunnels_of(other):
                    return f"{observer.id} sees {seen.endpoints} at {other.id}"
            for seen in view:
                if seen.status is NodeStatus.ACTIVE and not self._deployment.history[seen.id].alive:
                    return f"{observer.id} sees {seen.id} as active, which is dead"
        return ""

    def alive_for_some_node(self, gone: Server) -> str:
        """Return a node that still takes a server for alive that has ended; empty if there is none."""
        for observer in self._deployment.alive():
            seen = observer.node.facts.view.get(gone.id)
            if seen is not None and seen.status is NodeStatus.ACTIVE:
                return f"{observer.id} takes {gone.id} for alive"
        return ""

    def tunnel_problem(self) -> str:
        """Return an endpoint of an agent that has too few tunnels on all nodes, or too many; empty if none.

        An agent whose tunnels fill has further ones.
        """
        wanted: dict[str, int] = {}
        for agent in self._deployment.agents.values():
            if agent.serving:
                for endpoint in self._deployment.undisputed(dict.fromkeys(agent.endpoints, 1)):
                    wanted[endpoint] = wanted.get(endpoint, 0) + max(agent.listener_count(endpoint), 1)
        found: dict[str, int] = {}
        for server in self._deployment.alive():
            for endpoint, count in self._deployment.tunnels_of(server).items():
                found[endpoint] = found.get(endpoint, 0) + count
        for endpoint, count in wanted.items():
            if found.get(endpoint, 0) != count:
                return f"{endpoint} has {found.get(endpoint, 0)} tunnels, wanted are {count}"
        return "" if len(found) == len(wanted) else f"there are tunnels for {found}, wanted is {wanted}"

    def route_problem(self) -> str:
        """Return an endpoint that some node has no route to (the second half of I11); empty if none."""
        for server in self._deployment.serving():
            tunnels = self._deployment.tunnels_of(server)
            for endpoint in self._deployment.wanted_endpoints():
                if self._deployment.is_disputed(endpoint):
                    continue
                local = endpoint in tunnels
                if not local and not self._chosen_any(server, endpoint):
                    return f"{server.id} has no route to {endpoint}"
        return ""

    def _chosen_any(self, server: Server, endpoint: str) -> bool:
        view = server.node.facts.view
        return any(endpoint in node.endpoints and node.status is NodeStatus.ACTIVE for node in view)

    def rest_problem(self) -> str:
        """Return the first problem of the servers, their tunnels, views and routes; empty if there is none."""
        for server in self._deployment.servers.values():
            if not self._deployment.is_running(server):
                return f"{server.id} is {server.node.facts.state.value}"
        return self.tunnel_problem() or self.view_problem() or self.route_problem()

    def order_problem(self) -> str:
        """Return the first problem of the deployment and everything around it; empty if there is none."""
        deployment = self._deployment
        if not deployment.network.is_whole or deployment.names.faults != NameFaults():
            return "the network or its names are in trouble"
        processes = [server.process for server in deployment.alive()]
        processes += [agent.process for agent in deployment.agents.values()]
        for process in processes:
            if process.paused:
                return f"{process.name} is paused"
        if deployment.issuer is not None and self._world.now < deployment.issuer.late_until:
            return "tokens were renewed late"
        serving = [server.host.address for server in deployment.serving()]
        if sorted(serving) != sorted(deployment.balancer.ready):
            return f"the balancer chooses from {deployment.balancer.ready}"
        if any(not agent.serving for agent in deployment.agents.values()):
            return "an agent is missing"
        return self.rest_problem()

    def _connection_problem(self) -> str:
        """Return a broken connection that its server may still use, because it cannot know yet that it is broken."""
        for server in self._deployment.alive():
            tunnels = [
                tunnel.channel.id
                for tunnel in server.node.facts.tunnels
                if not self._deployment.is_disputed(tunnel.endpoint)
            ]
            for number, end in server.process.ends.items():
                if end.is_broken and (number % 2 == 0 or number in tunnels):
                    return f"connection {number} of {server.id} is broken"
        return ""

    def check_requests(self) -> None:
        """Check that every request succeeded that began and ended while everything was in order.

        One that ended on a client's old connection to a host without power is not the servers' fault.
        Next: an operation that disturbs the deployment.
        """
        since = self._in_order_since
        for index, client in enumerate(self._deployment.clients):
            if client.load.any_answer:
                continue
            for request in client.requests[self._requests_read.get(index, 0) :]:
                if since is not None and request.began_at > since and request.outcome not in ("", "ok", "quit"):
                    was_attacked = request.began_at < self._deployment.attacked_until
                    if was_attacked and is_refused_in_time(request):
                        self._world.sometimes["request refused under attack"] += 1
                        continue
                    if not request.host_was_dark:
                        raise self._world.violation(f"with everything in order since {since:.3f} s: {request}")
                    self._world.sometimes["request on an old connection to a dark host"] += 1
                self._world.sometimes["request while everything was in order"] += since is not None
            self._requests_read[index] = len(client.requests)
        self._in_order_since = None

    def check_leaks(self) -> None:
        """Check that no server holds a part of a request after all clients have ended theirs.

        A server may hold a connection whose other end is gone without a FIN or RST that arrived, and the requests on
        it, for ever: TCP cannot tell such a connection from a quiet one.
        """
        for server in self._deployment.alive():
            node = server.node
            half_open = sum(end.peer.gone and not end.eof_arrived for end in server.process.ends.values())
            if half_open:
                self._world.sometimes["half-open connection left"] += half_open
                continue
            if node.facts.metrics.requests_in_flight:
                raise self._world.violation(
                    f"{server.id} counts {node.facts.metrics.requests_in_flight} requests in flight"
                )
            for tunnel in node.facts.tunnels:
                if tunnel.in_flight:
                    raise self._world.violation(f"{server.id} counts {tunnel.in_flight} requests in a tunnel")
            if server.process.dialing:
                raise self._world.violation(f"{server.id} still waits for {len(server.process.dialing)} connections")

    def check_every_route(self) -> list[Request]:
        """Ask every node for every HTTP endpoint, and check that every answer is right."""
        deployment, world = self._deployment, self._world
        endpoints = [name for name, protocol in deployment.wanted_endpoints().items() if protocol == "http"]
        addresses = [server.host.address for server in deployment.serving()]
        client = deployment.add_client(endpoints, Load(rate=0.0), addresses)
        asked: list[Request] = []

        def ask(now: float) -> None:
            asked.extend(client.ask(target, endpoint, now) for target in client.targets for endpoint in endpoints)

        client.process.call(ask)
        world.run(5.0)
        for request in asked:
            if request.outcome != "ok":
                raise world.violation(f"with everything in order: {request}")
        return asked


def _entries(holder: Server, node_id: str) -> list[Entry]:
    return holder.node.facts.gossip.entries(node_id) or []
