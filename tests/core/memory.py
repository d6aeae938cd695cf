"""How much memory an object holds, without a look at how it is made."""

import gc
import sys
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType


def reachable_bytes(root: object) -> int:
    """Return the size of ``root`` and of everything it refers to, but for what all objects of its kind share."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType | BuiltinFunctionType | Enum):
            continue
        seen[id(each)] = each
        waiting += gc.get_referents(each)
    return sum(map(sys.getsizeof, seen.values()))
