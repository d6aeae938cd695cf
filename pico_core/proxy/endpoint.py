"""Which endpoint a request is for: the one place that decides it, for routing and permission alike."""

import re
from functools import lru_cache
from urllib.parse import unquote

from pico_core.config.values import identifier
from pico_core.errors import ConfigError
from pico_core.http.message import MessageError, RequestHead

NO_HOST_NAME = "no host name reaches this endpoint: clients have to name it with the header x-pico-endpoint"
"""A warning where ``is_host_label`` is false."""

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMERIC_HOST = re.compile(rb"[0-9.]+")


def normalise_endpoint(text: str) -> str:
    """Return the endpoint ID in its one spelling. Host names have no case, so endpoints have none either.

    Raises ``ConfigError`` if it is not an endpoint ID.
    """
    return identifier(text).lower()


def is_host_label(endpoint: str) -> bool:
    """Say whether an endpoint ID can be the first label of a host name (RFC 1035 section 2.3.1, and ``_``)."""
    return _LABEL.fullmatch(endpoint) is not None


def endpoint_in_path(segment: bytes) -> str:
    """Return the endpoint ID named by a segment of a URL path; see ``normalise_endpoint``."""
    return normalise_endpoint(unquote(segment.decode("latin-1")))


@lru_cache(maxsize=4_096)
def _normalised(name: bytes) -> str:
    """Remember the spellings seen last: nearly every request names one of a few."""
    return normalise_endpoint(name.decode("latin-1"))


def endpoint_of(head: RequestHead) -> str:
    """Return the endpoint named by the header, else by the first label of the host name; keep it in the head.

    Raises ``MessageError`` (400) where neither names one.
    """
    if not head.endpoint_id:
        head.endpoint_id = _decided(head)
    return head.endpoint_id


def tenant_label(head: RequestHead) -> str:
    """Return the second label of the host name, which names the tenant where a request says it in no other way."""
    labels = head.host.partition(b":")[0].rstrip(b".").split(b".", 2)
    return labels[1].decode("latin-1").lower() if len(labels) > 2 else ""


def _decided(head: RequestHead) -> str:
    name = head.endpoint
    if not name:
        host = head.host
        host = host.partition(b":")[0].rstrip(b".")
        name, dot, _ = host.partition(b".")
        if not dot or _NUMERIC_HOST.fullmatch(host) or host.startswith(b"["):
            raise MessageError(400, "missing endpoint id", "no-endpoint")
    try:
        return _normalised(name)
    except ConfigError:
        raise MessageError(400, "invalid endpoint id", "no-endpoint") from None
