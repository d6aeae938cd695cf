"""Which records a viewer wants: ``status:5xx path:/api method:POST ms:>500 -host:example text``.

Every word must match; one that begins with ``-`` must not. A word without a key is looked for in the method, target,
host, endpoint, reason and request ID.
"""

from collections.abc import Callable
from typing import TypeAlias

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.errors import RemoteProtocolError

Test: TypeAlias = Callable[[CapturedRequest], bool]

MAX_FILTER_CHARACTERS = 1_000
"""People type a line."""


class FilterError(RemoteProtocolError):
    """The text is not a filter; it says why."""


def parse(text: str) -> Test:
    """Return the test of a filter. Raises ``FilterError``."""
    if len(text) > MAX_FILTER_CHARACTERS:
        raise FilterError(f"a filter has at most {MAX_FILTER_CHARACTERS} characters")
    tests = [_word(word) for word in text.split()]
    return lambda record: all(test(record) for test in tests)


def _word(word: str) -> Test:
    if word.startswith("-") and len(word) > 1:
        test = _word(word[1:])
        return lambda record: not test(record)
    key, colon, value = word.partition(":")
    if not colon:
        return _text(word)
    make = KEYS.get(key.lower())
    if make is None:
        raise FilterError(f"there is no '{key}:' in filters; there are {', '.join(f'{name}:' for name in KEYS)}")
    if not value:
        raise FilterError(f"'{key}:' wants a value behind it")
    return make(value)


def _text(text: str) -> Test:
    wanted = text.lower().encode()

    def test(record: CapturedRequest) -> bool:
        told = (record.method, record.target, record.host, record.request_id)
        mine = (record.endpoint.encode(), record.reason.encode())
        return any(wanted in each.lower() for each in (*told, *mine))

    return test


def _part_of(read: Callable[[CapturedRequest], bytes]) -> Callable[[str], Test]:
    def make(text: str) -> Test:
        wanted = text.lower().encode()
        return lambda record: wanted in read(record).lower()

    return make


def _number(read: Callable[[CapturedRequest], float]) -> Callable[[str], Test]:
    def make(text: str) -> Test:
        sign = text.rstrip("0123456789.")
        try:
            limit = float(text[len(sign) :])
        except ValueError:
            raise FilterError(f"wants a number such as 500, >500 or <500, found '{text}'") from None
        if sign == ">":
            return lambda record: read(record) > limit
        if sign == "<":
            return lambda record: read(record) < limit
        if sign:
            raise FilterError(f"wants a number such as 500, >500 or <500, found '{text}'")
        return lambda record: read(record) == limit

    return make


def _status(text: str) -> Test:
    lower = text.lower()
    if len(lower) == 3 and lower[0].isdigit() and lower[1:] == "xx":
        group = int(lower[0])
        return lambda record: record.status // 100 == group
    return _number(lambda record: record.status)(text)


def _state(text: str) -> Test:
    tests: dict[str, Test] = {
        "replay": lambda record: bool(record.replay_of),
        "failed": lambda record: bool(record.reason) or record.status >= 500,
        "live": lambda record: record.state == "live",
        "incomplete": lambda record: record.state == "incomplete",
    }
    if text.lower() not in tests:
        raise FilterError(f"'is:' wants one of {', '.join(tests)}")
    return tests[text.lower()]


def _ms(record: CapturedRequest) -> float:
    return (record.ended_at - record.started_at) * 1000 if record.is_over else 0.0


KEYS: dict[str, Callable[[str], Test]] = {
    "status": _status,
    "method": _part_of(lambda record: record.method),
    "path": _part_of(lambda record: record.target),
    "host": _part_of(lambda record: record.host),
    "endpoint": _part_of(lambda record: record.endpoint.encode()),
    "type": _part_of(lambda record: record.response.media_type),
    "reason": _part_of(lambda record: record.reason.encode()),
    "ms": _number(_ms),
    "size": _number(lambda record: record.response.size),
    "is": _state,
}
