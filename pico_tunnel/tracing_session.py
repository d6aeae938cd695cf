"""Why a collector did not take spans, in one clause: what the HTTP client of the SDK met, without its own texts.

Those may have a URL in them, or a header field, and so a credential.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

from pico_driver.sockets import describe

MAX_CAUSES: Final = 16
"""Exceptions that are looked at behind one: the client wraps three or four times."""


def noting_session(note: Callable[[str], None]) -> Any:
    """Return a session for the exporter, which calls ``note`` with why a request failed.

    ``None`` is returned where the environment names a provider of credentials: the exporter makes its own session then.
    """
    if any(name.startswith("OTEL_") and name.endswith("CREDENTIAL_PROVIDER") for name in os.environ):
        return None
    import requests

    session: Any = requests.Session()
    send = session.send

    def noted(*arguments: Any, **options: Any) -> Any:
        try:
            answer = send(*arguments, **options)
        except Exception as error:  # whatever the client raises: it is noted, and raised again
            note(why(error))
            raise
        if not answer.ok:
            note(f"the collector answered {answer.status_code}")
        return answer

    session.send = noted
    return session


def why(error: BaseException) -> str:
    """Return why a request of the client failed."""
    import requests

    if isinstance(error, requests.Timeout):
        return "the collector did not answer in time"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {(cause.reason or 'failed').replace('_', ' ').lower()}"
        if isinstance(cause, OSError) and cause.errno is not None:
            return describe(cause)
    return f"the request failed ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it wraps, as a cause, a context, an argument or a ``reason``."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_CAUSES:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        found = (each.__cause__, getattr(each, "reason", None), *each.args, each.__context__)
        waiting += [cause for cause in found if isinstance(cause, BaseException)]
