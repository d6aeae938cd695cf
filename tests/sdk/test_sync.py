"""The face of the SDK without a loop."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pico_core.errors import ConfigError, LocalProtocolError
from pico_driver.embedding.errors import (
    AppError,
    ClosedError,
    RefusedError,
    StreamBrokenError,
    StreamClosedError,
    UnreachableError,
)
from pico_driver.embedding.listener import Registered
from pico_tunnel import sync
from tests.ports import reserved_port
from tests.sdk.greeter import Greeter
from tests.sdk.kit import ask

PATIENCE_S = 20.0


@contextmanager
def linked(**settings: str) -> Iterator[tuple[sync.Node, sync.Client]]:
    with sync.serve_node(settings=settings) as node, sync.connect(node.upstream_url) as client:
        yield node, client


def test_what_a_notebook_or_a_debugger_shows() -> None:
    with linked() as (node, client), client.listen("tcp") as listener:
        assert repr(node) == f"<Node {node.node_id!r} {node.proxy_url}, upstream {node.upstream_url}>"
        assert repr(listener) == "<StreamListener 'tcp' without a URL, registered>"


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": threading.current_thread().name.encode()})
        return
    while True:
        phase = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{phase}.complete"})
        if phase == "shutdown":
            return


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode(), b" by wsgi"]


def test_streams_pass_both_ways() -> None:
    with linked() as (node, client), client.listen("tcp") as listener:

        def shout() -> None:
            for stream in listener:
                with stream:
                    for piece in stream:
                        stream.write(piece.upper())

        thread = threading.Thread(target=shout)
        thread.start()
        for text in (b"one", b"two"):
            with sync.dial(node.proxy_url, "tcp") as stream:
                assert stream.endpoint == "tcp"
                stream.write(text)
                stream.write_eof()
                assert b"".join(stream) == text.upper()
                with pytest.raises(StreamClosedError):
                    stream.write(b"more")
    thread.join(PATIENCE_S)
    assert not thread.is_alive()  # the end of the block has ended the iteration


def test_many_threads_share_one_client() -> None:
    with linked() as (node, client), client.listen("tcp") as listener:
        big, got = os.urandom(1 << 20), []

        def serve() -> None:
            with listener.accept() as stream:
                stream.write(big)

        def fetch() -> None:
            with sync.dial(node.proxy_url, "tcp") as stream:
                got.append(b"".join(stream) == big)

        threads = [threading.Thread(target=target) for target in (serve, fetch) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert got == [True] * 4


def test_a_timeout_loses_nothing() -> None:
    with linked() as (node, client), client.listen("tcp") as listener:
        with pytest.raises(TimeoutError):
            listener.accept(timeout_s=0.01)
        with sync.dial(node.proxy_url, "tcp") as near, listener.accept(PATIENCE_S) as far:
            with pytest.raises(TimeoutError):
                far.read(timeout_s=0.01)
            near.write(b"late")
            assert far.read(timeout_s=PATIENCE_S) == b"late"
        with pytest.raises(TimeoutError):
            client.wait_closed(0.01)
        with pytest.raises(TimeoutError):
            node.wait_closed(0.01)


def test_applications_and_services_answer() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as service, linked() as (node, client):
        threading.Thread(target=service.serve_forever, daemon=True).start()
        with (
            client.serve("one", asgi) as one,
            client.serve_wsgi("two", wsgi, threads=2, timeout_s=5.0),
            client.forward("three", f"127.0.0.1:{service.server_port}"),
        ):
            assert one.url == f"http://one.localhost:{node.proxy_address.rpartition(':')[2]}"
            assert (one.endpoint, one.node, one.is_registered) == ("one", node.node_id, True)
            bodies = [ask(node.proxy_address, "/x", endpoint).body for endpoint in ("one", "two", "three")]
        service.shutdown()
    assert bodies == [b"pico", b"/x by wsgi", b"hello"]


def test_events_end_with_the_listener() -> None:
    with linked() as (node, client):
        with client.listen("tcp") as listener:
            events = listener.events()
            assert next(events) == Registered("", node.node_id)
        assert list(events) == []
        assert not listener.is_registered


def test_a_block_that_raises_is_cut() -> None:
    with linked() as (node, client), client.listen("tcp") as listener:
        with pytest.raises(ZeroDivisionError), sync.dial(node.proxy_url, "tcp") as near:
            far = listener.accept()
            near.write(b"x")
            assert far.read() == b"x"
            raise ZeroDivisionError
        with pytest.raises(StreamBrokenError):
            far.read(timeout_s=PATIENCE_S)
        with sync.dial(node.proxy_url, "tcp") as near:
            listener.accept().abort()
            with pytest.raises(StreamBrokenError):
                near.read(timeout_s=PATIENCE_S)


def test_errors_are_those_of_the_sdk() -> None:
    with pytest.raises(ConfigError, match=r"connect\.url"), sync.connect("ftp://x"):
        pass
    with reserved_port() as port, sync.connect(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(UnreachableError), client.listen("tcp", patience_s=0.2):
            pass
    with linked(**{"upstream.auth.hmac_secret_key": "key-" * 8}) as (node, client):
        with pytest.raises(RefusedError), client.listen("tcp"):
            pass
        assert node.address_of("admin") == node.admin_address
        with pytest.raises(ClosedError, match="cannot listen"):
            with sync.serve_node(settings={"admin.bind_addr": node.admin_address}):
                pass
    with pytest.raises(ClosedError), client.listen("tcp"):
        pass


def test_an_application_that_does_not_stop_well_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

    with linked() as (_, client):
        with pytest.raises(AppError, match="stuck"), client.serve("app", app):
            pass


def test_the_loop_does_not_wait_for_itself() -> None:
    caught: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                with sync.connect("http://localhost:1"):
                    pass
            except LocalProtocolError as error:
                caught.append(error)
        await asgi(scope, receive, send)

    with linked() as (node, client), client.serve("app", app):
        assert ask(node.proxy_address, "/", "app").status == 200
    assert "use pico_asyncio here" in str(caught[0])


# --- the end of the interpreter ---

HEAD = """
import os, sys, threading, time
from pico_tunnel import sync
from tests.sdk.kit import ask

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("app stopped", flush=True)
        await send({"type": "lifespan.shutdown.complete"})

