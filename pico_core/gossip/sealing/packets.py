"""Sealed datagrams. Only packets of a holder of the key to this very process are opened, and each once.

A process draws a random *session* when it starts. It seals with a key that is derived from the session, and numbers its
packets: so no two packets have the same key and nonce. Each packet names the session of its receiver. A packet that
was recorded before the receiver started, or on its way to another node, thus names another one. One that the receiver
has taken before is found by its number. No clock is needed.

A sender that does not know its receiver's session, because it has just met it or the receiver has started anew, is
answered by an empty packet, a *hello*, from which it learns the session. The packet is then sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pico_core.boundary import SendDatagram
from pico_core.entropy import Entropy
from pico_core.gossip.address import HostPort
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import LISTENER, Output, SealRefused
from pico_core.gossip.sealing.keys import KEY_ID_BYTES, NONCE_BYTES, TAG_BYTES, Keyring, SealKey
from pico_core.gossip.sealing.refusals import ALTERED, NO_KEY_THERE, OTHER_KEY
from pico_core.gossip.sealing.window import Window
from pico_core.gossip.wire.records import DELTA, DIGEST, MAX_NODES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PACKET = b"\xf0\x00"
SESSION_BYTES = 12
"""Two of a million sessions under one key are equal once in 10^17 times."""
RECEIVER_BYTES = 8
"""As much of the receiver's session is enough to name it."""
COUNTER_BYTES = 6
"""At a million packets a second, a session lasts nine years."""
MAX_COUNTER = (1 << 8 * COUNTER_BYTES) - 1
HEAD_BYTES = len(PACKET) + KEY_ID_BYTES + SESSION_BYTES + RECEIVER_BYTES + COUNTER_BYTES
OVERHEAD_BYTES = HEAD_BYTES + TAG_BYTES
NO_RECEIVER = bytes(RECEIVER_BYTES)
"""The receiver of a packet whose sender does not know the session there."""

MAX_PEERS = 2 * MAX_NODES
"""Sessions whose numbers are remembered: twice the nodes of a table. Beyond it this node takes another session, which
voids everything that was sealed for the one before: no replay is taken because a number was forgotten."""
MAX_RECEIVERS = 2 * MAX_NODES
MAX_HELD_PACKETS = 256
"""Packets that wait for a hello, one for each address; a packet that falls out is lost, as any may be."""

_SESSION_AT = len(PACKET) + KEY_ID_BYTES
_RECEIVER_AT = _SESSION_AT + SESSION_BYTES
_COUNTER_AT = _RECEIVER_AT + RECEIVER_BYTES


class _Peer:
    """One session of another process."""

    __slots__ = ("cipher", "key", "window")

    def __init__(self, key: SealKey, cipher: AESGCM) -> None:
        self.key = key
        self.cipher = cipher
        self.window = Window()


