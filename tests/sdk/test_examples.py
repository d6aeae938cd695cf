"""The examples of the SDK run as they stand."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_listener_for_tcp() -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "tcp_listener.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("HELLO FROM A PROGRAM WITHOUT A PORT\n", "")


def test_the_application() -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "asgi_app.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("Hello 127.0.0.1, you asked for /world.\n", "")
