"""Reading a small file for a machine: at once, since what it names is a secret or a key on a local file system."""

import os
import re
import stat

from pico_core.config.secrets import MAX_SECRET_FILE_BYTES
from pico_core.errors import ConfigError

NOT_SHOWN = "its name is not shown, as it may be the secret itself: give the path of a file"

_LONGEST_WORD = 24
"""In names of files that people choose; secrets are longer."""
_WORD = re.compile(r"[^./_ -]+")


def read_file(path: str, max_bytes: int) -> tuple[bytes, str]:
    """Return the content of a file and no reason, or nothing and why it cannot be read. Never raises, never waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        return b"", error.strerror or "cannot be opened"
    except ValueError:  # a NUL in the path
        return b"", "is not a path"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b"", "is not a regular file"
        content = b""
        while len(content) <= max_bytes and (more := os.read(descriptor, max_bytes + 1 - len(content))):
            content += more
    except OSError as error:
        return b"", error.strerror or "cannot be read"
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        return b"", f"is longer than {max_bytes} bytes"
    return content, ""


def read_secret(path: str) -> str:
    """Return the text of a file that the configuration names: a key, a token, a key set. Raises ``ConfigError``."""
    content, reason = read_file(path, MAX_SECRET_FILE_BYTES)
    if reason:
        raise ConfigError(unreadable(path, reason))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path!r} is not UTF-8 text; is it the right file?") from None


def unreadable(path: str, reason: str | None) -> str:
    """Return the text about a file that cannot be read."""
    if looks_secret(path):
        return f"cannot read a file: {reason}; {NOT_SHOWN}"
    return f"cannot read {path!r}: {reason}"


def looks_secret(path: str) -> bool:
    """Return whether what was given as the path of a file may be a secret that somebody wrote in its place.

    Such as a token, a key in PEM, or a long text of random characters; never a file or in a folder that is there.
    """
    if os.path.lexists(path[:4_096].replace("\0", "")):
        return False
    if path.startswith("eyJ") or "-----" in path or not path.isprintable():
        return True
    folder = os.path.dirname(path)
    if len(folder) > 1 and os.path.isdir(folder):
        return False
    return any(each in path for each in "=+") or max(map(len, _WORD.findall(path)), default=0) > _LONGEST_WORD
