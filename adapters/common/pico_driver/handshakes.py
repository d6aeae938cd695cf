"""The TLS handshakes in progress of a driver, and the profiles behind them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from pico_core.boundary import HandshakeBegan
from pico_core.errors import ConfigError
from pico_core.records import Log

if TYPE_CHECKING:
    from pico_driver.tls import SecureConnection, SecureOwner
    from pico_driver.tls_profiles import Profile, Profiles

MAX_OWN_HANDSHAKES: Final = 512
"""Handshakes that this process has begun at one time; beyond it the oldest one is given up. Ports have keys."""

START_TLS_TIMEOUT_S: Final = 60.0
"""A machine has a deadline of its own for what it begins; this one ends what a machine has forgotten."""

FILES_CHECK_S: Final = 10.0
"""How often the files of TLS profiles are looked at."""


_TOO_MANY: Final = "too many TLS handshakes at one time"


class Cancellable(Protocol):
    """A task or timer that can be given up."""

    def cancel(self) -> object:
        """End it at its next wait."""


class Loop(Protocol):
    """The part of a driver's loop that handshakes need."""

    def begin(self, work: Coroutine[Any, Any, None]) -> Cancellable:
        """Start something that waits."""

    async def sleep(self, duration_s: float) -> None:
        """Wait for ``duration_s`` seconds."""


class Handshakes:
    """Begins TLS on connections and gives up what takes too long. The driver is told the outcome."""

    def __init__(
        self,
        owner: SecureOwner,
        loop: Loop,
        clock: Callable[[], float],
        log: Callable[[Log], None],
        profiles: Profiles | None,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._clock = clock
        self._log = log
        self._profiles = profiles
        self._listeners: dict[str, str] = {}
        self._limits: dict[SecureConnection, Cancellable] = {}
        self._accepted: dict[str, dict[SecureConnection, float]] = {}  # by listener, until when; the oldest first
        self._sweeper: Cancellable | None = None
        self._wakes_at = math.inf

    def profile(self, name: str) -> Profile | None:
        """Return the profile of this name, if there is one."""
        return None if self._profiles is None else self._profiles.get(name)

    def listen(self, listener: str, tls: str) -> None:
        """Take note that the connections of a listener begin with a handshake."""
        self._listeners[listener] = tls
        self._accepted.setdefault(listener, {})

    def of_listener(self, listener: str) -> SecureConnection | None:
        """Return the owner of a connection that a peer opened, if its listener speaks TLS. Next: ``attach`` it."""
        tls = self._listeners.get(listener)
        if tls is None:
            return None
        profile = self.profile(tls)
        assert profile is not None, "it was there when the listener opened, and profiles do not go"
        accepted = self._accepted[listener]
        if len(accepted) >= profile.max_handshakes:
            self._give_up(next(iter(accepted)), _TOO_MANY)
        secure = self._make(profile, 0, listener=listener)
        accepted[secure] = until = self._clock() + profile.handshake_timeout_s
        self._owner.hand_over(HandshakeBegan(listener))
        if until < self._wakes_at:  # one waiter serves all of them, so that none pays for a task
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._wakes_at = until
            self._sweeper = self._loop.begin(self._sweep())
        return secure

    def begin(
        self, tls: str, number: int, until: float, *, server_name: str = "", upgrade: bool = False
    ) -> SecureConnection:
        """Return a connection that is to be attached; at ``until`` it is given up.

        Raises ``ValueError`` for a name that no certificate can have.
        """
        profile = self.profile(tls)
        assert profile is not None, "the caller has looked for the profile"
        secure = self._make(profile, number, server_name=server_name, upgrade=upgrade)
        if len(self._limits) >= MAX_OWN_HANDSHAKES:
            self._give_up(next(iter(self._limits)), _TOO_MANY)
        self._limits[secure] = self._loop.begin(self._expire(secure, until - self._clock()))
        return secure

    def _make(
        self, profile: Profile, number: int, *, listener: str = "", server_name: str = "", upgrade: bool = False
    ) -> SecureConnection:
        from pico_driver.tls import SecureConnection

        return SecureConnection(
            self._owner, profile, number, listener=listener, server_name=server_name, upgrade=upgrade
        )

    def over(self, connection: SecureConnection) -> None:
        """Stop counting a handshake, and its time."""
        if connection.listener:
            self._accepted[connection.listener].pop(connection, None)
            return
        limit = self._limits.pop(connection, None)
        if limit is not None:
            limit.cancel()

    def close(self) -> None:
        """End all of them."""
        for connection in [*itertools.chain.from_iterable(self._accepted.values()), *self._limits]:
            connection.cancel()

    async def _sweep(self) -> None:
        """Give up the accepted connections whose time is over, until there is none."""
        while deadlines := [(until, each) for listener in self._accepted.values() for each, until in listener.items()]:
            now = self._clock()
            for until, secure in deadlines:
                if until <= now:
                    self._give_up(secure, "the TLS handshake took too long")
            left = [until for until, _ in deadlines if until > now]
            if left:
                self._wakes_at = min(left)
                await self._loop.sleep(self._wakes_at - now)
        self._wakes_at = math.inf

    async def _expire(self, secure: SecureConnection, timeout_s: float) -> None:
        await self._loop.sleep(max(timeout_s, 0.0))
        self._limits.pop(secure, None)
        self._give_up(secure, "the TLS handshake took too long")

    def _give_up(self, secure: SecureConnection, reason: str) -> None:
        secure.cancel()
        self._owner.not_secured(secure, reason)

    # --- files ---

    def watch_files(self) -> None:
        """Load certificates and keys again when their files change."""
        if self._profiles is not None:
            self._warn(self._profiles)
            self._loop.begin(self._load_again(self._profiles))

    def _warn(self, profiles: Profiles) -> None:
        for reason in profiles.expiring():
            self._log(Log("warning", "tls", "a certificate of this process is of no use now", {"reason": reason}))

    async def _load_again(self, profiles: Profiles) -> None:
        while True:
            await self._loop.sleep(FILES_CHECK_S)
            if not profiles.changed:
                continue
            try:
                profiles.reload()
            except ConfigError as error:
                self._log(Log("warning", "tls", "the changed certificates are not used", {"reason": str(error)}))
            else:
                self._log(Log("info", "tls", "certificates and keys loaded again", {}))
                self._warn(profiles)
