"""The dashboard in a real browser: what it shows of two nodes, by keyboard too, on a phone, and behind a token."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pico_core.server.admin.live import MAX_VIEWERS
from tests.e2e.browser import ENTER, TAB, Browser, browser
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.test_live import viewer
from tests.e2e.test_tokens import guarded, key_file, token
from tests.e2e.test_workers import agent, rows, workers
from tests.e2e.wire import request
from tests.waiting import wait_until

pytestmark = pytest.mark.debian

__all__ = ["key_file"]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as found:
        yield found
        errors = [message for message in found.messages() if "502 (Bad Gateway)" not in message]
        assert errors == [], "the console has no error but that a node does not answer: none of the security policy"


def test_the_whole_cluster_from_one_node(fleet: Fleet, origin: Origin, page: Browser) -> None:
    first = fleet.server("--cluster.node-id", "n1")
    second = fleet.server("--cluster.node-id", "n2", "--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    fleet.agent(second, "web", origin.port)
    fleet.agent(first, "down", fleet.reserve_port())
    wait_until(lambda: request(first.proxy_port, "web", "/describe")[0].status == 200, "the route is known")
    failed = request(second.proxy_port, "down", "/x?secret=1")[0]["x-pico-request-id"]

    began = time.monotonic()
    page.open(f"http://{LOCAL}:{first.admin_port}/")
    page.await_text("#verdict", "cluster of 2: all good")
    assert time.monotonic() - began < 10, "a page that takes so long is broken"
    for text in ("n1 (asked)", "n2", "running"):
        page.await_text("#nodes", text)
    page.await_text("#endpoints", "n2 (1)")
    page.await_text("#failures", failed)
    page.await_text("#failures", "service-refused")
    assert "secret" not in page.text("body")
    assert not any("/status/overview" in name for name in asked_for(page)), "the events of the stream suffice"

    page.type("#find", "we")
    page.await_text("#count", "1")
    assert "down" not in page.text("#endpoints")
    page.press(TAB)
    page.press(ENTER)
    page.await_text("#d-text", "n1: would send it on")
    page.await_text("#d-text", "tunnel of an agent at 127.0.0.1")
    page.run("document.querySelector('#drawer').close()")
    page.run("for (const each of document.querySelectorAll('#failures button')) each.click()")
    page.await_text("#d-text", "attempt 1: agent at 127.0.0.1: service-refused (connection refused)")

    second.process.kill()
    page.await_text("#verdict", "1 not answering")


def asked_for(page: Browser) -> list[str]:
    return list(page.run("return performance.getEntriesByType('resource').map(each => each.name)"))


def test_without_a_stream_it_asks_again_and_again(fleet: Fleet, tmp_path: Path) -> None:
    server = fleet.server()
    with ExitStack() as stack:
        for _ in range(MAX_VIEWERS):
            next(stack.enter_context(viewer(server.admin_port)))
        page = stack.enter_context(browser(tmp_path / "profile"))  # the refused stream is an error in the console
        page.open(f"http://{LOCAL}:{server.admin_port}/")
        page.await_text("#verdict", "all good")
        wait_until(lambda: sum("/status/overview" in name for name in asked_for(page)) > 3, "it asks for what there is")
        assert sum("/status/stream" in name for name in asked_for(page)) == 1


def test_workers_are_rows_and_one_that_is_killed_is_followed_by_another(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)
    with TemporaryDirectory() as profile, browser(Path(profile)) as page:
        page.open(f"http://{LOCAL}:{server.admin_port}/")
        page.await_text("#verdict", "cluster of 2: all good")
        assert not any("/status/overview" in name for name in asked_for(page)), "the events of the stream suffice"
        first, second = rows(server)
        page.await_text("#nodes", f"{first['node_id']} (asked)")
        page.await_text("#nodes", second["node_id"])
        os.kill(first["pid"], signal.SIGKILL)
        page.await_text("#nodes", f"{second['node_id']} (asked)")


def test_everything_has_a_name_and_fits_a_phone(fleet: Fleet, page: Browser) -> None:
    server = fleet.server()
    page.call("/window/rect", {"width": 360, "height": 700})
    page.open(f"http://{LOCAL}:{server.admin_port}/")
    page.await_text("#verdict", "all good")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert page.run("return [...document.querySelectorAll('input')].every(each => each.labels.length)")
    named = "each => document.getElementById(each.getAttribute('aria-labelledby'))"
    assert page.run(f"return [...document.querySelectorAll('section')].every({named})")
    assert page.run("return [...document.querySelectorAll('th')].every(each => each.scope === 'col')")


def test_it_asks_for_the_token(fleet: Fleet, key_file: Path, tmp_path: Path) -> None:
    server = guarded(fleet, key_file)
    with browser(tmp_path / "profile") as page:  # a refusal is an error in the console
        page.open(f"http://{LOCAL}:{server.admin_port}/")
        page.await_text("#verdict", "a token is needed")
        page.type("#token", "wrong" + ENTER)
        page.await_text("#refused", "it was refused")
        page.run("document.querySelector('#token').value = ''")
        page.type("#token", token() + ENTER)
        page.await_text("#verdict", "all good")
        assert page.run("return document.cookie === '' && localStorage.length === 0 && sessionStorage.length === 0")
