"""The yamux frame header: 12 bytes in front of everything, and the numbers in it (yamux specification, "Framing")."""

import struct
from enum import IntEnum

HEADER = struct.Struct(">HHII")
"""Version and type, flags, stream id, length. Version and type are read as one number: version 0 makes it the type,
and any other version is refused together with the unknown types. Only data frames have a body of that length; the
others hold a number in its place."""

HEADER_BYTES = HEADER.size

DATA = 0
WINDOW_UPDATE = 1
PING = 2
GO_AWAY = 3

SYN = 1
ACK = 2
FIN = 4
RST = 8
KNOWN_FLAGS = SYN | ACK | FIN | RST

MAX_UINT32 = 2**32 - 1

INITIAL_WINDOW_BYTES = 262_144
"""How much either end may send on a new stream before the other granted anything; fixed by the specification."""


class GoAwayCode(IntEnum):
    """Why a session ends, in a GO_AWAY frame."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
