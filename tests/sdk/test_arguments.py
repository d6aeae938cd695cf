"""Arguments that are not valid fail where they are given, and end nothing else."""

from typing import Any

import pytest

from pico_core.errors import ConfigError
from tests.sdk.asgi import echo
from tests.sdk.kit import Kit, linked


def idle(*_: Any) -> Any:
    raise NotImplementedError


ENDPOINT: tuple[dict[str, Any], ...] = ({"endpoint": 5}, {"endpoint": ""}, {"endpoint": "a b"})
LISTEN: tuple[dict[str, Any], ...] = (
    {"timeout_s": "1"}, {"timeout_s": 0}, {"timeout_s": None}, {"timeout_s": True}, {"max_streams": "1"},
    {"max_streams": 0}, {"max_streams": 1.0}, {"patience_s": "1"}, {"patience_s": -1}, {"patience_s": None},
    {"grace_s": float("nan")}, {"grace_s": "1"},
)  # fmt: skip
SERVE: tuple[dict[str, Any], ...] = ({"config": {}}, {"app": None}, {"app": "module:app"}, *LISTEN)
SERVE_WSGI: tuple[dict[str, Any], ...] = ({"threads": 0}, {"threads": "4"}, {"threads": -1}, *SERVE)
FORWARD: tuple[dict[str, Any], ...] = (
    {"addr": None}, {"addr": "x y"}, {"addr": True}, {"addr": 65_536}, {"protocol": "udp"}, {"protocol": None},
    {"config": 5}, {"grace_s": -1}, {"patience_s": ()},
)  # fmt: skip
CONNECT: tuple[dict[str, Any], ...] = (
    {"url": 8001}, {"url": None}, {"url": "localhost:8001"}, {"token": b"a.b.c"}, {"token": lambda: "a.b.c"},
    {"settings": {"connect.timeout": 5}}, {"settings": 5}, {"settings": {5: "5s"}}, {"settings": {"none": "1"}},
)  # fmt: skip


def test_a_wrong_argument_raises_and_the_client_goes_on(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", echo) as listener:
            methods: tuple[tuple[Any, tuple[dict[str, Any], ...], dict[str, Any]], ...] = (
                (client.listen, LISTEN, {}),
                (client.serve, SERVE, {"app": echo}),
                (client.serve_wsgi, SERVE_WSGI, {"app": idle}),
                (client.forward, FORWARD, {"addr": 3000}),
            )
            for method, wrong, others in methods:
                for options in (*ENDPOINT, *wrong):
                    with pytest.raises(ConfigError, match=next(iter(options))):
                        method(**{"endpoint": "e", **others, **options})
            assert listener.is_registered
            assert (await kit.get(node.proxy_address)).status == 200
            for options in CONNECT:
                with pytest.raises(ConfigError):
                    async with kit.pico.connect(**{"url": node.upstream_url, **options}):
                        pass
            with pytest.raises(ConfigError, match="endpoint"):
                async with kit.pico.dial(node.proxy_url, None):
                    pass
            with pytest.raises(ConfigError, match="config"):
                async with kit.pico.serve_node({}):
                    pass

    kit.run(scenario)


def test_a_port_may_be_a_number_and_a_time_without_an_end(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            port = int(node.admin_address.rpartition(":")[2])
            forever = float("inf")
            async with client.forward("web", port, patience_s=forever, grace_s=forever):
                assert (await kit.get(node.proxy_address, "/health", endpoint="web")).status == 200
            async with client.serve("app", echo, timeout_s=forever, grace_s=forever):
                assert (await kit.get(node.proxy_address)).status == 200

    kit.run(scenario)


def test_a_read_of_no_bytes_is_refused_and_loses_nothing(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp") as listener:
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                await near.write(b"hello")
                await near.write_eof()
                far = await listener.accept()
                for size in (0, -1):
                    with pytest.raises(ConfigError, match="max_bytes"):
                        await far.read(size)
                assert b"".join([piece async for piece in far]) == b"hello"

    kit.run(scenario)
