"""The type of a row of fixed limits."""

from typing import TypeAlias

Row: TypeAlias = tuple[str, str, str, str]
"""The thing that is bounded, the value, the effect at it, and why there is no key. The value names its constants."""

Rows: TypeAlias = dict[str, tuple[Row, ...]]
"""The rows by their heading."""
