"""The proxies before a port: which peers the node trusts to report clients' addresses, and what it makes of that."""

from pico_core.config.networks import NamedNetwork, Networks, address_of
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS, Ports
from pico_core.http.client_lines import client_lines
from pico_core.http.grammar import request_id
from pico_core.http.message import RequestHead, field_values
from pico_core.http.writing import WITHOUT_HOST
from pico_core.proxy.client_address import client_address, forwarded_element, node_address


def trusted_proxies(config: ServerConfig, ports: Ports = PORTS) -> dict[str, "TrustedProxies"]:
    """Return those of each port that may have some, by listener."""
    return {
        port.listener: TrustedProxies(port.behind(config).trusted_proxies, sends_header=port.has_header(config))
        for port in ports
        if port.behind is not None
    }


class TrustedProxies:
    """The trusted proxies of one port. ``sends_header`` says that their connections begin with a PROXY header.

    It is asked once for a connection, so what ``take_over`` changes counts for connections that come later.
    """

    __slots__ = ("_networks", "sends_header")

    def __init__(self, trusted: tuple[NamedNetwork, ...], *, sends_header: bool) -> None:
        self._networks = Networks(trusted)
        self.sends_header = sends_header

    def take_over(self, trusted: tuple[NamedNetwork, ...]) -> None:
        """Trust these from now on, and no others."""
        self._networks = Networks(trusted)

    def __contains__(self, host: object) -> bool:
        """Say whether the peer at ``host``, an IP address, is trusted."""
        if not self._networks or not isinstance(host, str):
            return False
        address = address_of(host)
        return address is not None and address in self._networks

    def client_behind(self, proxy: str, head: RequestHead) -> str:
        """Return the address of the client of a request that came from a trusted proxy."""
        return client_address(proxy, head.forwarded_for, head.forwarded_elements, self._networks)

    def client_behind_node(self, node: str, head: RequestHead) -> str:
        """Return the address of the client of a request that another node forwarded.

        That node has appended the address which it was connected from, so this is what it found itself.
        """
        chain, _, last = head.forwarded_for.rpartition(b",")
        found = node_address(last)
        if found is None:
            return node
        address, client = found
        return client_address(client, chain, b"", self._networks) if address in self._networks else client


def fields_from_proxy(proxy: str, client: str, head: RequestHead, scheme: bytes) -> bytes:
    """Return the field lines about the client of a request that came from a trusted proxy: its own, and its address.

    X-Forwarded-For has the client also where the proxy tells of it in Forwarded only.
    """
    chain = head.forwarded_for
    if not chain and client != proxy:
        chain = client.encode()
    elements = head.forwarded_elements
    return client_lines(
        b"%b, %b" % (chain, proxy.encode()) if chain else proxy.encode(),
        head.forwarded_proto or scheme,
        head.forwarded_host or head.host or WITHOUT_HOST,
        b"%b, %b" % (elements, forwarded_element(proxy)) if elements else b"",
        head.about_client,
    )


def fields_from_node(node: str, head: RequestHead, scheme: bytes) -> bytes:
    """Return the field lines about the client of a request that another node forwarded: as they came.

    A Piko node tells X-Forwarded-For only.
    """
    return client_lines(
        head.forwarded_for or node.encode(),
        head.forwarded_proto or scheme,
        head.forwarded_host or head.host or WITHOUT_HOST,
        head.forwarded_elements,
        head.about_client,
    )


def request_id_of_proxy(head: RequestHead) -> bytes:
    """Return the ID that a trusted proxy gave the request, in Pico's field or in the usual one; empty without one."""
    if head.request_id:
        return head.request_id
    values = field_values(head.fields, b"x-request-id")
    return values[0] if len(values) == 1 and request_id.fullmatch(values[0]) else b""
