"""The application of ``test_frameworks.py`` in Flask."""

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request, send_file, url_for

PIECE_BYTES = 65_536


def make(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows."""
    app = Flask(__name__)
    gate = threading.Event()

    @app.post("/echo")
    def echo() -> Response:
        told = {
            "json": request.get_json(),
            "query": request.args["x"],
            "client": request.remote_addr,
            "url": url_for("echo", _external=True),
        }
        response = jsonify(told)
        response.set_cookie("seen", "yes")
        return response

    @app.post("/upload")
    def upload() -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        while piece := request.stream.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[bytes]:
            yield b"one "
            gate.wait(20)
            yield b"two"

        return Response(pieces(), mimetype="text/plain")

    @app.get("/go")
    def go() -> tuple[str, int]:
        gate.set()
        return "", 204

    @app.get("/endless")
    def endless() -> Response:
        def pieces() -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    time.sleep(0.01)
            finally:
                seen.append("left")

        return Response(pieces())

    @app.get("/boom")
    def boom() -> str:
        raise ZeroDivisionError

    @app.get("/file")
    def file() -> Response:
        return send_file(__file__, conditional=True)

    return app
