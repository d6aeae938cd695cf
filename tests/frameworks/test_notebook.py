"""``pico_tunnel.share`` in a real kernel of Jupyter, whose loop runs while a cell does."""

import queue
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pico_tunnel import sync
from tests.sdk.kit import ask

pytest.importorskip("ipykernel")
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

PATIENCE_S = 60.0

APP = """
import asyncio, pico_tunnel
asyncio.get_running_loop()

def made(text):
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": text})
    return app
"""
SHARE = "share = pico_tunnel.share(made({text!r}), endpoint='web', url={url!r})\nshare"


class Notebook:
    """The cells of one kernel."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, cell: str) -> dict[str, str]:
        """Run a cell; return what its last line shows, by media type. Raises ``AssertionError`` if it fails."""
        asked = self._client.execute(cell)
        shown: dict[str, str] = {}
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            assert kind != "error", "\n".join(content["traceback"])
            if kind == "execute_result":
                shown = content["data"]
            elif kind == "status" and content["execution_state"] == "idle":
                return shown
        raise AssertionError(f"the cell does not end: {cell}")

    def end(self) -> None:
        """Ask the kernel to end, as a person does."""
        self._client.shutdown()


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    from jupyter_client.manager import KernelManager

    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    manager = KernelManager(kernel_name="python3", connection_file=str(tmp_path / "kernel.json"))
    manager.start_kernel(cwd=str(Path(__file__).parents[2]))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def test_a_cell_shares_an_application_and_can_be_run_again(notebook: Notebook) -> None:
    with sync.serve_node() as node:
        notebook.run(APP)
        shown = notebook.run(SHARE.format(text=b"first", url=node.upstream_url))
        port = node.proxy_address.rpartition(":")[2]
        assert f'<a href="http://web.localhost:{port}" ' in shown["text/html"]
        assert ask(node.proxy_address, "/", "web").body == b"first"

        notebook.run(SHARE.format(text=b"second", url=node.upstream_url))
        assert {ask(node.proxy_address, "/", "web").body for _ in range(10)} == {b"second"}
        assert re.search("open", notebook.run("share.state")["text/plain"])

        notebook.run("await asyncio.sleep(0.01)")
        assert ask(node.proxy_address, "/", "web").body == b"second", (
            "the loop of the kernel goes on, and the share too"
        )

        notebook.run("share.stop()")
        assert ask(node.proxy_address, "/", "web").status == 502


def test_the_share_ends_with_the_kernel(notebook: Notebook) -> None:
    with sync.serve_node() as node:
        notebook.run(APP)
        notebook.run(SHARE.format(text=b"first", url=node.upstream_url))
        assert ask(node.proxy_address, "/", "web").status == 200
        notebook.end()
        give_up_at = time.monotonic() + PATIENCE_S
        while ask(node.proxy_address, "/", "web").status != 502:
            assert time.monotonic() < give_up_at, "the endpoint is still registered"
