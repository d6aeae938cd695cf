"""Payloads that must be refused or must work, from a folder that is named by argument, against one node or two.

A file ``*.jsonl`` has one payload a line: ``{"id": ..., "expect": "reject" | "accept" | "either", "b64": ...}``, with
``Host: localhost`` where the endpoint goes. Each has a connection of its own. The service behind is h11, strict.
"""

import base64
import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h11

from benchmarks.fair.site import Setup, Site
from benchmarks.security.site import Figure, exactly

CLIENTS = 24
LED = b"x-pico-endpoint: strict"
PATIENCE_S = 0.5
"""A payload without an answer within this was not accepted."""

HARMLESS = re.compile(r"closed connection|without sending complete|illegal request line: .*\\x[89a-f]")
"""Messages that h11 refuses although parsers agree on them: a message that was cut, and a target that is not ASCII."""

STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")


class StrictService:
    """Answers what h11 understands and counts what it does not."""

    def __init__(self) -> None:
        self.requests = 0
        self.refused: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 21)
        with connection:
            try:
                self._talk(reader, connection)
            except h11.RemoteProtocolError as error:
                if not HARMLESS.search(str(error)):
                    self.refused.append(str(error))
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                pass

    def _talk(self, reader: h11.Connection, connection: socket.socket) -> None:
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                if reader.they_are_waiting_for_100_continue:
                    connection.sendall(reader.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                reader.receive_data(connection.recv(65_536))
            elif isinstance(event, h11.Request):
                self.requests += 1
            elif isinstance(event, h11.EndOfMessage):
                response = h11.Response(status_code=200, headers=[("Content-Length", "0")])
                connection.sendall((reader.send(response) or b"") + (reader.send(h11.EndOfMessage()) or b""))
                if reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
                    return
                reader.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def payloads(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, expectation and bytes of each payload, led to the endpoint ``strict``."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise SystemExit(f"--corpus: there is no *.jsonl in {folder}")
    for file in files:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            data = base64.b64decode(row["b64"])
            led = data.replace(b"Host: localhost", b"Host: strict.example.com\r\n" + LED)
            if led == data and row["expect"] != "reject":  # it names another host
                first, ending, rest = data.partition(b"\r\n")
                led = first + ending + LED + b"\r\n" + rest
            yield row["id"], row["expect"], led


def replay(runtime: str, nodes: int, folder: Path) -> list[Figure]:
    """Send every payload; tell what was taken that must not be, what the service refused, and wrong statuses."""
    service = StrictService()
    try:
        with Site(runtime, nodes, Setup()) as site:
            upstream = site.home.ports["upstream"]
            agent = subprocess.Popen(
                [sys.executable, "-m", "pico_tunnel", "agent", "http", "strict", str(service.port),
                 f"--connect.url=http://127.0.0.1:{upstream}", "--runtime", runtime],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
            try:
                return _judge(f"{runtime}, {nodes} node(s)", site.entry.ports["proxy"], service, folder)
            finally:
                agent.terminate()
                agent.wait()
    finally:
        service.close()


def _judge(title: str, port: int, service: StrictService, folder: Path) -> list[Figure]:
    asking = b"GET / HTTP/1.1\r\nHost: strict.example.com\r\nx-pico-endpoint: strict\r\n\r\n"
    for _ in range(100):  # until the route is known
        if _send(port, asking)[:1] == [200]:
            break
    else:
        raise SystemExit("the route to the strict service does not come up")
    service.requests = 0
    rows = list(payloads(folder))
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda row: _send(port, row[2]), rows))
    taken = Counter[str]()
    passed, faults = [], []
    for (name, expected, _), statuses in zip(rows, answers, strict=True):
        accepted = bool(statuses) and statuses[0] < 400
        taken[expected] += 1
        if accepted != (expected == "accept"):
            taken[f"{expected} missed"] += 1
            if expected == "reject":
                passed.append(name)
        if any(status >= 500 and status not in (501, 505) for status in statuses):
            faults.append(name)
    answered = sum(len(statuses) for statuses in answers)
    worst = max(service.requests - answered, 0)
    names = ", ".join(each.rpartition("/")[2][:24] for each in passed[:8])
    return [
        Figure(f"{title}: must-reject refused", f"{taken['reject'] - len(passed)} of {taken['reject']}; not: {names}"),
        Figure(f"{title}: must-accept work", f"{taken['accept'] - taken['accept missed']} of {taken['accept']}"),
        exactly(f"{title}: refused by a strict service", len(service.refused), 0, "; ".join(service.refused[:2])),
        exactly(f"{title}: requests at the service beyond answers", worst, 0, f"{service.requests} requests"),
        exactly(f"{title}: client's fault told as 5xx", len(faults), 0, ", ".join(faults[:3])),
    ]


def _send(port: int, data: bytes) -> list[int]:
    """Return the final statuses that a payload got; it is over after an answer, the end, or the patience."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.sendall(data)
            while True:
                piece = connection.recv(65_536)
                if not piece:
                    break
                got += piece
                connection.settimeout(0.12)
        except OSError:
            pass
    return [int(status) for status in STATUS.findall(got) if int(status) >= 200]
