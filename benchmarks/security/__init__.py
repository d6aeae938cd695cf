"""The figures of Pico's security, measured against real processes: ``python -m security`` (``make security``)."""
