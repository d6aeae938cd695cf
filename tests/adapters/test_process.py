"""A machine as a whole process: signals, and running out of files."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.stage import read_exactly
from tests.waiting import PATIENCE_S, sleeps, wait_until

ROOT = Path(__file__).resolve().parents[2]


def start(runtime: str, machine: str, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-W", "error", "-m", "tests.adapters.node", runtime, machine, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_for_shutdown(runtime: str, number: signal.Signals) -> None:
    process, port = start(runtime, "Echo")
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as peer:
        peer.sendall(b"hello")
        assert read_exactly(peer, 5) == b"hello"
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE_S) == ("", "")
        assert peer.recv(1) == b""
    assert process.returncode == 3


def test_running_out_of_files_is_survived(runtime: str) -> None:
    """With room for few connections and many peers: those served stay served, new ones are served when some leave."""
    process, port = start(runtime, "Echo", "30")
    peers = []
    try:
        served = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        peers.append(served)
        assert echoes(served)
        for _ in range(40):
            peers.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        cpu_s, slept = processor_time_s(process.pid), sleeps(process.pid)
        wait_until(lambda: sleeps(process.pid) >= slept + 5, "it waits between attempts to accept, and does not spin")
        assert processor_time_s(process.pid) - cpu_s < 0.3
        assert echoes(served)
        for peer in peers[1:]:
            peer.close()
        wait_until(lambda: serves_one_more(port), "a new connection is served")
    finally:
        for peer in peers:
            peer.close()
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert errors == ""
    assert output == ""


def echoes(peer: socket.socket) -> bool:
    peer.settimeout(2.0)
    try:
        peer.sendall(b"x")
        return peer.recv(1) == b"x"
    except OSError:
        return False


def serves_one_more(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as peer:
        return echoes(peer)


def processor_time_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
