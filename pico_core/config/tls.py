"""Keys, certificates and trust: what ports and clients declare alike. The files are read outside of the core."""

from typing import Annotated, ClassVar

from msgspec.structs import fields

from pico_core.config.declare import DURATION, FILE, FILES, SERVER_NAME, SWITCH, Key, Section, one_of, whole_number
from pico_core.errors import ConfigError

BENCH_PROFILE = "bench"
CONNECT_PROFILE = "connect"
JWKS_PROFILE = "jwks"
PEERS_PROFILE = "peers"
SERVICE_PROFILE = "service"
STATUS_PROFILE = "status"
"""Names of the TLS profiles of clients. In order: ``pico bench``, agents and forwarders towards the server, key sets at
https, nodes towards each other, agents towards services with a name for each, and commands that ask a server. The
profile of a port has the name of its listener."""


def jwks_profile(root_cas: str) -> str:
    """Return the name of the profile of key sets whose issuers are in ``root_cas``: sets of many tenants share one."""
    return f"{JWKS_PROFILE} {root_cas}" if root_cas else JWKS_PROFILE


class ServerTlsConfig(Section, frozen=True, kw_only=True):
    """TLS of the port. The files are read again when they change."""

    needs: ClassVar[dict[str, str]] = {"client_cert": "client_cas"}

    cert: Annotated[
        tuple[str, ...],
        Key(
            FILES,
            "The certificate with its chain, in PEM; of several, the one for the name that the client asks for.",
            "Empty: plain HTTP, for a network or a balancer that you trust.",
        ),
    ] = ()
    key: Annotated[
        tuple[str, ...],
        Key(FILES, "The private key, in PEM without a password; one for each of cert.", "Empty, as cert is."),
    ] = ()
    client_cas: Annotated[
        str,
        Key(
            FILE,
            "Issuers of client certificates, in PEM; with it clients are asked for one.",
            "Empty: any client may connect.",
        ),
    ] = ""
    client_cert: Annotated[
        str,
        Key(
            one_of("required", "optional"),
            "Whether a client without a certificate is refused, where client_cas is set.",
            "required: asking and then serving everybody protects nothing.",
        ),
    ] = "required"
    handshake_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long a client may take for the handshake.",
            "10 s: as long as for a request head, and enough for a signature of a smart card.",
        ),
    ] = 10.0
    max_handshakes: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000),
            "How many handshakes may be in progress at once; one more ends the oldest.",
            "512 is more than a core ends in 250 ms, so a client that answers keeps its place.",
        ),
    ] = 512

    def __post_init__(self) -> None:
        if len(self.cert) != len(self.key):
            raise ConfigError(f"cert and key belong together, found {len(self.cert)} and {len(self.key)} of them")
        if self.client_cas and not self.cert:
            raise ConfigError("client_cas needs cert and key")

    @property
    def enabled(self) -> bool:
        """Whether the port speaks TLS."""
        return bool(self.cert)

    @property
    def asks_for_certificates(self) -> bool:
        """Whether only clients with a certificate get in."""
        return bool(self.client_cas) and self.client_cert == "required"


class ClientTlsConfig(Section, frozen=True, kw_only=True):
    """TLS towards the server. The files are read again when they change."""

    root_cas: Annotated[
        str,
        Key(FILE, "The issuers to trust, in PEM.", "Empty: those that the system trusts."),
    ] = ""
    cert: Annotated[str, Key(FILE, "The certificate to show, in PEM.", "Empty: few servers ask for one.")] = ""
    key: Annotated[str, Key(FILE, "Its private key, in PEM without a password.", "Empty, as cert is.")] = ""
    server_name: Annotated[
        str,
        Key(
            SERVER_NAME,
            "The name that the server's certificate must be for.",
            "Empty: the host that is connected to.",
        ),
    ] = ""
    insecure_skip_verify: Annotated[
        bool,
        Key(
            SWITCH,
            "Accept any certificate: anybody on the way can then read and change everything.",
            "false; for trying things out, root_cas does the same safely.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ConfigError("cert and key belong together, found one of them")

    def check_use(self, section: str, otherwise: str, *, is_secure: bool) -> None:
        """Raise ``ConfigError`` where anything is given, and what it is for is not reached over TLS.

        ``section`` is the name of this one, and ``otherwise`` says why there is no TLS: who gives a certificate or an
        issuer does not mean to send in clear.
        """
        given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        if given and not is_secure:
            raise ConfigError(f"{section}.{given[0]} has no effect: {otherwise}")


class PeerTlsConfig(ClientTlsConfig, frozen=True, kw_only=True):
    """TLS towards the other nodes, where the port speaks it."""


class ProxyTlsConfig(ServerTlsConfig, frozen=True, kw_only=True):
    """TLS of the proxy port. The files are read again when they change."""

    client: PeerTlsConfig = PeerTlsConfig()
