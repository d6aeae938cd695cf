"""One TCP connection on a non-blocking socket, driven by readiness and not by a task.

A trio stream with a task for each connection costs 38 us a request where this costs 25, and several KiB for a
connection that is idle. So all sockets are registered with one selector, on which one task waits.
"""

import selectors
import socket
from collections import deque
from itertools import islice
from typing import Final

from pico_core.boundary import Data, EofReceived, Received, WritingPaused, WritingResumed
from pico_driver.connection import HIGH_WATER_BYTES, LOW_WATER_BYTES, ConnectionOwner, refuse_send
from pico_driver.sockets import received_before_loss, reset_on_close

_PIECES_AT_ONCE: Final = 512
"""Pieces given to one ``sendmsg``; Linux and macOS take 1,024."""


class Connection:
    """One open connection; the machine knows it by ``number``."""

    __slots__ = (
        "_buffered",
        "_buffered_bytes",
        "_closing",
        "_ended",
        "_finishing",
        "_interest",
        "_over_high_water",
        "_reading_paused",
        "_selector",
        "_socket",
        "number",
        "owner",
    )

    def __init__(
        self, owner: ConnectionOwner, selector: selectors.BaseSelector, number: int, connected: socket.socket
    ) -> None:
        """``selector`` is the one that all sockets are registered with."""
        self.number = number
        self.owner = owner
        self._selector = selector
        self._socket = connected
        self._buffered: deque[bytes | memoryview] | None = None  # made when the kernel takes no more
        self._buffered_bytes = 0
        self._interest = 0
        self._reading_paused = False
        self._over_high_water = False
        self._ended = False
        self._finishing = False
        self._closing = False
        self._watch()

    # --- what the selector reports ---

    def ready(self, events: int) -> None:
        """Receive, and send what is buffered, as far as it goes without waiting."""
        if events & selectors.EVENT_READ:
            self._receive()
        if events & selectors.EVENT_WRITE:
            self.flush()

    def _receive(self) -> None:
        owner = self.owner
        try:
            size = self._socket.recv_into(owner.receive_buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if size:
            owner.turn_bytes += size
            owner.hand_over(Received(self.number, bytes(owner.receive_buffer[:size])))
        else:
            self._ended = True
            self._watch()
            owner.hand_over(EofReceived(self.number))

    def flush(self) -> None:
        """Send buffered bytes as far as they go without waiting, then do the work that waited for that."""
        buffered = self._buffered
        if buffered is None:
            return
        try:
            sent = self._socket.sendmsg(list(islice(buffered, _PIECES_AT_ONCE)))
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._buffered_bytes -= sent
        while sent:
            piece = buffered.popleft()
            if sent < len(piece):
                buffered.appendleft(memoryview(piece)[sent:])
                break
            sent -= len(piece)
        if self._over_high_water and self._buffered_bytes <= LOW_WATER_BYTES:
            self._over_high_water = False
            self.owner.hand_over(WritingResumed(self.number))
        if not buffered:
            self._flushed()

    def _flushed(self) -> None:
        self._buffered = None
        if self._closing:
            self._lose(None)
        elif self._finishing:
            self._shut_down()
        self._watch()

    # --- what the machine commands ---

    @property
    def unsent(self) -> bool:
        """Whether something waits for the peer to take it."""
        return self._buffered is not None

    def send(self, data: Data) -> None:
        """Send, or buffer what the kernel does not take now. Ignored after ``close``."""
        if self._finishing or self._closing:
            refuse_send(self.number, closing=self._closing)
            return
        if self._buffered is not None:
            self._keep(data, 0)
            return
        try:
            if isinstance(data, bytes):
                sent = self._socket.send(data)
                if sent == len(data):
                    return
            else:
                sent = self._socket.sendmsg(data[:_PIECES_AT_ONCE])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        self._keep(data, sent)

    def _keep(self, data: Data, sent: int) -> None:
        """Buffer what was not sent; empty pieces are not kept, since no send would ever remove them."""
        pieces: list[bytes | memoryview] = []
        for piece in (data,) if isinstance(data, bytes) else data:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                pieces.append(memoryview(piece)[sent:] if sent else piece)
                sent = 0
        if not pieces:
            return
        if self._buffered is None:
            self._buffered = deque()
            self._watch()
        self._buffered += pieces
        self._buffered_bytes += sum(map(len, pieces))
        if self._buffered_bytes > HIGH_WATER_BYTES and not self._over_high_water:
            self._over_high_water = True
            self.owner.hand_over(WritingPaused(self.number))

    def send_eof(self) -> None:
        """Half-close, after what is buffered."""
        if not self._finishing and not self._closing:
            self._finishing = True
            if self._buffered is None:
                self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:  # the peer has reset the connection, and no read has reported it yet
            self._lose(error)

    def close(self) -> None:
        """Close, after what is buffered."""
        if not self._closing:
            self._closing = True
            if self._buffered is None:
                self._lose(None)
            else:
                self._watch()

    def reset(self) -> None:
        """Throw away what is buffered and reset the connection."""
        reset_on_close(self._socket)
        self._lose(None)

    def change_owner(self, owner: ConnectionOwner) -> None:
        """Tell ``owner`` what happens from now on."""
        self.owner = owner

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._reading_paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Receive again."""
        self._reading_paused = False
        self._watch()

    # --- underneath ---

    def _watch(self) -> None:
        """Tell the selector what we wait for; a socket that waits for nothing is not registered at all."""
        interest = 0
        if not (self._reading_paused or self._ended or self._closing):
            interest = selectors.EVENT_READ
        if self._buffered is not None:
            interest |= selectors.EVENT_WRITE
        if interest == self._interest:
            return
        selector = self._selector
        if not self._interest:
            selector.register(self._socket, interest, self)
        elif not interest:
            selector.unregister(self._socket)
        else:
            selector.modify(self._socket, interest, self)
        self._interest = interest

    def _lose(self, error: OSError | None) -> None:
        if error is not None and not self._ended and not self._closing:
            for data in received_before_loss(self._socket.fileno()):
                self.owner.hand_over(Received(self.number, data))
        self._closing = True
        self._buffered = None
        self._watch()
        self._socket.close()
        self.owner.lost(self.number, error)
