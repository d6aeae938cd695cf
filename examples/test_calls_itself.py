"""A test-suite that calls its own application through a tunnel: ``pytest examples/test_calls_itself.py``.

The fixtures come with Pico (``docs/testing.md``). A payment provider calls back the URL that the shop has given it,
and the call comes from outside: through a node and an agent, by HTTP.
"""

import json
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

from pico_tunnel.pytest_plugin import MakeCluster, MakeUrl

PATIENCE_S = 10.0


def post(url: str, document: dict[str, Any]) -> int:
    """Send a document, and return the status."""
    request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return int(response.status)


class Shop:
    """The application: it takes orders, and notes those that the provider says are paid."""

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.is_paid = threading.Event()
        self.url = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        document = json.loads(environ["wsgi.input"].read())
        if environ["PATH_INFO"] == "/orders":
            provider = threading.Thread(target=post, args=(f"{self.url}/paid", {"order": document["order"]}))
            provider.start()
            start_response("202 Accepted", [])
        else:
            self.paid.append(document["order"])
            self.is_paid.set()
            start_response("204 No Content", [])
        return [b""]


def test_an_order_is_paid(pico_url: MakeUrl) -> None:
    """The provider's call comes back through the tunnel."""
    shop = Shop()
    shop.url = pico_url(shop)
    assert post(f"{shop.url}/orders", {"order": "A-1"}) == 202
    assert shop.is_paid.wait(PATIENCE_S)
    assert shop.paid == ["A-1"]


def test_another_node_serves_it_as_well(pico_cluster: MakeCluster) -> None:
    """The shop is registered at one node and called through the other."""
    shop, cluster = Shop(), pico_cluster(2)
    shop.url = cluster.serve(shop, "shop", node=0)
    assert post(f"{cluster.url('shop', node=1)}/orders", {"order": "A-2"}) == 202
    assert shop.is_paid.wait(PATIENCE_S)
