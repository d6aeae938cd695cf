"""Which endpoint a request is for: the one place that decides it, for routing and permission alike."""

import re

from pico_core.http.head import MessageError, RequestHead

ENDPOINT = re.compile(r"[!-.0-~]{1,255}")
"""1 to 255 visible characters, no ``/``."""

_NUMERIC_HOST = re.compile(rb"[0-9.]+")


def normalise_endpoint(text: str) -> str:
    """Return the endpoint ID in its one spelling. Host names have no case, so endpoints have none either.

    Raises ``ValueError`` if it is no endpoint ID.
    """
    if ENDPOINT.fullmatch(text) is None:
        raise ValueError("an endpoint ID is 1 to 255 visible characters without '/'")
    return text.lower()


def endpoint_of(head: RequestHead) -> str:
    """Return the endpoint named by the header, else by the first label of the host name.

    Raises ``MessageError`` (400) where neither names one.
    """
    name = head.endpoint
    if not name:
        host = head.host
        host = host.partition(b":")[0].rstrip(b".")
        name, dot, _ = host.partition(b".")
        if not dot or _NUMERIC_HOST.fullmatch(host) or host.startswith(b"["):
            raise MessageError(400, "missing endpoint id")
    try:
        return normalise_endpoint(name.decode("ascii"))
    except ValueError:
        raise MessageError(400, "invalid endpoint id") from None
