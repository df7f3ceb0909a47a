"""The order of QEMU's and GLib's hash tables, where clients can see it.

Two tables matter. QEMU's own QDict (qobject/qdict.c) decides the order of the members of
every object. GLib's GHashTable holds the members of an object that the input visitor has
not visited; the first one left in it is the one that QEMU calls unexpected
(qobject_input_check_struct() in qapi/qobject-input-visitor.c).

GLib's table is open addressing with tombstones: a key starts at ``hash * 11 % prime`` and
probes triangular steps. It shrinks and grows by reinsertion in place (glib/ghash.c, 2.74 to 2.84).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from qbitsim.qapi.text import encode

_QDICT_BUCKETS = 512
_PRIMES = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 262139, 524287)
_MIN_SHIFT = 3
_STEP = 1024  # keys that are looked at between two chances for others
_REAL = 2  # hashes below stand for an unused slot and a tombstone


def qdict_bucket(key: str) -> int:
    """The bucket of ``key`` in a QDict (tdb_hash() in qobject/qdict.c)."""
    data = encode(key)
    value = 0x238F13AF * len(data)
    for index, byte in enumerate(data):
        value += byte << (index * 5 % 24)
    return (1103515243 * value + 12345 & 0xFFFFFFFF) % _QDICT_BUCKETS


def qdict_order(keys: list[str]) -> list[str]:
    """Keys, given in the order of insertion, in the order in which QEMU walks them."""
    newest_first = keys[::-1]
    return sorted(newest_first, key=qdict_bucket)


def qdict_order_in_steps(keys: list[str]) -> Iterator[list[str]]:
    """What :func:`qdict_order` returns, in parts, after empty ones while it is being found."""
    buckets: list[list[str]] = [[] for _ in range(_QDICT_BUCKETS)]
    for end in range(len(keys), 0, -_STEP):
        for key in reversed(keys[max(0, end - _STEP) : end]):
            buckets[qdict_bucket(key)].append(key)
        yield []
    for bucket in buckets:
        yield from (bucket[start : start + _STEP] for start in range(0, len(bucket), _STEP))


def first_unvisited(keys: list[str], visited: list[str]) -> str:
    """The member that QEMU calls unexpected.

    :param keys: all members of the object in the order in which they were sent.
    :param visited: the members that the visitor asked for, in that order.
    """
    steps = first_unvisited_in_steps(keys, visited)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def first_unvisited_in_steps(keys: list[str], visited: list[str]) -> Generator[None, None, str]:
    """What :func:`first_unvisited` returns, found in steps of about a millisecond."""
    left = [key for key in keys if key not in visited]
    if len(left) == 1:
        return left[0]
    table = _GHashTable()
    for part in qdict_order_in_steps(keys):
        for key in part:
            table.insert(key)
            if table.crowded:
                yield from table.resize_in_steps()
        yield
    for key in visited:
        if key in keys:
            table.remove(key)
            if table.crowded:
                yield from table.resize_in_steps()
    return table.first()


class _GHashTable:
    """The slots of a GLib hash table with string keys. A slot is a key, None, or False for a tombstone."""

    def __init__(self) -> None:
        self._slots: list[str | bool | None] = [None] * (1 << _MIN_SHIFT)
        self._occupied = 0  # keys and tombstones
        self._keys = 0

    def insert(self, key: str) -> None:
        """Adds a key that is not there; no key was removed yet, and the table is not crowded."""
        slot, step = self._home(key), 0
        while self._slots[slot] is not None:
            step += 1
            slot = (slot + step) % len(self._slots)
        self._slots[slot] = key
        self._keys += 1
        self._occupied += 1

    def remove(self, key: str) -> None:
        """Leaves a tombstone in the place of ``key``."""
        self._slots[self._slots.index(key)] = False
        self._keys -= 1

    def first(self) -> str:
        """The first key that an iterator returns."""
        return next(each for each in self._slots if isinstance(each, str))

    def _home(self, key: str) -> int:
        shift = len(self._slots).bit_length() - 1
        return (_string_hash(key) * 11 & 0xFFFFFFFF) % _PRIMES[shift]

    @property
    def crowded(self) -> bool:
        """Whether the table is too full, or too empty, after a change."""
        size = len(self._slots)
        return (size > self._keys * 4 and size > 1 << _MIN_SHIFT) or size <= self._occupied + self._occupied // 16

    def resize_in_steps(self) -> Iterator[None]:
        """Moves every key to its place in a table of the right size; one in the way is evicted and moves next."""
        size = 1 << max(_MIN_SHIFT, int(self._keys * 1.333).bit_length())
        old_size = len(self._slots)
        self._slots = [*self._slots, *[None] * (size - old_size)]
        settled = [False] * size
        for index in range(old_size):
            if index % _STEP == _STEP - 1:
                yield
            if index < size and settled[index]:
                continue
            moving, self._slots[index] = self._slots[index], None
            while isinstance(moving, str):
                moving = self._settle(moving, settled)
        del self._slots[size:]
        self._occupied = self._keys

    def _settle(self, key: str, settled: list[bool]) -> str | bool | None:
        """Puts ``key`` into its first slot without a settled key; returns what was there."""
        shift = len(settled).bit_length() - 1
        slot, step = (_string_hash(key) * 11 & 0xFFFFFFFF) % _PRIMES[shift], 0
        while settled[slot]:
            step += 1
            slot = (slot + step) % len(settled)
        settled[slot] = True
        evicted, self._slots[slot] = self._slots[slot], key
        return evicted


def _string_hash(key: str) -> int:
    """g_str_hash(): 32 bits, characters are signed; 0 and 1 are taken, so a key's hash is at least 2."""
    value = 5381
    for byte in encode(key):
        value = value * 33 + (byte - 256 if byte > 127 else byte) & 0xFFFFFFFF
    return max(value, _REAL)
