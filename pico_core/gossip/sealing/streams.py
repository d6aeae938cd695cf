"""Sealed streams. Both ends send a fresh nonce, and each direction of each stream has a key of its own.

The client begins with a *hello*, which is answered by one; then frames follow in both directions. A frame is sealed
under its number in its direction. So one that is repeated, left out, moved, or taken from another stream or the other
direction does not open, and nothing recorded can be sent again. A stream that is cut short lacks the end of its
message, which says itself where it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pico_core.entropy import Entropy
from pico_core.gossip.counters import Counters
from pico_core.gossip.sealing.keys import KEY_ID_BYTES, NONCE_BYTES, TAG_BYTES, Keyring, SealKey
from pico_core.gossip.sealing.refusals import ALTERED, NO_KEY_HERE, NO_KEY_THERE, OTHER_KEY, SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

STREAM = b"\xf1\x00"
STREAM_NONCE_BYTES = 16
"""Random, for each stream: no two streams under one key have the same ciphers."""
HELLO_BYTES = len(STREAM) + KEY_ID_BYTES + STREAM_NONCE_BYTES
LENGTH_BYTES = 2
MAX_SEALED_FRAME_BYTES = 16_384
"""The longest content of a frame: so much of a stream is kept before it is known to be genuine (as in TLS)."""
KEYLESS_HELLO = STREAM + bytes(KEY_ID_BYTES + STREAM_NONCE_BYTES)
"""The answer of a node that has no key to a sealed stream."""


def check_unsealed(beginning: bytes) -> None:
    """Raise ``SealError`` if a stream begins with a hello, for a node without a key."""
    if beginning.startswith(STREAM):
        raise SealError(NO_KEY_HERE, KEYLESS_HELLO)


class _Frames:
    """The common part of both ends: the bytes that do not make a whole frame yet, and the frames of both directions."""

    def __init__(self, keyring: Keyring, entropy: Entropy, counters: Counters) -> None:
        from cryptography.exceptions import InvalidTag

        self._not_authentic = InvalidTag
        self._keyring = keyring
        self._nonce = entropy.getrandbits(8 * STREAM_NONCE_BYTES).to_bytes(STREAM_NONCE_BYTES, "big")
        self._counters = counters
        self._buffer = bytearray()
        self._sending: AESGCM | None = None
        self._receiving: AESGCM | None = None
        self._sent = 0
        self._received = 0

    @property
    def is_agreed(self) -> bool:
        """Whether the hello of the peer has come: frames can be sealed."""
        return self._sending is not None

    def seal(self, data: bytes) -> bytes:
        """Return the frames for ``data``, which may be empty until ``is_agreed``."""
        if not data:
            return b""
        cipher = self._sending
        assert cipher is not None, "the caller asks for is_agreed"
        frames = []
        for at in range(0, len(data), MAX_SEALED_FRAME_BYTES):
            sealed = cipher.encrypt(
                self._sent.to_bytes(NONCE_BYTES, "big"), data[at : at + MAX_SEALED_FRAME_BYTES], None
            )
            self._sent += 1
            frames += [len(sealed).to_bytes(LENGTH_BYTES, "big"), sealed]
        return b"".join(frames)

    def receive(self, data: bytes) -> bytes:
        """Return the content of whole frames in these bytes and those before them. Raises ``SealError``."""
        buffer = self._buffer
        buffer += data
        if self._receiving is None and not self._take_hello():
            return b""
        cipher = self._receiving
        assert cipher is not None, "set by the hello"
        opened = []
        at = 0
        while len(buffer) - at >= LENGTH_BYTES:
            begin = at + LENGTH_BYTES
            size = int.from_bytes(buffer[at:begin], "big")
            if not TAG_BYTES < size <= MAX_SEALED_FRAME_BYTES + TAG_BYTES:
                raise self._refusal(ALTERED)
            if len(buffer) - begin < size:
                break
            try:
                nonce = self._received.to_bytes(NONCE_BYTES, "big")
                opened.append(cipher.decrypt(nonce, bytes(buffer[begin : begin + size]), None))
            except self._not_authentic:
                raise self._refusal(ALTERED) from None
            self._received += 1
            at = begin + size
        del buffer[:at]
        return b"".join(opened)

    def _take_hello(self) -> bool:
        """Take the peer's hello from the buffer; return whether it has come whole."""
        buffer = self._buffer
        if not STREAM.startswith(bytes(buffer[: len(STREAM)])):
            self._counters.unsealed += 1
            raise self._refusal(NO_KEY_THERE)
        if len(buffer) < HELLO_BYTES:
            return False
        key_id = bytes(buffer[len(STREAM) : len(STREAM) + KEY_ID_BYTES])
        nonce = bytes(buffer[len(STREAM) + KEY_ID_BYTES : HELLO_BYTES])
        if key_id == bytes(KEY_ID_BYTES):
            self._counters.unsealed += 1
            raise self._refusal(NO_KEY_THERE)
        key = self._key(key_id)
        if key is None:
            raise self._refusal(OTHER_KEY)
        del buffer[:HELLO_BYTES]
        self._agree(key, nonce)
        return True

    def _key(self, key_id: bytes) -> SealKey | None:
        return self._keyring.by_id.get(key_id)

    def _agree(self, key: SealKey, nonce: bytes) -> None:
        raise NotImplementedError

    def _refusal(self, problem: str) -> SealError:
        if problem != NO_KEY_THERE:
            self._counters.seals_refused += 1
        return SealError(problem, b"" if self.is_agreed else self._hello(self._keyring.first))

    def _hello(self, key: SealKey) -> bytes:
        return STREAM + key.id + self._nonce


class OutboundSeal(_Frames):
    """The end that opened the connection: send ``hello``, and the sealed request once ``is_agreed``."""

    def __init__(self, keyring: Keyring, entropy: Entropy, counters: Counters) -> None:
        super().__init__(keyring, entropy, counters)
        self._chosen = keyring.first
        self.hello = self._hello(self._chosen)

    def _key(self, key_id: bytes) -> SealKey | None:
        return self._chosen if key_id == self._chosen.id else None

    def _agree(self, key: SealKey, nonce: bytes) -> None:
        self._sending, self._receiving = key.stream_ciphers(self._nonce + nonce)


class InboundSeal(_Frames):
    """The end that accepted the connection: it takes the key that the other end names. Send ``take_hello`` once."""

    def __init__(self, keyring: Keyring, entropy: Entropy, counters: Counters) -> None:
        super().__init__(keyring, entropy, counters)
        self._answer = b""

    @property
    def has_hello(self) -> bool:
        """Whether there is a hello to send."""
        return bool(self._answer)

    def take_hello(self) -> bytes:
        """Return the hello that answers the peer's, or nothing."""
        answer, self._answer = self._answer, b""
        return answer

    def _agree(self, key: SealKey, nonce: bytes) -> None:
        self._receiving, self._sending = key.stream_ciphers(nonce + self._nonce)
        self._answer = self._hello(key)
