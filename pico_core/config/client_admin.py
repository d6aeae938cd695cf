"""The admin port of an agent and of a forwarder."""

from typing import Annotated

from pico_core.config.declare import OPTIONAL_BIND_ADDRESS, Key, Section
from pico_core.config.values import Address
from pico_core.config.web import HOST_NAMES


class ClientAdminConfig(Section, frozen=True, kw_only=True):
    """Admin port: health, readiness, metrics and status."""

    bind_addr: Annotated[
        Address | None,
        Key(
            OPTIONAL_BIND_ADDRESS,
            "Where to listen for operators, such as :8004.",
            "Empty: no such port is opened. Nothing protects this one, so let only those reach it whom you trust.",
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Key(
            HOST_NAMES,
            "Host names by which the port may be asked, beside IP addresses and names that no page can have.",
            "Empty: a page in somebody's browser cannot read what the port tells.",
        ),
    ] = ()
