"""The states of an endpoint as a program sees them, and its errors."""

import contextlib
import http.client
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pico_core.errors import ConfigError, LocalProtocolError
from pico_driver.embedding.errors import ClosedError, RefusedError, UnreachableError
from pico_driver.embedding.listener import Lost, Moved, Registered
from tests.certificates import issue, write_authority
from tests.ports import reserved_port
from tests.sdk.greeter import Greeter
from tests.sdk.kit import Kit, linked
from tests.sdk.relay import Relay


def test_a_listener_tells_that_its_node_was_lost_and_came_back(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with reserved_port() as port:
            settings = {"upstream.bind_addr": f"127.0.0.1:{port}"}
            registered = kit.event()

            async def run_node() -> None:
                async with kit.pico.serve_node(settings=settings) as node:
                    await node.wait_closed()

            async def serve() -> None:
                async with kit.pico.connect(f"http://127.0.0.1:{port}") as client, client.listen("tcp") as listener:
                    events = listener.events()
                    assert isinstance(await anext(events), Registered)
                    registered.set()
                    assert isinstance(await anext(events), Lost)
                    assert not listener.is_registered
                    async with kit.pico.serve_node(settings=settings) as node:
                        assert await anext(events) == Registered("", node.node_id)
                        assert listener.is_registered
                assert [each async for each in events] == []

            await kit.together(lambda: kit.cancelled(run_node, registered.wait), serve)

    kit.run(scenario)


def test_a_listener_moves_without_a_gap_when_its_node_drains(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        ready, draining, done = kit.event(), kit.event(), kit.event()

        async def serve(relay: Relay) -> None:
            async with kit.pico.connect(f"http://{relay.address}") as client, client.listen("tcp") as listener:
                events = listener.events()
                assert isinstance(await anext(events), Registered)
                draining.set()
                moved = await anext(events)
                assert isinstance(moved, Moved)
                assert moved.node == listener.node
            done.set()

        async with kit.pico.serve_node() as staying:
            relay = Relay()
            try:

                async def drain() -> None:
                    settings = {"cluster.join": staying.gossip_address, "drain_delay": "1s"}
                    async with kit.pico.serve_node(settings=settings) as leaving:
                        relay.target = leaving.upstream_address
                        ready.set()
                        await draining.wait()
                        relay.target = staying.upstream_address
                    await done.wait()

                async def begin() -> None:
                    await ready.wait()
                    await serve(relay)

                await kit.together(drain, begin)
            finally:
                relay.close()

    kit.run(scenario)


def test_what_a_notebook_or_a_debugger_shows(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with kit.pico.serve_node() as node, kit.pico.connect(node.upstream_url) as client:
            assert repr(node) == f"<Node {node.node_id!r} {node.proxy_url}, upstream {node.upstream_url}>"
            async with client.forward("web", "127.0.0.1:1") as listener:
                assert repr(listener) == f"<Listener 'web' {listener.url}, registered>"
            assert repr(listener) == f"<Listener 'web' {listener.url}, over>"
        assert repr(node) == f"<Node {node.node_id!r} stopped>"

    kit.run(scenario)


def test_a_refused_endpoint_says_why(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        secret = {"upstream.auth.hmac_secret_key": "key-" * 8}
        async with kit.pico.serve_node(settings=secret) as node, kit.pico.connect(node.upstream_url) as client:
            with pytest.raises(RefusedError) as refused:
                async with client.listen("tcp"):
                    pass
            assert refused.value.status == 401
            assert "'tcp'" in str(refused.value)

    kit.run(scenario)


def test_a_server_that_is_away_is_waited_for_so_long(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with reserved_port() as port:
            async with kit.pico.connect(f"http://127.0.0.1:{port}") as client:
                with pytest.raises(UnreachableError, match="refused"):
                    async with client.listen("tcp", patience_s=0.3):
                        pass

    kit.run(scenario)


def test_wrong_arguments_name_their_key(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with pytest.raises(ConfigError, match=r"connect\.url"):
            async with kit.pico.connect("ftp://x"):
                pass
        with pytest.raises(ConfigError, match=r"--connect\.tokn"):
            async with kit.pico.connect("http://x", settings={"connect.tokn": "x"}):
                pass
        async with kit.pico.connect("http://localhost:1") as client:
            with pytest.raises(ConfigError):
                async with client.listen("not/an/endpoint"):
                    pass

    kit.run(scenario)


def test_requests_are_forwarded_to_a_service_on_a_socket(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        service = ThreadingHTTPServer(("127.0.0.1", 0), Greeter)
        Thread(target=service.serve_forever, daemon=True).start()
        try:
            async with linked(kit) as (node, client), client.forward("app", f"127.0.0.1:{service.server_port}"):
                answer = await kit.get(node.proxy_address)
                assert (answer.status, answer.body) == (200, b"hello")
        finally:
            await kit.in_thread(service.shutdown)
            service.server_close()

    kit.run(scenario)


def test_a_node_that_cannot_listen_says_so(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with kit.pico.serve_node() as node:
            settings = {"admin.bind_addr": node.admin_address}
            with pytest.raises(ClosedError, match="cannot listen on admin address"):
                async with kit.pico.serve_node(settings=settings):
                    pass

    kit.run(scenario)


def test_tls_with_an_authority_of_ones_own(kit: Kit, tmp_path: Path) -> None:
    authority = write_authority(tmp_path)
    files = issue(tmp_path, "127.0.0.1")

    async def scenario(kit: Kit) -> None:
        settings = {
            f"{port}.tls.{key}": value
            for port in ("proxy", "upstream")
            for key, value in {"cert": files.cert, "key": files.key}.items()
        }
        trust = {"connect.tls.root_cas": authority}
        async with kit.pico.serve_node(settings=settings) as node:
            assert node.upstream_url.startswith("https://")
            async with (
                kit.pico.connect(node.upstream_url, settings=trust) as client,
                client.listen("tcp") as listener,
                kit.pico.dial(node.proxy_url, "tcp", settings=trust) as near,
            ):
                far = await listener.accept()
                await near.write(b"secret")
                assert await far.read() == b"secret"
            with pytest.raises(UnreachableError, match="certificate"):
                async with kit.pico.dial(node.proxy_url, "tcp", settings={"connect.timeout": "1s"}):
                    pass

    kit.run(scenario)


def test_a_change_of_levels_is_not_answered_as_if_it_were_made(kit: Kit) -> None:
    """The program's ``logging`` decides what a node inside it logs."""

    async def scenario(kit: Kit) -> None:
        async with kit.pico.serve_node() as node:
            host, port = node.admin_address.rsplit(":", 1)

            def change() -> tuple[int, str]:
                with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=5)) as connection:
                    connection.request("PUT", "/log-levels/gossip?level=debug")
                    answer = connection.getresponse()
                    return answer.status, answer.read().decode()

            status, text = await kit.in_thread(change)
            assert status == 409
            assert "'pico.gossip'" in text

    kit.run(scenario)


def test_traces_are_for_the_commands(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        settings = {"tracing.endpoint": "http://localhost:4318"}
        with pytest.raises(ConfigError, match="for the commands"):
            async with kit.pico.serve_node(settings=settings):
                pass
        with pytest.raises(ConfigError, match="for the commands"):
            async with kit.pico.connect("http://localhost:8001", settings=settings):
                pass

    kit.run(scenario)


async def idle_app(scope: Any, receive: Any, send: Any) -> None:
    """An application that does not know the lifespan."""
    assert scope["type"] == "http"


def test_a_block_is_entered_once(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (_, client):
            for block in (client.listen("e"), client.serve("e", idle_app), client.serve_wsgi("e", idle_app)):
                async with block as listener:
                    with pytest.raises(RuntimeError, match="entered before"):
                        await block.__aenter__()
                    assert listener.is_registered
                with pytest.raises(RuntimeError, match="entered before"):
                    await block.__aenter__()

    kit.run(scenario)


def test_a_client_belongs_to_its_loop(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (_, client):

            async def elsewhere(other: Kit) -> None:
                for block in (client.listen("e"), client.serve("e", idle_app)):
                    with pytest.raises(LocalProtocolError, match="another loop"):
                        await block.__aenter__()

            for runtime in ("asyncio", "trio"):
                await kit.in_thread(partial(Kit(runtime).run, elsewhere))
            async with client.listen("e") as listener:
                assert listener.is_registered

    kit.run(scenario)
