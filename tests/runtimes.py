"""The runtimes as parameters of tests whose processes cost seconds.

Those that are not the default one make the group ``runtimes``, so that the usual run has each scenario once.
"""

import pytest

RUNTIMES = ("uvloop", *(pytest.param(name, marks=pytest.mark.runtimes) for name in ("asyncio", "trio")))
