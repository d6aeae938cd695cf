"""Bounds of the drivers, whatever the machine."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "Of the drivers": (
        (
            "what waits to be sent on a connection",
            "{pico_driver.connection.HIGH_WATER_BYTES} bytes, {pico_driver.sockets.UNSENT_BYTES} more in the kernel",
            "the machine is told to pause",
            "more would only wait longer",
        ),
        (
            "one read of a connection",
            (
                "{pico_driver.reads.RECEIVE_BUFFER_BYTES} bytes, {pico_driver.reads.SMALL_READ_BYTES} while more than "
                "{pico_driver.reads.MANY_PAUSED} connections are paused"
            ),
            "the rest is next",
            "smaller reads cost CPU time, larger ones memory",
        ),
        (
            "what is read of a connection that cannot be written to",
            "{pico_driver.sockets.MAX_UNREAD_BYTES} bytes",
            "the connection is lost",
            "an answer that came early, with the beginning of its body",
        ),
        (
            "connections that wait to be accepted",
            "{pico_driver.sockets.BACKLOG}, {pico_driver.sockets.ACCEPTS_PER_TURN} accepted in a turn",
            "the kernel drops their first packet, which clients repeat",
            "what Linux permits by default",
        ),
        (
            "of them, taken from the kernel in a turn so that they get their turns by client",
            "{pico_driver.listeners.GATHERED_PER_TURN}",
            "the others are next",
            "it takes some 4 ms",
        ),
        (
            "descriptors in use, as a part of all, up to which they are taken so",
            "{pico_driver.listeners.GATHERED_PART:g}",
            "they wait in the kernel's queue",
            "the machine must find descriptors for what it has admitted",
        ),
        (
            "datagrams taken in a turn",
            "{pico_driver.sockets.DATAGRAMS_PER_TURN}",
            "the rest is next",
            "connections have their turn between them",
        ),
        (
            "lookups at once",
            "{pico_driver.sockets.LOOKUPS_AT_ONCE}, {pico_driver.sockets.LISTEN_LOOKUP_S:g} s for a listener",
            "the next wait, within their own timeout",
            "each takes a thread",
        ),
        (
            "TLS handshakes that this process began",
            "{pico_driver.handshakes.MAX_OWN_HANDSHAKES}, {pico_driver.handshakes.START_TLS_TIMEOUT_S:g} s for one",
            "the oldest is given up",
            "as tls.max_handshakes of a port",
        ),
        (
            "TLS sessions kept to resume",
            "{pico_driver.tls_profiles.MAX_SESSIONS}",
            "the handshake is a whole one",
            "one for each server name",
        ),
        (
            "names of a certificate told in an error",
            "{pico_driver.tls_errors.MAX_NAMES}",
            "the others are left out",
            "it is one line",
        ),
        (
            "inputs of a program that wait",
            "{pico_driver.inbox.MAX_WAITING_INPUTS}",
            "the program is refused more",
            "as many as connections that wait",
        ),
        (
            "events of a listener in a program",
            "{pico_driver.embedding.listener.MAX_EVENTS}",
            "the oldest is dropped",
            "a program that reads them has none waiting",
        ),
        (
            "`max_streams` and `threads` of an application in a program",
            "{pico_driver.embedding.arguments.MAX_COUNT}",
            "the call is refused",
            "as in a configuration",
        ),
    ),
}
