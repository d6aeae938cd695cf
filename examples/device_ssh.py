"""ssh to a device that has no public address.

On the device::

    python examples/device_ssh.py device https://pico.example.com:8001 device-7

On the operator's machine, in ``~/.ssh/config``::

    Host device-*
        ProxyCommand python examples/device_ssh.py reach https://pico.example.com %h

Then ``ssh device-7`` works as in the local network, and so do ``scp``, ``rsync`` and git. ``PICO_TOKEN`` is the token
of either side, if the server wants one. The bytes that pass are ssh's own: the server cannot read them.
"""

import os
import sys
import threading

from pico_core.errors import PicoError
from pico_tunnel import sync

PIECE_BYTES = 65_536


def device(url: str, endpoint: str, address: str = "localhost:22") -> None:
    """Offer the sshd of this machine, until Ctrl-C; a lost connection comes back by itself."""
    with (
        sync.connect(url, token=os.environ.get("PICO_TOKEN", "")) as client,
        client.forward(endpoint, address, protocol="tcp", patience_s=float("inf")) as listener,
    ):
        print(f"{endpoint} is reachable", flush=True)
        for event in listener.events():
            print(event, file=sys.stderr, flush=True)


def reach(url: str, endpoint: str) -> None:
    """Connect standard input and output with the device: what ssh wants of a ``ProxyCommand``."""
    with sync.dial(url, endpoint, token=os.environ.get("PICO_TOKEN", "")) as stream:

        def upload() -> None:
            while piece := os.read(sys.stdin.fileno(), PIECE_BYTES):
                stream.write(piece)
            stream.write_eof()

        threading.Thread(target=upload, daemon=True).start()
        for piece in stream:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        {"device": device, "reach": reach}[sys.argv[1]](*sys.argv[2:])
    except PicoError as error:
        raise SystemExit(f"device_ssh: {error}") from None
