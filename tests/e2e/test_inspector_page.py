"""The inspector's page in a real browser, by keyboard and by mouse."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import DOWN, ENTER, TAB, Browser, browser
from tests.e2e.harness import LOCAL, Fleet, Process
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import request
from tests.waiting import wait_until

pytestmark = pytest.mark.debian

JSON_FIELD = "Content-Type: application/json\r\n"
CANARY = "canary-of-a-secret"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as found:
        yield found
        errors = [each for each in found.messages() if "400 (Bad Request)" not in each]  # half a filter is none
        assert errors == [], "the console has no error: none of the security policy above all"


@pytest.fixture
def agent(fleet: Fleet, origin: Origin) -> tuple[int, Process]:
    server = fleet.server()
    return server.proxy_port, fleet.agent(server, "web", origin.port, f"--inspect={LOCAL}:0")


def opened(page: Browser, agent: Process) -> str:
    url = f"http://{LOCAL}:{agent.port('inspect')}"
    page.open(url + "/")
    page.await_text("#verdict", "live")
    return url


def targets(page: Browser) -> list[str]:
    return list(page.run("return [...document.querySelectorAll('#list button')].map(each => each.textContent)"))


def focused(page: Browser) -> str:
    return str(page.run("return document.activeElement.id || document.activeElement.textContent"))


def failing(visit: Visit) -> None:
    visit.body()
    visit.respond(b"no", status="500 Internal Server Error")


def test_with_the_mouse(agent: tuple[int, Process], origin: Origin, page: Browser, tmp_path: Path) -> None:
    port, process = agent
    failure = origin.handle(failing)
    url = opened(page, process)
    page.await_text("#list", "none yet")

    fields = f"Authorization: Bearer {CANARY}\r\n{JSON_FIELD}"
    assert request(port, "web", "/describe?n=1", "POST", fields, b'{"n": 1}')[0].status == 200
    assert request(port, "web", failure)[0].status == 500
    wait_until(lambda: targets(page) == [failure, "/describe?n=1"], "the list shows both without being asked")

    page.type("#filter", "status:5xx")
    wait_until(lambda: targets(page) == [failure], "the filter leaves one")
    page.await_text("#count", "1 of 2")
    page.clear("#filter")
    page.type("#filter", "method:post")
    wait_until(lambda: targets(page) == ["/describe?n=1"], "the filter leaves the other one")

    page.click("#list button")
    page.await_text("#d-title", "POST /describe?n=1")
    page.await_text("#d-request", "REDACTED")
    page.await_text("#d-request-body", '{\n  "n": 1\n}')
    page.await_text("#d-response-body", '"size": 8')
    assert CANARY not in page.run("return document.documentElement.outerHTML")

    page.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.click("#curl")
    page.await_text("#d-told", "copied")
    told = str(page.run("return navigator.clipboard.readText()"))
    words = shlex.split(told, comments=True)
    assert words[0] == "curl"
    assert words[words.index("--data-raw") + 1] == '{"n": 1}'
    command = [re.sub(r"^http://[^/]*", f"http://{LOCAL}:{port}", each) for each in words]
    done = subprocess.run([*command, "-s", "-H", "x-pico-endpoint: web"], capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout)["target"] == "/describe?n=1"

    page.clear("#filter")
    page.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("#har")
    saved = tmp_path / "pico.har"
    wait_until(lambda: saved.exists() and saved.read_text().endswith("}"), "the archive is saved")
    entries = json.loads(saved.read_text())["log"]["entries"]
    assert [entry["response"]["status"] for entry in entries] == [200, 500, 200]
    assert CANARY not in saved.read_text()

    page.click("#edit")
    page.clear("#e-target")
    page.type("#e-target", "/describe?n=2")
    page.clear("#e-body")
    page.type("#e-body", "an edit")
    page.click("#e-send")
    page.await_text("#d-title", "POST /describe?n=2")
    page.await_text("#d-about", "replay of #1")
    page.await_text("#d-response-body", '"size": 7')
    page.await_text("#list", "replay of 1")

    page.click("#clear")
    page.await_text("#list", "none yet")
    own = page.run("return performance.getEntriesByType('resource').map(each => each.name)")
    assert own
    assert all(each.startswith(url + "/api/") for each in own), "nothing is loaded but answers of the port itself"


def test_with_the_keyboard(agent: tuple[int, Process], page: Browser) -> None:
    port, process = agent
    for number in range(3):
        assert request(port, "web", f"/describe?n={number}")[0].status == 200
    opened(page, process)
    wait_until(lambda: len(targets(page)) == 3, "the list is there")
    page.press("/")
    assert focused(page) == "filter"
    page.press("-path:n=2")
    wait_until(lambda: targets(page) == ["/describe?n=1", "/describe?n=0"], "the filter is used")
    for control in ("pause", "clear", "har", "/describe?n=1"):
        page.press(TAB)
        assert focused(page) == control
    page.press(ENTER)
    page.await_text("#d-title", "GET /describe?n=1")
    page.press(DOWN)
    page.await_text("#d-title", "GET /describe?n=0")
    assert focused(page) == "/describe?n=0", "the focus goes along"

    page.press("r")
    page.await_text("#d-about", "replay of #1")
    wait_until(lambda: len(targets(page)) == 3, "the replay is in the list")
    page.press("e")
    assert focused(page) == "e-target"
    page.press("&edited")
    page.press(ENTER)
    page.await_text("#d-title", "GET /describe?n=0&edited")
    page.await_text("#d-about", "replay of #4")
    page.press("e")
    page.press("\ue00c")
    assert not page.run("return document.querySelector('#editor').open"), "Escape closes the editor"
    page.press("c")
    page.await_text("#d-told", "copied")
    page.run("return load(chosen)")
    assert page.text("#d-told") == "copied", "it stays when the request is shown anew"
    wait_until(lambda: focused(page) == "/describe?n=0&edited", "the row of the request has the focus again")


def test_the_list_stands_still_while_it_is_paused(agent: tuple[int, Process], page: Browser) -> None:
    port, process = agent
    opened(page, process)
    page.click("#pause")
    page.await_text("#verdict", "paused")
    assert request(port, "web", "/describe")[0].status == 200
    wait_until(lambda: page.run("return performance.now() > 2500"), "the page would have asked again")
    assert targets(page) == []
    page.click("#pause")
    wait_until(lambda: targets(page) == ["/describe"], "it goes on")


def luminance(colour: str) -> float:
    """Return how bright a colour is, as WCAG 2.2 computes it."""
    parts = [float(each) / 255 for each in re.findall(r"[\d.]+", colour)[:3]]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


COLOURS = """
const cell = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = colour => { cell.fillStyle = colour; cell.fillRect(0, 0, 1, 1);
  return 'rgb(' + [...cell.getImageData(0, 0, 1, 1).data].slice(0, 3).join() + ')'; };
