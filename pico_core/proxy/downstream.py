"""The client's side of one request, as an exchange sees it. ``http1.downstream`` is the one for HTTP/1.1."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pico_core.http.message import ResponseHead
from pico_core.machine.channel import HoldingChannel
from pico_core.pieces import Piece


class ClientFacts(msgspec.Struct):
    """The peer that sends requests, as known when it came.

    ``host`` is its IP address, empty in an agent, whose server knows the client. ``fields`` are ready field lines about
    the client that a router adds to every request. ``is_proxy`` says that it is trusted to tell of clients of its own.
    ``is_node`` says whether the first proof that it sent shows that the peer is a node of the cluster;
    ``None`` before there is one. ``place`` is the number of the place that the peer has among all connections, and
    ``counts_as_node`` says whether it is one of those kept for nodes (``machine.admission``); ``None`` while it has
    that only because of its address.
    """

    host: str
    fields: bytes = b""
    is_proxy: bool = False
    is_node: bool | None = None
    place: int = 0
    counts_as_node: bool | None = False


class Downstream(Protocol):
    """The client's side of one request: it frames the response for the client.

    ``last`` says that the response ends with this call. The exchange is over then, and the downstream goes on by itself
    with the client's next request, or ends.
    """

    client: ClientFacts

    @property
    def writable(self) -> bool:
        """Whether the client takes more now. Next, after False: ``Exchange.response_writable``."""

    def pause_request(self) -> None:
        """Stop the client from sending more of this request. What is on its way still arrives."""

    def resume_request(self) -> None:
        """Let the client send again."""

    def limit_request(self, most_bytes: int) -> None:
        """Refuse the request with 413 once its body has more than ``most_bytes`` in all, as far as more is to come."""

    def respond_interim(self, head: ResponseHead, now: float) -> None:
        """Send a 1xx head other than 101 (RFC 9110 section 15.2), if the client understands it."""

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Send a whole response; its body has the length that the head says, or is left out of an answer to HEAD."""

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Send the final head, and the pieces of the body that came with it."""

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Send more of the body."""

    def cut(self, now: float) -> None:
        """End the response here so that it does not look whole."""

    def abort(self, now: float) -> None:
        """End the client's side at once: the client is at fault, or does not read."""

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        """Send a 101 and the bytes ``rest`` behind it. Return the client's channel and what the client sent already.

        From here on the channel belongs to a pipe. Next: ``upgrade_over``.
        """

    def upgrade_over(self, now: float) -> None:
        """The pipe has ended; the channel is closed already."""
