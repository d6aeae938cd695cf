"""The keys of a cluster, and the keys that are derived from each: none is used for two purposes.

Everything is derived by HMAC-SHA256 (the step ``expand`` of HKDF, RFC 5869, with one block), and sealed by AES-256-GCM
(NIST SP 800-38D). ``cryptography`` is imported when the first key is made: without keys it is not needed.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pico_core.bounds import GOSSIP_KEY_BYTES
from pico_core.errors import LocalProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_ID_BYTES = 4
"""Of eight keys (``MAX_GOSSIP_KEYS``) two have the same ID once in 150 million draws."""
TAG_BYTES = 16
"""The length of the authentication tag that AES-GCM appends."""
NONCE_BYTES = 12
"""The length of a nonce that AES-GCM takes without a further hash (NIST SP 800-38D section 5.2.1.1)."""


class SealKey:
    """One key of the cluster. ``id`` says on the wire which key was used; it tells nothing about the key."""

    __slots__ = ("_proofs", "_secret", "id")

    def __init__(self, secret: bytes) -> None:
        """Raises ``LocalProtocolError`` for a secret of another length than ``GOSSIP_KEY_BYTES``."""
        if len(secret) != GOSSIP_KEY_BYTES:
            raise LocalProtocolError(f"a gossip key has {GOSSIP_KEY_BYTES} bytes, not {len(secret)}")
        self._secret = secret
        self.id = self._derive(b"id")[:KEY_ID_BYTES]
        self._proofs = self._derive(b"proofs")

    def packet_cipher(self, session: bytes) -> AESGCM:
        """Return the cipher for the packets of one session of a sender; ``session`` is its ID, as packets have it."""
        return _cipher(self._derive(b"packets", session))

    def stream_ciphers(self, nonces: bytes) -> tuple[AESGCM, AESGCM]:
        """Return the ciphers of one stream, for what its client sends and for what its server sends."""
        return _cipher(self._derive(b"stream client", nonces)), _cipher(self._derive(b"stream server", nonces))

    def proof(self, text: bytes) -> bytes:
        """Return the ``TAG_BYTES`` bytes that only holders of the key can make for ``text``."""
        return hmac.digest(self._proofs, text, "sha256")[:TAG_BYTES]

    def _derive(self, purpose: bytes, context: bytes = b"") -> bytes:
        return hmac.digest(self._secret, b"pico gossip 1 " + purpose + b"\x00" + context, "sha256")


class Keyring:
    """The keys of this node: ``first`` seals, each of ``by_id`` opens."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Raises as ``take`` does."""
        self.take(secrets)

    def take(self, secrets: Sequence[bytes]) -> None:
        """Use these keys from now on: the first to seal, all to open.

        Raises ``LocalProtocolError``, and changes nothing, without a key or for one of another length.
        """
        keys = [SealKey(secret) for secret in secrets]
        if not keys:
            raise LocalProtocolError("sealing needs a key")
        self.first = keys[0]
        self.by_id = {key.id: key for key in reversed(keys)}


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
