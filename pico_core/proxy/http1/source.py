"""The questions of a client's HTTP/1.1 connection beside those of an exchange: about heads, and about its own end."""

from collections.abc import Mapping
from typing import Protocol

from pico_core.http.message import HeadLimits, MessageError
from pico_core.machine.head_budget import HeadBudget
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Router


class RequestSource(Router, Protocol):
    """A ``Router`` whose clients speak HTTP/1.1."""

    head_limits: HeadLimits
    """Bounds of a request's head; a connection keeps those that hold when it opens."""
    heads: HeadBudget
    """The budget of all unfinished heads."""
    header_timeout_s: float
    """How long a client may take for its first head, and for every head that has begun."""
    closing: bool
    """Whether the machine is about to stop, so that clients should send no further request here."""

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        """Count and log what is not a request; return field lines and details of the answer, and the ID it gets."""
