"""The limits without a key of agents, forwarders, commands and workers: rows of ``fixed_limits``."""

from __future__ import annotations

from typing import Final

ROWS: Final[dict[str, tuple[tuple[str, str, str, str], ...]]] = {
    "Of agents, forwarders and commands": (
        ("a token file", "{credentials.MAX_FILE_BYTES} bytes", "it is not used", "a token, and blanks around it"),
        ("addresses of the server tried in one attempt", "{dial.MAX_ADDRESSES}", "the next attempt", "others wait too"),
        ("reasons of failures told in a minute", "{dial.MAX_REASONS}", "they are told later", "servers choose them"),
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
            "{http.budget.MAX_UNFINISHED_BYTES} bytes",
            "the longest are refused with 502",
            "as proxy.http.max_unfinished_bytes",
        ),
        ("untaken streams of a program", "{agent.program_streams.MAX_UNTAKEN}", "further ones are refused", "a bound"),
        ("a message to an application", "{agent.app_websocket.MAX_MESSAGE_BYTES} bytes", "1009", "as other servers"),
        ("the answer to a health check", "{agent.health.MAX_BODY_BYTES} bytes", "the check fails", "pages are short"),
        (
            "an answer of an admin port",
            "{plain.client.MAX_RESPONSE_BODY_BYTES} bytes, {status.ANSWER_TIMEOUT_S:g} s",
            "the command fails",
            "eight times a full node",
        ),
        (
            "rows of 'pico bench'",
            "{bench.plan.MAX_KINDS}, {bench.histogram.MAX_US} us",
            "the others share one",
            "services choose statuses",
        ),
    ),
    "Of workers": (
        ("workers of a server", "{config.server.MAX_WORKERS}", "the file is refused", "each is a node of the cluster"),
        (
            "tunnels that an agent keeps open for an endpoint",
            "{config.agent.MAX_CONNECTIONS}",
            "the file is refused",
            "as many as a server has workers",
        ),
        (
            "times that one of them is opened anew for another worker",
            "{agent.growth.MAX_MOVES}",
            "it stays where it is",
            "one in a thousand is left",
        ),
        (
            "questions of operators that wait for workers",
            "{server.workers.pages.MAX_QUESTIONS}",
            "503",
            "no operator has more",
        ),
        (
            "time for the answer of a worker",
            "{server.workers.pages.ASK_TIMEOUT_S:g} s, {server.workers.supervisor.READY_TIMEOUT_S:g} s at its start",
            "503, or it is asked again",
            "a worker that runs answers at once",
        ),
    ),
}
