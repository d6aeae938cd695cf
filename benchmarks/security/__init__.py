"""The figures of Pico's security, against real processes: ``python -m benchmarks.security`` (``make security``)."""
