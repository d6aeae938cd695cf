"""The field lines that tell a service about the client of a request, and the request's ID."""

from pico_core.http.message import RequestHead

REQUEST_ID_LINE = b"X-Pico-Request-ID: %b\r\n"

UP_TO_HOST = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: "
"""The lines about a client that is not a trusted proxy, up to the host asked for: the same for all of its requests."""

FROM_HOST = b"%b%b\r\n" + REQUEST_ID_LINE
"""``UP_TO_HOST`` with the rest: the host, and the ID, which comes last (``http.recent``)."""


_USUAL = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
"""The lines that a node writes about every client."""


def client_lines(chain: bytes, proto: bytes, host: bytes, elements: bytes, others: bytes = b"") -> bytes:
    """Return the lines with these values: X-Forwarded-For, -Proto and -Host, and Forwarded; an empty one has no line.

    ``others`` are ready lines behind them.
    """
    if chain and proto and host and not elements:
        return _USUAL % (chain, proto, host) + others
    lines = b""
    if chain:
        lines = b"X-Forwarded-For: %b\r\n" % chain
    if proto:
        lines += b"X-Forwarded-Proto: %b\r\n" % proto
    if host:
        lines += b"X-Forwarded-Host: %b\r\n" % host
    if elements:
        lines += b"Forwarded: %b\r\n" % elements
    return lines + others


def lines_as_they_came(head: RequestHead) -> bytes:
    """Return the lines about the client, and the ID, as the peer sent them which the request came from."""
    lines = client_lines(
        head.forwarded_for, head.forwarded_proto, head.forwarded_host, head.forwarded_elements, head.about_client
    )
    return lines + REQUEST_ID_LINE % head.request_id if head.request_id else lines
