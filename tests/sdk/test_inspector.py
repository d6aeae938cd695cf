"""The inspector of a program: it sees the requests that applications in the program answer, and sends them again."""

import http.client
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest

import pico_tunnel
from pico_core.config.inspect import InspectConfig
from pico_core.errors import ConfigError
from pico_driver.embedding.errors import ClosedError
from pico_driver.embedding.settings import inspector_settings
from pico_tunnel import sync
from tests.sdk.kit import Kit, ask

CANARY = "canary-of-a-secret"


def asked(url: str, target: str, post: object = None) -> Any:
    """Ask the inspector at ``url``."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    body = None if post is None else json.dumps(post)
    connection.request("GET" if post is None else "POST", target, body, {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        assert answer.status == 200, answer.read()
        found = json.loads(answer.read())
    connection.close()
    return found


def rows(url: str) -> list[dict[str, Any]]:
    return list(asked(url, "/api/requests")["rows"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with its request's body, in two pieces."""
    if scope["type"] != "http":
        raise NotImplementedError
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message["body"])
        if not message["more_body"]:
            break
    fields = [(b"content-type", b"application/json"), (b"set-cookie", CANARY.encode())]
    await send({"type": "http.response.start", "status": 201, "headers": fields})
    await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
    await send({"type": "http.response.body"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("201 Created", [("Content-Type", "application/json"), ("Set-Cookie", CANARY)])
    return [body]


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_requests_of_an_application_are_seen_and_sent_again(kit: Kit, kind: str) -> None:
    async def scenario(kit: Kit) -> None:
        async with (
            kit.pico.serve_node() as node,
            kit.pico.connect(node.upstream_url, inspect="127.0.0.1:0") as client,
            client.serve("app", app) if kind == "asgi" else client.serve_wsgi("app", wsgi),
        ):
            url = client.inspector_url
            assert url.startswith("http://127.0.0.1:")
            body = json.dumps({"n": 1, "password": CANARY}).encode()
            fields = {"authorization": f"Bearer {CANARY}", "content-type": "application/json"}
            answer = await kit.get(node.proxy_address, "/x?y=1", method="POST", body=body, headers=fields)
            assert (answer.status, answer.body) == (201, body)
            (row,) = await kit.in_thread(lambda: rows(url))
            assert (row["endpoint"], row["target"], row["status"], row["state"]) == ("app", "/x?y=1", 201, "whole")
            found = await kit.in_thread(lambda: asked(url, "/api/requests/1"))
            assert CANARY not in json.dumps(found)
            assert found["request"]["body"]["raw"] == '{"n": 1, "password": "REDACTED"}'
            assert found["response"]["body"]["raw"] == '{"n": 1, "password": "REDACTED"}'
            again = await kit.in_thread(lambda: asked(url, "/api/requests/1/replay", {"body": '{"n": 2}'}))
            while (await kit.in_thread(lambda: rows(url)))[-1]["state"] == "live":
                pass
            found = await kit.in_thread(lambda: asked(url, f"/api/requests/{again['id']}"))
            assert (found["replay_of"], found["status"], found["response"]["body"]["raw"]) == (1, 201, '{"n": 2}')

    kit.run(scenario)


def test_nothing_is_recorded_without_an_address(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        async with kit.pico.serve_node() as node, kit.pico.connect(node.upstream_url) as client:
            assert client.inspector_url == ""

    kit.run(scenario)


def test_a_port_that_is_taken_is_told(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ClosedError, match=f"inspector address '127.0.0.1:{port}'"):
                async with kit.pico.connect("http://127.0.0.1:9", inspect=f"127.0.0.1:{port}"):
                    raise AssertionError("the block is not entered")
        with pytest.raises(ConfigError, match=r"inspect\.token"):
            async with kit.pico.connect("http://127.0.0.1:9", inspect=":0"):
                raise AssertionError("the block is not entered")

    kit.run(scenario)


def test_true_is_the_address_of_the_flag_without_a_value() -> None:
    assert inspector_settings(True) == {"inspect.bind_addr": "127.0.0.1:4040"}
    assert inspector_settings(4041) == {"inspect.bind_addr": "4041"}
    assert inspector_settings("") == inspector_settings(False) == {}
    assert InspectConfig().bind_addr is None


def test_a_share_shows_where_its_requests_are_seen() -> None:
    with sync.serve_node() as node:
        with pico_tunnel.share(app, endpoint="web", url=node.upstream_url, inspect="127.0.0.1:0") as share:
            assert ask(node.proxy_address, "/here", "web", method="POST", body=b"1").status == 201
            assert [row["target"] for row in rows(share.inspector_url)] == ["/here"]
            assert f'<a href="{share.inspector_url}" ' in share._repr_html_()
        assert share.inspector_url not in share._repr_html_()
