"""Times of the wall clock as text, above all the Date of a response (RFC 9110 section 6.6.1). Start at ``Dates``."""

from collections.abc import Callable

_DAYS = (b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed")  # the epoch began on a Thursday
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_DAY_S = 86_400
_DAYS_PER_ERA = 146_097
"""Of 400 years, after which the Gregorian calendar repeats itself."""

LAST_S = 253_402_300_799
"""31 December 9999, 23:59:59: a year has four digits in an IMF-fixdate."""


def imf_fixdate(wall_s: float) -> bytes:
    """Return a time in seconds since the epoch as an IMF-fixdate (RFC 9110 section 5.6.7), between 1970 and 9999."""
    days, second = divmod(min(max(int(wall_s), 0), LAST_S), _DAY_S)
    year, month, day = _civil(days)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[days % 7],
        day,
        _MONTHS[month],
        year,
        second // 3_600,
        second // 60 % 60,
        second % 60,
    )


def iso_time(wall_s: float) -> str:
    """Return a time in seconds since the epoch as RFC 3339 has it, with milliseconds, between 1970 and 9999."""
    clipped = min(max(wall_s, 0.0), float(LAST_S))
    days, second = divmod(int(clipped), _DAY_S)
    year, month, day = _civil(days)
    clock = f"{second // 3_600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{int(clipped * 1000) % 1000:03d}"
    return f"{year:04d}-{month + 1:02d}-{day:02d}T{clock}Z"


def _civil(days: int) -> tuple[int, int, int]:
    """Return the year, the month from 0 and the day of the month of a day since the epoch."""
    # Years that begin in March have the leap day at their end, so months before it have the same lengths in all years.
    era, day = divmod(days + 719_468, _DAYS_PER_ERA)
    year_of_era = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year_of_era + year_of_era // 4 - year_of_era // 100
    month = (5 * day + 2) // 153
    day_of_month = day - (153 * month + 2) // 5 + 1
    month = (month + 2) % 12
    return era * 400 + year_of_era + (month < 2), month, day_of_month


class Dates:
    """The Date of responses: written at most once a second, and not at all while the wall clock is not known.

    A server without a clock must not send the field.
    """

    __slots__ = ("_second", "_value", "_wall_s")

    def __init__(self, wall_s: Callable[[float], float]) -> None:
        """``wall_s`` returns the wall clock's time in seconds since the epoch, 0.0 while it is not known."""
        self._wall_s = wall_s
        self._second = 0
        self._value = b""

    def value(self, now: float) -> bytes:
        """Return the field's value, or nothing."""
        second = int(self._wall_s(now))
        if second != self._second:
            self._second = second
            self._value = imf_fixdate(second)
        return self._value

    def line(self, now: float) -> bytes:
        """Return the field line with its CRLF, or nothing."""
        value = self.value(now)
        return b"Date: %b\r\n" % value if value else b""