const found = {};
for (const name of ['text', 'bad', 'warn', 'good']) {
  const made = document.createElement('i');
  made.className = name; made.style.backgroundColor = 'Canvas'; document.body.append(made);
  const style = getComputedStyle(made);
  found[name] = rgb(style.color); found.back = rgb(style.backgroundColor); made.remove();
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_both_colours(agent: tuple[int, Process], page: Browser, scheme: str) -> None:
    page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    opened(page, agent[1])
    found: dict[str, Any] = page.run(COLOURS)
    back = luminance(found.pop("back"))
    assert (back > 0.5) == (scheme == "light")
    for name, colour in found.items():
        brighter, darker = sorted((back, luminance(colour)), reverse=True)
        assert (brighter + 0.05) / (darker + 0.05) >= 4.5, f"{name} is hard to read: {colour}"


def test_it_fits_a_phone_and_everything_has_a_name(agent: tuple[int, Process], page: Browser) -> None:
    port, process = agent
    assert request(port, "web", "/describe?" + "long=" * 40)[0].status == 200
    page.call("/window/rect", {"width": 360, "height": 700})
    opened(page, process)
    wait_until(lambda: len(targets(page)) == 1, "the list is there")
    page.click("#list button")
    page.await_text("#d-title", "GET /describe")
    wide = "[...document.querySelectorAll('*')].filter(each => each.getBoundingClientRect().right > innerWidth)"
    assert page.run(f"return {wide}.map(each => each.outerHTML.slice(0, 100))") == []
    assert page.run("return [...document.querySelectorAll('input, textarea')].every(each => each.labels.length)")
    named = "each => document.getElementById(each.getAttribute('aria-labelledby'))"
    assert page.run(f"return [...document.querySelectorAll('section, dialog')].every({named})")
    assert page.run("return [...document.querySelectorAll('th')].every(each => each.scope)")


def test_what_comes_is_never_run(agent: tuple[int, Process], origin: Origin, page: Browser) -> None:
    port, process = agent
    evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'

    def answer(visit: Visit) -> None:
        visit.body()
        visit.respond(evil.encode(), "Content-Type: text/html\r\n")

    path = origin.handle(answer)
    assert (
        request(port, "web", path, "POST", f"X-Evil: {evil}\r\nContent-Type: text/html\r\n", evil.encode())[0].status
        == 200
    )
    opened(page, process)
    wait_until(lambda: len(targets(page)) == 1, "the list is there")
    page.click("#list button")
    page.await_text("#d-response-body", "onerror")
    page.await_text("#d-request", "onerror")
    assert page.run("return window.evil === undefined && !document.querySelector('main img, main script')")
    policy = page.run("return fetch('/').then(answer => answer.headers.get('content-security-policy'))")
    rules = dict(each.strip().partition(" ")[::2] for each in str(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in str(policy)
    sources = [source for rule in rules.values() for source in rule.split()]
    assert all(each in ("'none'", "'self'") or each.startswith("'sha256-") for each in sources)


def test_a_page_behind_a_token(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    server = fleet.server()
    key = "a-token-of-24-characters"
    process = fleet.agent(server, "web", origin.port, f"--inspect={LOCAL}:0", "--inspect.token", key)
    assert request(server.proxy_port, "web", "/describe")[0].status == 200
    with browser(tmp_path / "profile") as page:  # a refusal is an error in the console
        page.open(f"http://{LOCAL}:{process.port('inspect')}/")
        page.await_text("#verdict", "a token is needed")
        page.type("#token", "wrong" + ENTER)
        page.await_text("#refused", "it was refused")
        page.clear("#token")
        page.type("#token", key + ENTER)
        wait_until(lambda: targets(page) == ["/describe"], "the token opens it")
