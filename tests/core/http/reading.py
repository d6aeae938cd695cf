"""What reading one head comes to: the same for a reader with a memory and for one without, whatever came before."""

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
    """Return what a reader without a memory does."""
    reader = HeadReader(limits, response=parse is parse_response_head)

    def read(data: bytes) -> tuple[Head, bytes] | None:
        cut = reader.receive(data)
        return None if cut is None else (parse(cut[0], limits), cut[1])

    return read


def outcome(read: Read, *pieces: bytes) -> Outcome:
    """Return what comes of one head: it, what is written for it, and what is left; or how it was refused."""
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
