"""Bounds of tables that remember something."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "What is remembered": (
        (
            "addresses with a rate",
            "{server.address_rate.MAX_BUCKETS}",
            "the first one used is forgotten",
            "a refilled bucket needs no memory",
        ),
        ("verified tokens", "{access.gate.MAX_VERIFIED}", "the first one is verified again", "600 bytes each"),
        (
            "verdicts of policies",
            "{server.policies.MAX_VERDICTS}",
            "all are decided anew",
            "deciding takes microseconds",
        ),
        (
            "edited fields",
            "{server.field_edits.MAX_EDITS} of {server.field_edits.MAX_EDITED_FIELDS_BYTES} bytes",
            "they are edited again",
            "they take a megabyte; to edit again takes microseconds",
        ),
        (
            "heads of a connection",
            (
                "{http.recent.MAX_REMEMBERED_BYTES} bytes, {http.learning.MAX_LEARNT_BYTES} of a shape with "
                "{http.shape.MAX_VALUES} values, {http.shape.MAX_SAME_SIZES} of the same size, "
                "{http.learning.MAX_MISSES} misses"
            ),
            "heads are parsed",
            "a connection has to stay small",
        ),
        (
            "endpoints with retries",
            "{server.retries.MAX_BUDGETS}",
            "the first one has its budget again",
            "a full budget needs no memory",
        ),
        (
            "endpoints whose route was lost",
            "{server.routeless.MAX_LOST}",
            "the first one is forgotten",
            "it only makes its requests wait",
        ),
        (
            "stories of failed requests",
            "{server.stories.MAX_STORIES} of a kind, {server.stories.MAX_PATH_CHARACTERS} characters of a path",
            "the oldest is forgotten",
            "they take half a megabyte, and people read the last ones",
        ),
        (
            "what is told of a failure",
            "{proxy.failures.MAX_DETAIL_CHARACTERS} characters",
            "the rest is cut",
            "one line of the log",
        ),
        (
            "requests in flight with a span",
            "{proxy.tracing.MAX_OPEN}, {proxy.tracing.MAX_SPAN_PATH_CHARACTERS} characters of a path",
            "further ones have none",
            "more requests than a process has",
        ),
        ("tenants", "{config.ports.MAX_TENANTS}", "the file is refused", "a file of 1 MiB has room for no more"),
        (
            "a file of the configuration",
            (
                "{config.load.MAX_TEXT_LENGTH} characters, depth {config.document.MAX_DEPTH}, "
                "{config.document.MAX_ALIASES} aliases; {config.secrets.MAX_SECRET_FILE_BYTES} bytes of a file that a "
                "value names"
            ),
            "it is refused",
            "a log file that was given by mistake does not fit",
        ),
        ("keys of gossip", "{config.gossip_key.MAX_GOSSIP_KEYS}", "the file is refused", "a rotation has three"),
    ),
}
