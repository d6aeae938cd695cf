"""Message heads as records: the same for a parser, a writer and everything that routes by them.

Start at ``RequestHead`` and ``ResponseHead``; ``parsing`` makes them and ``writing`` writes them for the next hop.
"""

from collections.abc import Callable

import msgspec

from pico_core.access.grant import Grant
from pico_core.errors import RemoteProtocolError

MAX_OWN_HEAD_BYTES = 16_384
"""Of a head that Pico reads for itself and does not forward: a handshake, a request to the admin port, the answer to
either. Browsers and proxies stay below 8 KiB; a token may take another 8."""


class MessageError(RemoteProtocolError):
    """A message that must not be passed on.

    Next: answer with ``status`` and close. Where the message is an upstream's response, the client's answer is a 502.
    ``reason`` is one short clause for people; it never repeats bytes of the peer. ``code`` is its name in
    ``proxy.reasons``, empty where the status says as much.
    """

    def __init__(self, status: int, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.code = code


class HeadLimits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of one head, all inclusive.

    ``max_head_bytes`` is the ``max_header_bytes`` of the configuration. A target or a field line of 64 KiB is eight
    times what common servers take, so no client that works with them is refused here. A thousand fields are ten times
    the customary bound of a hundred, and keep every pass over the fields short.
    """

    max_head_bytes: int = 1_048_576
    max_target_bytes: int = 65_536
    max_field_bytes: int = 65_536
    max_fields: int = 1_000


class RequestHead(msgspec.Struct, gc=False):
    """A request's head as the next hop must see it, and what routing needs to know.

    ``target`` is in origin-form or ``*``. ``host`` is Host (or the authority of an absolute-form target) as sent, empty
    only in HTTP/1.0. ``fields`` are the end-to-end field lines, each with its CRLF: no framing, no hop-by-hop field, no
    Expect, nothing of Pico's own, none that tell of the client (``grammar.about_client``), and no Proxy, of which CGI
    makes the variable HTTP_PROXY.

    A parsed head is completed later: ``endpoint_id``, ``grant`` and ``onward`` are empty at first, and each is filled
    in on first use; ``grant`` takes its token out of ``fields`` before ``onward`` is written. None of them depends on
    the method or the target, so ``recent.RequestReader`` takes them over, together with all other fields, into the next
    request with equal fields.
    """

    method: bytes
    target: bytes
    minor_version: int
    host: bytes
    fields: bytes
    keep_alive: bool
    content_length: int = -1
    """Length of the body in bytes, -1 where the field is absent."""
    chunked: bool = False
    expects_continue: bool = False
    upgrade: bytes = b""
    """The Upgrade field's value where it is in force (HTTP/1.1, listed in Connection, not h2c), else empty."""
    te_trailers: bool = False
    endpoint: bytes = b""
    forwarded: bool = False
    """The message says that another node forwarded it; whether to trust that is the proxy's decision."""
    forwarded_by_pico: bool = False
    """That node is a Pico node, which understands 421."""
    proof: bytes = b""
    """X-Pico-Proof: what shows that a node of the cluster opened the connection, where the cluster has a key."""
    forwarded_for: bytes = b""
    forwarded_proto: bytes = b""
    forwarded_host: bytes = b""
    forwarded_elements: bytes = b""
    """The Forwarded field (RFC 7239)."""
    about_client: bytes = b""
    """The other fields that tell of the client, as lines in the order of their names."""
    authorization: bytes = b""
    """X-Pico-Authorization or X-Piko-Authorization. The usual Authorization stays in ``fields``, unless the port takes
    tokens from it: then its value is moved here (``server.access``)."""
    credentials: bytes = b""
    """X-Pico-Credentials: those of a policy's user, for a node that asks what another one has asked. Else empty until
    ``server.policies`` has found them right in Authorization, which the service does not get."""
    tenant: bytes = b""
    """X-Pico-Tenant-Id or X-Piko-Tenant-Id."""
    request_id: bytes = b""
    """X-Pico-Request-ID, as the node wrote it that the client is connected to. Whether to trust it is the proxy's
    decision."""
    endpoint_id: str = ""
    """The endpoint that the request is for: empty until ``proxy.endpoint`` decides it."""
    grant: Grant | None = None
    """The grant of the verified token in ``authorization``: ``None`` until ``server.access`` has verified it."""
    edit_trailers: Callable[[bytes], bytes] | None = None
    """A policy's edit of the trailers, which come behind the body; ``None`` where they pass as they are."""
    onward: bytes = b""
    """The bytes between the target and ``extra`` in ``writing.request_bytes``: empty until they are first written."""


class ResponseHead(msgspec.Struct, gc=False):
    """A response's head as the next hop must see it. ``fields`` are the end-to-end field lines, each with its CRLF.

    Several responses with equal heads share one object (``recent.ResponseReader``), so the parsed fields never change;
    ``with_chunks`` returns another head. Only ``onward`` is filled in later, when the head is first written.
    """

    status: int
    minor_version: int
    reason: bytes
    fields: bytes
    keep_alive: bool
    content_length: int = -1
    chunked: bool = False
    upgrade: bytes = b""
    """The Upgrade field's value in a 101 or 426, else empty."""
    failure: bytes = b""
    """X-Pico-Failure of an error status (``proxy.failures``). It is never among ``fields``, and neither are
    X-Pico-Error and X-Pico-Request-ID."""
    dated: bool = False
    """Whether there is a Date among ``fields``. Where there is none, a recipient that passes the response on adds it
    (RFC 9110 section 6.6.1)."""
    onward: bytes = b""
    """The result of ``writing.response_bytes`` without ``extra``: empty until it is first written."""

    def with_chunks(self, *, chunked: bool) -> "ResponseHead":
        """Return this head for a body whose framing is changed on its way.

        ``chunked`` is for one that comes until the end of the connection and leaves in chunks; its opposite is for one
        that comes in chunks and leaves until the end of the connection.
        """
        if chunked is self.chunked:
            return self
        return msgspec.structs.replace(self, chunked=chunked, onward=b"")


def split_fields(fields: bytes) -> list[tuple[bytes, bytes]]:
    """Split field lines, such as ``RequestHead.fields``, into names (lower case) and values without outer blanks."""
    pairs = []
    for line in fields.splitlines():
        name, _, value = line.partition(b":")
        pairs.append((name.lower(), value.strip(b" \t")))
    return pairs


def field_values(fields: bytes, name: bytes) -> list[bytes]:
    """Return the values of every field line called ``name`` (lower case), in order."""
    return [value for found, value in split_fields(fields) if found == name]
