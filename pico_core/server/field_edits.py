"""Header fields that a policy adds and removes, in requests and in responses."""

import re
from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec.structs import replace

from pico_core.config.policies import FieldsConfig
from pico_core.http.message import RequestHead, ResponseHead
from pico_core.machine.channel import HoldingChannel
from pico_core.pieces import Piece
from pico_core.proxy.downstream import ClientFacts, Downstream

T = TypeVar("T")

MAX_EDITS = 512
"""Heads whose edited fields are kept."""
MAX_EDITED_FIELDS_BYTES = 2_048
"""A client repeats its fields from request to request (``http.recent``); a megabyte holds those of as many clients."""


class RememberedFields(Generic[T]):
    """The results for field lines, while the same lines come again. All are forgotten when there are too many."""

    __slots__ = ("_results", "get")

    def __init__(self) -> None:
        self._results: dict[bytes, T] = {}
        self.get = self._results.get

    def put(self, fields: bytes, result: T) -> None:
        """Remember what was made of ``fields``, unless they are long."""
        if len(fields) <= MAX_EDITED_FIELDS_BYTES:
            if len(self._results) >= MAX_EDITS:
                self._results.clear()
            self._results[fields] = result


class FieldEdit:
    """Removes field lines by their names, also where ``_`` stands for ``-``, and adds others behind the rest."""

    __slots__ = ("_added", "_edited_requests", "_last", "_removed")

    def __init__(self, added: Sequence[str], removed: Sequence[str]) -> None:
        names = [*removed, *(line.partition(":")[0] for line in added)]
        patterns = ("[-_]".join(map(re.escape, re.split("[-_]", name))) for name in names)
        self._removed = re.compile(rb"(?im)^(?:%b):[^\r\n]*\r\n" % "|".join(patterns).encode())
        self._added = "".join(f"{line}\r\n" for line in added).encode()
        self._edited_requests = RememberedFields[bytes]()
        self._last: tuple[ResponseHead, ResponseHead] | None = None

    @classmethod
    def of(cls, config: FieldsConfig, *removed: str) -> "FieldEdit | None":
        """Return the edit that ``config`` asks for, which drops ``removed`` too; ``None`` if it changes nothing."""
        names = (*config.remove, *removed)
        return cls(config.add, names) if config.add or names else None

    def of_request(self, head: RequestHead) -> RequestHead:
        """Return the head with other fields."""
        fields = self._edited_requests.get(head.fields)
        if fields is None:
            fields = self._edited(head.fields)
            self._edited_requests.put(head.fields, fields)
        return replace(head, fields=fields, onward=b"", edit_trailers=self.of_trailers)

    def of_trailers(self, trailers: bytes) -> bytes:
        """Return trailers without the fields that may not pass: none is added behind a body."""
        return self._removed.sub(b"", trailers) if trailers else b""

    def of_interim(self, head: ResponseHead) -> ResponseHead:
        """Return a 1xx head without the fields that may not pass: none is added, as it is not the answer."""
        return replace(head, fields=self._removed.sub(b"", head.fields), onward=b"")

    def of_response(self, head: ResponseHead) -> ResponseHead:
        """Return the head with other fields. Responses of a service often share one head: the last is remembered."""
        if self._last is None or self._last[0] is not head:
            self._last = head, replace(head, fields=self._edited(head.fields), onward=b"")
        return self._last[1]

    def _edited(self, fields: bytes) -> bytes:
        return self._removed.sub(b"", fields) + self._added


class EditedDownstream:
    """A ``Downstream`` whose answers have other header fields, those of Pico's own included."""

    __slots__ = ("_downstream", "_edit", "client")

    def __init__(self, downstream: Downstream, edit: FieldEdit) -> None:
        self._downstream = downstream
        self._edit = edit
        self.client: ClientFacts = downstream.client

    @property
    def writable(self) -> bool:
        """Whether the client takes more now."""
        return self._downstream.writable

    def pause_request(self) -> None:
        """Stop the client from sending more of this request."""
        self._downstream.pause_request()

    def resume_request(self) -> None:
        """Let the client send again."""
        self._downstream.resume_request()

    def limit_request(self, most_bytes: int) -> None:
        """Refuse the request once its body is longer."""
        self._downstream.limit_request(most_bytes)

    def respond_interim(self, head: ResponseHead, now: float) -> None:
        """Send a 1xx head."""
        self._downstream.respond_interim(self._edit.of_interim(head), now)

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Send a whole response."""
        self._downstream.respond_whole(self._edit.of_response(head), body, now)

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Send the final head, and the part of the body that came with it."""
        trailers = self._edit.of_trailers(trailers)
        self._downstream.respond(self._edit.of_response(head), pieces, now, last=last, trailers=trailers)

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Send more of the body."""
        self._downstream.respond_more(pieces, now, last=last, trailers=self._edit.of_trailers(trailers))

    def cut(self, now: float) -> None:
        """End the response here so that it does not look whole."""
        self._downstream.cut(now)

    def abort(self, now: float) -> None:
        """End the connection or stream at once."""
        self._downstream.abort(now)

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        """Send a 101 with its fields edited; see ``Downstream``."""
        return self._downstream.upgrade(self._edit.of_response(head), rest, now)

    def upgrade_over(self, now: float) -> None:
        """The pipe has ended."""
        self._downstream.upgrade_over(now)
