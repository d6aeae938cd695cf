"""A service, a server and an agent on this machine, and one request through the tunnel between them.

Run ``scripts/demo``, which first installs the packages that this needs.
"""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import urllib.request

ENDPOINT = "demo"


class Service(http.server.BaseHTTPRequestHandler):
    """The service without a public address: it greets, and shows the request."""

    def do_GET(self) -> None:
        """Answer with the request as it arrived here."""
        lines = [f"Hello from a service that only the agent can reach. You asked for {self.path}.", ""]
        body = "\n".join(lines + [f"{name}: {value}" for name, value in self.headers.items()] + [""]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the terminal is for the answer."""


class Pico:
    """A ``pico`` command that runs. ``addresses`` has the addresses it listens on, by subsystem."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pico_tunnel", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.name = arguments[0]
        self.addresses: dict[str, str] = {}

    def wait_for(self, message: str) -> None:
        """Read the log until ``message``. Raises ``SystemExit`` if the command ends before."""
        log = self.process.stderr
        assert log is not None
        for line in log:
            record = json.loads(line) if line.startswith("{") else {"message": line.strip()}
            if record["message"] == message:
                threading.Thread(target=log.read, daemon=True).start()
                return
            if "addr" in record:
                self.addresses[record["subsystem"]] = record["addr"]
        raise SystemExit(f"the {self.name} ended with code {self.process.wait()}")

    def stop(self) -> None:
        """End the command and wait for its end."""
        self.process.terminate()
        self.process.wait()


def ask(url: str) -> None:
    """Send one request to the endpoint and print the answer."""
    request = urllib.request.Request(url, headers={"x-pico-endpoint": ENDPOINT})
    with urllib.request.urlopen(request, timeout=10) as response:
        print(f"GET {url}  ->  {response.status} {response.reason}\n")
        print(response.read().decode())


def main() -> None:
    """Start the three, ask once, and serve on until the user presses Enter."""
    with contextlib.ExitStack() as running:
        service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        running.callback(service.shutdown)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        ports = ("proxy", "upstream", "admin", "cluster.gossip")
        server = Pico("server", *(f"--{name}.bind-addr=127.0.0.1:0" for name in ports), "--drain-delay=0s")
        running.callback(server.stop)
        server.wait_for("ready")
        url = f"http://{server.addresses['upstream']}"
        agent = Pico("agent", "http", ENDPOINT, str(service.server_port), f"--connect.url={url}")
        running.callback(agent.stop)
        agent.wait_for("endpoint registered")
        url = f"http://{server.addresses['proxy']}/hello"
        ask(url)
        if sys.stdin.isatty():
            print(f"Try it yourself:\n\n  curl -H 'x-pico-endpoint: {ENDPOINT}' {url}\n")
            with contextlib.suppress(KeyboardInterrupt, EOFError):
                input("Serving until you press Enter. ")


if __name__ == "__main__":
    main()