class PacketSeal:
    """Seals the datagrams of one node, and opens those of the others.

    ``entropy`` must be fit for keys: ``random.SystemRandom`` outside tests.
    """

    def __init__(self, keyring: Keyring, entropy: Entropy, counters: Counters, emit: Callable[[Output], None]) -> None:
        self._keyring = keyring
        self._entropy = entropy
        self._counters = counters
        self._emit = emit
        self._peers: dict[bytes, _Peer] = {}
        self._receivers: dict[HostPort, bytes] = {}
        self._waiting: dict[HostPort, bytes] = {}
        from cryptography.exceptions import InvalidTag

        self._not_authentic = InvalidTag
        self._begin_session()

    def _begin_session(self) -> None:
        self._session = self._entropy.getrandbits(8 * SESSION_BYTES).to_bytes(SESSION_BYTES, "big")
        self._receiver = self._session[:RECEIVER_BYTES]
        self._counter = 0
        self._peers.clear()
        self.keys_changed()

    def keys_changed(self) -> None:
        """The keyring has other keys: seal with its first one."""
        first = self._keyring.first
        self._cipher = first.packet_cipher(self._session)
        self._head = PACKET + first.id + self._session

    def seal(self, data: bytes, address: HostPort) -> bytes:
        """Return the packet for ``data``, ``OVERHEAD_BYTES`` longer, to be sent to ``address``."""
        receiver = self._receivers.get(address)
        if receiver is None:
            self._waiting.pop(address, None)
            if len(self._waiting) >= MAX_HELD_PACKETS:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[address] = data
            receiver = NO_RECEIVER
        return self._sealed(data, receiver)

    def open(self, packet: bytes, address: HostPort) -> bytes | None:
        """Return the packet that another node has sealed for this one; ``None`` if there is nothing to take."""
        counters = self._counters
        if len(packet) < OVERHEAD_BYTES or not packet.startswith(PACKET):
            self._refuse_unsealed(packet, address)
            return None
        key = self._keyring.by_id.get(packet[len(PACKET) : _SESSION_AT])
        session = packet[_SESSION_AT:_RECEIVER_AT]
        if key is None:
            counters.seals_refused += 1
            self._emit(SealRefused(address[0], OTHER_KEY))
            return None
        if session == self._session:
            counters.replays_refused += 1
            return None
        peer = self._peers.get(session)
        cipher = peer.cipher if peer is not None and peer.key is key else key.packet_cipher(session)
        data = self._decrypted(cipher, packet)
        if data is None:
            counters.seals_refused += 1
            self._emit(SealRefused(address[0], ALTERED))
            return None
        if packet[_RECEIVER_AT:_COUNTER_AT] != self._receiver:
            counters.seals_for_others += 1
            if data:  # a hello is never answered, so that two nodes do not greet each other without end
                self._send(b"", address, session[:RECEIVER_BYTES])
            return None
        if peer is None or peer.key is not key:
            peer = self._remember(session, key, cipher, peer)
        if not peer.window.take(int.from_bytes(packet[_COUNTER_AT:HEAD_BYTES], "big")):
            counters.replays_refused += 1
            return None
        self._met(address, session[:RECEIVER_BYTES])
        return data or None

    # --- inside ---

    def _sealed(self, data: bytes, receiver: bytes) -> bytes:
        if self._counter >= MAX_COUNTER:
            self._begin_session()
        self._counter += 1
        head = self._head + receiver + self._counter.to_bytes(COUNTER_BYTES, "big")
        return head + self._cipher.encrypt(self._counter.to_bytes(NONCE_BYTES, "big"), data, head)

    def _send(self, data: bytes, address: HostPort, receiver: bytes) -> None:
        packet = self._sealed(data, receiver)
        self._counters.packet_bytes_outbound += len(packet)
        self._emit(SendDatagram(LISTENER, packet, *address))

    def _decrypted(self, cipher: AESGCM, packet: bytes) -> bytes | None:
        nonce = bytes(NONCE_BYTES - COUNTER_BYTES) + packet[_COUNTER_AT:HEAD_BYTES]
        try:
            return cipher.decrypt(nonce, packet[HEAD_BYTES:], packet[:HEAD_BYTES])
        except self._not_authentic:
            return None

    def _refuse_unsealed(self, packet: bytes, address: HostPort) -> None:
        if packet.startswith((DIGEST, DELTA)):
            self._counters.unsealed += 1
            self._emit(SealRefused(address[0], NO_KEY_THERE))
        else:
            self._counters.malformed += 1

    def _remember(self, session: bytes, key: SealKey, cipher: AESGCM, known: _Peer | None) -> _Peer:
        """Return the record of a session that is new, or that seals with another key now."""
        if known is not None:
            known.key, known.cipher = key, cipher
            return known
        if len(self._peers) >= MAX_PEERS:
            self._begin_session()
        peer = self._peers[session] = _Peer(key, cipher)
        return peer

    def _met(self, address: HostPort, receiver: bytes) -> None:
        """A session is at an address: seal for it from now on, first what waits."""
        receivers = self._receivers
        if receivers.get(address) != receiver:
            receivers.pop(address, None)
            if len(receivers) >= MAX_RECEIVERS:
                del receivers[next(iter(receivers))]
            receivers[address] = receiver
        if self._waiting:
            waiting = self._waiting.pop(address, None)
            if waiting is not None:
                self._send(waiting, address, receiver)
