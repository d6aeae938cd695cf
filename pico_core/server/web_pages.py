"""The requests that a page in a browser may send to Pico's own routes: none, unless the configuration says so.

A page may open a WebSocket to any host, also to one that only its reader reaches; the browser says which page it was in
Origin (RFC 6455 section 10.2). And a page may have the name of its own host resolved to an address of the reader's
network (DNS rebinding): then its requests are of the same origin for the browser, but carry that name in Host.
Programs send no Origin, and ask by an address, or by a name that no page can have.

Services behind an endpoint are not guarded: which pages may use them is their own decision.
"""

import re
from collections.abc import Collection

from pico_core.config.server import ServerConfig
from pico_core.config.web import ANY
from pico_core.http.message import MessageError
from pico_core.plain.hosts import HostNames

_ORIGIN_LINE = re.compile(rb"(?im)^origin:([^\r\n]*+)\r$")


def check_origin(lines: bytes, allowed: Collection[str], key: str) -> None:
    """Raise ``MessageError`` (403) if a request is that of a page whose origin is not ``allowed``.

    ``lines`` are field lines, each with its CRLF; ``key`` is what the operator would set.
    """
    for origin in _ORIGIN_LINE.findall(lines):
        if ANY not in allowed and origin.strip(b" \t").decode("latin-1").lower() not in allowed:
            raise MessageError(403, f"pages of this Origin are not allowed here: see {key}")


def host_names(config: ServerConfig) -> HostNames:
    """Return the host names by which the admin port of a server may be asked."""
    advertised = (config.admin, config.proxy, config.cluster.gossip)
    names = {each.advertise_addr.host for each in advertised if each.advertise_addr is not None}
    return HostNames({*names, *(each.host for each in config.cluster.join), *config.admin.allowed_hosts})
