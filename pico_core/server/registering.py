"""The handshake of a tunnel on the server's side: an agent asks for an endpoint, and gets it or is refused."""

import re
from collections.abc import Callable

from pico_core import __version__
from pico_core.access.grant import Denied
from pico_core.cluster.view import HTTP
from pico_core.config.server import ServerConfig
from pico_core.config.values import is_loopback
from pico_core.errors import ConfigError
from pico_core.gossip.state import MAX_ENDPOINTS
from pico_core.http.message import RequestHead
from pico_core.machine.parts import WallClock
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.proxy.endpoint import endpoint_in_path, is_host_label
from pico_core.server.access import Access, Permission
from pico_core.server.address_rate import AddressRate
from pico_core.server.agreement import Agreement, Term
from pico_core.server.claims import Registration
from pico_core.server.facts import Facts
from pico_core.server.tenants import split
from pico_core.server.web_pages import check_origin
from pico_core.timers import NEVER
from pico_core.tunnel.agreement import (
    FIRST_WINDOW,
    MAX_STREAMS,
    NODE,
    SECOND_AGENT,
    URL,
    VERSION,
    WORKERS,
    offered_first_window_bytes,
)
from pico_core.websocket.handshake import HandshakeError, accept_handshake
from pico_core.websocket.refusal import Refusal

PATH = re.compile(rb"/(?:pico|piko)/v1/upstream/([^/?#]+)")
"""Piko's agents use its spelling, which ours use too, since they may talk to a Piko server."""

MAX_STREAMS_HEADER = re.compile(rb"(?im)^x-pico-max-streams:[ \t]*([0-9]{1,7})[ \t]*\r$")
"""How many streams the agent takes; absent where it is not one of ours."""

INSTANCE_HEADER = re.compile(rb"(?im)^x-pi[ck]o-instance:[ \t]*([!-~]{1,64})[ \t]*\r$")

ENDPOINTS_FULL = f"this node serves {MAX_ENDPOINTS} endpoints and takes no further one; connect again, or add nodes"
FULL_RETRY_S = 10
"""The seconds an agent is told to wait where there is no room: places become free when others leave, which is rare."""

LEAD_S = 10.0
"""How long before its token expires an agent is asked to open a new tunnel, for which it may have a newer token."""


