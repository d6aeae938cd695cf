"""A fleet of devices, each with a token of its own: a stolen one registers its device's endpoint and no other.

``python examples/fleet.py KEYFILE device-1 device-2`` prints tokens for devices, for a server that was started with
``--upstream.auth.hmac-secret-key-file KEYFILE``; ``pico token key KEYFILE`` makes one. Without arguments the program
runs such a server and three devices, of which one tries to be another.
"""

import contextlib
import logging
import secrets
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jwt

from pico_driver.embedding.errors import RefusedError
from pico_tunnel import sync

VALID_S = 30 * 24 * 3_600
"""A device gets a new token while it is reachable. An agent reads ``connect.token_file`` again by itself."""


def token_for(device: str, key: str) -> str:
    """Return a token that registers the endpoint of one device."""
    claims = {"piko": {"endpoints": [device]}, "exp": int(time.time()) + VALID_S}
    return jwt.encode(claims, key, algorithm="HS256")


def report(url: str, device: str) -> str:
    """Ask a device through the server."""
    request = urllib.request.Request(url, headers={"x-pico-endpoint": device})
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


def demo() -> None:
    """Run a server, two honest devices, and one with the wrong token."""
    logging.getLogger("pico").addHandler(logging.NullHandler())  # what is refused is printed below
    key = secrets.token_hex(32)
    tokens = {f"device-{number}": token_for(f"device-{number}", key) for number in (1, 2, 3)}
    with sync.serve_node(settings={"upstream.auth.hmac_secret_key": key}) as node, contextlib.ExitStack() as fleet:
        for device in ("device-1", "device-2"):
            client = fleet.enter_context(sync.connect(node.upstream_url, token=tokens[device]))
            fleet.enter_context(client.serve_wsgi(device, answering(f"{device} is well")))
        for device in ("device-1", "device-2"):
            print(report(node.proxy_url, device))
        with sync.connect(node.upstream_url, token=tokens["device-3"]) as thief:
            try:
                with thief.serve_wsgi("device-1", answering("I am device-1")):
                    raise SystemExit("this must not happen")
            except RefusedError as error:
                print(error)


def answering(text: str) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application of a device."""

    def app(_environ: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]

    return app


if __name__ == "__main__":
    if len(sys.argv) > 1:
        secret = Path(sys.argv[1]).read_text().strip()
        for name in sys.argv[2:]:
            print(name, token_for(name, secret))
    else:
        demo()
