"""Bounds that several packages share which do not know each other. All others stand where they are kept."""

HIGHEST_PORT = 65_535
"""Of TCP and UDP: 16 bits (RFC 9293, RFC 768)."""

MAX_ID_CHARACTERS = 255
"""Of an endpoint or a node, in the configuration and in gossip."""

TUNNEL_STREAMS = 1_024
"""The streams of one tunnel where no key says otherwise: one for each request in flight. Beyond it another tunnel, or a
clear refusal, serves better than a longer queue."""

GOSSIP_KEY_BYTES = 32
"""AES-256 and HMAC-SHA256 take as many."""
