"""Addresses as gossip writes them: ``10.0.0.1:8003``, ``[fd00::1]:8003``.

Piko forgets the brackets around an IPv6 address; both ways are read, brackets are written.
"""

from ipaddress import ip_address


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets where ``host`` is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """Return an IP address in its one short form, IPv4 inside IPv6 as IPv4; anything else in lower case."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped if mapped is not None else address)


def is_literal(host: str) -> bool:
    """Return whether ``host`` is an IP address that a datagram can be sent to."""
    try:
        return not ip_address(host.partition("%")[0]).is_unspecified
    except ValueError:
        return False


def split_address(text: str, default_port: int | None = None) -> tuple[str, int] | None:
    """Return host and port, or ``None`` if ``text`` is no address; the port may miss if there is a default."""
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]") and default_port is not None:
        return plain_host(text[1:-1]), default_port
    if not colon or (default_port is not None and ":" in host and not host.endswith("]")):
        return (plain_host(text), default_port) if default_port is not None and text else None
    if not (port.isascii() and port.isdigit() and 0 < len(port) < 6 and 0 < int(port) < 65536):
        return None
    host = host.removeprefix("[").removesuffix("]")
    return (plain_host(host), int(port)) if host else None


def literal_address(text: str) -> tuple[str, int] | None:
    """Return host and port if a datagram can be sent there: names would have to be resolved first."""
    address = split_address(text)
    return address if address is not None and is_literal(address[0]) else None
