"""Which datagrams are read: a bound on the time that reading takes, for each source address and for all together.

Nodes that have answered us have a share of their own, so that a flood from anywhere else costs them nothing. Datagrams
from other addresses are first bounded in size. The costs are estimates of microseconds, above those measured.
"""

from pico_core.client_group import client_group
from pico_core.gossip.address import HostPort
from pico_core.gossip.bucket import Bucket

MAX_STRANGER_BYTES = 1500
"""A newcomer sends no larger datagrams with the default settings, and joins over TCP before it sends any."""
DATAGRAM_COST_US = 40
BYTES_PER_COST_US = 8
STRANGERS_US = 30_000
"""A second's work for addresses that have not answered: three percent of a core, 600 short answers."""
STRANGER_US = 10_000
"""The part of it that one address, or IPv6 network of /64, may have: 200 short datagrams, or 50 full ones.

A node sends about 20 of either.
"""
ANSWERS_US = 50_000
"""A second's work for addresses that we have just asked: 320 pings of nodes that were heard of, two answers to each."""
MEMBER_US = 40_000
"""A second's work for one node that has answered: four times what it sends where there is no third node."""
MEMBERS_US = 160_000
ROUND_S = 0.1
PACKET_BYTES = 1400
"""The settings for which the work of members is given: shorter intervals and longer packets make more."""
MAX_SOURCES = 4096
"""Addresses whose work is remembered; an address that falls out begins with a second's work."""
REPLY_S = 2.0
"""How long an address that we asked may take to answer with a share of its own."""


class Shares:
    """A kind of source: a bucket for each address, and one for all of them together."""

    def __init__(self, rate_of_one: float, rate_of_all: float) -> None:
        self._rate_of_one = rate_of_one
        self._all = Bucket(rate_of_all, rate_of_all, 0.0)
        self._by_address: dict[HostPort, Bucket] = {}

    def take(self, address: HostPort, cost: float, now: float) -> bool:
        """Take the cost of one datagram from both buckets; return whether it was there."""
        one = self._by_address.get(address)
        if one is None:
            if len(self._by_address) >= MAX_SOURCES:
                del self._by_address[next(iter(self._by_address))]
            one = self._by_address[address] = Bucket(self._rate_of_one, self._rate_of_one, now)
        if not (one.has(cost, now) and self._all.has(cost, now)):
            return False
        one.take(cost)
        self._all.take(cost)
        return True


class DatagramLimiter:
    """Decides for each datagram whether it is read. Time is in seconds."""

    def __init__(self, interval_s: float, max_packet_bytes: int) -> None:
        more = max(1.0, ROUND_S / interval_s) * max(1.0, max_packet_bytes / PACKET_BYTES)
        self._max_stranger_bytes = max(MAX_STRANGER_BYTES, max_packet_bytes)
        self._members = Shares(MEMBER_US * more, MEMBERS_US * more)
        self._answers = Shares(STRANGER_US * more, ANSWERS_US * more)
        self._strangers = Shares(STRANGER_US * more, STRANGERS_US * more)
        self._asked_at: dict[HostPort, float] = {}

    def asked(self, address: HostPort, now: float) -> None:
        """We sent something there that has to be answered."""
        self._asked_at.pop(address, None)
        if len(self._asked_at) >= MAX_SOURCES:
            del self._asked_at[next(iter(self._asked_at))]
        self._asked_at[address] = now

    def admits(self, size_bytes: int, address: HostPort, now: float, *, is_member: bool) -> bool:
        """Return whether a datagram is read; ``is_member`` says that a node has answered from its address."""
        if not is_member and size_bytes > self._max_stranger_bytes:
            return False
        cost_us = DATAGRAM_COST_US + size_bytes / BYTES_PER_COST_US
        if is_member:
            return self._members.take(address, cost_us, now)
        asked_at = self._asked_at.get(address)
        if asked_at is not None and now < asked_at + REPLY_S:
            return self._answers.take(address, cost_us, now)
        return self._strangers.take((client_group(address[0]), 0), cost_us, now)