class Registrar:
    """Decides about registrations; see ``register``."""

    def __init__(
        self,
        facts: Facts,
        access: Access,
        clock: WallClock,
        claim: Callable[[Registration], bool],
    ) -> None:
        """``claim`` returns whether to tell the agent that another one serves its endpoint too, or refuses it."""
        self._facts = facts
        self._access = access
        self._clock = clock
        self._claim = claim
        upstream = facts.config.upstream
        self._rate = AddressRate(upstream.registration_rate, upstream.registration_burst)
        self.configure(facts.config)

    def configure(self, config: ServerConfig) -> None:
        """Go by ``config`` from now on; tunnels that are open keep what was agreed on."""
        upstream = config.upstream
        self._allowed_origins = upstream.allowed_origins
        self._max_streams = upstream.max_streams
        self._rate.configure(upstream.registration_rate, upstream.registration_burst)

    def register(self, head: RequestHead, head_bytes: bytes, client: str, now: float) -> Agreement:
        """Return the features to agree on with an agent whose request head has come from the address ``client``.

        Raises ``HandshakeError``.
        """
        match = PATH.fullmatch(head.target.partition(b"?")[0])
        if match is None:
            raise HandshakeError(404, "not found: agents connect to /pico/v1/upstream/{endpoint}")
        try:
            endpoint = endpoint_in_path(match[1])
        except ConfigError as error:
            raise HandshakeError(400, f"endpoint: {error}", Refusal.FINAL) from None
        check_origin(head_bytes, self._allowed_origins, "upstream.allowed_origins")
        if self._facts.draining:
            raise HandshakeError(503, "this node is about to stop; connect again", Refusal.LEAVING, code="draining")
        self._take(self._rate.take(client, now), "too many registrations from this address")
        permitted = self._permitted(head, endpoint, now)
        first_bytes = offered_first_window_bytes(head_bytes)
        agreed = () if first_bytes == INITIAL_WINDOW_BYTES else (FIRST_WINDOW,)
        response = accept_handshake(head_bytes, agreed)
        found = INSTANCE_HEADER.search(head_bytes)
        instance = found[1] if found else b""
        self._limit(permitted, instance, now)
        registration = Registration.read(head_bytes, permitted.endpoint, client, permitted.owner)
        told = self._told(registration)
        if self._claim(registration):
            told.append(SECOND_AGENT)
        announced = MAX_STREAMS_HEADER.search(head_bytes)
        max_streams = min(self._max_streams, int(announced[1])) if announced else self._max_streams
        if announced:
            told.append((MAX_STREAMS, b"%d" % max_streams))
        response = b"%b%b\r\n" % (response[:-2], b"".join(b"%b: %b\r\n" % each for each in told))
        return Agreement(
            registration=registration,
            endpoint=permitted.endpoint,
            tenant=permitted.tenant,
            instance=instance,
            is_pico=announced is not None,
            max_streams=max_streams,
            first_window_bytes=first_bytes,
            term=self._term(permitted.expires_at, now),
            response=response,
        )

    def _term(self, expires_at: float, now: float) -> Term | None:
        if expires_at == NEVER:
            return None
        is_long = expires_at - self._clock.wall_s(now) >= 2 * LEAD_S
        return Term(expires_at, expires_at - LEAD_S if is_long else expires_at)

    def _told(self, registration: Registration) -> list[tuple[bytes, bytes]]:
        """Return the fields that tell the agent where clients reach its endpoint, and which node answers."""
        facts = self._facts
        told = [(NODE, facts.node_id.encode()), (VERSION, __version__.encode())]
        if facts.worker is not None:
            told.append((WORKERS, b"%d" % facts.worker.count))
        tenant, endpoint = split(registration.endpoint)
        template = facts.config.proxy.public_url
        if not template and is_loopback(registration.client) and "proxy" in facts.addresses:
            scheme = "https" if facts.config.proxy.tls.enabled else "http"
            port = (facts.addresses["proxy"] if facts.worker is None else facts.worker.proxy).port
            template = f"{scheme}://{{endpoint}}.localhost:{port}"
        if template and not tenant and registration.protocol == HTTP and is_host_label(endpoint):
            told.append((URL, template.replace("{endpoint}", endpoint).encode()))
        return told

    def _permitted(self, head: RequestHead, endpoint: str, now: float) -> Permission:
        try:
            return self._access.admit_agent(head, endpoint, now)
        except Denied as denied:
            refusal = Refusal.FINAL if denied.status == 401 else Refusal.PASSING
            raise HandshakeError(denied.status, denied.reason, refusal, code=denied.code) from None

    def _limit(self, permitted: Permission, instance: bytes, now: float) -> None:
        """Hold the agent to what its tenant and the node have room for; one that comes again takes no new place."""
        registry = self._facts.registry
        members = registry.members(permitted.endpoint)
        tenant = permitted.tenant
        if tenant is not None:
            self._take(tenant.registrations.take(tenant.id, now), "too many registrations of this tenant")
            own = (*members, *registry.leaving(permitted.endpoint))
            others = tenant.tunnels - sum(each.is_of(instance) for each in own)
            if 0 < tenant.config.max_tunnels <= others:
                self._take(FULL_RETRY_S, "too many tunnels of this tenant")
        if registry.endpoint_count >= MAX_ENDPOINTS and not members:
            raise HandshakeError(503, ENDPOINTS_FULL, retry_after_s=FULL_RETRY_S)

    def _take(self, wait_s: int, reason: str) -> None:
        if wait_s:
            self._facts.metrics.registrations_refused += 1
            raise HandshakeError(503, reason, retry_after_s=wait_s)
