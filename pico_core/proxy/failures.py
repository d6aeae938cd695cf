"""Why an upstream gave no response, what that proves about the request, and so which requests may be tried again.

Trying again needs evidence. A method says what a second execution would do (RFC 9110 section 9.2), a failure says how
likely the first one was:

=================  ============================================================  =======================================
evidence           what happened                                                 which requests may be tried again
=================  ============================================================  =======================================
UNPROCESSED        the request never reached a service                           all, elsewhere
STALE              a connection that had been idle ended under the request       idempotent ones, on a new connection
LOST_ON_THE_WAY    the tunnel or the node between us and the service is gone     idempotent ones
PERHAPS_PROCESSED  the service got the request and gave no usable response       safe ones, by another upstream
=================  ============================================================  =======================================

An agent or a node tells the next hop towards the client what failed in the field ``X-Pico-Failure``. Only Pico's own
peers are believed: an agent removes the field from the responses of its service.
"""

import re
from enum import Enum

import msgspec

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 section 9.2.2: a second execution changes nothing more."""

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""RFC 9110 section 9.2.1: an execution changes nothing."""


class Evidence(Enum):
    """The evidence that a failure gives; see the table at the top."""

    UNPROCESSED = "unprocessed"
    STALE = "stale"
    LOST_ON_THE_WAY = "lost on the way"
    PERHAPS_PROCESSED = "perhaps processed"


class Failure(msgspec.Struct, frozen=True):
    """One kind of failure: the ``reason`` (``reasons``), and what the client is answered.

    ``blames_upstream`` says that the upstream should be avoided for a moment (``cluster.health``). ``detail`` is one
    more clause: for logs, and for the client as well where ``tells_detail`` says that it holds nothing of the service's
    network.
    """

    reason: str
    status: int
    message: str
    evidence: Evidence
    blames_upstream: bool = True
    detail: str = ""
    tells_detail: bool = False

    def because(self, detail: str) -> "Failure":
        """Return this failure with what is known of its cause."""
        return msgspec.structs.replace(self, detail=detail)

    def after_response_bytes(self) -> "Failure":
        """Return this failure of a connection that ended when a response had begun: the request was received."""
        return msgspec.structs.replace(self, evidence=Evidence.PERHAPS_PROCESSED)

    @property
    def answer(self) -> str:
        """The text of the answer: the message, and the detail where a client may see it."""
        return f"{self.message}: {self.detail}" if self.tells_detail and self.detail else self.message

    def fields_for_peer(self, *, tells_all: bool = True) -> bytes:
        """Return the field lines of the answer to an agent's server or to another node.

        Without ``tells_all`` they hold nothing that a client may not see: a Piko server passes them on.
        """
        detail = self.detail[:MAX_DETAIL_CHARACTERS] if tells_all or self.tells_detail else ""
        more = f"; {detail}" if detail and detail.isascii() and detail.isprintable() else ""
        return f"X-Pico-Failure: {self.reason}{more}\r\n".encode()

    def permits(self, method: bytes) -> bool:
        """Return whether a request with ``method`` may be sent a second time after this failure."""
        if self.evidence is Evidence.UNPROCESSED:
            return True
        return method in (SAFE if self.evidence is Evidence.PERHAPS_PROCESSED else IDEMPOTENT)


MAX_DETAIL_CHARACTERS = 200
"""Of the detail of a failure: it goes into one line of a log, and into one field line."""

UNREACHABLE = "upstream unreachable"
CLOSED_EARLY = "the service closed the connection without a response"

SERVICE_REFUSED = Failure("service-refused", 502, UNREACHABLE, Evidence.UNPROCESSED)
"""The agent cannot connect to its service: refused, unknown name, no route."""

AGENT_FULL = Failure("agent-full", 503, "the agent is out of descriptors", Evidence.UNPROCESSED)
"""The agent has no descriptor left for a connection to its service, which may work."""

SERVICE_STALE = Failure("service-lost", 502, CLOSED_EARLY, Evidence.STALE)
SERVICE_LOST = Failure("service-lost", 502, CLOSED_EARLY, Evidence.PERHAPS_PROCESSED)
SERVICE_INVALID = Failure(
    "service-invalid",
    502,
    "the service's response was not valid HTTP",
    Evidence.PERHAPS_PROCESSED,
    tells_detail=True,
)
SERVICE_HEADS = Failure(
    "service-invalid", 502, "too many unfinished responses", Evidence.PERHAPS_PROCESSED, blames_upstream=False
)
"""The response's head was the largest of those that did not come whole, and all of them took too much memory."""

SERVICE_TIMEOUT = Failure("service-timeout", 504, "upstream timeout", Evidence.PERHAPS_PROCESSED)
"""The service did not answer the agent in the time of its listener."""

