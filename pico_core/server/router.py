"""The router of the proxy port: what a request is for, what is added to it, what is counted and logged."""

from collections.abc import Mapping
from typing import Protocol

from pico_core.access.grant import Denied
from pico_core.cluster.view import TCP
from pico_core.config.server import ServerConfig
from pico_core.entropy import Entropy
from pico_core.http.client_lines import FROM_HOST, REQUEST_ID_LINE, UP_TO_HOST
from pico_core.http.message import MessageError, ResponseHead
from pico_core.http.writing import LEAST_ERROR_STATUS, WITHOUT_HOST, error_message
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import AnsweringHost, Emitter, Logger, WallClock
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.answers import Answers
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.endpoint import endpoint_of
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import MISDIRECTED, STATUSES, UPSTREAM_TIMEOUT
from pico_core.proxy.kept import KeptUpstream
from pico_core.proxy.reasons import REASONS, reason_of
from pico_core.proxy.request_id import next_pass, request_ids
from pico_core.proxy.states import PIPED
from pico_core.proxy.tracing import Tracer
from pico_core.proxy.way_check import REACHABLE, REACHABLE_STATUS
from pico_core.server.access import Access
from pico_core.server.ends import serve_client
from pico_core.server.facts import Facts
from pico_core.server.foreseen import foreseen_reason, nodes_with
from pico_core.server.limits import head_limits
from pico_core.server.peers import Peers
from pico_core.server.proxies import TrustedProxies, fields_from_node, fields_from_proxy, request_id_of_proxy
from pico_core.server.routing import Routing
from pico_core.server.tcp_route import OWN_PATHS, TcpOpening, is_way_check, tcp_acceptance, tcp_endpoint


class RouterHost(AnsweringHost, Emitter, Logger, WallClock, Protocol):
    """The part of the machine that the router needs."""

    heads: HeadBudget


