"""Which upstream takes a request: a tunnel of this node, or another node; and what happens when it fails.

A tunnel here is better than another node, and one that does not fail at present is better than both. A request that
failed in a way that permits it (``proxy.failures``) goes to an upstream that was not tried yet, as long as the budget
of its endpoint lasts. Where no upstream is left, the request waits if a route may come within a moment
(``routeless``), or is answered with the last failure.
"""

from collections.abc import Callable
from typing import Protocol

from pico_core.cluster.health import STALL_S, Health
from pico_core.cluster.view import HTTP, TCP, RemoteNode, claimed
from pico_core.config.server import ServerConfig
from pico_core.machine.parts import Logger
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import MAX_TRIES, Exchange
from pico_core.proxy.failures import (
    AGENT_NOT_ASKED,
    AGENT_SILENT,
    BUSY,
    HTTP_ENDPOINT,
    MISDIRECTED,
    NO_ROUTE,
    NODE_LOST,
    NODE_UNREACHABLE,
    STALE_ROUTE,
    TCP_ENDPOINT,
    TUNNEL_LOST,
    Evidence,
)
from pico_core.proxy.kept import KeptUpstream
from pico_core.proxy.reasons import CLIENT_GONE
from pico_core.proxy.replay import MAX_REPLAY_BYTES
from pico_core.proxy.states import CHOOSING, PIPED, REQUESTED, RESPONDING
from pico_core.server.crowding import Crowding
from pico_core.server.facts import Facts
from pico_core.server.peers import Peers
from pico_core.server.retries import RetryBudget
from pico_core.server.routeless import Routeless
from pico_core.server.tunnels import TunnelConnection
from pico_core.timers import NEVER, Timers

LOST_ROUTES = frozenset(failure.reason for failure in (TUNNEL_LOST, NODE_LOST, NODE_UNREACHABLE, STALE_ROUTE))
"""Failures of the way to a service: another way may be known soon."""

STALL_CHECK_S = STALL_S / 2
"""How often stalls are looked for: one is found after one and a half times ``STALL_S`` at the latest."""

MAX_SILENT_CHECKS = 6
"""For so many checks a raw connection waits for an agent that gives no sign of life, where there is no other: 3 s."""


class RoutingHost(Logger, Protocol):
    """The part of the machine that routing needs."""

    timers: Timers