def hung(environ, start_response):
    print("called", flush=True)
    time.sleep(300)

node_block = sync.serve_node()
node = node_block.__enter__()
client_block = sync.connect(node.upstream_url)
client = client_block.__enter__()
"""


def run(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


def test_what_is_open_is_left_at_the_end_of_the_interpreter() -> None:
    with run('serving = client.serve("app", app)\nserving.__enter__()\nprint("last line")\n') as process:
        assert end(process) == (0, "last line\napp stopped\n", "")


def test_threads_that_go_on_after_the_main_one() -> None:
    script = """
def serve(listener):
    with listener.accept() as stream:
        stream.write(b"served")

def fetch():
    threading.main_thread().join()
    with sync.dial(node.proxy_url, "tcp") as stream:
        print(stream.read().decode())

listening = client.listen("tcp")
listener = listening.__enter__()
threading.Thread(target=serve, args=(listener,)).start()
threading.Thread(target=fetch).start()
"""
    with run(script) as process:
        assert end(process) == (0, "served\n", "")


def test_a_call_that_hangs_does_not_keep_the_program() -> None:
    script = """
serving = client.serve_wsgi("app", hung, grace_s=0.1)
serving.__enter__()
threading.Thread(target=ask, args=(node.proxy_address, "/", "app"), daemon=True).start()
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "called\n"
        began = time.monotonic()
        code, _, _ = end(process)
        assert code == 0
        assert time.monotonic() - began < PATIENCE_S / 2


@pytest.mark.parametrize(
    "waiting",
    [
        "listener.accept()",
        "for stream in listener: pass",
        "for event in listener.events(): pass",
        "client.wait_closed()",
        "client.listen('other', patience_s=300).__enter__()",
    ],
)
def test_an_interrupt_ends_what_waits_and_unwinds(waiting: str) -> None:
    script = f"""
import logging, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.disable()  # the server is away in one of these
try:
    with client.serve("app", app), client.listen("tcp") as listener:
        if "other" in {waiting!r}:
            node_block.__exit__(None, None, None)
        print("ready", flush=True)
        {waiting}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with run(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        code, out, err = end(process)
    assert (code, out, err) == (0, "interrupted\n", "")


def test_a_child_has_a_loop_of_its_own() -> None:
    script = """
import warnings
warnings.simplefilter("ignore")  # Python 3.12 and later warn of every fork beside threads
child = os.fork()
if not child:
    with sync.connect(node.upstream_url) as own, own.listen("tcp") as listener:
        with sync.dial(node.proxy_url, "tcp") as near, listener.accept() as far:
            far.write(b"x")
            print("child", near.read(), flush=True)
    sys.exit(0)
print("parent", os.waitpid(child, 0)[1])
"""
    with run(script) as process:
        assert end(process) == (0, "child b'x'\nparent 0\n", "")
