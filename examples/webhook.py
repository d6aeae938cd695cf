"""A receiver of webhooks on a laptop: a WSGI application that checks signatures, reached through a tunnel.

``python examples/webhook.py https://pico.example.com:8001`` prints the URL to give to the sender. Without a URL the
program runs a node of its own, and sends itself two messages, of which one is forged.
"""

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import pico_tunnel
from pico_tunnel import sync

ENDPOINT = "hooks"
SECRET = b"agreed with the sender"
MAX_BYTES = 65_536


def signature(body: bytes) -> str:
    """Return what the sender puts into ``X-Signature``."""
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Take one message. The sender sends it again unless the answer is 2xx."""
    body = environ["wsgi.input"].read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        start_response("413 Content Too Large", [])
        return [b"too long\n"]
    if not hmac.compare_digest(environ.get("HTTP_X_SIGNATURE", ""), signature(body)):
        start_response("401 Unauthorized", [])
        return [b"wrong signature\n"]
    print("received:", json.loads(body)["event"], flush=True)
    start_response("204 No Content", [])
    return [b""]


def send(url: str, event: str, signed_as: bytes | None = None) -> int:
    """Send one message, as the other side does, and return the status."""
    body = json.dumps({"event": event}).encode()
    fields = {"x-pico-endpoint": ENDPOINT, "x-signature": signature(signed_as or body)}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def main(url: str) -> None:
    """Receive until Ctrl-C."""
    if url:
        with pico_tunnel.share(app, endpoint=ENDPOINT, url=url) as share:
            print(share, flush=True)
            share.wait()
        return
    with sync.serve_node() as node, pico_tunnel.share(app, endpoint=ENDPOINT, url=node.upstream_url):
        print(send(node.proxy_url, "invoice paid"))
        print(send(node.proxy_url, "invoice forged", signed_as=b"another body"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
