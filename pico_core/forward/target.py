"""Where the proxy port of a server has an endpoint for TCP."""

from urllib.parse import quote


def target_of(endpoint: str) -> str:
    """Return the path in the spelling of Piko, which its servers know too."""
    return "/_piko/v1/tcp/" + quote(endpoint, safe="")
