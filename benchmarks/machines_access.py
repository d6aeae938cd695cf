"""The cost of tokens: microseconds per request with and without the access check, in the same run.

The token is remembered, as it is for every request of a client but the first: by the head of its connection where that
is as the one before, else by its hash.
"""

import time

from benchmarks.machines_server import WALL_S, run
from pico_core.access.gate import Gate
from pico_core.access.issuing import Claims, SigningKey
from pico_core.access.secret import Secret
from pico_core.access.token import TokenRules
from pico_core.config.auth import AuthConfig
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ServerConfig

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"
ROUNDS = 5
"""The two cases take turns, and the best of each counts: the machine may have other work."""


def compare(seconds: float, *, new_heads: bool) -> tuple[float, float]:
    """Return the cost of a request without and with the check; both send the token."""
    token = SigningKey(SECRET).sign(Claims(("e1", "e2"), expires_at=WALL_S + 1e6), WALL_S)
    fields = b"Authorization: Bearer %b\r\n" % token.encode()
    guarded = ServerConfig(proxy=ProxyConfig(auth=AuthConfig(hmac_secret_key=Secret(SECRET))))
    part_s = seconds / 2 / ROUNDS
    rounds = [
        (
            run(part_s, access_log=False, new_heads=new_heads, fields=fields),
            run(part_s, access_log=False, new_heads=new_heads, fields=fields, config=guarded),
        )
        for _ in range(ROUNDS)
    ]
    return min(without for without, _ in rounds), min(checked for _, checked in rounds)


def first_check_us() -> float:
    """Return the cost of a token that was never seen, with HMAC."""
    tokens = [
        b"Bearer " + SigningKey(SECRET).sign(Claims(("e1",), subject=str(number)), WALL_S).encode()
        for number in range(2_000)
    ]
    gate = Gate((SigningKey(SECRET).verifying,), TokenRules())
    gate.check(tokens[0], WALL_S)
    began = time.perf_counter()
    for token in tokens[1:]:
        gate.check(token, WALL_S)
    return (time.perf_counter() - began) / len(tokens) * 1e6


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds per request, and for a token that is seen for the first time."""
    found: dict[str, float] = {}
    for title, new_heads in (("equal heads", False), ("every head new", True)):
        without, checked = compare(seconds, new_heads=new_heads)
        found |= {f"{title}, no check": without, f"{title}, checked": checked}
    return {**found, "a token seen for the first time, HMAC": first_check_us()}
