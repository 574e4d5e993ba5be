"""The keys used last, as they are on disk; belongs to the event loop."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from keyserver.model.identifiers import KeyId
from keyserver.storage.stored_key import StoredKey


@dataclass(slots=True, eq=False)
class Read:
    """A key that is being read."""

    key_id: KeyId
    is_overtaken: bool = False
    """Whether the key was written meanwhile, so that what is read may be out of date."""


class KeyCache:
    """At most `size` keys."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[KeyId, StoredKey] = OrderedDict()
        self._reads: set[Read] = set()

    def get(self, key_id: KeyId) -> StoredKey | None:
        """The key, if it is here."""
        known = self._keys.get(key_id)
        if known is not None:
            self._keys.move_to_end(key_id)
        return known

    @contextmanager
    def reading(self, key_id: KeyId) -> Iterator[Read]:
        """Announce that a key is about to be read from disk."""
        read = Read(key_id)
        self._reads.add(read)
        try:
            yield read
        finally:
            self._reads.discard(read)

    def keep(self, read: Read, key: StoredKey) -> None:
        """Keep what was read, unless it was overtaken."""
        if not read.is_overtaken:
            self._put(read.key_id, key)

    def put(self, keys: Mapping[KeyId, StoredKey]) -> None:
        """Keep what was written."""
        self._overtake(keys)
        for key_id, key in keys.items():
            self._put(key_id, key)

    def drop(self, keys: Iterable[KeyId]) -> None:
        """Forget keys, so that they are read again."""
        forgotten = list(keys)
        self._overtake(forgotten)
        for key_id in forgotten:
            self._keys.pop(key_id, None)

    def _overtake(self, keys: Iterable[KeyId]) -> None:
        written = set(keys)
        for read in self._reads:
            read.is_overtaken = read.is_overtaken or read.key_id in written

    def _put(self, key_id: KeyId, key: StoredKey) -> None:
        self._keys[key_id] = key
        self._keys.move_to_end(key_id)
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
