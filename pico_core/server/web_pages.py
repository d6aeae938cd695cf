"""What a page in somebody's browser may ask of Pico's own routes: nothing, unless the configuration says so.

A page may open a WebSocket to any host, also to one that only its reader reaches; the browser says which page it was in
Origin (RFC 6455 section 10.2). And a page may have the name of its own host resolved to an address of the reader's
network (DNS rebinding): then its requests are of the same origin for the browser, but carry that name in Host.
Programs send no Origin, and ask by an address, or by a name that nobody else can give to a page.

Services behind an endpoint are not guarded: which pages may use them is their own decision.
"""

import re
from collections.abc import Collection

from pico_core.config.server import ServerConfig
from pico_core.config.values import is_ip
from pico_core.config.web import ANY
from pico_core.http.message import MessageError

_ORIGIN_LINE = re.compile(rb"(?im)^origin:([^\r\n]*+)\r$")

PRIVATE_SUFFIXES = (".localhost", ".svc", ".cluster.local", ".internal", ".home.arpa")
"""Names below these are not delegated in the public DNS (RFC 6761, RFC 8375, ICANN's board on .internal, and those of
Kubernetes), so no page has one. The same holds for names without a dot."""


def check_origin(lines: bytes, allowed: Collection[str], key: str) -> None:
    """Raise ``MessageError`` (403) if a request is that of a page whose origin is not ``allowed``.

    ``lines`` are field lines, each with its CRLF; ``key`` is what the operator would set.
    """
    for origin in _ORIGIN_LINE.findall(lines):
        if ANY not in allowed and origin.strip(b" \t").decode("latin-1").lower() not in allowed:
            raise MessageError(403, f"pages of this Origin are not allowed here: see {key}")


class HostNames:
    """The host names by which a port may be asked: those that cannot be a page's, and those that are configured."""

    def __init__(self, config: ServerConfig) -> None:
        advertised = (config.admin, config.proxy, config.cluster.gossip)
        self._names = {
            each.advertise_addr.host.lower().rstrip(".") for each in advertised if each.advertise_addr is not None
        }
        self._names |= {each.host.lower().rstrip(".") for each in config.cluster.join}
        self._names |= set(config.admin.allowed_hosts)
        self._suffixes = tuple(name[1:] for name in self._names if name.startswith("*."))

    def knows(self, host: str) -> bool:
        """Say whether the value of a Host field, which may have a port, names this node and no page's host."""
        name = host.lower()
        if name.startswith("["):
            return is_ip(name[1:].partition("]")[0])
        name = name.partition(":")[0].rstrip(".")
        return (
            "." not in name
            or is_ip(name)
            or name in self._names
            or ANY in self._names
            or name.endswith(PRIVATE_SUFFIXES)
            or name.endswith(self._suffixes)
        )
