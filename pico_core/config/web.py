"""Values about pages in browsers: origins as browsers write them (RFC 6454), and host names that a port answers to."""

import re

from pico_core.config.declare import Kind
from pico_core.config.values import DEFAULT_PORTS, quote, without_credentials, wrong

WEB_ORIGIN = "the origin of a page as browsers write it, such as https://app.example.com, or * for every page"
HOST_NAME = "a host name such as pico.example.com, *.example.com for all below it, or * for every name"

PUBLIC_URL_TEXT = "a URL whose host name begins with {endpoint}, such as https://{endpoint}.pico.example.com"

ENDPOINT = "{endpoint}"

ANY = "*"

_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]{1,253}|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_PUBLIC_URL = re.compile(r"https?://\{endpoint\}\.([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}(?::[0-9]{1,5})?")
_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def web_origin(text: str) -> str:
    """Parse an origin, or ``*``. Browsers leave the default port out and write in lower case, and so does this.

    Raises ``ConfigError``.
    """
    if text == ANY:
        return text
    match = _ORIGIN.fullmatch(text.lower().removesuffix("/"))
    if match is None:
        example = quote("https://" + without_credentials(text))
        hint = "" if "://" in text else f"it begins with http:// or https://, as in {example}"
        raise wrong(WEB_ORIGIN, text, hint)
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and int(port) != DEFAULT_PORTS[scheme] else "")


def host_name(text: str) -> str:
    """Parse a host name without a port, ``*.`` and a name for all names below it, or ``*``.

    Raises ``ConfigError``.
    """
    name = text.lower().removesuffix(".")
    if name != ANY and not _HOST_NAME.fullmatch(name):
        raise wrong(HOST_NAME, text, "a port does not belong here" if ":" in text else "")
    return name


def public_url(text: str) -> str:
    """Parse where clients reach endpoints; empty for nowhere that is known. Raises ``ConfigError``."""
    url = text.removesuffix("/")
    if url and not _PUBLIC_URL.fullmatch(url):
        hint = "" if text.count(ENDPOINT) == 1 else f"write {ENDPOINT} where the name of the endpoint goes"
        raise wrong(PUBLIC_URL_TEXT, text, hint)
    return url


PUBLIC_URL = Kind("URL", PUBLIC_URL_TEXT, public_url)
WEB_ORIGINS = Kind("ORIGIN,...", WEB_ORIGIN, web_origin, many=True)
HOST_NAMES = Kind("NAME,...", HOST_NAME, host_name, many=True)
