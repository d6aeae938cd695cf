"""Bounds of several processes of one server."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
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
            "pause before a worker that ended is started again",
            "{server.workers.slots.MAX_RESTART_PAUSE_S:g} s",
            "the pause does not grow",
            "its ports are closed meanwhile, and the others take all",
        ),
        (
            "questions of operators that wait for workers",
            "{server.workers.pages.MAX_QUESTIONS}",
            "503",
            "no operator has more",
        ),
        (
            "dashboard pages whose stream a server with workers passes on",
            "{server.admin.live.MAX_VIEWERS}; each may stand still for {server.workers.live.SILENCE_S:g} s",
            "503; the stream ends",
            "as many as a node has",
        ),
        (
            "time for the answer of a worker",
            "{server.workers.asking.ASK_TIMEOUT_S:g} s, {server.workers.supervisor.READY_TIMEOUT_S:g} s at its start",
            "503, or it is asked again",
            "a worker that runs answers at once",
        ),
    ),
}
