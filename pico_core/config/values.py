"""The values configuration is made of: durations, addresses, URLs, IDs, numbers. Text in, checked values out.

Every parser takes the text as the user wrote it (in a file or on the command line) and raises ``ConfigError`` with one
clause: what is wanted, what was found, and often what to write instead. The caller puts the place in front of it.
"""

import ipaddress
import re

import msgspec

from pico_core.bounds import HIGHEST_PORT, MAX_ID_CHARACTERS
from pico_core.errors import ConfigError

YEAR_S = 365 * 24 * 3600.0
"""Longest duration accepted: beyond it, event loops and selectors overflow."""

HTTP_PORT = 80
DEFAULT_PORTS = {"http": HTTP_PORT, "https": 443}
"""The schemes of URLs, and their ports."""

_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
SHOWN_LENGTH = 60
"""How much of a wrong value an error text repeats: enough to recognise it, and still one line."""

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]+)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_PORT = re.compile(r"[0-9]{1,5}")
_IPV4_LOOK = re.compile(r"[0-9.]+")
_IPV6_LOOK = re.compile(r"[0-9A-Fa-f:.]+(%[0-9A-Za-z_.-]+)?")
_NAME = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PATH = re.compile(r"(/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
_CREDENTIALS = re.compile(r"(?s)\A([A-Za-z][A-Za-z0-9+.-]*://|).*@")
_REFERENCE = re.compile(r"\$(?:\{[A-Za-z_][A-Za-z0-9_]*(?::[^}]*)?\}|(\([A-Za-z_][A-Za-z0-9_.-]*\))|[A-Z_][A-Z0-9_]*)")
_QUERY = re.compile(r"(?s)([?#]).+")
_VISIBLE = re.compile(r"[!-.0-~]+")


class Address(msgspec.Struct, frozen=True):
    """A host (name or IP address, without brackets) and a TCP or UDP port. ``str()`` writes it as ``host:port``.

    An empty host of an address to listen on means every address; port 0 there means any free port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Origin(Address, frozen=True):
    """An address to connect to; ``scheme`` is ``http`` or ``https`` when it was given as a URL, else empty.

    ``path`` is that of the URL, as it goes into a request's target: empty, or with a slash at its beginning only.
    """

    scheme: str = ""
    path: str = ""

    @property
    def is_secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of a Host field: without the port where it is the scheme's own (RFC 9110, section 4.2.3)."""
        port = DEFAULT_PORTS["https" if self.is_secure else "http"]
        return super().__str__().removesuffix(f":{port}")

    def __str__(self) -> str:
        return f"{self.scheme}://{super().__str__()}{self.path}" if self.scheme else super().__str__()


def quote(text: str) -> str:
    """Return ``text`` in quotes for an error line: control characters escaped, long values cut short."""
    return repr(text) if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]!r}..."


def without_credentials(text: str) -> str:
    """Return ``text`` with what may be secret of a URL struck out: credentials, query and fragment."""
    return _QUERY.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))


def refuse_reference(secret: str) -> None:
    """Raise ``ConfigError`` for a secret that is only the name of a variable: ``${PASSWORD}``, ``$PASSWORD``.

    Nothing has put the value in its place, so every reader of the file would know the secret. Kubernetes leaves
    ``$(PASSWORD)`` as it is where the container has no such variable.
    """
    found = _REFERENCE.fullmatch(secret)
    if found is not None and found[1]:
        raise ConfigError(
            "its value is the name of an environment variable in parentheses, as it stays in a container that has no "
            "such variable: set it, or write the value"
        )
    if found is not None:
        raise ConfigError(
            "its value is the name of an environment variable: start with --config.expand-env, which puts the "
            "variable's value there, or write the value"
        )


def wrong(wanted: str, text: str, hint: str = "") -> ConfigError:
    """Build the error that says what was wanted, what was found and, in ``hint``, what to do about it.

    The credentials and the query of a URL are struck out of what was found.
    """
    found = quote(without_credentials(text)) if text else "nothing"
    return ConfigError(f"wants {wanted}, found {found}" + (f": {hint}" if hint else ""))


REQUEST_PATH = "a path such as /health, with a query or without, in visible ASCII"

_REQUEST_PATH = re.compile(r"/[!-~]{0,1023}")


