"""Locks on image files, as QEMU takes them so that two users do not disturb each other.

Whoever opens a file says which permissions it needs and which it lets others have. A new user conflicts with an old one
if it needs what the old one does not share, or does not share what the old one needs. All needs are checked before all
refusals to share (block/file-posix.c, raw_check_lock_bytes, 10.0).
"""

from __future__ import annotations

from qbitsim.files.permissions import ALL, CONSISTENT_READ, NAMES, RESIZE, WRITE

READER = (CONSISTENT_READ, ALL & ~(WRITE | RESIZE))
"""(needed, shared) of a program that opens an image for reading only."""

WRITER = (CONSISTENT_READ | WRITE | RESIZE, ALL & ~(WRITE | RESIZE))
"""(needed, shared) of a program that opens an image for writing."""

CREATOR = (WRITE | RESIZE, ALL & ~RESIZE)
"""(needed, shared) of the creation of an image (block/file-posix.c, raw_co_create, 10.0)."""


def in_use_hint(name: str) -> str:
    """What QEMU adds to a refusal for people (raw_check_lock_bytes, block/file-posix.c, 10.0)."""
    return f"Is another process using the image [{name}]?\n"


class Locks:
    """Who has one file open."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders: dict[object, tuple[int, int]] = {}

    def conflict(self, perm: int, shared: int, holder: object = None) -> str | None:
        """Why a user with these needs cannot have the file: ``Failed to get "write" lock``; None if it can.

        :param holder: an existing user that wants to change what it has; it does not conflict with itself.
        """
        if len(self._holders) <= (holder in self._holders):
            return None
        others = [held for user, held in self._holders.items() if user is not holder]
        for bit, name in NAMES.items():
            if perm & bit and any(not others_shared & bit for _, others_shared in others):
                return f'Failed to get "{name}" lock'
        for bit, name in NAMES.items():
            if not shared & bit and any(others_perm & bit for others_perm, _ in others):
                return f'Failed to get shared "{name}" lock'
        return None

    def acquire(self, holder: object, perm: int, shared: int) -> str | None:
        """Take the locks, or change those that *holder* (any hashable object) has; the conflict if that cannot be."""
        found = self.conflict(perm, shared, holder)
        if found is None:
            self._holders[holder] = perm, shared
        return found

    def release(self, holder: object) -> None:
        """Give up what *holder* has, if anything."""
        self._holders.pop(holder, None)

    def __bool__(self) -> bool:
        """Whether anybody has the file open."""
        return bool(self._holders)
