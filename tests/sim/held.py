"""The objects that a machine holds, found as the garbage collector finds them: for tests of bounds and leaks."""

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType


def reachable(root: object) -> Iterator[object]:
    """Return every object that ``root`` leads to, and itself; classes, modules and global variables do not count."""
    seen = {id(root)}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        yield item
        inner = [item.__closure__, item.__defaults__] if isinstance(item, FunctionType) else gc.get_referents(item)
        for each in inner:
            if id(each) not in seen and not isinstance(each, (type, ModuleType)):
                seen.add(id(each))
                waiting.append(each)


def held_bytes(root: object) -> int:
    """Return the size of all byte strings that ``root`` leads to."""
    return sum(len(each) for each in reachable(root) if isinstance(each, (bytes, bytearray)))
