"""The protocol core of Pico: bytes, time and events in; bytes, commands and deadlines out.

Nothing in this package reads a clock, draws entropy, opens a socket or a file, or awaits. Start with ``boundary``.
"""

__version__ = "0.1.0"
