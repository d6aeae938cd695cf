"""Bounds of agents, forwarders, commands and programs."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "Of agents, forwarders and commands": (
        (
            "cancelled timers of a process",
            "{timers.MAX_VOID}, or as many as others",
            "they are dropped",
            "cheaper than to drop each at once",
        ),
        (
            "a forwarder's question whether an endpoint can be reached",
            "{forward.checking.CHECK_TIMEOUT_S:g} s, again after {forward.checking.LAST_PAUSE_S:g} s at most",
            "a warning",
            "somebody waits at a terminal",
        ),
        ("a token file", "{credentials.MAX_TOKEN_FILE_BYTES} bytes", "it is not used", "a token, and blanks around it"),
        (
            "addresses of the server tried in one attempt",
            "{dial.MAX_ADDRESSES_TRIED}",
            "the next attempt",
            "others wait too",
        ),
        (
            "silent addresses of the server that come last",
            "{dial.MAX_SILENT}",
            "the oldest is forgotten",
            "one attempt learns of four",
        ),
        ("reasons of failures told in a minute", "{dial.MAX_REASONS}", "they are told later", "servers choose them"),
        (
            "services that an agent tries at a terminal",
            "{agent.watching.MAX_PROBED}, {agent.watching.PROBE_TIMEOUT_S:g} s each",
            "nothing is told of the others",
            "a person reads no more rows",
        ),
        (
            "a pause that a server asks for",
            "{agent.listener.MAX_RETRY_AFTER_S} s",
            "it is shortened",
            "servers restart",
        ),
        (
            "a request in a tunnel",
            (
                "{agent.request_streams.MAX_HEAD_BYTES} bytes of a head, {agent.request_streams.HEAD_TIMEOUT_S:g} s, "
                "{agent.request_streams.NEXT_REQUEST_TIMEOUT_S:g} s until the next"
            ),
            "the stream is closed",
            "the server's limits are lower",
        ),
        (
            "unfinished heads of an agent",
            "{machine.head_budget.MAX_UNFINISHED_BYTES} bytes",
            "the longest are refused with 502",
            "as proxy.http.max_unfinished_bytes",
        ),
        (
            "untaken streams of a program",
            "{agent.program_streams.MAX_UNTAKEN}",
            "further ones are refused",
            "as many as one tunnel carries",
        ),
        (
            "a message to an application",
            "{agent.app_websocket.MAX_MESSAGE_BYTES} bytes",
            "the WebSocket is closed with 1009",
            "uvicorn has the same",
        ),
        (
            "what an application has not read of a request or a WebSocket",
            "{agent.app_call.UNREAD_HIGH_BYTES} bytes",
            "the client is paused",
            "as much as one turn sends on a stream",
        ),
        (
            "time for the answer to a Close frame",
            "{agent.app_websocket.CLOSE_S:g} s",
            "the connection is ended",
            "a client that works answers within a round trip",
        ),
        (
            "field lines of clients that are remembered split",
            "{agent.app_streams.SPLIT_FIELDS} of {http.recent.MAX_REMEMBERED_BYTES} bytes",
            "they are split again",
            "they take 1 MiB at most, for as many clients",
        ),
        (
            "the answer to a health check",
            "{agent.health.MAX_CHECK_BODY_BYTES} bytes",
            "the check fails",
            "pages are short",
        ),
        (
            "an answer of an admin port",
            "{plain.client.MAX_RESPONSE_BODY_BYTES} bytes, {status.ANSWER_TIMEOUT_S:g} s",
            "the command fails",
            "eight times a full node",
        ),
        (
            "rows of 'pico bench'",
            "{bench.plan.MAX_OUTCOMES}, {bench.histogram.MAX_US} us",
            "the others share one",
            "services choose statuses",
        ),
    ),
}