class ProxyRouter:
    """A ``RequestSource`` for clients and for other nodes."""

    def __init__(
        self,
        host: RouterHost,
        facts: Facts,
        peers: Peers,
        access: Access,
        proxies: TrustedProxies,
        entropy: Entropy,
    ) -> None:
        config = facts.config
        self._facts = facts
        self._node_id = facts.node_id
        self._ids = request_ids(entropy)
        self._access = access
        self._host = host
        self._proxies = proxies
        self._peers = peers
        self.routing = Routing(host, facts, peers, self._send, self._added_fields)
        self._metrics = facts.metrics
        self._admission = facts.admission
        self._stories = facts.stories
        self.heads = host.heads
        self.timed_out = UPSTREAM_TIMEOUT
        self.closing = False
        self._scheme = b"https" if config.proxy.tls.enabled else b"http"
        self._policies = facts.policies
        self._holding = facts.policies.held
        self._own_texts: dict[Exchange, str] = {}
        """The texts of Pico's own answers, until their exchanges are over."""
        self._openings: dict[Exchange, TcpOpening] = {}
        """The last stream that was opened for each raw connection of a client."""
        tracing = config.tracing
        self._tracer = Tracer(host, tracing, entropy, "tunnel", facts.node_id) if tracing.endpoint else None
        self.configure(config)

    def configure(self, config: ServerConfig) -> None:
        """Go by ``config`` from now on; requests in flight keep their deadlines."""
        proxy = config.proxy
        self._answers = Answers(proxy.error_detail, self._node_id)
        self._allowed_origins = proxy.allowed_origins
        self.head_limits = head_limits(config)
        self.header_timeout_s = proxy.http.read_header_timeout_s
        self.idle_timeout_s = proxy.http.idle_timeout_s
        self.response_timeout_s = proxy.timeout_s
        log_access = proxy.access_log.is_enabled(config.log, "proxy.access")
        self._access_log = AccessLogger(self._host, "proxy.access", "tunnel") if log_access else None
        self.routing.configure(config)

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Serve a client's connection."""
        host = channel.host
        fields = UP_TO_HOST % (host.encode(), self._scheme)
        counts_as_node = None if self._admission.is_unproven(channel) else False
        client = ClientFacts(
            host,
            fields,
            is_proxy=not channel.is_nameless and host in self._proxies,
            place=channel.id,
            counts_as_node=counts_as_node,
        )
        serve_client(channel, self, self._host, client, now)

    def begin(self, exchange: Exchange, now: float) -> None:
        """Find the endpoint and send the request on."""
        self._metrics.requests_in_flight += 1
        head = exchange.head
        client = exchange.downstream.client
        exchange.client_host = client.host
        exchange.request_id = next(self._ids)
        if client.is_proxy or head.forwarded or client.counts_as_node is None:  # nearly none is: spare the call
            self._find_client(exchange)
        if self._tracer is not None:
            self._tracer.begin(exchange)
        try:
            if head.request_id and exchange.request_id != head.request_id:
                exchange.request_id = next_pass(head.request_id, exchange.request_id)
            is_reserved = head.target.startswith(OWN_PATHS)
            endpoint = tcp_endpoint(head) if is_reserved else endpoint_of(head)
            exchange.endpoint = (
                self._access.admit_client(head, endpoint, now) if self._access.guards_proxy else endpoint
            )
            asks_only = is_reserved and is_way_check(head, self._allowed_origins)
            if is_reserved and not asks_only:
                exchange.acceptance = tcp_acceptance(head, self._allowed_origins)
        except (MessageError, Denied) as error:
            exchange.fail(error.status, error.reason, now, reason=error.code)
            return
        if not self._policies.any or self._may_pass(exchange, now):
            if asks_only:
                self._tell_way(exchange, now)
            else:
                self.routing.begin(exchange, now)

    def _tell_way(self, exchange: Exchange, now: float) -> None:
        """Answer whether a connection would reach the endpoint."""
        endpoint, facts = exchange.endpoint, self._facts
        tunnels, nodes = list(facts.registry.members(endpoint)), nodes_with(facts, endpoint)
        reason = foreseen_reason(facts, endpoint, tunnels, nodes, TCP, now)
        status = STATUSES.get(reason, REACHABLE_STATUS)  # the last request may have failed for a reason of its own
        if status == REACHABLE_STATUS:
            exchange.fail(status, REACHABLE, now)
        else:
            exchange.fail(status, REASONS[reason].meaning, now, reason=reason)

    def _may_pass(self, exchange: Exchange, now: float) -> bool:
        """Ask the policy of the endpoint, unless it is proved that another node did; answer if it denies."""
        if self.routing.is_proved(exchange):
            return True
        denial = self._policies.begin(exchange, exchange.client_host, now)
        if denial is None:
            return True
        exchange.fail(denial.status, denial.reason, now, denial.fields)
        return False

    def _find_client(self, exchange: Exchange) -> None:
        """Note whose request it is that another node or a trusted proxy passed on, and under which ID."""
        client, head = exchange.downstream.client, exchange.head
        is_from_node = exchange.is_from_node = self.routing.is_from_node(exchange)
        exchange.is_entry = not self.routing.is_told_failures(exchange)
        if client.counts_as_node is not is_from_node:
            client.counts_as_node = is_from_node
            self._admission.shown(client.place, is_member=is_from_node)
        if is_from_node:
            exchange.client_host = self._proxies.client_behind_node(client.host, head)
            exchange.request_id = head.request_id or exchange.request_id
        elif client.is_proxy:
            exchange.client_host = self._proxies.client_behind(client.host, head)
            exchange.request_id = request_id_of_proxy(head) or exchange.request_id

    def failed(self, exchange: Exchange, now: float) -> None:
        """Count the failure, and avoid the upstream for a moment."""
        self.routing.failed(exchange, now)

    def retry(self, exchange: Exchange, now: float) -> None:
        """Choose another upstream."""
        self.routing.retry(exchange, now)

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """Tell the client, or another Pico node, what failed. Or that nothing would."""
        if status == REACHABLE_STATUS:
            exchange.reason = ""
            return error_message(status, message)
        self._own_texts[exchange] = message
        failure = exchange.failure
        # A node whose key differs has to learn that its route is stale; a client that says it is one may know that.
        if (
            failure is not None
            and failure.reason == exchange.reason
            and (failure is MISDIRECTED or self.routing.is_told_failures(exchange))
        ):
            fields += failure.fields_for_peer()
        return self._answers.make(exchange, status, message, fields)

    def answered(self, exchange: Exchange, now: float) -> None:
        """The upstream has answered, so it works. A raw connection ends when its token expires."""
        self.routing.answered(exchange, now)
        if exchange.state is PIPED and exchange.head.grant is not None:
            exchange.deadline_at = self._access.deadline_at(exchange.head, now)

    def _send(self, exchange: Exchange, upstream: KeptUpstream, now: float) -> None:
        """Send the request to a tunnel's service."""
        if exchange.acceptance is not None:
            self._openings[exchange] = TcpOpening(exchange, exchange.acceptance, upstream, now)
        else:
            exchange.forward(upstream, self._added_fields(exchange), now)

    def _added_fields(self, exchange: Exchange) -> bytes:
        """Return the field lines that tell the service about the client. Nodes and trusted proxies may report it."""
        head = exchange.head
        client = exchange.downstream.client
        if exchange.is_from_node:
            lines = fields_from_node(client.host, head, self._scheme)
        elif client.is_proxy:
            lines = fields_from_proxy(client.host, exchange.client_host, head, self._scheme)
        else:
            return FROM_HOST % (client.fields, head.host or WITHOUT_HOST, exchange.request_id)
        return lines + REQUEST_ID_LINE % exchange.request_id

    def finished(self, exchange: Exchange, now: float) -> None:
        """Count and log an exchange that is over."""
        self._metrics.requests_in_flight -= 1
        if exchange.acceptance is not None and (opening := self._openings.pop(exchange, None)) is not None:
            opening.give_up(now)
        if self._peers.exchanges:  # this one may be among them, wherever its last try went
            self._peers.finished(exchange)
        if self._holding:
            self._policies.finished(exchange)
        self.routing.finished(exchange, now)
        if exchange.status >= LEAST_ERROR_STATUS or exchange.reason:
            detail = self._own_texts.pop(exchange, "")
            self._stories.add(exchange, detail, self._host.wall_s(now), now)
        if exchange.is_entry:
            self._metrics.request(exchange, now)
        else:
            self._metrics.forwarded_requests += 1
        if self._access_log is not None:
            self._access_log.add(exchange, exchange.client_host.encode(), now)
        if self._tracer is not None:
            self._tracer.finished(exchange, now)

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        """Count and log bytes that were not a request."""
        reason = error.code or reason_of(error.status)
        request_id = next(self._ids)
        self._metrics.refused(error.status, reason)
        self._stories.add_refused(error, reason, client.host, request_id, self._host.wall_s(now))
        if self._access_log is not None:
            self._access_log.add_refused(error.status, client.host.encode(), reason, request_id)
        return *self._answers.say(reason, request_id), request_id
