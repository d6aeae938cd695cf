"""FastAPI with a database behind NAT: notes stay on this machine, and clients reach them through a server elsewhere.

``python examples/fastapi_notes.py https://pico.example.com:8001 notes.db`` registers ``notes``. Without arguments the
program runs a node of its own, and writes and reads two notes. It needs ``pip install fastapi``.
"""

import asyncio
import contextlib
import json
import sqlite3
import sys
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

import pico_asyncio

ENDPOINT = "notes"


class Note(BaseModel):
    """A note as a client writes it."""

    text: str = Field(max_length=1_000)


def make_app(path: str) -> FastAPI:
    """Return the application over the database at ``path``."""
    database = sqlite3.connect(path, check_same_thread=False)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.execute("create table if not exists notes (id integer primary key, text text not null)")
        yield
        database.close()  # after the last request: the tunnel is gone before

    app = FastAPI(lifespan=lifespan)

    @app.post("/notes", status_code=201)
    async def write(note: Note) -> dict[str, Any]:
        with database:
            return {"id": database.execute("insert into notes (text) values (?)", (note.text,)).lastrowid}

    @app.get("/notes/{number}")
    async def read(number: int) -> dict[str, Any]:
        found = database.execute("select text from notes where id = ?", (number,)).fetchone()
        if found is None:
            raise HTTPException(404)
        return {"id": number, "text": found[0]}

    return app


def ask(url: str, document: dict[str, Any] | None = None) -> Any:
    """Send one request to the endpoint, and return its document."""
    body = None if document is None else json.dumps(document).encode()
    fields = {"x-pico-endpoint": ENDPOINT, "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=10) as response:
        return json.load(response)


def use(url: str) -> None:
    """Write two notes and read them."""
    for text in ("milk", "bread"):
        number = ask(f"{url}/notes", {"text": text})["id"]
        print(ask(f"{url}/notes/{number}"))


async def main(url: str, path: str) -> None:
    """Serve the notes."""
    async with contextlib.AsyncExitStack() as blocks:
        node = None if url else await blocks.enter_async_context(pico_asyncio.serve_node())
        client = await blocks.enter_async_context(pico_asyncio.connect(node.upstream_url if node else url))
        async with client.serve(ENDPOINT, make_app(path)) as listener:
            if node is None:
                print(listener.url, flush=True)
                await client.wait_closed()
                return
            await asyncio.to_thread(use, node.proxy_url)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]) if len(sys.argv) > 2 else main("", ":memory:"))
