"""``/status/stream``: what the dashboard shows of all nodes, as server-sent events, from the node that is asked.

Every two seconds this node tells its own overview, and what other nodes have answered since. It asks them only while
somebody looks on, once for all viewers, and some at a time, so that a large cluster costs no more than a small one.
A viewer who has not taken the events of one time when the next are due is dropped.

The events are ``here``, the overview of this node, which comes last each time; ``node``, that of another one; and
``silent`` for one that did not give its own: ``{"node": ..., "why": ...}``.
"""

from functools import partial
from itertools import islice

import msgspec

from pico_core.cluster.view import RemoteNode
from pico_core.gossip.status import NodeStatus
from pico_core.machine.parts import PagesHost
from pico_core.plain.client import PlainResponse
from pico_core.plain.server import JSON, PlainConnection
from pico_core.server.admin.asking import ask_node
from pico_core.server.admin.overview import overview
from pico_core.server.admin.status import OVERVIEW_PATH
from pico_core.server.facts import Facts

STREAM_PATH = "/status/stream"
EVENTS = "text/event-stream"

EVERY_S = 2.0

FIRST_S = 0.2
"""When the first viewer gets what other nodes have answered by then."""

MAX_VIEWERS = 16
"""Pages that a node tells at one time; one more gets a 503 and asks again by itself."""

TOO_MANY_VIEWERS = "too many pages look on; this one asks again"

STREAM_S = 600.0
"""How long one stream lasts. Then the page asks anew, and shows its token anew."""

MAX_TOLD_NODES = 25
"""Nodes whose overviews are told, this one included: a person reads no more."""

MAX_ASKED = 8
"""Nodes that are asked at one time: those of a larger cluster in turn."""

MAX_NODE_BYTES = 65_536
"""The longest overview of a node that is passed on: one has 20 failures and 200 nodes."""


class LiveView:
    """The streams of a node. Next: ``begin`` for each viewer."""

    def __init__(self, host: PagesHost, facts: Facts) -> None:
        self._host = host
        self._facts = facts
        self._viewers: dict[PlainConnection, bytes] = {}
        """The pages that look on, each with its credentials."""
        self._told: dict[str, bytes] = {}
        """The last event about each other node."""
        self._fresh: set[str] = set()
        """Nodes whose event has not been sent yet."""
        self._asking: set[str] = set()
        self._turn = 0
        self._is_due = False

    def begin(self, connection: PlainConnection, credentials: bytes, until: float, now: float) -> None:
        """Tell one more viewer, not longer than its credentials hold.

        The other nodes are asked with the credentials of the latest one that is there.
        """
        if len(self._viewers) >= MAX_VIEWERS:
            connection.refuse(503, TOO_MANY_VIEWERS, now)
            return
        if not connection.begin_stream(EVENTS, min(now + STREAM_S, until), partial(self._left, connection), now):
            return
        self._viewers[connection] = credentials
        connection.send_more(b"".join(self._told.values()) + self._own())
        if not self._is_due:
            self._is_due = True
            self._ask(now)
            self._host.timers.schedule(now + FIRST_S, self._tell)

    def _left(self, connection: PlainConnection) -> None:
        self._viewers.pop(connection, None)

    def _tell(self, now: float) -> None:
        """Send new events to all viewers; end where there is no viewer."""
        if not self._viewers:
            self._is_due = False
            self._told.clear()
            self._fresh.clear()
            return
        nodes = {peer.id for peer in self._others()}
        self._told = {node: event for node, event in self._told.items() if node in nodes}
        data = b"".join(event for node, event in self._told.items() if node in self._fresh) + self._own()
        self._fresh.clear()
        for viewer in list(self._viewers):
            viewer.send_more(data)
        self._ask(now)
        self._host.timers.schedule(now + EVERY_S, self._tell)

    def _own(self) -> bytes:
        return b"event: here\ndata: %b\n\n" % msgspec.json.encode(overview(self._facts))

    def _others(self) -> list[RemoteNode]:
        active = (peer for peer in self._facts.view if peer.status is NodeStatus.ACTIVE)
        return list(islice(active, MAX_TOLD_NODES - 1))

    def _ask(self, now: float) -> None:
        others = self._others()
        credentials = next(reversed(self._viewers.values()), b"")
        for _ in range(min(MAX_ASKED, len(others))):
            self._turn = (self._turn + 1) % len(others)
            peer = others[self._turn]
            if peer.id in self._asking:
                continue
            self._asking.add(peer.id)
            asked = _Asked(self, peer.id)
            if not ask_node(self._host, self._facts, peer, OVERVIEW_PATH, credentials, asked, now, MAX_NODE_BYTES):
                self.answered(peer.id, b"", "it has no usable admin address")

    def answered(self, node: str, document: bytes, why: str) -> None:
        """Keep the overview of a node for the next time, or ``why`` there is none."""
        self._asking.discard(node)
        if why:
            silent = msgspec.json.encode({"node": node, "why": why})
            self._told[node] = b"event: silent\ndata: %b\n\n" % silent
        else:
            self._told[node] = b"event: node\ndata: %b\n\n" % document
        self._fresh.add(node)


class _Asked:
    """A question to one node."""

    __slots__ = ("_live", "_node")

    def __init__(self, live: LiveView, node: str) -> None:
        self._live = live
        self._node = node

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Pass on what can be the data of one event."""
        body = response.body
        if response.status == 200 and response.content_type.startswith(JSON) and not _BREAKS & set(body):
            self._live.answered(self._node, body, "")
        else:
            self._live.answered(self._node, b"", f"gave no status: {response.status}")

    def on_no_response(self, reason: str, now: float) -> None:
        """Tell why."""
        self._live.answered(self._node, b"", f"does not answer: {reason}")


_BREAKS = frozenset(b"\r\n")
"""Bytes that end a line of an event."""