APP_FAILED = Failure(
    "app-failed", 500, "the application failed before its response", Evidence.PERHAPS_PROCESSED, blames_upstream=False
)
"""The application inside the agent's program raised, or broke its protocol. To the server it is an answer like others:
no second application is asked."""

UPSTREAM_TIMEOUT = Failure("upstream-timeout", 504, "upstream timeout", Evidence.PERHAPS_PROCESSED)
"""Nothing came through the tunnel, or from the other node, in the time of ``proxy.timeout``."""

AGENT_SILENT = Failure("agent-silent", 502, "the agent does not respond", Evidence.PERHAPS_PROCESSED)
"""The agent left a ping without an answer, as one does that was stopped. It may still act on what it has got."""

AGENT_NOT_ASKED = Failure("agent-not-asked", 502, "the agent does not respond", Evidence.UNPROCESSED)
"""The only agent at a node is silent, so the node did not send it a request that another node can serve."""

STREAM_REFUSED = Failure("stream-refused", 502, UNREACHABLE, Evidence.UNPROCESSED)
"""The agent reset the stream of a ``tcp`` endpoint before it accepted it: it cannot connect to its service."""

TUNNEL_LOST = Failure("tunnel-lost", 502, UNREACHABLE, Evidence.LOST_ON_THE_WAY)
NODE_LOST = Failure("node-lost", 502, UNREACHABLE, Evidence.LOST_ON_THE_WAY)
NODE_UNREACHABLE = Failure("node-unreachable", 502, UNREACHABLE, Evidence.UNPROCESSED)

NODE_FULL = Failure(
    "node-full",
    503,
    "the server is out of descriptors",
    Evidence.UNPROCESSED,
    blames_upstream=False,
)
"""This node has no descriptor left for a connection to another one."""

MISDIRECTED = Failure("misdirected", 421, "no available upstreams", Evidence.UNPROCESSED, blames_upstream=False)
"""A node got a forwarded request for an endpoint that it has no tunnel for: the sender's route was stale (RFC 9110
section 15.5.20). This is what it answers."""

STALE_ROUTE = msgspec.structs.replace(MISDIRECTED, status=502, message=UNREACHABLE)
"""The failure that this answer is for the sender, where the body cannot be sent elsewhere. No client gets a 421."""

BUSY = Failure(
    "busy",
    503,
    "too many requests in flight to this endpoint",
    Evidence.UNPROCESSED,
    blames_upstream=False,
)
"""Every tunnel of the endpoint carries as many requests as it may."""

NO_ROUTE = Failure("no-tunnel", 502, "no available upstreams", Evidence.UNPROCESSED, blames_upstream=False)
"""No node of the cluster has a tunnel of the endpoint."""

TCP_ENDPOINT = Failure(
    "tcp-endpoint",
    404,
    "this endpoint takes TCP connections and no HTTP requests: see 'pico forward tcp --help'",
    Evidence.UNPROCESSED,
    blames_upstream=False,
)
HTTP_ENDPOINT = Failure(
    "http-endpoint",
    404,
    "this endpoint takes HTTP requests and no TCP connections",
    Evidence.UNPROCESSED,
    blames_upstream=False,
)
"""The agents of the endpoint have said what their service speaks, and it is the other."""

TOLD_BY_PEERS = {
    failure.reason.encode(): failure
    for failure in (
        SERVICE_REFUSED,
        AGENT_FULL,
        SERVICE_LOST,
        SERVICE_INVALID,
        SERVICE_TIMEOUT,
        UPSTREAM_TIMEOUT,
        AGENT_SILENT,
        AGENT_NOT_ASKED,
        STREAM_REFUSED,
        TUNNEL_LOST,
        STALE_ROUTE,
        BUSY,
        NODE_FULL,
        TCP_ENDPOINT,
        HTTP_ENDPOINT,
    )
}
"""The values of ``X-Pico-Failure``. An unknown one, from a newer peer, makes the answer an ordinary response."""

_DETAIL = re.compile(rb"[ -~]{1,%d}" % MAX_DETAIL_CHARACTERS)


def told_by_peer(value: bytes) -> Failure | None:
    """Return the failure that a peer's ``X-Pico-Failure`` says, with what it knows of the cause."""
    reason, _, detail = value.partition(b"; ")
    failure = TOLD_BY_PEERS.get(reason)
    if failure is not None and _DETAIL.fullmatch(detail):
        return failure.because(detail.decode("ascii"))
    return failure


ALL_REASONS = tuple(failure.reason for failure in (*TOLD_BY_PEERS.values(), NODE_LOST, NODE_UNREACHABLE, NO_ROUTE))
"""Every reason: the label values of the metric."""

STATUSES = {each.reason: each.status for each in (*TOLD_BY_PEERS.values(), NODE_LOST, NODE_UNREACHABLE, NO_ROUTE)}
"""The status that a client gets for each reason."""
