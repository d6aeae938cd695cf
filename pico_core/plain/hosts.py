"""The host names by which an admin port may be asked: not those that a page in a browser can have.

A page may have the name of its own host resolved to an address of its reader's network (DNS rebinding). Then its
requests are of the same origin for the browser, but carry that name in Host.
"""

import re
from collections.abc import Collection

from pico_core.config.values import is_ip
from pico_core.config.web import ANY

PRIVATE_SUFFIXES = (".localhost", ".svc", ".cluster.local", ".internal", ".home.arpa")
"""Names below these are not delegated in the public DNS (RFC 6761, RFC 8375, ICANN's board on .internal, and those of
Kubernetes), so no page has one. The same holds for names without a dot."""

_HOST = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:@\[\]]*))(?::[0-9]*)?")
"""A Host field: a name or an address, and perhaps a port (RFC 9110 section 7.2)."""


def unknown_host(machine: str) -> str:
    """Return the text of the answer 421 to a name that is not known. ``machine`` is the kind that answers."""
    return f"this Host is not known as a name of the {machine}: ask by IP address, or list it in admin.allowed_hosts"


class HostNames:
    """The host names by which a port may be asked: those that cannot be a page's, and those that are configured."""

    def __init__(self, names: Collection[str]) -> None:
        """``names`` are configured; ``*.`` and a name is for all names below it, ``*`` for every name."""
        self._names = {name.lower().rstrip(".") for name in names}
        self._suffixes = tuple(name[1:] for name in self._names if name.startswith("*."))

    def knows(self, host: str) -> bool:
        """Say whether the value of a Host field, which may have a port, names this node and no page's host."""
        look = _HOST.fullmatch(host)
        if look is None:
            return False
        if look["v6"] is not None:
            return is_ip(look["v6"])
        name = look["name"].lower().rstrip(".")
        return (
            "." not in name
            or is_ip(name)
            or name in self._names
            or ANY in self._names
            or name.endswith(PRIVATE_SUFFIXES)
            or name.endswith(self._suffixes)
        )
