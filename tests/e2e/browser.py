"""A headless Chromium, driven through ChromeDriver (W3C WebDriver): the few calls that tests of pages need."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import LOCAL
from tests.waiting import wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name under which WebDriver gives a reference to an element (section 12)."""

ENTER = "\ue007"
TAB = "\ue004"
DOWN = "\ue015"

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One page. Elements are named by CSS selectors."""

    def __init__(self, driver: str, session: str) -> None:
        self._url = f"{driver}/session/{session}"

    def call(self, path: str, body: object = None, method: str = "POST") -> Any:
        return call(self._url + path, body, method)

    def open(self, url: str) -> None:
        self.call("/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def await_text(self, selector: str, text: str) -> None:
        wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}, where {self.text(selector)!r} is")

    def type(self, selector: str, keys: str) -> None:
        found = self.call("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.call(f"/element/{found}/value", {"text": keys})

    def click(self, selector: str) -> None:
        """Press the mouse's button above an element that can be seen."""
        found = self.call("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.call(f"/element/{found}/click")

    def clear(self, selector: str) -> None:
        """Empty a field."""
        found = self.call("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.call(f"/element/{found}/clear")

    def command(self, name: str, **parameters: object) -> Any:
        """Give a command of the DevTools protocol, for what WebDriver does not have."""
        return self.call("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def press(self, keys: str) -> None:
        """Press keys wherever the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def messages(self) -> list[str]:
        """What the page has written to the console since this was asked last: errors above all."""
        return [entry["message"] for entry in self.call("/se/log", {"type": "browser"})]


def call(url: str, body: object = None, method: str = "POST") -> Any:
    data = json.dumps(body or {}).encode() if method == "POST" else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(profile: Path, *arguments: str) -> Iterator[Browser]:
    """Start a browser with an empty profile; its driver is ended by its own process."""
    program = shutil.which("chromedriver")
    assert program is not None, "chromedriver is not installed: apt-get install chromium-driver"
    process = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = next(each for each in process.stdout if "started successfully on port" in each)
    driver = f"http://{LOCAL}:{re.findall(r'[0-9]+', line)[-1]}"
    try:
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}", *arguments]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        session = call(f"{driver}/session", {"capabilities": wanted})["sessionId"]
        try:
            yield Browser(driver, session)
        finally:
            call(f"{driver}/session/{session}", method="DELETE")
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()