class Routing:
    """Chooses for every request of the proxy port. ``send`` is the router's: it forwards to an acquired upstream."""

    def __init__(
        self,
        host: RoutingHost,
        facts: Facts,
        peers: Peers,
        send: Callable[[Exchange, KeptUpstream, float], None],
        fields: Callable[[Exchange], bytes],
    ) -> None:
        """``fields`` returns the field lines that a request to another node gets."""
        self.routeless = Routeless(host, facts.waiting, self.route, self._give_up_waiting)
        self.crowding = Crowding(host, facts.registry, self._use_room, self._give_up_busy)
        self._host = host
        self._facts = facts
        self._peers = peers
        self._send = send
        self._fields = fields
        self._registry = facts.registry
        self._view = facts.view
        self._metrics = facts.metrics
        self._budget = RetryBudget()
        self._watching = False
        self.configure(facts.config)

    def configure(self, config: ServerConfig) -> None:
        """Go by ``config`` from now on."""
        self.routeless.configure(config.proxy)
        self._response_timeout_s = config.proxy.timeout_s

    # --- what the router passes on ---

    def begin(self, exchange: Exchange, now: float) -> None:
        """Choose an upstream for a new request."""
        if self._budget.left:
            self._budget.request(exchange.endpoint)
        if not self._watching:
            self._watching = True
            self._host.timers.schedule(now + STALL_CHECK_S, self._find_stalls)
        self.route(exchange, now)

    def failed(self, exchange: Exchange, now: float) -> None:
        """Note the failure, and avoid the upstream for a moment if it is the cause: one that answered so far is not."""
        failure, route = exchange.failure, exchange.route
        if failure is None:
            return
        self._metrics.failures[failure.reason] += 1
        exchange.story = (*exchange.story, (failure, route))
        if failure.blames_upstream and exchange.state is not RESPONDING:
            self._blame(route, exchange.endpoint, now)

    def retry(self, exchange: Exchange, now: float) -> None:
        """Choose an upstream that was not tried yet. Only where there is one, the budget is asked for it."""
        exchange.avoid = (*exchange.avoid, exchange.route)
        may_hop = not self.was_forwarded(exchange)
        if not self._budget.has_left(exchange.endpoint) and self._is_known(
            exchange, exchange.avoid, now, may_hop=may_hop, healthy=False
        ):
            self._metrics.retries_denied += 1
            exchange.give_up(now)
        else:
            self.route(exchange, now)

    def _is_known(
        self, exchange: Exchange, avoid: tuple[object, ...], now: float, *, may_hop: bool, healthy: bool
    ) -> bool:
        """Return whether an upstream is known that is not among ``avoid``; other nodes only with ``may_hop``."""
        endpoint, raw = exchange.endpoint, exchange.acceptance is not None
        return self._registry.choose(endpoint, avoid, now, healthy=healthy) is not None or (
            may_hop and self._view.choose(endpoint, avoid, now, raw=raw, healthy=healthy) is not None
        )

    def _count_retry(self, exchange: Exchange) -> None:
        """Count a request that is sent a second time."""
        self._metrics.retries += 1
        self._budget.take(exchange.endpoint)

    def answered(self, exchange: Exchange, now: float) -> None:
        """The upstream has answered. One that was failing and answers quickly works again."""
        route = exchange.route
        if type(route) is TunnelConnection:
            if exchange.state is PIPED:
                self.crowding.raw(exchange)
            route.answered_at = now
            if route.health is not None and now - exchange.started_at < STALL_S:
                route.health = None
        elif type(route) is RemoteNode and exchange.endpoint in route.endpoints:  # else nothing would remove it again
            route.answered_at[exchange.endpoint] = now
            if route.health and now - exchange.started_at < STALL_S:
                route.health.pop(exchange.endpoint, None)

    def finished(self, exchange: Exchange, now: float) -> None:
        """A request is over."""
        if self.routeless.waiting:
            self.routeless.forget(exchange)
        if self.crowding.waiting or self.crowding.raws:
            self.crowding.finished(exchange)
        if exchange.failure is None and exchange.route is not None and exchange.status != CLIENT_GONE:
            self.answered(exchange, now)

    def was_forwarded(self, exchange: Exchange) -> bool:
        """Return whether the request has made its one hop already.

        Where the cluster has a key, a node that could not prove itself counts too, by its address: else two nodes whose
        keys differ would send a request in circles. It gains nothing by that.
        """
        return exchange.is_from_node or (
            exchange.head.forwarded and self._view.is_member(exchange.downstream.client.host)
        )

    def is_from_node(self, exchange: Exchange) -> bool:
        """Decide whether a node of the cluster has forwarded the request: what it says of the client is true then.

        ``exchange.is_from_node`` keeps the answer. Where the cluster has no key, an address has to do. That of a
        trusted proxy does not: a proxy passes on what its clients say of themselves.
        """
        head, client = exchange.head, exchange.downstream.client
        if not head.forwarded:
            return False
        gossip = self._facts.gossip
        if gossip.is_sealed:
            if client.is_node is None and head.proof:
                self._note_proof(client, is_node=gossip.takes_proof(head.proof, exchange.started_at))
            return bool(client.is_node)
        is_member = self._view.is_member(client.host)
        if is_member and client.is_proxy and client.is_node is None:
            self._note_proof(client, is_node=False)
        return is_member and not client.is_proxy

    def _note_proof(self, client: ClientFacts, *, is_node: bool) -> None:
        """Keep whether a peer is a node, as its first proof shows; warn of one that is not."""
        client.is_node = is_node
        if not is_node:
            self._host.warn("proxy", "a request says that a node forwarded it, without proof", client=client.host)

    def is_proved(self, exchange: Exchange) -> bool:
        """Return whether it is proved that a Pico node has forwarded the request, and so has asked its policies."""
        return self._facts.gossip.is_sealed and exchange.head.forwarded_by_pico and exchange.is_from_node

    def is_told_failures(self, exchange: Exchange) -> bool:
        """Return whether the request comes from a Pico node, which understands what only nodes tell each other.

        A client may be told it too, so without a key the address of a member is enough.
        """
        return exchange.head.forwarded_by_pico and (
            exchange.is_from_node
            or (not self._facts.gossip.is_sealed and self._view.is_member(exchange.downstream.client.host))
        )

    # --- choosing ---

    def route(self, exchange: Exchange, now: float) -> None:
        """Send the request to the best upstream that was not tried yet."""
        tunnel = self._registry.choose(exchange.endpoint, exchange.avoid, now, healthy=True)
        if tunnel is not None and tunnel.health is not None and not _is_kept(exchange):
            tunnel = self._registry.choose(exchange.endpoint, self._proving(exchange), now, healthy=True)
        if tunnel is not None and self._use_tunnel(exchange, tunnel, now):
            return
        may_hop = not self.was_forwarded(exchange)
        if may_hop and self._use_node(exchange, now, healthy=True):
            return
        for _ in range(MAX_TRIES):
            tunnel = self._registry.choose(exchange.endpoint, exchange.avoid, now)
            if tunnel is None:
                break
            is_silent = tunnel.health is not None and tunnel.health.is_silent
            if is_silent and not may_hop and self._works_elsewhere(exchange, tunnel, now):
                self._metrics.failures[AGENT_NOT_ASKED.reason] += 1
                exchange.failure = AGENT_NOT_ASKED
                exchange.give_up(now)
                return
            if self._use_tunnel(exchange, tunnel, now):
                return
        if may_hop and self._use_node(exchange, now, healthy=False):
            return
        self._no_route(exchange, now)

    def _proving(self, exchange: Exchange) -> tuple[object, ...]:
        """Return what to avoid for a request that could not be sent again: also what failed and is being tried out."""
        endpoint = exchange.endpoint
        failing = (each for each in self._registry.members(endpoint) if each.health is not None)
        nodes = (each for each in self._view.serving(endpoint) if endpoint in each.health)
        return (*exchange.avoid, *failing, *nodes)

    def _use_tunnel(self, exchange: Exchange, tunnel: TunnelConnection, now: float) -> bool:
        """Send the request to a tunnel; return whether it speaks what is asked for and had a stream for this client."""
        if tunnel.raw is (exchange.acceptance is None):
            exchange.avoid = (*exchange.avoid, tunnel)
            return False
        crowded = tunnel.in_flight >= tunnel.crowded_at
        if (crowded and not self.crowding.admits(exchange, now)) or not (
            upstream := tunnel.acquire(fresh=exchange.acceptance is not None)
        ):
            exchange.avoid = (*exchange.avoid, tunnel)
            if (crowded or tunnel.is_full) and exchange.failure is None:
                exchange.failure = BUSY
            return False
        exchange.route = tunnel
        exchange.failure = None
        if exchange.tries:
            self._count_retry(exchange)
        if tunnel.health is not None:
            tunnel.health.chosen(now)
        if exchange.acceptance is not None:
            self.crowding.raw(exchange)
        self._metrics.upstream_requests += 1
        self._send(exchange, upstream, now)
        return True

    def _use_node(self, exchange: Exchange, now: float, *, healthy: bool) -> bool:
        """Send the request to another node; return whether there is one."""
        raw = exchange.acceptance is not None
        peer = self._view.choose(exchange.endpoint, exchange.avoid, now, raw=raw, healthy=healthy)
        if healthy and peer is not None and exchange.endpoint in peer.health and not _is_kept(exchange):
            peer = self._view.choose(exchange.endpoint, self._proving(exchange), now, raw=raw, healthy=True)
        if peer is None:
            return False
        exchange.failure = None
        if exchange.tries:
            self._count_retry(exchange)
        if (health := peer.health.get(exchange.endpoint)) is not None:
            health.chosen(now)
        self._peers.forward(exchange, peer, self._fields(exchange), now)
        return True

    def _no_route(self, exchange: Exchange, now: float) -> None:
        """Every upstream was tried, or there is none: wait if one may come within a moment, else give up."""
        failure = exchange.failure
        if failure is None and self._speaks_otherwise(exchange):
            failure = exchange.failure = TCP_ENDPOINT if exchange.acceptance is None else HTTP_ENDPOINT
            self._metrics.failures[failure.reason] += 1
        if failure is BUSY:
            # A request that was sent before is not held: an agent has refused it as busy.
            if not exchange.tries and self.crowding.hold(exchange, now):
                exchange.avoid = ()
                exchange.stamp(now)
            else:
                self._give_up_busy(exchange, now)
            return
        if failure is not None and failure.evidence is Evidence.LOST_ON_THE_WAY and self._use_again(exchange, now):
            return
        if failure is None or failure.reason in LOST_ROUTES:
            if self._use_leaving(exchange, now):
                return
            if self.was_forwarded(exchange):
                is_stale = failure is None and exchange.head.forwarded_by_pico  # the sender's fault, proved or not
                exchange.failure = MISDIRECTED if is_stale or self.is_told_failures(exchange) else NO_ROUTE
            elif self._may_come(exchange, now) and self.routeless.hold(exchange, now):
                exchange.avoid = ()
                exchange.stamp(now)
                return
            else:
                self._give_up_waiting(exchange, now)
                return
        exchange.give_up(now)

    def _speaks_otherwise(self, exchange: Exchange) -> bool:
        """Return whether tunnels of the endpoint, here or elsewhere, are known to speak the other protocol."""
        other = TCP if exchange.acceptance is None else HTTP
        return any(
            tunnel.registration.protocol == other for tunnel in self._registry.members(exchange.endpoint)
        ) or any(
            claimed(node.claims.get(exchange.endpoint, ""))[0] == other
            for node in self._view.serving(exchange.endpoint)
        )

    def _use_room(self, exchange: Exchange, now: float) -> bool:
        """Send a request that waits to a tunnel here; return whether one has room for it."""
        tunnel = self._registry.choose(exchange.endpoint, (), now)
        if tunnel is not None and self._use_tunnel(exchange, tunnel, now):
            return True
        exchange.avoid = ()
        return False

    def _give_up_busy(self, exchange: Exchange, now: float) -> None:
        self._host.warn("proxy", "no tunnel can take more requests", endpoint=exchange.endpoint)
        self._metrics.failures[BUSY.reason] += not exchange.tries  # a try that failed so was counted then
        exchange.failure = BUSY
        exchange.give_up(now)

    def _use_again(self, exchange: Exchange, now: float) -> bool:
        """Send the request once more to the only tunnel, in which its stream broke; return whether that was done."""
        if exchange.tries > 1:
            return False
        tunnel = self._registry.choose(exchange.endpoint, (), now)
        return tunnel is not None and self._use_tunnel(exchange, tunnel, now)

    def _use_leaving(self, exchange: Exchange, now: float) -> bool:
        """Send a request to a tunnel that leaves, unless it came from a node that can send it elsewhere."""
        tunnel = self._registry.choose_leaving(exchange.endpoint, exchange.avoid, now)
        if tunnel is None or (_is_kept(exchange) and self.is_told_failures(exchange)):
            return False
        return self._use_tunnel(exchange, tunnel, now)

    def _may_come(self, exchange: Exchange, now: float) -> bool:
        facts = self._facts
        return (
            exchange.failure is not None
            or facts.draining
            or now < facts.ready_at + facts.config.proxy.wait_timeout_s
            or self.routeless.was_lost(exchange.endpoint, now)
        )

    def _give_up_waiting(self, exchange: Exchange, now: float) -> None:
        exchange.failure = NO_ROUTE
        self._metrics.failures[NO_ROUTE.reason] += 1
        exchange.give_up(now)

    # --- passive health ---

    def _blame(self, route: object, endpoint: str, now: float) -> None:
        if isinstance(route, TunnelConnection):
            health = route.health = route.health or Health()
        elif isinstance(route, RemoteNode) and endpoint in route.endpoints:
            health = route.health.setdefault(endpoint, Health())
        else:
            return
        health.failed(now)

    def _find_stalls(self, now: float) -> None:
        """Blame upstreams that keep a request waiting and answer none meanwhile."""
        if not self._metrics.requests_in_flight:
            self._watching = False
            return
        self._host.timers.schedule(now + STALL_CHECK_S, self._find_stalls)
        before = now - STALL_S
        for tunnel in self._registry:
            if tunnel.in_flight and tunnel.answered_at <= before:
                self._find_stalled_in(tunnel, before, now)
            elif tunnel.health is not None and tunnel.health.is_silent and not tunnel.probe():
                tunnel.health.heard(now)
        stalled: dict[tuple[RemoteNode, str], None] = {}
        for exchange in self._peers.exchanges:
            node = exchange.route
            if (
                isinstance(node, RemoteNode)
                and self._waits_since(exchange, before)
                and node.answered_at.get(exchange.endpoint, -NEVER) <= before
            ):
                stalled[node, exchange.endpoint] = None
        for node, endpoint in stalled:
            self._blame(node, endpoint, now)

    def _find_stalled_in(self, tunnel: TunnelConnection, before: float, now: float) -> None:
        """Blame a tunnel in which something has waited since ``before``, and send elsewhere what may be sent there."""
        opening = [each for each in tunnel.openings() if self._opens_since(each.exchange, before)]
        waiting = [each for each in tunnel.exchanges() if self._waits_since(each, before)]
        health = tunnel.health
        if not (opening or waiting or (health is not None and health.is_silent)):
            return
        silent_checks = tunnel.probe()
        if opening or waiting:
            self._blame(tunnel, tunnel.endpoint, now)
        health = tunnel.health
        if health is not None and health.is_silent is not bool(silent_checks):
            if silent_checks:
                health.is_silent = True
            else:
                health.heard(now)
        for each in opening:
            if silent_checks > MAX_SILENT_CHECKS or self._works_elsewhere(each.exchange, tunnel, now):
                each.abandon(now)
        if silent_checks:
            for exchange in waiting:
                if self._works_elsewhere(exchange, tunnel, now):
                    exchange.abandon_upstream(AGENT_SILENT, now)

    def _opens_since(self, exchange: Exchange, instant: float) -> bool:
        """Return whether a stream for raw TCP has waited for its agent since ``instant`` or longer."""
        return exchange.state is CHOOSING and exchange.deadline_at - self._response_timeout_s <= instant

    def _works_elsewhere(self, exchange: Exchange, tunnel: TunnelConnection, now: float) -> bool:
        """Return whether an upstream that works at present was not tried yet for ``exchange``.

        Another node counts as well for a request that a Pico node has forwarded: that node can choose again.
        """
        may_hop = not self.was_forwarded(exchange) or self.is_told_failures(exchange)
        return self._is_known(exchange, (*exchange.avoid, tunnel), now, may_hop=may_hop, healthy=True)

    def _waits_since(self, exchange: Exchange, instant: float) -> bool:
        """Return whether a request has waited for its response, or to be taken further, since ``instant`` or longer."""
        upstream = exchange.upstream
        if exchange.state is not REQUESTED or upstream is None or (not exchange.request_done and upstream.writable):
            return False
        return exchange.deadline_at - self._response_timeout_s <= instant


def _is_kept(exchange: Exchange) -> bool:
    """Return whether all of a request is kept until it is answered, so that it can be sent again."""
    return exchange.request_done or 0 <= exchange.head.content_length <= MAX_REPLAY_BYTES