def request_path(text: str) -> str:
    """Parse the path of a URL, ready for a request line."""
    if not _REQUEST_PATH.fullmatch(text) or "#" in text:
        raise wrong(REQUEST_PATH, text, "" if text.startswith("/") else "it begins with /")
    return text


# --- durations -------------------------------------------------------------------------------------------------------

DURATION = "a duration such as 100ms, 30s or 1m30s"


def duration(text: str) -> float:
    """Parse a duration above zero (``100ms``, ``1m30s``; the notation of Go's ``time.ParseDuration``) into seconds."""
    seconds = duration_or_zero(text)
    if seconds == 0:
        raise wrong(DURATION, text, "it must be longer than zero")
    return seconds


def duration_or_zero(text: str) -> float:
    """Parse a duration that may be zero (``0s``) into seconds."""
    if _NUMBER.fullmatch(text):
        raise wrong(DURATION, text, f"a number alone has no unit, write {quote(text + 's')}")
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise wrong(DURATION, text)
    seconds = 0.0
    for part in parts:
        number, unit = part.groups()
        if unit not in _UNIT_S:
            raise wrong(DURATION, text, f"{quote(unit)} is not a unit; the units are h, m, s, ms, us and ns")
        seconds += float(number) * _UNIT_S[unit]
    if seconds > YEAR_S:
        raise wrong(DURATION, text, "it must not be longer than a year (8760h)")
    return seconds


