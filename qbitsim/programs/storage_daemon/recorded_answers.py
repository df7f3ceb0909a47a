"""What real qemu-storage-daemons of 7.2, 10.0 and 11.1 (Debian's packages) say of themselves.

Read when it is needed; tests/record_storage_daemon.py of the source distribution asks them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from qbitsim.errors import UnsupportedError

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

_FOLDER = Path(__file__).with_name("recorded")


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
    return cast("Answers", json.loads((_FOLDER / f"{profile.recorded_answers}.json").read_text(encoding="ascii")))
