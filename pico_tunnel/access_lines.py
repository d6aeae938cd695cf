"""Lines of the access log for people: one short line for each request, where standard output is a terminal."""

import json
import time

from pico_tunnel.colours import CYAN, GREEN, RED, RESET, YELLOW

PATH_CHARACTERS = 48
"""A longer path is cut in its middle, so that a line of a usual terminal holds it."""

_COLOURS = {2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}
"""Of each class of statuses."""


def readable(
    line: bytes,
    now: float,
    *,
    colour: bool,
    with_endpoint: bool = True,
    path_width: int = PATH_CHARACTERS,
    columns: bool = False,
) -> str:
    """Return the line of one request: clock, status, endpoint, method and path, duration, size, and why it failed.

    ``line`` is the inside of a JSON object. Nothing of a client reaches the terminal as a control sequence. With
    ``columns`` what stands behind the path begins at one place in all lines.
    """
    fields = json.loads(b"{" + line + b"}")
    status = str(fields["status"])
    if colour:
        status = f"{_COLOURS.get(fields['status'] // 100, '')}{status}{RESET}"
    words = [time.strftime("%H:%M:%S", time.localtime(now)), status]
    if "method" in fields:
        path, took = _cut(plain(fields["path"]), path_width), f"{fields['duration_ms']:.0f} ms"
        words += [plain(fields["endpoint"])] if with_endpoint else []
        words += [f"{plain(fields['method']):<6}", f"{path:<{path_width}}" if columns else path]
        words += [f"{took:>9}" if columns else took, f"{fields['response_bytes']} B"]
    else:
        words.append(f"not a request, from {plain(fields['client'])}")
    if "reason" in fields:
        words.append(f"{fields['reason']}  {fields['request_id']}")
    return "  ".join(words) + "\n"


def _cut(text: str, width: int) -> str:
    kept = (width - 3) // 2
    return text if len(text) <= width else f"{text[:kept]}...{text[-kept:]}"


def plain(text: str) -> str:
    """Return text that is safe on a terminal and in one line: ASCII, control characters escaped."""
    return json.dumps(text)[1:-1]
