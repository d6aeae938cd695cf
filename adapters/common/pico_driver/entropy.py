"""Randomness of the system for machines, which draw none themselves."""

import random


def secure_entropy() -> random.SystemRandom:
    """Return randomness that is fit for keys, and for the nonces of gossip under a key."""
    return random.SystemRandom()


def new_entropy() -> random.Random:
    """Return randomness for jitter, IDs and masks; no secret is drawn from it. The seed is the system's."""
    return random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311 - see above
