"""A node as one of several workers that serve the same ports of one host: what it is told by its supervisor."""

import msgspec

from pico_core.config.values import Address
from pico_core.plain.server import PlainConnection, PlainHandler, Question

LOCALHOST = "127.0.0.1"

WORKER_FIELD = "x-pico-worker"
HOST_FIELD = "x-pico-host"
"""What the supervisor sends beside the fields of an operator: the secret of its workers, and the operator's Host."""

_OWN_FIELDS = (b"host", WORKER_FIELD.encode(), HOST_FIELD.encode())


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of ``count``.

    ``proxy``, ``upstream`` and ``gossip`` are the addresses that all workers listen on. ``own_gossip`` is this worker's
    alone, ``control`` answers only who knows ``secret``. ``siblings`` are the gossip ports of the workers that run
    already. The node IDs of all workers begin with ``group``.
    """

    number: int
    count: int
    node_id: str
    group: str
    proxy: Address
    upstream: Address
    gossip: Address
    own_gossip: Address
    control: Address
    secret: str
    siblings: tuple[int, ...] = ()


class ControlPages:
    """A ``PlainHandler`` that answers the supervisor for an operator: with the pages of the admin port.

    The operator's token and Host pass through, and are looked at here as on the admin port.
    """

    def __init__(self, pages: PlainHandler, secret: str) -> None:
        self._pages = pages
        self._secret = (WORKER_FIELD.encode(), secret.encode())

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request."""
        if self._secret not in question.fields:
            connection.refuse(403, "this port is for the process that started this one", now)
            return
        host = next((value for name, value in question.fields if name == HOST_FIELD.encode()), b"")
        rest = tuple(field for field in question.fields if field[0] not in _OWN_FIELDS)
        self._pages.answer(connection, Question(question.path, question.query, ((b"host", host), *rest)), now)
