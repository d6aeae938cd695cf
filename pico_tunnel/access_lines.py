"""Lines of the access log for people: one short line for each request, where standard output is a terminal."""

import json
import time

from pico_tunnel.colours import CYAN, GREEN, RED, RESET, YELLOW

PATH_CHARACTERS = 48
"""A longer path is cut in its middle, so that a line of a usual terminal holds it."""

_COLOURS = {2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}


def readable(line: bytes, now: float, *, colour: bool) -> str:
    """Return the line of one request: clock, status, endpoint, method and path, duration, size, and why it failed.

    ``line`` is the inside of a JSON object. Nothing of a client reaches the terminal as a control sequence.
    """
    fields = json.loads(b"{" + line + b"}")
    status = str(fields["status"])
    if colour:
        status = f"{_COLOURS.get(fields['status'] // 100, '')}{status}{RESET}"
    words = [time.strftime("%H:%M:%S", time.localtime(now)), status]
    if "method" in fields:
        words += [_plain(fields["endpoint"]), f"{_plain(fields['method']):<6}", _cut(_plain(fields["path"]))]
        words += [f"{fields['duration_ms']:.0f} ms", f"{fields['response_bytes']} B"]
    else:
        words.append(f"not a request, from {_plain(fields['client'])}")
    if "reason" in fields:
        words.append(f"{fields['reason']}  {fields['request_id']}")
    return "  ".join(words) + "\n"


def _cut(text: str) -> str:
    kept = (PATH_CHARACTERS - 3) // 2
    return text if len(text) <= PATH_CHARACTERS else f"{text[:kept]}...{text[-kept:]}"


def _plain(text: str) -> str:
    return json.dumps(text)[1:-1]
