"""What a message head says, as records: the same for a parser, a writer and everything that routes by it."""

import msgspec

from pico_core.errors import RemoteProtocolError


class MessageError(RemoteProtocolError):
    """A message that must not be passed on. Next: answer with ``status`` (an upstream's fault is a 502) and close.

    ``reason`` is one short clause for people; it never repeats bytes of the peer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class HeadLimits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of one head, all inclusive.

    ``max_head_bytes`` is what the operator sets as ``max_header_bytes``. A target or a single field line over 64 KiB is
    eight times what common servers take, so nobody who works today is cut off; a thousand fields are ten times their
    customary hundred, and keep every pass over the fields short.
    """

    max_head_bytes: int = 1_048_576
    max_target_bytes: int = 65_536
    max_field_bytes: int = 65_536
    max_fields: int = 1_000


class RequestHead(msgspec.Struct, gc=False):
    """A request's head as the next hop must see it, and what routing needs to know. Not changed once it is parsed.

    ``target`` is in origin-form or ``*``. ``host`` is Host (or the authority of an absolute-form target) as sent, empty
    only in HTTP/1.0. ``fields`` are the end-to-end field lines, each with its CRLF: no framing, no hop-by-hop field, no
    Expect, nothing of Pico's own and nothing of the X-Forwarded family (for, proto, host).
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
    """The message says that another node forwarded it; whether to believe it is the proxy's decision."""
    forwarded_by_pico: bool = False
    """That node is a Pico node, which understands 421."""
    forwarded_for: bytes = b""
    forwarded_proto: bytes = b""
    forwarded_host: bytes = b""
    authorization: bytes = b""
    """X-Pico-Authorization or X-Piko-Authorization. The usual Authorization stays in ``fields``."""
    tenant: bytes = b""
    """X-Pico-Tenant-Id or X-Piko-Tenant-Id."""
    endpoint_id: str = ""
    """The endpoint the request is for, once ``proxy.endpoint`` has decided it."""
    onward: bytes = b""
    """What ``request_bytes`` writes between the target and its ``extra``, once it was written."""


class ResponseHead(msgspec.Struct, gc=False):
    """A response's head as the next hop must see it. ``fields`` are the end-to-end field lines, each with its CRLF.

    Not changed once it is parsed, since several responses may share it; ``with_chunks`` returns another one.
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
    onward: bytes = b""
    """What ``response_bytes`` writes without ``extra``, once it was written."""

    def with_chunks(self, *, chunked: bool) -> "ResponseHead":
        """Return this head for a body whose framing is changed on its way: to chunks, or from them to the end."""
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
