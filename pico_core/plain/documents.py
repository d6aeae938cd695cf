"""Pages of a port, each one document with its style and script inside, which nothing else is loaded for."""

import hashlib
from base64 import b64encode


def whole_page(title: str, style: str, body: str, script: str) -> bytes:
    """Return a page as UTF-8."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{style}</style>\n{body}<script>{script}</script>\n</html>\n"
    ).encode()


def page_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy: only this style and this script, and questions to the port itself."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
