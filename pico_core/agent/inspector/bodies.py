"""Bodies as people read them: JSON with its lines broken, forms as pairs, text, and the first bytes of all else."""

from urllib.parse import parse_qsl

import msgspec

from pico_core.agent.inspector.captured_request import Body, CapturedRequest
from pico_core.agent.inspector.redaction import FORM

MAX_SHOWN_BYTES = 262_144
"""Of a body on the page: what a browser shows without delay. The whole of what is kept can be saved."""

MAX_SHOWN_PAIRS = 1_000
"""Of a form; a form that people fill has some dozens."""

DUMPED_BYTES = 1_024
"""Of a body that is not text."""


def body_document(record: CapturedRequest, body: Body) -> dict[str, object]:
    """Return the view of a body on the page. ``kind`` is ``none``, ``json``, ``form``, ``text`` or ``binary``."""
    content = record.content(body)
    shown = content[:MAX_SHOWN_BYTES]
    document: dict[str, object] = {
        "size": body.size,
        "kept": len(body.data),
        "type": body.media_type.decode("latin-1"),
        "codings": [each.decode("latin-1") for each in body.codings],
        "is_cut": body.is_cut,
        "is_redacted": body.is_redacted,
        "note": body.note,
        "is_shortened": len(shown) < len(content),
    }
    if not shown:
        return {**document, "kind": "none"}
    text = text_of(shown, is_all=len(shown) == len(content))
    if text is None:
        return {**document, "kind": "binary", "text": _dump(content[:DUMPED_BYTES])}
    if body.media_type.startswith(FORM):
        pairs = parse_qsl(text, keep_blank_values=True)[:MAX_SHOWN_PAIRS]
        return {**document, "kind": "form", "text": text, "pairs": pairs}
    if b"json" in body.media_type:
        return {**document, "kind": "json", "text": _broken(shown, text), "raw": text}
    return {**document, "kind": "text", "text": text}


def text_of(content: bytes, *, is_all: bool = True) -> str | None:
    """Return content as text, or ``None`` if it is not; what is cut may end within a character."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return content[: error.start].decode() if not is_all and error.start > len(content) - 4 else None


def _broken(content: bytes, text: str) -> str:
    """Return JSON with a line for each value; as it is where it is not JSON."""
    try:
        return msgspec.json.format(content, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return text


def _dump(content: bytes) -> str:
    lines = []
    for at in range(0, len(content), 16):
        row = content[at : at + 16]
        shown = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        lines.append(f"{at:06x}  {row.hex(' '):47}  {shown}")
    return "\n".join(lines)
