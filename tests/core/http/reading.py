"""The result of reading one head: the same for a reader with a memory and for one without, whatever came before."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead
from pico_core.http.parsing import parse_response_head
from pico_core.http.writing import request_bytes, response_bytes

Head: TypeAlias = RequestHead | ResponseHead
Read: TypeAlias = Callable[[bytes], tuple[Head, bytes] | None]
Outcome: TypeAlias = tuple[Head, bytes, bytes] | tuple[int, str] | None


def plain(parse: Callable[[bytes, HeadLimits], Head], limits: HeadLimits) -> Read:
    """Return the ``read`` of a reader without a memory."""
    reader = HeadReader(limits, response=parse is parse_response_head)

    def read(data: bytes) -> tuple[Head, bytes] | None:
        cut = reader.receive(data)
        return None if cut is None else (parse(cut[0], limits), cut[1])

    return read


def outcome(read: Read, *pieces: bytes) -> Outcome:
    """Return a head, what is written for it and the bytes after it. Else its refusal, or ``None`` if unfinished."""
    try:
        for piece in pieces:
            found = read(piece)
            if found is not None:
                head, rest = found
                written = request_bytes(head, b"") if isinstance(head, RequestHead) else response_bytes(head, b"")
                return msgspec.structs.replace(head, onward=b""), written, rest
    except MessageError as error:
        return error.status, error.reason
    return None
