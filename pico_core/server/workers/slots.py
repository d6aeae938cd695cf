"""The workers of a supervisor and their processes, and how long a worker rests before it is started again."""

import msgspec

FIRST_RESTART_PAUSE_S = 0.1
MAX_RESTART_PAUSE_S = 10.0
"""Before the next process of a worker whose last ones ended: doubled each time. A connection that came for a worker
while it rests waits; where that is long its ports are closed, and the others take all."""

CLOSES_PORTS_S = 1.0
"""A pause as long as this closes the ports of the worker."""

WORKED_S = 30.0
"""A process that was ready for this long worked: its end begins the pauses anew."""


class Process(msgspec.Struct, eq=False):
    """One process. ``is_told`` says that it was asked to leave. ``stale`` was started before the last reload."""

    id: int
    node_id: str
    pid: int = 0
    gossip_port: int = 0
    control_port: int = 0
    ready_at: float | None = None
    is_told: bool = False
    stale: bool = False


class Slot(msgspec.Struct, eq=False):
    """One worker: the process that takes its connections, and the one before that still finishes."""

    number: int
    current: Process | None = None
    former: Process | None = None
    failures: int = 0
    restarts: int = 0
    was_ready: bool = False

    @property
    def processes(self) -> list[Process]:
        """Those that run."""
        return [each for each in (self.current, self.former) if each is not None]

    @property
    def serving(self) -> Process | None:
        """The process to ask: the one that is ready and stays."""
        for each in self.processes:
            if each.ready_at is not None and not each.is_told:
                return each
        return None

    def pause_s(self, now: float) -> float:
        """Count an end that was not asked for, and return how long to wait before the next start."""
        process = self.current
        if process is not None and process.ready_at is not None and now - process.ready_at >= WORKED_S:
            self.failures = 0
        pause_s = min(FIRST_RESTART_PAUSE_S * 2.0 ** min(self.failures, 10), MAX_RESTART_PAUSE_S)
        self.failures += 1
        return pause_s
