"""Raw streams: a listener of the program and ``dial``, through a node in the same program."""

import pytest

from pico_driver.embedding.errors import (
    ClosedError,
    RefusedError,
    StreamBrokenError,
    StreamClosedError,
    UnreachableError,
)
from tests.sdk.kit import Kit, linked
from tests.sdk.relay import Relay

SIZE = 32 << 20
"""More than two kernels keep of a connection."""


def test_bytes_pass_both_ways_and_each_direction_ends_by_itself(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp") as listener:
            assert listener.node == node.node_id
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                await near.write(b"hello")
                far = await listener.accept()
                assert await far.read() == b"hello"
                await far.write(b"and ")
                await far.write(b"back")
                await far.write_eof()
                assert b"".join([piece async for piece in near]) == b"and back"
                await near.write(b"still open")
                assert await far.read(5) == b"still"
                assert await far.read() == b" open"
                await near.write_eof()
                assert await far.read() == b""
                with pytest.raises(StreamClosedError):
                    await near.write(b"more")

    kit.run(scenario)


def test_a_stream_is_as_fast_as_its_reader(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp") as listener:
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                far = await listener.accept()
                written = received = most_ahead = 0

                async def write() -> None:
                    nonlocal written, most_ahead
                    while written < SIZE:
                        await far.write(bytes(65_536))
                        written += 65_536
                        most_ahead = max(most_ahead, written - received)
                    await far.write_eof()

                async def read() -> None:
                    nonlocal received
                    while received < SIZE:  # one piece each time that the writer has to wait
                        await kit.until(lambda: far.connection.paused or written == SIZE)
                        received += len(await near.read())
                    assert await near.read() == b""

                await kit.together(write, read)
                assert received == SIZE
                assert 0 < most_ahead < SIZE / 2  # windows, kernel buffers and the buffers of the streams

    kit.run(scenario)


def test_what_was_written_before_the_end_arrives(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp") as listener:
            received = 0

            async def send() -> None:
                async with kit.pico.dial(node.proxy_url, "tcp") as near:
                    await near.write(bytes(SIZE))

            async def receive() -> None:
                nonlocal received
                async for piece in await listener.accept():
                    received += len(piece)

            await kit.together(send, receive)
            assert received == SIZE

    kit.run(scenario)


def test_a_reset_is_seen_on_the_other_side(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp") as listener:
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                far = await listener.accept()
                far.abort()
                with pytest.raises(StreamBrokenError):
                    await near.read()
            with pytest.raises(ZeroDivisionError):
                async with kit.pico.dial(node.proxy_url, "tcp") as near:
                    far = await listener.accept()
                    raise ZeroDivisionError
            with pytest.raises(StreamBrokenError):
                await far.read()
            with pytest.raises(StreamBrokenError):
                await far.write(b"late")

    kit.run(scenario)


def test_a_way_that_is_cut_is_not_an_end(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        relay = Relay()
        try:
            async with linked(kit) as (node, client), client.listen("tcp") as listener:
                relay.target = node.proxy_address
                with pytest.raises(StreamBrokenError):
                    async with kit.pico.dial(f"http://{relay.address}", "tcp") as near:
                        await near.write(b"part")
                        far = await listener.accept()
                        assert await far.read() == b"part"
                        await kit.in_thread(relay.close)  # a FIN each way
                        with pytest.raises(StreamBrokenError):
                            await far.read()
                        await near.read()
        finally:
            relay.close()

    kit.run(scenario)


def test_a_stream_that_is_not_taken_is_reset(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.listen("tcp", timeout_s=0.2) as listener:
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                with pytest.raises(StreamBrokenError):
                    await near.read()
            async with kit.pico.dial(node.proxy_url, "tcp") as near:
                far = await listener.accept()  # not the one that was reset
                await near.write(b"x")
                assert await far.read() == b"x"

    kit.run(scenario)


def test_an_endpoint_is_gone_after_its_block(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            async with client.listen("tcp", grace_s=0.2) as listener, kit.pico.dial(node.proxy_url, "tcp"):
                far = await listener.accept()
            with pytest.raises(StreamBrokenError):  # it did not end within the grace
                await far.write(b"x")
            with pytest.raises(UnreachableError):
                async with kit.pico.dial(node.proxy_url, "tcp", settings={"connect.timeout": "200ms"}):
                    pass
            with pytest.raises(ClosedError):
                await listener.accept()
            async with client.listen("tcp"), kit.pico.dial(node.proxy_url, "tcp"):
                pass

    kit.run(scenario)


def test_a_cancelled_block_cleans_up(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            begun = kit.event()

            async def serve() -> None:
                async with client.listen("tcp") as listener, kit.pico.dial(node.proxy_url, "tcp"):
                    async with await listener.accept() as far:
                        begun.set()
                        await far.read()

            await kit.cancelled(serve, begun.wait)
            async with client.listen("tcp") as listener, kit.pico.dial(node.proxy_url, "tcp") as near:
                far = await listener.accept()
                await far.write(b"again")
                assert await near.read() == b"again"

    kit.run(scenario)


def test_an_endpoint_for_http_takes_no_streams(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.forward("web", "1"):
            with pytest.raises(RefusedError) as refused:
                async with kit.pico.dial(node.proxy_url, "web"):
                    pass
            assert refused.value.status == 404

    kit.run(scenario)


def test_streams_break_when_the_client_ends(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with kit.pico.serve_node() as node:
            with pytest.raises(ZeroDivisionError):
                async with kit.pico.connect(node.upstream_url) as client, client.listen("tcp") as listener:
                    async with kit.pico.dial(node.proxy_url, "tcp"):
                        far = await listener.accept()
                        raise ZeroDivisionError
            with pytest.raises(StreamBrokenError):
                await far.read()
            with pytest.raises(ClosedError):
                async with client.listen("tcp"):
                    pass

    kit.run(scenario)