def show_duration(seconds: float) -> str:
    """Write seconds the way ``duration`` reads them; exact down to milliseconds."""
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, whole_seconds = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (whole_seconds, "s"), (milliseconds, "ms"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def show_figure(figure: float) -> str:
    """Write a figure that was measured or computed, for people: three digits, and all those before the point."""
    return f"{figure:.3g}" if abs(figure) < 100 else f"{figure:.0f}"


# --- addresses -------------------------------------------------------------------------------------------------------

LOCALHOST = "127.0.0.1"
"""This machine's IPv4 address for itself (RFC 1122 section 3.2.1.3); ``is_loopback`` knows all such addresses."""

BIND_ADDRESS = "an address such as :8000, 127.0.0.1:8000 or [::1]:8000"
LOCAL_ADDRESS = "a port of this machine or an address such as 3000, 127.0.0.1:3000 or :3000"
ADVERTISED_ADDRESS = "an address others can reach, such as 10.0.0.1:8000"
MEMBER = "the address or name of a node, such as 10.26.104.14, pico or 10.26.104.14:8003"
ORIGIN = "a port, a host:port or a URL such as http://localhost:3000"
SERVER_URL = "a URL such as http://localhost:8001"
CLIENTS_URL = "a URL such as http://localhost:8000"
ADMIN_URL = "a URL such as http://localhost:8002"
"""What is wanted where a URL is that of a server's upstream, proxy or admin port."""


def bind_address(text: str) -> Address:
    """Parse an address to listen on: the host may be left out (every address), port 0 takes any free port."""
    return _host_and_port(text, BIND_ADDRESS, text)


def local_address(text: str) -> Address:
    """Parse an address to listen on; a port alone means this machine only, ``:3000`` every address."""
    if _PORT.fullmatch(text):
        return _host_and_port(f"{LOCALHOST}:{text}", LOCAL_ADDRESS, text)
    return _host_and_port(text, LOCAL_ADDRESS, text)


def advertised_address(text: str) -> Address | None:
    """Parse an address told to other nodes, which needs a host and a port; for empty text the node finds one."""
    if not text:
        return None
    address = _host_and_port(text, ADVERTISED_ADDRESS, text)
    if is_unspecified(address.host):
        raise wrong(ADVERTISED_ADDRESS, text, "it must name one host")
    return _with_real_port(address, ADVERTISED_ADDRESS, text)


def member(text: str) -> Address:
    """Parse a cluster member to join. Without a port, ``port`` is 0 and means the gossip port of this node."""
    if "://" in text:
        scheme, _, rest = text.partition("://")
        authority = re.split("[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
        hint = f", write {quote(authority)}" if authority else ""
        raise wrong(MEMBER, f"{scheme}://{authority}", f"it must not be a URL{hint}")
    if is_ip(text):
        head, _, port = text.rpartition(":")
        if is_ip(head) and _PORT.fullmatch(port) and int(port):
            hint = f"write '[{head}]:{port}' for port {port}, or '[{text}]' for the gossip port"
            raise wrong(MEMBER, text, f"it can be read in two ways, {hint}")
        return Address(text, 0)
    if text.startswith("[") and text.endswith("]"):
        return Address(_host(text[1:-1], MEMBER, text, in_brackets=True), 0)
    if text and ":" not in text:
        return Address(_host(text, MEMBER, text), 0)
    address = _host_and_port(text, MEMBER, text)
    if not address.host:
        raise wrong(MEMBER, text, "the host is missing")
    return _with_real_port(address, MEMBER, text)


def origin(text: str) -> Origin:
    """Parse what an agent forwards to: a port of this machine, ``host:port``, or a URL without a path."""
    if "://" in text:
        return _url(text, ORIGIN, text)
    address = _host_and_port(f":{text}" if _PORT.fullmatch(text) else text, ORIGIN, text)
    address = _with_real_port(address, ORIGIN, text)
    return Origin(address.host or "localhost", address.port)


def server_url(text: str, wanted: str = SERVER_URL) -> Origin:
    """Parse the URL of a Pico server: ``http://host:port``; the port is 80, or 443 with ``https``, when left out."""
    return _url(text, wanted, text)


def clients_url(text: str) -> Origin:
    """Parse the URL of a server's proxy port."""
    return server_url(text, CLIENTS_URL)


def connect_url(text: str, wanted: str = SERVER_URL) -> Origin:
    """Parse the URL that tunnels go to: a server's, or a balancer's with a path that comes before the tunnels' own."""
    scheme, mark, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    path = (slash + path).rstrip("/")
    if "?" in rest or "#" in rest:
        raise wrong(wanted, text, "a query is not supported")
    if not _PATH.fullmatch(path):
        raise wrong(wanted, text, "its path has an empty part or a character that is to be written as in %20")
    origin = _url(scheme + mark + authority, wanted, text)
    return Origin(origin.host, origin.port, origin.scheme, path)


def _url(text: str, wanted: str, found: str) -> Origin:
    """Parse a URL without a path; the error texts repeat ``found``, which is what the user wrote."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise wrong(wanted, found, "it must begin with http:// or https://")
    scheme = _WEBSOCKET_SCHEMES.get(scheme.lower(), scheme.lower())
    if scheme not in DEFAULT_PORTS:
        raise wrong(wanted, found, "it must begin with http:// or https://")
    authority = rest.removesuffix("/")
    if any(mark in authority for mark in "/?#"):
        raise wrong(wanted, found, "a path is not supported")
    if "@" in authority:
        raise wrong(wanted, found, "a user name is not supported")
    if not _has_port(authority):
        authority += f":{DEFAULT_PORTS[scheme]}"
    address = _with_real_port(_host_and_port(authority, wanted, found), wanted, found)
    if not address.host:
        raise wrong(wanted, found, "the host is missing")
    return Origin(address.host, address.port, scheme)


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _host_and_port(text: str, wanted: str, found: str) -> Address:
    """Split ``host:port``; the error texts repeat ``found``, which is what the user wrote."""
    in_brackets = text.startswith("[")
    if in_brackets:
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise wrong(wanted, found, "the closing bracket is missing")
        if rest and not rest.startswith(":"):
            raise wrong(wanted, found, "after the bracket comes a colon and the port")
        port = rest[1:]
    elif text.count(":") > 1:
        raise wrong(wanted, found, "an IPv6 address needs brackets, such as [::1]:8000")
    else:
        host, _, port = text.partition(":")
    if not port:
        hint = f"a port alone is written ':{text}'" if _PORT.fullmatch(text) else "the port is missing"
        raise wrong(wanted, found, hint if text else "")
    if not _PORT.fullmatch(port) or int(port) > HIGHEST_PORT:
        raise wrong(wanted, found, f"a port is a number up to {HIGHEST_PORT}")
    return Address(_host(host, wanted, found, in_brackets=in_brackets) if host or in_brackets else "", int(port))


def _host(host: str, wanted: str, found: str, *, in_brackets: bool = False) -> str:
    if in_brackets:
        if not (_IPV6_LOOK.fullmatch(host) and ":" in host and is_ip(host)):
            raise wrong(wanted, found, "in the brackets goes an IPv6 address")
    elif _IPV4_LOOK.fullmatch(host):
        if not is_ip(host):
            raise wrong(wanted, found, f"{quote(host)} is not a valid IPv4 address")
    elif not _NAME.fullmatch(host):
        raise wrong(wanted, found, f"{quote(without_credentials(host))} is not a valid host name")
    return host


def _with_real_port(address: Address, wanted: str, found: str) -> Address:
    if address.port == 0:
        raise wrong(wanted, found, f"the port must be from 1 to {HIGHEST_PORT}")
    return address


def is_ip(host: str) -> bool:
    """Say whether ``host`` is an IP address literal."""
    if not (_IPV4_LOOK.fullmatch(host) or _IPV6_LOOK.fullmatch(host)):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is an address that only programs of the same machine reach, or the name of one."""
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def is_unspecified(host: str) -> bool:
    """Say whether ``host`` means every address of a machine, to listen on, and so names none of them."""
    return not host or (is_ip(host) and ipaddress.ip_address(host).is_unspecified)


HOST_HEADER = "keep, rewrite, or a host such as localhost or localhost:3000"


FILE_PATH = "the path of a file"


def file_path(text: str) -> str:
    """Parse the path of a file; whether it can be read shows when it is read."""
    if not text.isprintable():
        raise wrong(FILE_PATH, text, "it has a control character")
    return text


SERVER_NAME = "a host name or an IP address"


def server_name(text: str) -> str:
    """Parse the name that a certificate must be for; empty is the host that is connected to."""
    return _host(text, SERVER_NAME, text) if text and not is_ip(text) else text


def host_header(text: str) -> str:
    """Check what becomes of the Host field: ``keep``, ``rewrite``, or the host (and port) to send."""
    if text not in ("keep", "rewrite"):
        address = _host_and_port(text if _has_port(text) else f"{text}:{HTTP_PORT}", HOST_HEADER, text)
        if not address.host:
            raise wrong(HOST_HEADER, text, "the host is missing")
    return text


# --- names, switches, numbers ----------------------------------------------------------------------------------------

IDENTIFIER = f"an ID of 1 to {MAX_ID_CHARACTERS} visible characters without '/'"


def identifier(text: str) -> str:
    """Check an endpoint ID or node ID: it travels in a header, a ``Host`` label, a URL path and gossip keys."""
    if not text or len(text) > MAX_ID_CHARACTERS:
        raise wrong(IDENTIFIER, text, f"it has {len(text)} characters" if text else "")
    if not _VISIBLE.fullmatch(text):
        hint = "it contains '/'" if "/" in text else "only visible ASCII characters are allowed"
        raise wrong(IDENTIFIER, text, hint)
    return text


TENANT_SEPARATOR = "/"
"""Between a tenant and its endpoint, inside the cluster and in patterns: an ID has none."""


def tenant(text: str) -> str:
    """Check a tenant ID. Like endpoints, tenants have no case."""
    return identifier(text).lower()


def switch(text: str) -> bool:
    """Parse ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise wrong("true or false", text)
    return text == "true"


def whole_number(text: str, lowest: int, highest: int) -> int:
    """Parse a whole number within bounds (both included)."""
    if not re.fullmatch(r"[0-9]{1,12}", text) or not lowest <= int(text) <= highest:
        raise wrong(f"a whole number from {lowest} to {highest}", text)
    return int(text)


def number_or_auto(text: str, highest: int) -> int:
    """Parse a whole number from 1, or ``auto``, which is 0."""
    if text == "auto":
        return 0
    if not re.fullmatch(r"[0-9]{1,12}", text) or not 1 <= int(text) <= highest:
        raise wrong(f"a whole number from 1 to {highest}, or auto", text)
    return int(text)


def decimal_number(text: str, lowest: float, highest: float) -> float:
    """Parse a decimal number such as ``0.005`` within bounds (both included)."""
    if not _NUMBER.fullmatch(text) or not lowest <= float(text) <= highest:
        raise wrong(f"a number from {lowest:g} to {highest:g}", text)
    return float(text)


def choice(text: str, choices: tuple[str, ...]) -> str:
    """Check that ``text`` is one of ``choices``."""
    if text not in choices:
        raise wrong(f"one of {', '.join(choices)}", text)
    return text
