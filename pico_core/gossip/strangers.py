"""Addresses that have not answered us: the bytes that may go to each.

The source of a datagram can be forged, and so can the address that a peer lists. So the bytes to an address that has
never answered are at most those that came from there, and those by which peers that did answer listed it. One datagram
then never causes more bytes than it has, from however many nodes (RFC 9000, section 8.1 bounds amplification likewise).
"""

from pico_core.gossip.address import HostPort

MAX_STRANGERS = 4096
"""As many as nodes. One that falls out of the table has to be heard from again before anything goes there."""
MAX_CREDIT_BYTES = 65_536
"""Credit that gathers without bound would let a forged address be flooded later; this is some 45 full packets."""


class Strangers:
    """The bytes that may still go to each address that has not answered. Bounded; the oldest address gives way."""

    def __init__(self) -> None:
        self._credit_bytes: dict[HostPort, int] = {}

    def received(self, address: HostPort, size_bytes: int) -> None:
        """So many bytes came from there, or were spent on listing it by a peer that has answered."""
        credit = self._credit_bytes
        credit_bytes = credit.pop(address, 0)
        if len(credit) >= MAX_STRANGERS:
            del credit[next(iter(credit))]
        credit[address] = min(credit_bytes + size_bytes, MAX_CREDIT_BYTES)

    def room_bytes(self, address: HostPort) -> int:
        """Return how many bytes may go there."""
        return self._credit_bytes.get(address, 0)

    def sent(self, address: HostPort, size_bytes: int) -> None:
        """So many bytes, at most ``room_bytes``, went there."""
        self._credit_bytes[address] -= size_bytes
