"""The QEMU releases that qbitsim can be, as named facts.

Theory of operation: a difference between releases is a field of :class:`Profile` with a
name that says what differs. Code asks for the fact (``profile.transaction_commit_reversed``),
never for the release. Only :meth:`Profile.offers` compares versions by number: it decides
which commands, members and enumeration values exist, so that their declarations can carry
``since`` and ``until``.

A profile is compared and hashed by identity: everything compiled for it is cached under it.
"""

from __future__ import annotations

from typing import Literal

from qbitsim.records import record


@record(eq=False, kw_only=True)
class Profile:
    """What one release of QEMU does where releases differ."""

    name: str
    """The release as users name it, ``major.minor``."""

    version: tuple[int, int, int]
    """major, minor, micro, as in the greeting and in ``query-version``."""

    package: str
    """The distribution's package, as in the greeting and in ``query-version``."""

    capabilities: tuple[str, ...]
    """QMP capabilities offered in the greeting (``oob`` came with 2.12)."""

    transaction_commit_reversed: bool
    """Whether the last action of a transaction commits first, so that its job starts first (util/transactions.c, 8.1).

    Before, qmp_transaction() in blockdev.c walked its own list in action order.
    """

    grouped_checked_first: bool
    """Whether ``completion-mode: grouped`` is checked for all actions before the first one runs.

    Otherwise each action checks it when its turn comes and earlier ones are undone.
    """

    grouped_property_text: Literal["transaction property", "Transaction property"]
    """The words in ``Action 'x' does not support ... completion-mode = grouped``."""

    failed_group_order: Literal["reverse", "failed-first"]
    """In which order the members of a failed group end: reverse action order, or the one that failed before all."""

    bitmap_status_field: bool
    """Whether a bitmap has ``status`` (active, frozen, disabled) instead of ``recording`` and ``busy`` (4.0)."""

    job_status_events: bool
    """Whether JOB_STATUS_CHANGE is sent (2.12)."""

    backup_bitmap_on_filter: bool
    """Whether the internal bitmap of a backup, mirror or commit is listed at the filter node, not at the source."""

    graph_changes_drain: bool
    """Whether each change of the block graph makes running jobs pause and resume visibly (8.0, bdrv_graph_wrlock)."""

    progress_is_position: bool
    """Whether ``len`` of a backup is the length of the disk and ``offset`` the place up to which it has come.

    So it was until 2.11; since then both count the bytes that are to be copied (block/backup.c).
    """

    backup_is_sequential: bool
    """Whether a backup copies one cluster of 64 KiB after the other (block/backup.c, up to 5.2)."""

    backup_filter_hidden: bool
    """Whether the filter of a backup is invisible: commands and queries mean the node below it.

    There was none up to 4.1, where a notifier of the source did its work.
    """

    drains_at_quit: int
    """How often a shutdown makes running jobs pause and resume visibly before it cancels them."""

    resize_blocked_names_job: bool
    """Whether block_resize during a backup says ``Node 'x' is busy: ...`` instead of ``Device 'x' is in use``."""

    exports_go_oldest_first: bool
    """Whether the oldest export is the first to go when the NBD server stops."""

    speed_survives_pauses: bool
    """Whether a stream, commit or mirror that was paused while its speed limit held it goes on waiting (8.0)."""

    stream_filter_detached: bool
    """Whether the filter of a stream that is over has nothing below it any more (bdrv_cor_filter_drop, up to 7.2).

    Later it keeps its permissions until the job is dismissed, so that a node below cannot become read-only again.
    """

    migrate_pause_states: str
    """The states in the refusal of migrate-pause."""

    job_schema_first: bool
    """Whether query-qmp-schema lists the job commands before the block commands (8.2), not after them."""

    schema_features: bool
    """Whether query-qmp-schema shows features (4.1)."""

    schema_enum_members: bool
    """Whether query-qmp-schema shows ``members`` of enumerations beside ``values`` (6.2)."""

    def offers(self, since: str | None = None, until: str | None = None) -> bool:
        """Whether something that came with release ``since`` and was gone in release ``until`` is in this one.

        :param since: first release that has it, such as ``"9.1"``; None for always.
        :param until: first release that does not have it any more; None for never.
        """
        release = self.version[:2]
        return (since is None or release >= _release(since)) and (until is None or release < _release(until))


def _release(text: str) -> tuple[int, int]:
    """``"10.0"`` as (10, 0)."""
    major, minor = text.split(".")
    return int(major), int(minor)


QEMU_10_0 = Profile(
    name="10.0",
    version=(10, 0, 13),
    package="Debian 1:10.0.13+ds-0+deb13u1",
    capabilities=("oob",),
    transaction_commit_reversed=True,
    grouped_checked_first=True,
    grouped_property_text="transaction property",
    failed_group_order="reverse",
    bitmap_status_field=False,
    job_status_events=True,
    backup_bitmap_on_filter=True,
    graph_changes_drain=True,
    progress_is_position=False,
    backup_is_sequential=False,
    backup_filter_hidden=False,
    drains_at_quit=2,
    resize_blocked_names_job=True,
    exports_go_oldest_first=False,
    speed_survives_pauses=True,
    stream_filter_detached=False,
    migrate_pause_states="postcopy-active or postcopy-recover state",
    job_schema_first=True,
    schema_features=True,
    schema_enum_members=True,
)

QEMU_7_2 = Profile(
    name="7.2",
    version=(7, 2, 22),
    package="Debian 1:7.2+dfsg-7+deb12u18+b3",
    capabilities=("oob",),
    transaction_commit_reversed=False,
    grouped_checked_first=False,
    grouped_property_text="Transaction property",
    failed_group_order="reverse",
    bitmap_status_field=False,
    job_status_events=True,
    backup_bitmap_on_filter=False,
    graph_changes_drain=False,
    progress_is_position=False,
    backup_is_sequential=False,
    backup_filter_hidden=False,
    drains_at_quit=1,
    resize_blocked_names_job=False,
    exports_go_oldest_first=True,
    speed_survives_pauses=False,
    stream_filter_detached=True,
    migrate_pause_states="postcopy-active state",
    job_schema_first=False,
    schema_features=True,
    schema_enum_members=True,
)

QEMU_2_5 = Profile(
    name="2.5",
    version=(2, 5, 0),
    package="",
    capabilities=(),
    transaction_commit_reversed=False,
    grouped_checked_first=False,
    grouped_property_text="Transaction property",
    failed_group_order="failed-first",
    bitmap_status_field=True,
    job_status_events=False,
    backup_bitmap_on_filter=False,
    graph_changes_drain=False,
    progress_is_position=True,
    backup_is_sequential=True,
    backup_filter_hidden=True,
    drains_at_quit=1,
    resize_blocked_names_job=False,
    exports_go_oldest_first=True,
    speed_survives_pauses=False,
    stream_filter_detached=True,
    migrate_pause_states="postcopy-active state",
    job_schema_first=False,
    schema_features=False,
    schema_enum_members=False,
)

PROFILES = {each.name: each for each in (QEMU_2_5, QEMU_7_2, QEMU_10_0)}
"""Every profile by name, oldest first."""

DEFAULT_PROFILE = QEMU_10_0
"""The profile of whoever does not ask for one."""


def profile(name: str) -> Profile:
    """The profile called ``name``.

    :raises ValueError: there is none; the text lists those there are.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"no profile {name!r}: choose one of {', '.join(PROFILES)}") from None
