"""A node as one of several workers that serve the same ports of one host: what it is told by its supervisor."""

import msgspec

from pico_core.config.values import Address
from pico_core.plain.server import PlainConnection, PlainHandler, Question

WORKER_FIELD = "x-pico-worker"
HOST_FIELD = "x-pico-host"
CLIENT_FIELD = "x-pico-client"
"""The fields that the supervisor sends beside those of an operator: the secret of its workers, the operator's Host, and
the address that the operator asks from."""

_OWN_FIELDS = (b"host", WORKER_FIELD.encode(), HOST_FIELD.encode(), CLIENT_FIELD.encode())


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of ``count``.

    ``shared`` are the addresses that all workers listen on, by listener. ``own_gossip`` is this worker's alone,
    ``control`` answers only a peer that knows ``secret``. ``siblings`` are the gossip ports of the workers that run
    already. The node IDs of all workers begin with ``group``.
    """

    number: int
    count: int
    node_id: str
    group: str
    shared: dict[str, Address]
    own_gossip: Address
    control: Address
    secret: str
    siblings: tuple[int, ...] = ()

    @property
    def proxy(self) -> Address:
        """Where clients connect."""
        return self.shared["proxy"]

    @property
    def gossip(self) -> Address:
        """Where nodes join."""
        return self.shared["join"]


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
        told = dict(question.fields)
        host, client = told.get(HOST_FIELD.encode(), b""), told.get(CLIENT_FIELD.encode(), b"").decode("latin-1")
        rest = tuple(field for field in question.fields if field[0] not in _OWN_FIELDS)
        fields = ((b"host", host), *rest)
        self._pages.answer(connection, Question(question.path, question.query, fields, question.method, client), now)
