"""Log records of an embedded machine for ``logging``: the logger ``pico``, and one below it for each subsystem."""

import logging

from pico_core.records import AccessLog, Log

LOGGER = "pico"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def logging_sink(record: Log | AccessLog) -> None:
    """Hand a record to ``logging``; what a handler does with it is the program's choice."""
    if isinstance(record, AccessLog):
        logger = logging.getLogger(f"{LOGGER}.access")
        if logger.isEnabledFor(logging.INFO):
            for line in record.lines:
                logger.info("{%s}", line.decode("utf-8", "replace"))
        return
    logger = logging.getLogger(f"{LOGGER}.{record.subsystem}")
    level = _LEVELS[record.level]
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={value!s}" for name, value in record.fields.items())
        logger.log(level, "%s%s", record.message, f" ({fields})" if fields else "")
