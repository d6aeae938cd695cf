"""The owner of an endpoint: what agents say at registration, what nodes tell each other, and which agents may serve it.

An agent names itself with one ID for all of its tunnels, so that a further tunnel of it, or a new one after a loss, is
not another agent's. An agent of Piko's has none and is known by its address. Where tokens name an owner, the owner
counts and not the agent. An identity is told as a hash: it goes to other nodes, without the address.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from sys import intern

import msgspec

from pico_core.cluster.view import TCP, ClusterView, RemoteNode, claimed
from pico_core.gossip.status import NodeStatus
from pico_core.server.metrics import ServerMetrics
from pico_core.server.policies import Policies
from pico_core.websocket.handshake import HandshakeError

TAKEN_RETRY_S = 5
"""The other agent may stop, or turn out to be gone, which takes up to 20 s."""

MAX_IDENTITIES = 4
"""Of one endpoint that a node tells: more agents than this are many, and a value stays below 100 characters."""

SECOND_AGENT_WARNING = "a second agent serves an endpoint"

_AGENT = re.compile(rb"(?im)^x-pi[ck]o-agent:[ \t]*([!-~]{1,64})[ \t]*\r$")
_VERSION = re.compile(rb"(?im)^x-pico-version:[ \t]*([!-~]{1,32})[ \t]*\r$")
_PROTOCOL = re.compile(rb"(?im)^x-pi[ck]o-protocol:[ \t]*(http|tcp)[ \t]*\r$")


class Registration(msgspec.Struct, frozen=True, gc=False):
    """The facts about the agent that registers ``endpoint``.

    ``protocol`` and ``version`` are empty where the agent does not tell.
    """

    endpoint: str
    protocol: str
    identity: str
    client: str
    version: str = ""

    @property
    def is_raw(self) -> bool | None:
        """Whether the streams of the tunnel carry raw bytes, where the agent has told what its service speaks."""
        return self.protocol == TCP if self.protocol else None

    @staticmethod
    def read(head: bytes, endpoint: str, client: str, owner: str = "") -> "Registration":
        """Return the registration in an agent's head. ``owner`` is the subject of its token, where it has one.

        Registrations share the texts that most agents tell alike.
        """
        protocol, agent, version = _PROTOCOL.search(head), _AGENT.search(head), _VERSION.search(head)
        if owner:
            identity = b"owner " + owner.encode(errors="surrogatepass")
        else:
            identity = b"agent " + agent[1] if agent else b"address " + client.encode()
        return Registration(
            endpoint,
            intern(protocol[1].decode().lower()) if protocol else "",
            hashlib.sha256(identity).hexdigest()[:16],
            client,
            intern(version[1].decode()) if version else "",
        )


class Claimant(msgspec.Struct, frozen=True):
    """The agents that serve an endpoint at one node, and their protocol (empty: unknown). ``node`` is empty here."""

    node: str
    protocol: str
    identities: tuple[str, ...]


class EndpointClaims:
    """Decides about registrations by all that is known of the endpoint, here and at other nodes."""

    def __init__(
        self,
        here: Callable[[str], Iterable[Registration]],
        view: ClusterView,
        policies: Policies,
        metrics: ServerMetrics,
    ) -> None:
        """``here`` returns the registrations of an endpoint whose tunnels at this node take requests."""
        self._registrations = here
        self._view = view
        self._policies = policies
        self._metrics = metrics

    def claim(self, new: Registration) -> tuple[str, ...]:
        """Return the nodes at which another agent serves the endpoint too, this one as an empty name.

        None are returned where that is allowed or known. Raises ``HandshakeError`` (409) where it is refused, or where
        the endpoint has another protocol.
        """
        claimants = list(self._claimants(new.endpoint))
        for each in claimants:
            if new.protocol and each.protocol and new.protocol != each.protocol:
                raise HandshakeError(
                    409,
                    f"another agent serves this endpoint as {each.protocol}, this one as {new.protocol}",
                    retry_after_s=TAKEN_RETRY_S,
                )
        second_agent = self.rule(new.endpoint)
        others = tuple(each.node for each in claimants if any(other != new.identity for other in each.identities))
        if not others or second_agent == "allow":
            return ()
        is_known = any(new.identity in each.identities for each in claimants)
        if second_agent == "refuse" and not is_known:
            self._metrics.second_agents["refused"] += 1
            raise HandshakeError(
                409, "another agent serves this endpoint, and its policy lets only one", retry_after_s=TAKEN_RETRY_S
            )
        if is_known:
            return ()
        self._metrics.second_agents["accepted"] += 1
        return others

    def rule(self, endpoint: str) -> str:
        """Return what becomes of a second agent: warn, allow or refuse."""
        policy = self._policies.of(endpoint)
        return "warn" if policy is None else policy.config.second_agent

    def told(self, endpoint: str) -> str:
        """Return what other nodes are told of an endpoint beside its number of tunnels: its protocol and identities."""
        here = self._here(endpoint)
        return " ".join((here.protocol or "-", *here.identities[:MAX_IDENTITIES]))

    def _here(self, endpoint: str) -> Claimant:
        registrations = tuple(self._registrations(endpoint))
        protocol = next((each.protocol for each in registrations if each.protocol), "")
        return Claimant("", protocol, tuple(sorted({each.identity for each in registrations})))

    def _claimants(self, endpoint: str) -> Iterator[Claimant]:
        yield self._here(endpoint)
        for node in self._view.serving(endpoint):
            if node.status is NodeStatus.ACTIVE:
                yield _there(node, endpoint)


def _there(node: RemoteNode, endpoint: str) -> Claimant:
    protocol, identities = claimed(node.claims.get(endpoint, ""))
    return Claimant(node.id, protocol, identities)
