"""The inspector of an agent: the section of its keys."""

from typing import Annotated

from pico_core.access.secret import Secret
from pico_core.config.declare import NAMES, OPTIONAL_LOCAL_ADDRESS, SECRET, SWITCH, Key, Section, whole_number
from pico_core.config.values import LOCALHOST, Address, is_loopback
from pico_core.config.web import HOST_NAMES
from pico_core.errors import ConfigError

DEFAULT_ADDRESS = f"{LOCALHOST}:4040"
"""Where ``--inspect`` without a value listens."""

PORT = "inspect"
"""The name of the agent's listener."""

SHORTEST_TOKEN = 16
"""Characters: so many of a token that was drawn at random cannot be guessed."""

MIB = 1 << 20


class InspectConfig(Section, frozen=True, kw_only=True):
    """Inspector: a page that shows each request with its response, and sends it again.

    Without an address nothing is recorded.
    """

    bind_addr: Annotated[
        Address | None,
        Key(
            OPTIONAL_LOCAL_ADDRESS,
            "Where the inspector listens, such as 127.0.0.1:4040; a port alone means this machine only.",
            "Empty: nothing is recorded, and no port is opened.",
        ),
    ] = None
    token: Annotated[
        Secret | None,
        Key(
            SECRET,
            f"What the inspector asks for, at least {SHORTEST_TOKEN} characters; needed where other machines reach it.",
            "Empty: programs of this machine may ask, so set one where others have accounts on it.",
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Key(
            HOST_NAMES,
            "Host names by which the inspector may be asked, beside IP addresses and names that no page can have.",
            "Empty: a page in somebody's browser cannot read what is shown.",
        ),
    ] = ()
    redact: Annotated[
        tuple[str, ...],
        Key(
            NAMES,
            "Further names of fields, parameters and JSON keys whose values are hidden.",
            "Empty: passwords, tokens, cookies, keys and the like are hidden in any case.",
        ),
    ] = ()
    show_secrets: Annotated[
        bool,
        Key(
            SWITCH,
            "Whether values of credentials are recorded as they came, and sent again with a replay.",
            "false: what is not recorded cannot leak.",
        ),
    ] = False
    max_requests: Annotated[
        int,
        Key(
            whole_number(1, 10_000),
            "How many requests are kept; the oldest leave first.",
            "500 is more than anybody reads.",
        ),
    ] = 500
    max_body_bytes: Annotated[
        int,
        Key(
            whole_number(0, 256 * MIB),
            "How much is kept of each body; a request whose body is cut cannot be sent again.",
            "8 MiB holds the usual upload of a form.",
        ),
    ] = 8 * MIB
    max_memory_bytes: Annotated[
        int,
        Key(
            whole_number(MIB, 4_096 * MIB),
            "How much all requests together may take; the oldest leave first.",
            "32 MiB holds an upload and its answer, and hundreds of small requests.",
        ),
    ] = 32 * MIB

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token.reveal()) < SHORTEST_TOKEN:
            raise ConfigError(f"inspect.token wants at least {SHORTEST_TOKEN} characters")
        if self.bind_addr is not None and not is_loopback(self.bind_addr.host) and self.token is None:
            raise ConfigError(
                f"inspect.bind_addr '{self.bind_addr}' can be reached from other machines: "
                f"set inspect.token too, or listen on {DEFAULT_ADDRESS}"
            )
        if 2 * self.max_body_bytes > self.max_memory_bytes:
            raise ConfigError("inspect.max_memory_bytes must be at least twice inspect.max_body_bytes")
