"""The ``pico`` command: configuration files, logs and the choice of a runtime around the machines of ``pico_core``."""

__version__ = "0.1.0"
