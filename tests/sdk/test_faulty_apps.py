"""Every way in which an application in the program fails, and what its client gets."""

import asyncio
import http.client
import json
import sys
from typing import Any

import pytest

from pico_driver.embedding.asgi import AppListener
from pico_driver.embedding.errors import AppError
from tests.sdk.asgi import App, body_of, only_http, respond
from tests.sdk.kit import Kit, linked


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


async def returns(scope: Any, receive: Any, send: Any) -> None: ...


async def is_cancelled(scope: Any, receive: Any, send: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise OSError("trio has no such thing") from None
    raise asyncio.CancelledError


async def exits(scope: Any, receive: Any, send: Any) -> None:
    sys.exit("this is what a command would do")


async def splits(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"", [(b"x", b"a\r\nSet-Cookie: b")])


async def names_wrongly(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"", [(b"a b", b"c")])


async def is_too_long(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"abc", [(b"content-length", b"2")])


async def begins_with_a_body(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def answers_zero(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 0, b"x")


async def answers_a_word(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, "fine", b"x")  # type: ignore[arg-type]


async def sends_text(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, "x")  # type: ignore[arg-type]


async def sends_a_number(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, 5)  # type: ignore[arg-type]


async def ends_before_the_body(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x", b"1")]})


FAULTY = [
    raises,
    returns,
    is_cancelled,
    exits,
    splits,
    names_wrongly,
    is_too_long,
    begins_with_a_body,
    answers_zero,
    answers_a_word,
    sends_text,
    sends_a_number,
    ends_before_the_body,
]


@pytest.mark.parametrize("app", FAULTY)
def test_a_failure_before_the_response_is_a_500_with_its_reason(
    kit: Kit, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", only_http(app)):
            answer = await kit.get(node.proxy_address)
            assert answer.status == 500
            assert json.loads(answer.body)["reason"] == "app-failed"
            assert "set-cookie" not in answer.headers
            assert (await kit.get(node.proxy_address)).status == 500  # the endpoint is still there

    kit.run(scenario)


async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"part", more_body=True)
    raise ZeroDivisionError


async def forgets_the_end(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"part", more_body=True)


async def sends_too_little(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, 200, b"part", [(b"content-length", b"9")], more_body=True)
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("app", [breaks_off, forgets_the_end, sends_too_little])
def test_a_failure_in_the_response_breaks_it(kit: Kit, app: App) -> None:
    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", only_http(app)):
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                await kit.get(node.proxy_address)

    kit.run(scenario)


def test_an_application_that_does_not_begin_in_time(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        left = kit.event()

        @only_http
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await body_of(receive)
            assert (await receive())["type"] == "http.disconnect"
            left.set()

        async with linked(kit) as (node, client), client.serve("app", app, timeout_s=0.3):
            assert (await kit.get(node.proxy_address)).status == 504
            await left.wait()

    kit.run(scenario)


def test_an_application_that_exits_ends_neither_the_program_nor_the_client(kit: Kit) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        sys.exit(1)

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client):
            with pytest.raises(AppError, match="SystemExit: this is what a command would do"):
                async with client.serve("app", exits):
                    pass
            async with client.serve_wsgi("app", wsgi):
                assert (await kit.get(node.proxy_address)).status == 500
            async with client.serve("app", only_http(exits)):
                assert (await kit.get(node.proxy_address)).status == 500

    kit.run(scenario)


def test_an_application_of_wsgi_that_gives_no_pieces_of_bytes(kit: Kit) -> None:
    wrong: list[Any] = [b"bytes, whose items are numbers", ["text"], [5], None, 5]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return wrong[int(environ["QUERY_STRING"])]

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve_wsgi("app", app):
            for number in range(len(wrong)):
                assert (await kit.get(node.proxy_address, f"/?{number}")).status == 500

    kit.run(scenario)


def test_a_call_that_is_cancelled_before_its_first_step_has_ended(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    on_call = AppListener.on_call
    cancelled = 0

    def begin_and_cancel(self: AppListener, event: Any) -> None:
        nonlocal cancelled
        on_call(self, event)
        self.cancel_calls()
        cancelled += 1

    async def scenario(kit: Kit) -> None:
        monkeypatch.setattr(AppListener, "on_call", begin_and_cancel)
        async with linked(kit) as (node, client):
            async with client.serve("app", only_http(raises), max_streams=1, timeout_s=0.3):
                for _ in range(3):
                    assert (await kit.get(node.proxy_address)).status in (500, 502, 504)
                await kit.until(lambda: not client.hub.calls)
            assert cancelled == 3

    kit.run(scenario)
