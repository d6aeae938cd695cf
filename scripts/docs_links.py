"""A hook of mkdocs: a link to a file of the repository that is not a page leads to the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]+)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    """Return the text of a page with the URLs of what stands outside of the pages' folder."""
    docs = Path(config["docs_dir"])

    def url(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[1]))
        if path.startswith("docs/") or not (docs.parent / path).exists():
            return match[0]
        kind = "tree" if (docs.parent / path).is_dir() else "blob"
        return f"]({config['repo_url']}/{kind}/main/{path}{match[2] or ''})"

    return LINK.sub(url, markdown)
