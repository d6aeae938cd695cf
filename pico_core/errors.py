"""The exceptions Pico raises on purpose; anything else that escapes is a bug."""

EXIT_INTERRUPTED = 130
"""The exit code of a command that was interrupted: 128 plus the number of SIGINT, as shells count it."""


class PicoError(Exception):
    """Base of all of them. ``str(error)`` is one readable line."""


class LocalProtocolError(PicoError):
    """Our own code asked for something that is not allowed in this state; nothing was changed."""


class RemoteProtocolError(PicoError):
    """The peer broke the protocol. Engines turn it into commands and records; it never leaves a machine."""


class ConfigError(PicoError):
    """A configuration that cannot be used. The text names the key, what is wrong with it and what to do.

    ``key`` is an item of a section, such as ``policies[1]``, where the section finds it wrong as a whole.
    """

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key
