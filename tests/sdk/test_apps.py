"""Applications in the program: what they are told, what their clients get, and how they end."""

import asyncio
import contextlib
import http.client
import json
import socket
from typing import Any

import pytest
import trio

from pico_driver.embedding.asgi import ClientGoneError
from pico_driver.embedding.errors import AppError, UnreachableError
from tests.ports import reserved_port
from tests.sdk.asgi import body_of, echo, only_http, respond, unwilling
from tests.sdk.kit import Answer, Kit, linked
from tests.sdk.relay import Relay


def test_an_application_gets_the_request_and_the_client_its_answer(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", echo):
            answer = await kit.get(
                node.proxy_address, "/a%20b?x=1", method="POST", body=b"hello", headers={"x-one": "1", "host": "h:81"}
            )
            told = json.loads(answer.body)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert (told["method"], told["path"], told["query"], told["body"]) == ("POST", "/a b", "x=1", "hello")
            assert (told["scheme"], told["client"], told["server"]) == ("http", ["127.0.0.1", 0], ["h", 81])
            assert told["headers"]["x-one"] == "1"
            assert told["headers"]["content-length"] == "5"
            assert told["headers"]["x-forwarded-for"] == "127.0.0.1"
            assert (await kit.get(node.proxy_address, method="HEAD")).body == b""

    kit.run(scenario)


def test_the_client_and_the_scheme_are_those_of_a_trusted_proxy(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        trusted = {"proxy.trusted_proxies": "127.0.0.1/32"}
        async with linked(kit, **trusted) as (node, client), client.serve("app", echo):
            headers = {"x-forwarded-for": "203.0.113.9, 192.0.2.7", "x-forwarded-proto": "https"}
            told = json.loads((await kit.get(node.proxy_address, headers=headers)).body)
            assert (told["client"], told["scheme"]) == (
                ["192.0.2.7", 0],
                "https",
            )  # the proxy vouches for this one only

    kit.run(scenario)


def test_bodies_stream_both_ways_at_the_speed_of_their_reader(kit: Kit) -> None:
    size = 32 << 20  # more than two kernels keep of a connection

    async def scenario(kit: Kit) -> None:
        goes_on = kit.event()
        sent = 0

        @only_http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            await send({"type": "http.response.start", "status": 200})
            if scope["path"] == "/beat":
                await send({"type": "http.response.body"})
                return
            if scope["path"] == "/up":
                await goes_on.wait()
                body = await body_of(receive)
                await send({"type": "http.response.body", "body": b"%d" % len(body)})
                return
            while sent < size:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
                sent += 65_536
            await send({"type": "http.response.body"})

        async with linked(kit) as (node, client), client.serve("app", app):
            offered = 0

            def pieces() -> Any:
                nonlocal offered
                for _ in range(size // 65_536):
                    offered += 65_536
                    yield bytes(65_536)

            async def upload() -> None:
                answer = await kit.get(node.proxy_address, "/up", method="POST", body=pieces())
                assert answer.body == b"%d" % size

            async def upload_stands_still() -> None:
                await kit.stands_still(lambda: offered, node.proxy_address, "/beat")
                assert offered < size
                goes_on.set()

            await kit.together(upload, upload_stands_still)

            def begin() -> http.client.HTTPConnection:
                connection = http.client.HTTPConnection(node.proxy_address, timeout=20)
                connection.connect()
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                connection.request("GET", "/down", headers={"x-pico-endpoint": "app"})
                return connection

            with contextlib.closing(await kit.in_thread(begin)) as connection:
                await kit.stands_still(lambda: sent, node.proxy_address, "/beat")
                assert sent < size
                body = await kit.in_thread(lambda: connection.getresponse().read())
                assert len(body) == size

    kit.run(scenario)


def test_an_application_sees_that_its_client_has_left(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        seen: list[object] = []
        begun, done = kit.event(), kit.event()

        @only_http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await body_of(receive)
            await respond(send, 200, b"x", more_body=True)
            begun.set()
            seen.append(await receive())
            try:
                await send({"type": "http.response.body", "body": b"late"})
            except ClientGoneError as error:
                seen.append(type(error))
            done.set()

        async with linked(kit) as (node, client), client.serve("app", app):

            def leave() -> None:
                connection = http.client.HTTPConnection(node.proxy_address, timeout=20)
                connection.request("GET", "/", headers={"x-pico-endpoint": "app"})
                assert connection.getresponse().read(1) == b"x"
                connection.close()

            await kit.in_thread(leave)
            await done.wait()
            assert seen == [{"type": "http.disconnect"}, ClientGoneError]

    kit.run(scenario)


def test_the_end_of_the_block_waits_for_requests_and_then_cancels_them(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        begun, block_ends, cancelled = kit.event(), kit.event(), kit.event()

        @only_http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            if scope["path"] == "/soon":
                await block_ends.wait()
                await respond(send, 200, b"done")
                return
            try:
                await kit.event().wait()
            except (asyncio.CancelledError, trio.Cancelled):
                cancelled.set()
                raise

        async with linked(kit) as (node, client):
            answers = []

            async def ask(path: str) -> None:
                answers.append(await kit.get(node.proxy_address, path))

            async def serve() -> None:
                async with client.serve("app", app, grace_s=0.6):
                    await begun.wait()
                    block_ends.set()  # the task that waits for it goes on when the end of the block waits

            await kit.together(serve, lambda: ask("/soon"))
            assert answers[0].body == b"done"
            begun = kit.event()
            await kit.together(serve, lambda: ask("/late"))
            await cancelled.wait()
            assert answers[1].status == 502

    kit.run(scenario)


def test_the_end_of_the_block_waits_for_work_behind_a_response(kit: Kit) -> None:
    """Frameworks do so with background tasks. Work that outlasts ``grace_s`` is cancelled."""

    async def scenario(kit: Kit) -> None:
        story: list[str] = []
        answered = kit.event()

        @only_http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await respond(send, 200, b"done")
            try:
                await answered.wait()
                if scope["path"] == "/hangs":
                    await kit.event().wait()
                for _ in range(3):
                    await kit.in_thread(lambda: None)
                story.append("worked")
            except (asyncio.CancelledError, trio.Cancelled):
                story.append("cancelled")
                raise

        async with linked(kit) as (node, client):
            for path in ("/ends", "/hangs"):
                async with client.serve("app", app, grace_s=0.3 if path == "/hangs" else 20):
                    assert (await kit.get(node.proxy_address, path)).body == b"done"
                    answered.set()
            await kit.until(lambda: len(story) == 2)
        assert story == ["worked", "cancelled"]

    kit.run(scenario)


def test_a_lifespan_is_around_all_requests(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        story: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                assert (await receive())["type"] == "lifespan.startup"
                scope["state"]["name"] = "kept"
                story.append("start")
                await send({"type": "lifespan.startup.complete"})
                assert (await receive())["type"] == "lifespan.shutdown"
                story.append("stop")
                await send({"type": "lifespan.shutdown.complete"})
            else:
                story.append(scope["state"]["name"])
                await respond(send, 204)

        async with linked(kit) as (node, client):
            async with client.serve("app", app):
                assert (await kit.get(node.proxy_address)).status == 204
            assert story == ["start", "kept", "stop"]
            with pytest.raises(AppError, match="no database"):
                async with client.serve("app", unwilling):
                    pass

    kit.run(scenario)


def test_an_application_that_started_is_stopped_also_where_its_endpoint_was_not_registered(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        story: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for phase in ("startup", "shutdown"):
                story.append((await receive())["type"])
                await send({"type": f"lifespan.{phase}.complete"})

        with reserved_port() as port:
            async with kit.pico.connect(f"http://127.0.0.1:{port}") as client:
                with pytest.raises(UnreachableError):
                    async with client.serve("app", app, patience_s=0.1):
                        pass
        assert story == ["lifespan.startup", "lifespan.shutdown"]

    kit.run(scenario)


def test_an_application_that_does_not_stop_is_cancelled(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pico_driver.embedding.asgi.LEAST_STOP_S", 0.1)

    async def scenario(kit: Kit) -> None:
        ended = kit.event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "lifespan"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            try:
                await kit.event().wait()
            finally:
                ended.set()

        async with linked(kit) as (_, client):
            with pytest.raises(AppError, match=r"did not stop within 0\.1 s"):
                async with client.serve("app", app, grace_s=0):
                    pass
            await ended.wait()

    kit.run(scenario)


def test_an_application_of_wsgi(kit: Kit) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fails":
            raise ZeroDivisionError
        body = environ["wsgi.input"].read()
        start_response("201 Created", [("X-Query", environ["QUERY_STRING"]), ("X-Client", environ["REMOTE_ADDR"])])
        if environ["PATH_INFO"] == "/parts":
            return (part for part in (b"one, ", b"", b"two, ", body))
        return [environ["REQUEST_METHOD"].encode() + b" " + body]

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve_wsgi("app", app, threads=2):
            answer = await kit.get(node.proxy_address, "/?q=1", method="POST", body=b"hello")
            assert (answer.status, answer.body) == (201, b"POST hello")
            assert (answer.headers["x-query"], answer.headers["x-client"]) == ("q=1", "127.0.0.1")
            large = bytes(1 << 20)
            answer = await kit.get(node.proxy_address, "/parts", method="POST", body=iter([large, large]))
            assert answer.body == b"one, two, " + 2 * large
            assert (await kit.get(node.proxy_address, "/fails")).status == 500

    kit.run(scenario)


def test_no_request_is_lost_while_the_node_with_the_tunnel_restarts(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        answers: list[Answer] = []
        registered, stopped, asked = kit.event(), kit.event(), kit.event()
        asking = 2
        relay = Relay()

        async def serve() -> None:
            async with kit.pico.connect(f"http://{relay.address}") as client, client.serve("app", echo):
                registered.set()
                await asked.wait()

        async def ask(address: str) -> None:
            nonlocal asking
            await registered.wait()
            while not stopped.is_set():
                answers.append(await kit.get(address))
            asking -= 1
            if not asking:  # the endpoint must not leave while a request is on its way
                asked.set()

        async with kit.pico.serve_node() as staying:

            async def restart() -> None:
                settings = {"cluster.join": staying.gossip_address, "drain_delay": "2500ms"}
                for _ in range(2):
                    async with kit.pico.serve_node(settings=settings) as leaving:
                        if not registered.is_set():
                            relay.target = leaving.upstream_address
                            begun.set()
                            await registered.wait()
                        relay.target = staying.upstream_address
                stopped.set()

            async def begin() -> None:
                await begun.wait()
                await serve()

            begun = kit.event()
            try:
                await kit.together(
                    restart, begin, lambda: ask(staying.proxy_address), lambda: ask(staying.proxy_address)
                )
            finally:
                relay.close()
        assert len(answers) > 100
        assert [each for each in answers if each.status != 200] == []

    kit.run(scenario)


def test_an_application_that_goes_on_after_its_answer_ends_with_its_listener_without_a_word(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(kit: Kit) -> None:
        ended: list[str] = []

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await respond(send, 200, b"done")
            try:
                await kit.event().wait()
            finally:
                ended.append("cancelled")

        async with linked(kit) as (node, client):
            async with client.serve("app", only_http(app)):
                assert (await kit.get(node.proxy_address)).body == b"done"
            await kit.until(lambda: bool(ended))
            async with client.serve("other", echo):
                assert (await kit.get(node.proxy_address, endpoint="other")).status == 200

    kit.run(scenario)
    assert [record.getMessage() for record in caplog.records if "failed" in record.getMessage()] == []
