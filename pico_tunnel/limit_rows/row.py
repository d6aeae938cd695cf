"""The type of a row of fixed limits."""

from typing import TypeAlias

Row: TypeAlias = tuple[str, str, str, str]
"""What is bounded, the value, what happens at it, and why it has no key. The value names its constants."""

Rows: TypeAlias = dict[str, tuple[Row, ...]]
"""The rows by their heading."""
