"""Questions of a supervisor to its workers: where they go, and what of an operator's question goes with them."""

from typing import Protocol

from pico_core.plain.server import Question
from pico_core.server.facts import NodePhase
from pico_core.server.worker import CLIENT_FIELD, HOST_FIELD, WORKER_FIELD
from pico_core.server.workers.slots import Slot

ASK_TIMEOUT_S = 5.0
"""The seconds that a worker may take for its part of an answer: as long as a node waits for another one."""

PASSED_FIELDS = (b"authorization", b"x-pico-authorization")


class Workers(Protocol):
    """The facts that the pages read."""

    slots: list[Slot]
    state: NodePhase
    secret: str


def control_fields(workers: Workers, question: Question | None = None) -> list[tuple[str, str]]:
    """Return the fields of a question to a worker, with what of an operator's question it has to know."""
    fields = [(WORKER_FIELD, workers.secret)]
    if question is not None:
        fields += [(HOST_FIELD, question.host), (CLIENT_FIELD, question.client)]
        fields += [
            (name.decode("ascii"), value.decode("latin-1")) for name, value in question.fields if name in PASSED_FIELDS
        ]
    return fields
