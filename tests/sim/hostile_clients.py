"""Hostile clients of the proxy port: one process on one host, with a random stream of its own.

What they ask honest services for is a valid request in the end, or ends before it is one: the services count a request
that they could not parse as a violation.
"""

import random
from collections.abc import Callable, Sequence

from pico_core.mux.frame import HEADER, PING, SYN
from pico_core.websocket.encoding import encode_frame
from pico_core.websocket.handshake import ClientHandshake
from tests.sim.hostile import HOSTILE, Attacker, Line, Script
from tests.sim.world import World

PROXY_PORT = 8000
FIRST_NUMBER = 900_000_000
"""Of its requests: honest clients have lower ones."""
LONGEST_HOLD_S = 15.0
BIG_BYTES = 2_000_000
ATTACKED = "e0"
"""The honest HTTP endpoint that hostile clients ask for, and ``TCP_ATTACKED`` the other one."""
TCP_ATTACKED = "t"
NOBODY = "nobody"
"""An endpoint that no agent serves."""


class HostileClients(Attacker):
    """Attacks the proxy port. ``names`` returns the hostile endpoints that there may be."""

    def __init__(
        self,
        world: World,
        entropy: random.Random,
        targets: Callable[[], list[str]],
        rate: float,
        names: Callable[[], Sequence[str]],
        new_token: Callable[[], str] | None,
    ) -> None:
        """``new_token`` makes a token where the servers ask for one: half of the requests show it."""
        super().__init__(world, entropy, "client", targets, PROXY_PORT, rate)
        self._names = names
        self._new_token = new_token
        self._number = FIRST_NUMBER

    @property
    def attacks(self) -> Sequence[Callable[[Line], Script]]:
        return (
            self.pipelines_own_answers,
            self.pipelines_requests,
            self.sends_half_a_head,
            self.sends_a_head_slowly,
            self.sends_a_body_slowly,
            self.does_not_read,
            self.resets_in_the_middle,
            self.ends_its_side,
            self.sends_garbage,
            self.sends_broken_framing,
            self.sends_long_extensions,
            self.upgrades_and_sends_garbage,
            self.breaks_raw_connection,
            self.floods_raw_connection,
            self.pretends_to_be_a_node,
            self.crowds,
            self.takes_all_streams,
            self.asks_hostile_agents,
            self.asks_hostile_agents,
            self.asks_hostile_agents,
            self.asks_hostile_agents,
        )

    # --- requests ---

    def request(
        self, endpoint: str, method: str = "GET", fields: bytes = b"", target: str = "/100/0", *, ends: bool = True
    ) -> bytes:
        """Return a request head that an honest service understands; without its last line unless it ``ends``."""
        self._number += 1
        number = self._number
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {endpoint}.example.com\r\n"
            f"X-Number: {number}\r\nX-Attempt: hostile-{number}\r\n"
        ).encode()
        return head + self._credentials() + fields + (b"\r\n" if ends else b"")

    def _credentials(self) -> bytes:
        if self._new_token is None or self.entropy.random() < 0.5:
            return b""
        return b"Authorization: Bearer %b\r\n" % self._new_token().encode()

    def _hold_s(self) -> float:
        return LONGEST_HOLD_S * self.entropy.random() ** 2

    # --- heads ---

    def pipelines_own_answers(self, line: Line) -> Script:
        """Ask without pause for what the node answers itself: 400, 404, 502."""
        one = self.request(NOBODY) + self.request(NOBODY, target="/_pico/none") + self.request("..")
        for _ in range(self.entropy.randrange(1, 8)):
            line.send(one * self.entropy.randrange(1, 200))
            yield 0.05 * self.entropy.random()
        line.send(b"GET / HTTP/1.1\r\n\r\n" + one * 50)
        yield self._hold_s()

    def pipelines_requests(self, line: Line) -> Script:
        """Send many requests at once to a service, and read nothing for a while."""
        line.stop_reading()
        for _ in range(self.entropy.randrange(1, 60)):
            line.send(self.request(ATTACKED, target=f"/{self.entropy.choice((0, 10, 100_000))}/0"))
        yield self._hold_s()
        line.read_again()
        yield self._hold_s() / 4

    def sends_half_a_head(self, line: Line) -> Script:
        """Begin a head of up to 1 MB, and stop."""
        size = self.entropy.choice((10, 5_000, 100_000, 1_000_000))
        line.send(self.request(ATTACKED, fields=b"X: " + b"x" * size, ends=False))
        yield self._hold_s()

    def sends_a_head_slowly(self, line: Line) -> Script:
        for byte in self.request(ATTACKED):
            line.send(bytes((byte,)))
            yield 0.1 * self.entropy.random()

    # --- bodies ---

    def sends_a_body_slowly(self, line: Line) -> Script:
        """Announce a body and send it a byte at a time, as one piece or in chunks."""
        chunked = self.entropy.random() < 0.5
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 5000\r\n"
        line.send(self.request(ATTACKED, self.entropy.choice(("POST", "PUT")), framing))
        pause_s = self.entropy.choice((0.02, 0.5, 3.0))
        for _ in range(int(LONGEST_HOLD_S / pause_s)):
            line.send(b"1\r\nx\r\n" if chunked else b"x")
            yield pause_s

    def does_not_read(self, line: Line) -> Script:
        """Ask for a large answer and do not read it."""
        line.stop_reading()
        line.send(self.request(ATTACKED, target=f"/{BIG_BYTES}/0"))
        yield self._hold_s()
        if self.entropy.random() < 0.3:
            line.read_again()
            yield self._hold_s()

    def resets_in_the_middle(self, line: Line) -> Script:
        """Reset the connection in the middle of a request or of its answer."""
        if self.entropy.random() < 0.5:
            line.send(self.request(ATTACKED, "POST", b"Content-Length: 100000\r\n") + bytes(50_000))
        else:
            line.send(self.request(ATTACKED, target=f"/{BIG_BYTES}/{self.entropy.choice((0, 1000))}"))
        yield 0.1 * self.entropy.random()
        line.reset()

    def ends_its_side(self, line: Line) -> Script:
        """Send FIN behind a request, or in the middle of one."""
        if self.entropy.random() < 0.5:
            line.send(self.request(ATTACKED, target="/1000/500"))
        else:
            line.send(self.request(ATTACKED, "POST", b"Content-Length: 1000\r\n") + bytes(10))
        line.end()
        yield self._hold_s()

    def sends_long_extensions(self, line: Line) -> Script:
        """Send chunks whose extensions are much longer than they are."""
        line.send(self.request(ATTACKED, "PUT", b"Transfer-Encoding: chunked\r\n"))
        extension = b";x=" + b"y" * self.entropy.choice((100, 3_000, 5_000, 60_000))
        for _ in range(self.entropy.randrange(1, 100)):
            line.send(b"1" + extension + b"\r\nx\r\n")
            yield 0.005
        line.send(b"0\r\n" + b"X: y\r\n" * self.entropy.randrange(3_000) + b"\r\n")
        yield self._hold_s()

    # --- garbage ---

    def sends_garbage(self, line: Line) -> Script:
        for _ in range(self.entropy.randrange(1, 5)):
            line.send(self.entropy.randbytes(self.entropy.randrange(1, 20_000)))
            yield 0.1 * self.entropy.random()

    def sends_broken_framing(self, line: Line) -> Script:
        """Send a request that has no valid end, or several."""
        fields, body = self.entropy.choice(
            (
                (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
                (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"xxxxx"),
                (b"Content-Length: -1\r\n", b""),
                (b"Content-Length: 99999999999999999999\r\n", b"x"),
                (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
                (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\nx"),
                (b"Transfer-Encoding: chunked\r\n", b"-1\r\nx\r\n"),
                (b"Transfer-Encoding: chunked\r\n", b"1\r\nxx\r\n0\r\n\r\n"),
                (b"Transfer-Encoding: chunked\r\n", b"0\r\n" + b"x" * 9_000),
                (b"Expect: 100-continue\r\nContent-Length: 1000\r\n", b""),
                (b"X\x00: y\r\n", b""),
                (b" folded\r\n", b""),
            )
        )
        line.send(self.request(ATTACKED, "PUT", fields) + body + self.entropy.randbytes(50))
        yield self._hold_s()

    # --- upgrades ---

    def upgrades_and_sends_garbage(self, line: Line) -> Script:
        """Ask for a WebSocket, and send garbage without waiting for the answer."""
        endpoint = self.entropy.choice((ATTACKED, *self._names()))
        fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        line.send(self.request(endpoint, fields=fields) + self.entropy.randbytes(self.entropy.randrange(100)))
        for _ in range(10):
            line.send(self.entropy.randbytes(self.entropy.randrange(5_000)))
            yield 0.2 * self.entropy.random()

    def _raw(self, line: Line) -> Script:
        """Open a raw connection to a TCP endpoint."""
        fields = []
        if self._new_token is not None:
            fields.append((b"Authorization", b"Bearer " + self._new_token().encode()))
        target = f"/_pico/v1/tcp/{TCP_ATTACKED}"
        line.send(ClientHandshake("pico", target, fields, self.entropy).request_bytes())
        if self.entropy.random() < 0.7:
            yield from line.wait_for(b"\r\n\r\n", 2.0)

    def breaks_raw_connection(self, line: Line) -> Script:
        """Break the framing of WebSocket on a raw connection."""
        yield from self._raw(line)
        line.send(broken_frame(self.entropy))
        yield self._hold_s()

    def floods_raw_connection(self, line: Line) -> Script:
        """Send empty frames, pings, tiny frames, or much that is not read again."""
        yield from self._raw(line)
        line.stop_reading()
        for _ in range(self.entropy.randrange(1, 10)):
            line.send(flood_of_frames(self.entropy))
            yield 0.02
        line.send(encode_frame((bytes(200_000),), 200_000, self.entropy))
        yield self._hold_s()

    # --- others ---

    def pretends_to_be_a_node(self, line: Line) -> Script:
        """Send what nodes send each other: where the cluster has a key, no proof of it is right."""
        fields = b"X-Pico-Forward: true\r\nX-Piko-Forward: true\r\nX-Pico-Endpoint: %b\r\n" % ATTACKED.encode()
        if self.entropy.random() < 0.5:
            fields += (
                b"X-Pico-Proof: %b\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n"
                % self.entropy.randbytes(16).hex().encode()
            )
        for _ in range(self.entropy.randrange(1, 20)):
            line.send(self.request(ATTACKED, fields=fields))
            yield 0.05

    def crowds(self, line: Line) -> Script:
        """Open connections to one server up to its cap, each of which does little."""
        target = self.target()
        for _ in range(self.entropy.randrange(1, 150)):
            self.open(target, self.lingers)
        yield self._hold_s()

    def takes_all_streams(self, line: Line) -> Script:
        """Have a service work on more requests at once than its tunnels carry."""
        target = self.target()
        for _ in range(self.entropy.randrange(20, 80)):
            self.open(target, self.waits_for_an_answer)
        yield 0.0

    def waits_for_an_answer(self, line: Line) -> Script:
        line.send(self.request(ATTACKED, target="/10/8000"))
        yield LONGEST_HOLD_S * self.entropy.random()

    def lingers(self, line: Line) -> Script:
        """Keep a connection that is idle, has begun a head, or waits for a slow answer."""
        choice = self.entropy.random()
        if choice < 0.3:
            line.send(b"GET /")
        elif choice < 0.4:
            line.send(self.request(ATTACKED, target="/10/5000"))
        elif choice < 0.5:
            line.send(self.request(NOBODY))
        yield LONGEST_HOLD_S * self.entropy.random()

    def asks_hostile_agents(self, line: Line) -> Script:
        """Ask for an endpoint that a hostile agent or service serves, and have it take a stream."""
        names = self._names()
        method = self.entropy.choice(("GET", "GET", "HEAD", "PUT"))
        for _ in range(self.entropy.randrange(1, 6)):
            fields, body = b"", b""
            if method == "PUT":
                size = self.entropy.choice((0, 10, 400_000))
                fields, body = b"Content-Length: %d\r\n" % size, bytes(size)
            endpoint = self.entropy.choice(names) if names else HOSTILE + "0"
            line.send(self.request(endpoint, method, fields) + body)
            yield self._hold_s() / 4
        yield self._hold_s()


def broken_frame(entropy: random.Random) -> bytes:
    """Return bytes that a client of a WebSocket must not send."""
    return entropy.choice(
        (
            b"\x82\x05hello",  # not masked
            b"\x82\xff\xff" + bytes(20),  # a length beyond 63 bits
            b"\x82\xfe\x00\x01" + bytes(5),  # a short length in the long form
            b"\xf2\x80" + bytes(4),  # reserved bits
            b"\x83\x80" + bytes(4),  # an opcode that does not exist
            b"\x80\x80" + bytes(4),  # the rest of no message
            b"\x81\x85" + bytes(4) + b"hello",  # text
            b"\x89\xfe\x00\x80" + bytes(132),  # a long ping
            b"\x09\x80" + bytes(4),  # a ping in parts
            b"\x88\x81" + bytes(5),  # half a status in a close frame
            b"\x88\x82" + bytes(4) + b"\x00\x01",  # a status that does not exist
            b"\x88\x80" + bytes(4) + b"\x82\x81" + bytes(5),  # data behind a close frame
            b"\x82\xff" + bytes(8) + bytes(4),  # nothing in the longest form
            entropy.randbytes(200),
        )
    )


def flood_of_frames(entropy: random.Random) -> bytes:
    """Return many frames in few bytes."""
    count = entropy.randrange(1, 4_000)
    frame = entropy.choice(
        (
            b"\x82\x80" + bytes(4),
            b"\x02\x80" + bytes(4) + b"\x80\x80" + bytes(4),
            b"\x89\x80" + bytes(4),
            b"\x8a\x80" + bytes(4),
            b"\x82\x81" + bytes(4) + b"x",
            b"\x82\x8c" + bytes(4) + HEADER.pack(PING, SYN, 0, 1),
        )
    )
    return frame * count
