"""The application of ``test_frameworks.py`` in Django, for ASGI and for WSGI."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

PIECE_BYTES = 65_536

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", MIDDLEWARE=[])
    django.setup()

noted: list[str] = []
gate = threading.Event()


def make_asgi(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows; there is one at a time."""
    _reset(seen)
    return get_asgi_application()


def make_wsgi(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows; there is one at a time."""
    _reset(seen)
    return get_wsgi_application()


def _reset(seen: list[str]) -> None:
    global noted
    noted = seen
    gate.clear()


@require_POST
def echo(request: HttpRequest) -> HttpResponse:
    """Tell what came."""
    told = {
        "json": json.loads(request.body),
        "query": request.GET["x"],
        "client": request.META["REMOTE_ADDR"],
        "url": request.build_absolute_uri(reverse("echo")),
    }
    response = JsonResponse(told)
    response.set_cookie("seen", "yes")
    return response


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Read a long body; Django keeps it in a file under ASGI."""
    digest, size = hashlib.sha256(), 0
    while piece := request.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})


def stream(request: HttpRequest) -> HttpResponseBase:
    """Send one piece, and another one when the gate is open."""

    def pieces() -> Iterator[bytes]:
        yield b"one "
        gate.wait(20)
        yield b"two"

    async def async_pieces() -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.to_thread(gate.wait, 20)
        yield b"two"

    return StreamingHttpResponse(
        async_pieces() if isinstance(request, ASGIRequest) else pieces(), content_type="text/plain"
    )


def go(_: HttpRequest) -> HttpResponse:
    """Open the gate."""
    gate.set()
    return HttpResponse(status=204)


def endless(request: HttpRequest) -> HttpResponseBase:
    """Send until the client leaves."""

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000
                time.sleep(0.01)
        finally:
            noted.append("left")

    async def async_pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000
                await asyncio.sleep(0.01)
        finally:
            noted.append("left")

    return StreamingHttpResponse(async_pieces() if isinstance(request, ASGIRequest) else pieces())


async def boom(_: HttpRequest) -> HttpResponse:
    """Fail."""
    raise ZeroDivisionError


def file(_: HttpRequest) -> HttpResponseBase:
    """Send a file."""
    return FileResponse(Path(__file__).open("rb"))


urlpatterns = [
    path("echo", echo, name="echo"),
    path("upload", upload),
    path("stream", stream),
    path("go", go),
    path("endless", endless),
    path("boom", boom),
    path("file", file),
]
