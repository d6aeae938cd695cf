"""The ``pico`` command: configuration files, logs and the choice of a runtime around the machines of ``pico_core``."""

from pico_core import __version__

__all__ = ["__version__"]
