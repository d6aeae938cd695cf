"""A service on a socket, for what is forwarded to it."""

from http.server import BaseHTTPRequestHandler


class Greeter(BaseHTTPRequestHandler):
    """Answers each GET with ``hello``."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None: ...
