"""What PEP 3333 promises to applications of WSGI."""

import io
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

from tests.sdk.kit import Kit, linked

SIZE = 3 << 20


def test_an_application_that_is_checked_by_wsgiref(kit: Kit) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, environ["PATH_INFO"].encode("latin-1")]

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve_wsgi("app", validator(app)):
            answer = await kit.get(node.proxy_address, "/caf%C3%A9", method="POST", body=b"hello\nand more")
            assert (answer.status, answer.body) == (200, "hello\n/café".encode())

    kit.run(scenario)


def test_a_response_may_begin_late_be_written_or_be_replaced(kit: Kit) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        how = environ["PATH_INFO"]
        if how == "/late":

            def pieces() -> Iterator[bytes]:
                start_response("201 Created", [])
                yield b"late"

            return pieces()
        write = start_response("200 OK", [])
        if how == "/written":
            write(b"one, ")
            write(b"two, ")
        elif how == "/replaced":
            try:
                int("no number")
            except ValueError:
                start_response("418 Teapot", [], sys.exc_info())
        return [b"end"]

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve_wsgi("app", app):
            for path, expected in (
                ("/late", (201, b"late")),
                ("/written", (200, b"one, two, end")),
                ("/replaced", (418, b"end")),
            ):
                answer = await kit.get(node.proxy_address, path)
                assert (answer.status, answer.body) == expected

    kit.run(scenario)


class File(io.BytesIO):
    reads = 0
    closed_files = 0

    def read(self, size: int | None = -1, /) -> bytes:
        File.reads += 1
        return super().read(size)

    def close(self) -> None:
        File.closed_files += not self.closed
        super().close()


def test_a_file_is_sent_in_large_pieces_and_closed_also_when_its_client_leaves(kit: Kit) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(size))])
        files: Iterable[bytes] = environ["wsgi.file_wrapper"](File(bytes(size)), 8_192)
        return files

    def leave(address: str) -> None:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /?100000000 HTTP/1.1\r\nHost: app\r\nx-pico-endpoint: app\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve_wsgi("app", app):
            File.reads, before = 0, File.closed_files
            answer = await kit.get(node.proxy_address, f"/?{SIZE}")
            assert len(answer.body) == SIZE
            assert File.reads <= 1 + SIZE // 65_536
            await kit.until(lambda: File.closed_files == before + 1)
            await kit.in_thread(lambda: leave(node.proxy_address))
            await kit.until(lambda: File.closed_files == before + 2)

    kit.run(scenario)
