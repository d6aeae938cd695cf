"""HTTP proxies on the way to the server: their URLs, and which of them the environment names for a server.

The rules for the variables are those of Go's ``httpproxy`` package, which Piko's agents follow. As for curl, entries of
NO_PROXY may also be parted by blanks, and a dot at the end of a name means nothing.
"""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote

from pico_core.config.values import Address, Origin, is_ip, is_loopback, quote, refuse_reference, wrong
from pico_core.config.values import server_url as plain_url
from pico_core.errors import ConfigError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

PROXY_URL = "the URL of an HTTP proxy such as http://proxy.example.com:3128 or http://user:password@10.0.0.7:3128"


class Proxy(Address, frozen=True):
    """An HTTP proxy. ``authorization`` is the value of Proxy-Authorization, empty without credentials.

    Neither ``str()`` nor ``repr()`` shows the credentials.
    """

    authorization: str = ""

    def __str__(self) -> str:
        return f"http://{super().__str__()}"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"


def proxy_url(text: str) -> Proxy | None:
    """Parse the URL of a proxy; without ``http://`` it may be just ``host:port``. Empty text means none.

    Raises ``ConfigError``, whose text never repeats the credentials.
    """
    if not text:
        return None
    match = _SCHEME.match(text)
    begin, rest = (match[0], text[match.end() :]) if match else ("", text)
    credentials, at, place = rest.rpartition("@")
    for part in credentials.split(":", 1):
        refuse_reference(part)
    shown = f"{begin}{'***@' if at else ''}{place}"
    if begin.lower() not in ("http://", ""):
        raise wrong(PROXY_URL, shown, f"{quote(begin)} proxies are not supported")
    try:
        origin = plain_url(f"http://{place}")
    except ConfigError:
        raise wrong(PROXY_URL, shown) from None
    return Proxy(origin.host, origin.port, _basic(credentials) if at else "")


def proxy_from_environment(server: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that HTTP_PROXY or HTTPS_PROXY names for ``server``, unless NO_PROXY excludes it.

    The names in lower case win. Loopback addresses and ``localhost`` are never proxied. Raises ``ConfigError``, which
    names the variable.
    """
    variable = "HTTPS_PROXY" if server.scheme == "https" else "HTTP_PROXY"
    name = next((name for name in (variable.lower(), variable) if environment.get(name)), "")
    if not name or _is_excluded(server, environment.get("no_proxy") or environment.get("NO_PROXY", "")):
        return None
    try:
        return proxy_url(environment[name].strip())
    except ConfigError as error:
        raise ConfigError(f"{name} in the environment: {error}; or list the server in NO_PROXY") from None


def _basic(credentials: str) -> str:
    """Return the credentials of a URL in the Basic scheme (RFC 7617 section 2)."""
    user, _, password = credentials.partition(":")
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode(errors="surrogatepass")).decode()


def _is_excluded(server: Origin, no_proxy: str) -> bool:
    host = server.host.lower().rstrip(".")
    if is_loopback(host):
        return True
    return any(_covers(entry.lower(), host, server.port) for entry in no_proxy.replace(",", " ").split())


def _covers(entry: str, host: str, port: int) -> bool:
    """Say whether an entry of NO_PROXY covers a host: ``*``, an IP address, a network, or a domain; a port may follow.

    ``example.com`` covers its subdomains too, ``.example.com`` and ``*.example.com`` only them.
    """
    if entry == "*":
        return True
    if is_ip(host):
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:  # not a network: an address with a port, or a domain
            pass
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").rstrip(".")
    if not entry:
        return False
    return host == entry or (not is_ip(host) and host.endswith(entry if entry.startswith(".") else f".{entry}"))
