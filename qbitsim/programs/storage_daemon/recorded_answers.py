"""What real qemu-storage-daemons of 7.2, 10.0 and 11.1 (Debian's packages) say of themselves.

Read when it is needed; tests/record_storage_daemon.py of the source distribution asks them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypedDict, cast

from qbitsim.errors import UnsupportedError
from qbitsim.recorded import recorded_json

if TYPE_CHECKING:
    from qbitsim.profiles import Profile


class Answers(TypedDict):
    """What one of them says.

    ``schema`` has the names of commands and events in the order of query-qmp-schema, ``objects`` the kinds that
    ``--object`` makes with the help of each, ``chardevs`` the help of ``--chardev``.
    """

    schema: list[str]
    objects: dict[str, str]
    chardevs: str


@cache
def answers(profile: Profile) -> Answers:
    """Those of the release.

    :raises UnsupportedError: nobody has asked such a daemon.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"qemu-storage-daemon of QEMU {profile.name}")
    return cast("Answers", recorded_json(__file__, f"{profile.recorded_answers}.json"))
