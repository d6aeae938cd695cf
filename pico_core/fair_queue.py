"""A queue in which keys take turns: whoever has one item waits for one item of each other key, not for all of them."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items by key, in the order of their coming within a key.

    The queue sets no bound of its own. Each item that is put into it stands for an open connection, and those are
    bounded. A key is forgotten with its last item.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, deque[Item]] = {}
        """The key whose turn it is comes first. No key is without items."""

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._items)

    def put(self, key: str, item: Item) -> None:
        """Add ``item`` as the last of its key; a key that is new has its turn after all others."""
        items = self._items.get(key)
        if items is None:
            items = self._items[key] = deque()
        items.append(item)

    def first(self) -> Item | None:
        """Return the item that is next, without taking it; ``None`` if there is none."""
        return next(iter(self._items.values()))[0] if self._items else None

    def take(self) -> Item:
        """Remove and return the item that is next; then it is another key's turn. Raises ``StopIteration`` if empty."""
        key = next(iter(self._items))
        items = self._items.pop(key)
        item = items.popleft()
        if items:
            self._items[key] = items
        return item

    def skip(self) -> None:
        """Remove the item that is next, and leave the turn to its key. Raises ``StopIteration`` if empty."""
        key = next(iter(self._items))
        items = self._items[key]
        items.popleft()
        if not items:
            del self._items[key]

    def remove_first(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the first items of every key, up to one for which ``is_over`` is false."""
        removed: list[Item] = []
        for key, items in list(self._items.items()):
            while items and is_over(items[0]):
                removed.append(items.popleft())
            if not items:
                del self._items[key]
        return removed
