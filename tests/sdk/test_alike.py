"""Listeners that are configured alike, and what is left of one that has ended."""

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from pico_core.config.agent import HealthCheckConfig, ListenerConfig
from pico_core.config.values import origin
from tests.sdk.kit import Kit, linked


class Service(http.server.BaseHTTPRequestHandler):
    checks = 0

    def do_GET(self) -> None:
        Service.checks += self.path == "/check"
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def addr() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{service.server_port}"
        service.shutdown()


def checked(addr: str) -> ListenerConfig:
    check = HealthCheckConfig(protocol="http", path="/check", interval_s=0.02)
    return ListenerConfig(endpoint_id="e", addr=origin(addr), health_check=check)


def test_one_of_two_that_are_alike_ends_and_the_other_goes_on(kit: Kit, addr: str) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            config = checked(addr)
            async with client.forward("web", addr, config=config):
                async with client.forward("web", addr, config=replace(config)):
                    assert (await kit.get(node.proxy_address, endpoint="web")).status == 200
                before = Service.checks
                await kit.until(lambda: Service.checks > before + 2)
                assert (await kit.get(node.proxy_address, endpoint="web")).status == 200

    kit.run(scenario)


def test_a_service_is_not_checked_when_its_block_has_ended(kit: Kit, addr: str) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            async with client.forward("web", addr, config=checked(addr)):
                before = Service.checks
                await kit.until(lambda: Service.checks > before)
            async with client.forward("other", addr):
                await kit.get(node.proxy_address, endpoint="other")  # the check that was under way has ended
                before = Service.checks
                for _ in range(50):
                    await kit.get(node.proxy_address, endpoint="other")
                assert Service.checks == before

    kit.run(scenario)
