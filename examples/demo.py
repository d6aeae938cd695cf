"""A service, a server and an agent on this machine, and one request through the tunnel between them.

Run ``scripts/demo``, which installs what is needed first.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request

ENDPOINT = "demo"


class Service(http.server.BaseHTTPRequestHandler):
    """The service without a public address: it greets, and shows what it was sent."""

    def do_GET(self):
        """Answer with what the request looked like here."""
        lines = [f"Hello from a service that only the agent can reach. You asked for {self.path}.", ""]
        body = "\n".join(lines + [f"{name}: {value}" for name, value in self.headers.items()] + [""]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep the terminal for what matters."""


def pico(*arguments):
    """Start ``pico`` with JSON logs that are read here."""
    command = [sys.executable, "-m", "pico_tunnel", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for(process, message, **wanted):
    """Read the logs of ``process`` until ``message``, and return that record."""
    for line in process.stderr:
        record = json.loads(line) if line.startswith("{") else {"message": line.strip()}
        if record["message"] == message and wanted.items() <= record.items():
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return record
        if "addr" in record:
            ADDRESSES[record["subsystem"]] = record["addr"]
    raise SystemExit(f"{' '.join(process.args[2:4])} ended with code {process.wait()}")


ADDRESSES = {}


def main():
    """Start the three, ask once, and serve on while somebody watches."""
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    anywhere = "127.0.0.1:0"
    server = pico(
        "server",
        f"--proxy.bind-addr={anywhere}",
        f"--upstream.bind-addr={anywhere}",
        f"--admin.bind-addr={anywhere}",
        f"--cluster.gossip.bind-addr={anywhere}",
        "--drain-delay=0s",
    )
    agent = None
    try:
        wait_for(server, "ready")
        agent = pico(
            "agent", "http", ENDPOINT, str(service.server_port), f"--connect.url=http://{ADDRESSES['upstream']}"
        )
        wait_for(agent, "endpoint registered")
        url = f"http://{ADDRESSES['proxy']}/hello"
        request = urllib.request.Request(url, headers={"x-pico-endpoint": ENDPOINT})
        with urllib.request.urlopen(request, timeout=10) as response:
            print(f"GET {url}  ->  {response.status} {response.reason}\n")
            print(response.read().decode())
        print(f"Try it yourself:\n\n  curl -H 'x-pico-endpoint: {ENDPOINT}' {url}\n")
        if os.isatty(0):
            input("Serving until you press Enter. ")
    except (KeyboardInterrupt, EOFError):
        pass
    finally:
        for process in (agent, server):
            if process is not None:
                process.terminate()
                process.wait()
        service.shutdown()


if __name__ == "__main__":
    main()
