"""Peers and servers outside of the machine, with the TLS of Python's own sockets."""

import contextlib
import socket
import ssl
import threading

from pico_core.boundary import (
    Accepted,
    Connect,
    Listen,
    Listening,
)
from pico_core.config.tls import ServerTlsConfig
from tests.adapters.stage import Stage
from tests.certificates import Files
from tests.waiting import PATIENCE_S

MEBIBYTE = 1 << 20


def server(files: Files, **more: object) -> ServerTlsConfig:
    return ServerTlsConfig(cert=(files.cert,), key=(files.key,), **more)  # type: ignore[arg-type]


def trusting(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def listening(stage: Stage) -> int:
    stage.do(Listen("secure", "127.0.0.1", 0, tls="inside"))
    return stage.wait(Listening, listener="secure").port


def peer(stage: Stage, context: ssl.SSLContext, name: str = "localhost") -> tuple[ssl.SSLSocket, int]:
    """Connect to the machine over TLS; return the peer's socket and the machine's number of the connection."""
    plain = stage.keep(socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S))
    secure = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    stage.keep(secure)
    return secure, stage.wait(Accepted, listener="secure").connection


class Origin:
    """A TLS server for one connection, which ``serve`` handles in a thread."""

    def __init__(self, files: Files, client_ca: str = "") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.cert, files.key)
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted: ssl.SSLSocket | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            plain, _ = self._listener.accept()
            self.accepted = self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)

    def connection(self) -> ssl.SSLSocket:
        self._thread.join(PATIENCE_S)
        assert self.accepted is not None
        self.accepted.settimeout(PATIENCE_S)
        return self.accepted

    def close(self) -> None:
        self._listener.close()
        if self.accepted is not None:
            self.accepted.close()


# --- connecting ---


def connect(stage: Stage, origin: Origin, host: str = "localhost", tls: str = "outside") -> None:
    stage.do(Connect(2, "127.0.0.1", origin.port, PATIENCE_S, tls, host))
