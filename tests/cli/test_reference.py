"""The reference page agrees with the declarations."""

import subprocess
import sys
from pathlib import Path

from pico_tunnel import limits_page
from pico_tunnel.reference import text

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == text(), "run: python -m pico_tunnel.reference > docs/configuration.md"


def test_rows() -> None:
    assert "| `proxy.http.idle_timeout` | `--proxy.http.idle-timeout` | `5m` | How long a connection" in text()
    assert "| `addr` | required | The service: a port" in text()
    assert "| `cluster.join` | `--cluster.join` | empty | Nodes to join" in text()


def test_the_page_is_written_by_the_module() -> None:
    done = subprocess.run([sys.executable, "-m", "pico_tunnel.reference"], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == text()


def test_the_page_of_limits_is_up_to_date() -> None:
    page = PAGE.with_name("limits.md").read_text()
    assert page == limits_page.text(), "run: python -m pico_tunnel.limits_page > docs/limits.md"
