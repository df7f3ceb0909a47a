"""In what QEMU releases differ: the facts of which the record of a release is made.

Theory of operation: a difference between releases is a fact of :class:`Profile`, named after what it says about
behaviour, and code asks for the fact (``profile.transaction_commit_reversed``), never for the release.

1. A fact that was only measured is stated by each record; a record that lacks one cannot be made.
2. A fact whose release is known says so here (:func:`came_with`, :func:`gone_with`) and follows from the number of
   the release, unless a record states otherwise. So it is right for the releases between those that were measured.
3. Only :meth:`Profile.offers` compares releases by number. It evaluates the ``since`` and ``until`` of what is
   declared elsewhere: commands, arguments, values, features.

A profile is compared and hashed by identity: everything compiled for it is cached under it.
"""

from __future__ import annotations

from qbitsim.light_library import lru_cache
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal


class _FromVersion:
    """A fact that follows from the number of a release, as long as the record says nothing else."""

    __slots__ = ("_known", "_since", "_until")

    def __init__(self, since: str | None, until: str | None) -> None:
        self._since = since
        self._until = until
        self._known: dict[tuple[int, int, int], bool] = {}  # by version; facts are asked for all the time

    def __get__(self, profile: Profile | None, owner: object) -> object:
        if profile is None:
            return self
        known = self._known.get(profile.version)
        if known is None:
            known = self._known[profile.version] = profile.offers(self._since, self._until)
        return known


def came_with(release: str, *, gone: str | None = None) -> bool:
    """A fact that holds from a release on, such as ``"8.2"``, perhaps up to the one before ``gone``."""
    return _FromVersion(release, gone)  # type: ignore[return-value] # a bool in every instance


def gone_with(release: str) -> bool:
    """A fact that holds for all releases before this one."""
    return _FromVersion(None, release)  # type: ignore[return-value]


@record(eq=False, kw_only=True)
class Profile:
    """What one release of QEMU does where releases differ."""

    version: tuple[int, int, int]
    """major, minor, micro, as in the greeting and in ``query-version``."""

    package: str
    """The distribution's package, as in the greeting and in ``query-version``; empty if there is none."""

    copyright: str
    """What follows the version in the output of ``--version``."""

    # -- the monitor

    capabilities: tuple[str, ...]
    """QMP capabilities offered in the greeting (``oob`` came with 2.12)."""

    json_errors_at_once: bool
    """Whether a JSON error is told as soon as it is seen, with line and column (qobject/json-parser.c).

    Otherwise it is told when the brackets of the message are closed, and in other words.
    """

    job_schema_first: bool = came_with("8.2")
    """Whether query-qmp-schema lists the job commands before the block commands, not after them."""

    kvm_schema_first: bool = came_with("10.1")
    """Whether query-qmp-schema lists query-kvm before the block commands, as part of qapi/accelerator.json."""

    schema_features: bool = came_with("4.1")
    """Whether query-qmp-schema shows features."""

    schema_enum_members: bool = came_with("6.2")
    """Whether query-qmp-schema shows ``members`` of enumerations beside ``values``."""

    shutdown_event_has_data: bool = came_with("4.0")
    """Whether SHUTDOWN says who wanted it and why (``guest``, ``reason``)."""

    migrate_pause_states: str
    """The states in the refusal of migrate-pause."""

    eject_root_text: Literal[" is not a device", " is not a hotpluggable device"]
    """The refusal of an eject whose ``id`` is empty, which stands for the root of QOM's tree.

    find_device_state() in system/qdev-monitor.c.
    """

    # -- transactions

    transaction_commit_reversed: bool = came_with("8.1")
    """Whether the last action of a transaction commits first, so that its job starts first (util/transactions.c).

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

    # -- jobs

    jobs_have_ids: bool = came_with("2.7")
    """Whether a client may give a job an id; before, it was the drive's."""

    block_jobs_show_status: bool = came_with("2.12")
    """Whether query-block-jobs shows ``status``, ``error``, ``auto-finalize`` and all that came after (blockjob.c)."""

    mirror_shows_actively_synced: bool = came_with("8.2")
    """Whether query-block-jobs says of a mirror whether it copies writes at once (mirror_query(), block/mirror.c)."""

    mirror_knows_zeroes: bool = came_with("10.1")
    """Whether a mirror looks whether its target is all zeroes (mirror_dirty_init(), block/mirror.c).

    If it is, nothing is copied but what the source has, and no zeroes are written where they are known to be.
    """

    commit_keeps_zeroes: bool = came_with("10.0")
    """Whether a commit makes the base zero where its top is, instead of writing zeroes (commit_iteration())."""

    failed_active_commit_closes_base: bool = came_with("9.1")
    """Whether the base is read-only again when the commit of an active layer fails or is cancelled (mirror.c)."""

    backup_bitmap_on_filter: bool
    """Whether the internal bitmap of a backup, mirror or commit is listed at the filter node, not at the source."""

    backup_filter_hidden: bool = gone_with("4.2")
    """Whether the filter of a backup is invisible: commands and queries mean the node below it.

    There was none up to 4.1, where a notifier of the source did its work.
    """

    backup_is_sequential: bool = gone_with("6.0")
    """Whether a backup copies one cluster of 64 KiB after the other (block/backup.c)."""

    progress_is_position: bool
    """Whether ``len`` of a backup is the length of the disk and ``offset`` the place up to which it has come.

    So it was until 2.11; since then both count the bytes that are to be copied (block/backup.c).
    """

    dropped_filter_detached: bool = gone_with("8.0")
    """Whether the filter of a job that is over has nothing below it any more (bdrv_drop_filter, up to 7.2).

    Later that of a stream keeps its permissions until the job is dismissed, so that a node below cannot become
    read-only again; and those of streams and backups flush what is below when they are closed.
    """

    speed_survives_pauses: bool = came_with("8.0")
    """Whether a stream, commit or mirror that was paused while its speed limit held it goes on waiting."""

    # -- the block graph

    drives_unmap_zeroes: bool = gone_with("10.0")
    """Whether zeroing through a drive may free clusters though its node has ``discard=ignore``.

    bdrv_co_pwrite_zeroes() in block/io.c, which checks it, was passed by (measured: in 7.2, not in 10.0).
    """

    copy_before_write_always_reads: bool = came_with("9.1")
    """Whether a copy-before-write filter needs to read its child even if nobody above writes.

    Commit 137b4d4bd506, in the first pull request after 9.0 (cbw_child_perm()).
    """

    drains_subtrees: bool = gone_with("8.0")
    """Whether what is below a node is made quiet with it (bdrv_subtree_drained_begin()).

    So it is where a node is reopened, and above the base of a stream that ends (stream_prepare()).
    """

    reopening_refreshes_backwards: bool = came_with("8.0")
    """Whether reopening works out permissions beginning with the node that was queued last (bdrv_reopen_multiple())."""

    drivers_drain_in_coroutines: bool = gone_with("8.0")
    """Whether what a driver does to be quiet is a coroutine, which others get their turn to wait for.

    bdrv_drain_invoke() in block/io.c.
    """

    allocation_looks_for_zeroes: bool = came_with("10.1")
    """Whether qcow2 does not read what is around a write in a new cluster, where a raw file below has a hole.

    Until then bdrv_co_is_zero_fast(), block/io.c, knew only what formats say (is_zero_cow() in block/qcow2.c).
    """

    lengths_followed_by: frozenset[str]
    """The drivers whose nodes are as long as their children are now, not as they were when the node was opened.

    Up to 8.0 they have a variable length, later none of them has; in 11.1 all that can tell their length do (measured).
    """

    reopen_asks_for_length: bool = came_with("8.1")
    """Whether a node that is reopened is asked how long it is (bdrv_reopen_commit(); measured: not in 7.2)."""

    graph_changes_drain: bool = came_with("8.0")
    """Whether each change of the block graph makes running jobs pause and resume visibly (bdrv_graph_wrlock())."""

    graph_changes_stay_quiet: bool
    """Whether jobs are paused until such a change is made, so that changes within it are not seen one by one.

    So a job is ``created``, and all that belongs to a node that goes is closed, within one pause.
    """

    aio_context_checks_drain: bool
    """Whether all nodes are drained to see to it that a job's target runs where its source does.

    bdrv_try_change_aio_context() in block.c; otherwise only if it does not.
    """

    qcow2_creation_changes: int
    """How often the graph changes while a new qcow2 file is made (bdrv_img_create(), block.c)."""

    drains_at_quit: int
    """How often a shutdown makes running jobs pause and resume visibly before it cancels them."""

    resize_blocked_names_job: bool
    """Whether block_resize during a backup says ``Node 'x' is busy: ...`` instead of ``Device 'x' is in use``."""

    exports_go_oldest_first: bool
    """Whether the oldest export is the first to go when the NBD server stops."""

    throttle_group_in_use_text: str
    """The refusal of object-del for a throttle group that has users, with ``{}`` for its id."""

    persistent_bitmaps_need_writable_node: bool
    """Whether persistent bitmaps can only be added to a node that can be written (block/monitor/bitmap-qmp-cmds.c).

    Their removal is refused in words that name the node, too. Otherwise they can be added and wait to be stored.
    """

    creation_waits_first: bool = came_with("10.0")
    """Whether a job that makes a qcow2 image waits before it looks at the options (measured: not in 7.2)."""

    # -- the NBD server

    nbd_go: bool = came_with("2.10")
    """Whether clients may say INFO and GO (docs/interop/nbd.rst)."""

    nbd_structured_replies: bool = came_with("2.11")
    """Whether clients may ask for structured replies."""

    nbd_contexts: bool = came_with("2.12")
    """Whether clients may ask for metadata contexts."""

    nbd_extended_headers: bool = came_with("8.2")
    """Whether clients may ask for extended headers, with lengths of 64 bits, and QEMU's own do."""

    nbd_handshake_limited: bool = came_with("10.0")
    """Whether qemu-nbd lets its user choose how long a handshake may take (``--handshake-limit``).

    Pull request of 11 February 2025, with ``handshake-max-seconds`` of nbd-server-start.
    """

    nbd_verbose_keeps_errors: bool = came_with("8.2")
    """Whether ``qemu-nbd --fork --verbose`` keeps its standard error (nbd_client_release_pipe(), qemu-nbd.c).

    Commit f6f4620cbbe0, of 7 September 2023; measured: not in 7.2.
    """

    nbd_creation_explained: bool = came_with("8.2")
    """Whether the refusal to make an image says that one on a server has to be there (bdrv_co_create_opts_simple()).

    Commit 816248675a21, of 4 September 2023.
    """

    nbd_shares_writable: bool = came_with("7.1")
    """Whether several clients may use an export that they can write to (NBD_FLAG_CAN_MULTI_CONN)."""

    nbd_status_length_first: bool = gone_with("8.2")
    """Whether a BLOCK_STATUS of no length is refused as such even if no context was chosen (nbd_handle_request())."""

    nbd_texts_polished: bool = came_with("8.2")
    """Whether the refusals of a request that is too long, or begins with a wrong number, are worded well.

    Otherwise there is a blank behind the length, and the number that was expected is not told (measured in 7.2).
    """

    fdset_refusals_explained: bool = came_with("9.2")
    """Whether a file that cannot be opened from a set of descriptors is refused with the reason (monitor/fds.c).

    Otherwise with the number of the error.
    """

    unused_fdsets_end_with_monitors: bool = gone_with("9.2")
    """Whether sets of descriptors that nobody has open are closed when the last QMP client leaves (monitor/fds.c)."""

    # -- all disks

    unused_nodes_passed_over: bool
    """Whether what is done to all disks passes over nodes that nobody uses, once some node is in use.

    bdrv_next() in block/block-backend.c looks for them behind the last node in use. So ``stop`` does not flush them,
    and neither snapshots of the whole machine nor its migration know them (measured: 10.0; 7.2 and 11.1 find all).
    """

    active_nodes_have_active_children: bool = came_with("10.0")
    """Whether an inactive node is refused as a child of an active one (bdrv_attach_child_noperm(), block.c).

    An active overlay of an inactive node becomes inactive, so that a snapshot can still be taken.
    """

    # -- snapshots of the machine

    machine_state_size: int
    """Bytes of the state of a machine of type ``none``, which has no memory and no devices (qemu_savevm_state())."""

    snapshot_deletion_drains_all: bool = came_with("11.1")
    """Whether everything is quiet while snapshots of several disks are deleted (measured: not in 10.0).

    Otherwise each disk is while its own goes (bdrv_snapshot_delete(), block/snapshot.c).
    """

    snapshots_load_through_filters: bool = came_with("10.0")
    """Whether a disk can be used after a snapshot was loaded through a node above it (measured: 7.2 hangs)."""

    snapshot_passes_memory_twice: bool = gone_with("11.1")
    """Whether the memory is looked through twice while a snapshot is saved, and MIGRATION_PASS tells it.

    Otherwise it is once, untold (measured: twice in 10.0).
    """

    migration_counts_state: bool = came_with("10.0")
    """Whether all of the machine's state counts as transferred, not its memory alone (measured: not in 7.2)."""

    machine_state_errors_named: bool = came_with("11.1")
    """Whether a load says what is wrong with the machine's state, not an error number (measured: not in 10.0)."""

    # -- migration

    migration_shows_setup: bool = came_with("10.0")
    """Whether query-migrate has a status as soon as a destination listens (measured: not in 7.2)."""

    migration_always_says_device: bool = came_with("10.0")
    """Whether each migration is in the state ``device`` (measured: 7.2 only after ``pre-switchover``)."""

    migration_counts_outer_passes: bool = gone_with("11.1")
    """Whether MIGRATION_PASS tells of the first and the last pass (measured: not in 11.1)."""

    migration_fails_in_two_steps: bool = came_with("11.0")
    """Whether a migration is ``failing`` before it has failed, as QAPI's documentation of 11.0 says."""

    migration_names_protocol: bool = came_with("8.2")
    """Whether the refusal of a URI shows it, and the migration is not counted as failed then (measured: not in 7.2)."""

    migration_to_files: bool = came_with("8.2")
    """Whether a URI may begin with ``file:`` (QAPI: MigrationAddressType came in 8.2)."""

    migration_shown_in_short: bool = came_with("11.1")
    """Whether the human monitor shows a migration in few lines (measured: not in 10.0)."""

    # -- settings of a migration

    migration_levels_checked: bool = came_with("10.0")
    """Whether the levels of multifd's compression are checked and kept (measured: 7.2 takes any and keeps none)."""

    migration_options_have_dashes: bool = came_with("11.1")
    """Whether refused parameters are called ``Option announce-initial`` (measured: not in 10.0)."""

    colo_needs_return_path: bool = came_with("11.1")
    """Whether the capability x-colo needs return-path (measured: not in 10.0)."""

    postcopy_excludes_multifd: bool = came_with("10.0", gone="11.1")
    """Whether the capabilities postcopy-ram and multifd exclude each other (measured: in 10.0, not in 7.2)."""

    multifd_excludes_xbzrle: bool = came_with("10.0")
    """Whether the capabilities multifd and xbzrle exclude each other (measured: not in 7.2)."""

    # -- devices of the guest

    device_ids_checked_first: bool = gone_with("10.0")
    """Whether device_add checks the form of an id before anything else (measured: not in 10.0)."""

    device_add_takes_texts: bool = gone_with("10.0")
    """Whether device_add takes values as a command line does, a text for a number (measured: not in 10.0)."""

    device_ids_checked: bool = came_with("11.1")
    """Whether device_add checks the form of an id once it knows the bus (measured: not in 10.0)."""

    full_buses_named: bool = came_with("11.1")
    """Whether device_add says that all buses of a kind are full (measured: 10.0 says that there is none)."""

    removed_devices_linger: bool = gone_with("11.1")
    """Whether a device that is removed is freed only some 50 ms later (measured: at once in 11.1)."""

    undeletable_is_not_hotpluggable: bool = gone_with("10.0")
    """Whether device_del of what is no device says that it is no hotpluggable one (measured: not in 10.0)."""

    board_numbers_floppies_first: bool = gone_with("10.0")
    """Whether a board makes its floppies before its IDE disks, which shows in their paths (measured: not in 10.0)."""

    block_size_refused_in_one: bool = came_with("10.0")
    """Whether one text refuses a size of blocks that is no power of two or out of range (measured: not in 7.2)."""

    io_errors_name_path: bool = came_with("9.2")
    """Whether BLOCK_IO_ERROR has the ``qom-path`` of the device (qapi/block-core.json)."""

    # -- what a machine is started with

    xen_drives_are_devices: bool = came_with("8.2")
    """Whether ``-drive if=xen`` adds the device ``xen-disk`` (drive_new(), blockdev.c)."""

    recorded_answers: str | None
    """The release whose machines and processors are told, None if they are not known."""

    # -- what queries show

    processor_errors_have_paths: bool = came_with("10.0")
    """Whether query-cpu-model-expansion refuses properties by their place in the request (measured: not in 7.2)."""

    processors_tell_type: bool = came_with("11.1")
    """Whether query-cpus-fast tells the ``qom-type`` of a processor (measured: not in 10.0)."""

    iothreads_tell_factors: bool = came_with("11.1")
    """Whether query-iothreads tells the factors that hold, not 0 for those not given (measured: not in 10.0)."""

    cpu_hotplug_blames_machine: bool = came_with("10.0")
    """Whether query-hotpluggable-cpus of a machine without says that it is the machine (measured: not in 7.2)."""

    status_shows_singlestep: bool = gone_with("9.0")
    """Whether query-status shows ``singlestep``."""

    bitmap_status_field: bool = gone_with("4.0")
    """Whether a bitmap has ``status`` (active, frozen, disabled) instead of ``recording`` and ``busy``."""

    drives_show_bitmaps: bool = gone_with("6.0")
    """Whether query-block lists the bitmaps of a drive beside ``inserted``."""

    nodes_show_bitmaps: bool = came_with("4.2")
    """Whether a node lists its bitmaps (bdrv_block_device_info(), block/qapi.c)."""

    nodes_show_active: bool = came_with("10.0")
    """Whether a node says that it is ``active``."""

    nodes_show_children: bool = came_with("10.1")
    """Whether a node lists its ``children`` (bdrv_block_device_info(), block/qapi.c)."""

    images_show_limits: bool = came_with("10.2")
    """Whether the image of a node shows its ``limits`` (BlockLimitsInfo, block/qapi.c)."""

    files_show_format_specific: bool = came_with("8.0")
    """Whether the image of a protocol node has ``format-specific`` (raw_get_specific_info(), block/file-posix.c)."""

    qcow2_shows_compression_type: bool = came_with("5.1")
    """Whether the image of a qcow2 node shows ``compression-type`` (qcow2_get_specific_info(), block/qcow2.c)."""

    qcow2_shows_extended_l2: bool = came_with("5.2")
    """Whether the image of a qcow2 node shows ``extended-l2`` (qcow2_get_specific_info(), block/qcow2.c)."""

    qcow2_shows_bitmaps: bool = came_with("4.0")
    """Whether the image of a qcow2 node lists the stored bitmaps (qcow2_get_specific_info(), block/qcow2.c)."""

    # -- the human monitor, qemu-io and qemu-img

    hmp_commands: frozenset[str]
    """The commands of the human monitor on x86_64, such as ``commit`` and ``info block``, without aliases."""

    json_errors_have_places: bool = came_with("11.1")
    """Whether an object that ends too early on the command line is refused with line and column (measured)."""

    prompt_waits_for_nothing: bool = gone_with("10.0")
    """Whether a human monitor shows its prompt at once, and not when the main loop turns (measured: 7.2)."""

    monitors_are_objects: bool = came_with("11.1")
    """Whether a monitor is an object, so that its id is checked and it is listed (measured: not in 10.0)."""

    most_processors_of_q35: int
    """How many processors a q35 of the release has places for (measured)."""

    processors_have_modules: bool = came_with("9.1")
    """Whether ``-smp`` speaks of modules, and of ``> 1`` where a machine lacks a level (hw/core/machine-smp.c).

    Commits 8ec0a4634798 and 9d7950edb0cd, both in 2024 after 9.0.
    """

    processors_have_books: bool = came_with("8.2")
    """Whether ``-smp`` speaks of books and drawers (SMPConfiguration, qapi/machine.json)."""

    boards_have_sd_drive: bool = gone_with("10.0")
    """Whether a PC has an empty drive ``sd0`` by default, though no reader of cards (measured: in 7.2)."""

    root_containers_made_early: bool = came_with("10.0")
    """Whether the object tree has places for what may come from the start (qemu_create_machine_containers)."""

    root_has_audiodevs: bool = came_with("11.1")
    """Whether one of them is for audio backends (measured: not in 10.0)."""

    blkdebug_names_config: bool = came_with("11.1")
    """Whether the refusal of a file with rules for blkdebug names it as any other file (qemu_config_parse_file())."""

    mon_option_is_deprecated: bool = came_with("11.1")
    """Whether ``-mon`` is warned of (measured: not in 10.0)."""

    chardev_in_use_text: str
    """The refusal of a second user of a character device, with ``{}`` for its id."""

    unknown_machine_type_is_named: bool = came_with("9.1")
    """Whether an unknown type of machine is named when it is refused (select_machine(); measured: not in 7.2)."""

    hmp_line_can_be_killed: bool = came_with("8.2")
    """Whether Ctrl-U empties the line of a human monitor (util/readline.c; measured: not in 7.2)."""

    hmp_reports_have_prefix: bool = came_with("11.1")
    """Whether the human monitor puts ``Error: `` before what error_report() prints, too (measured: not in 10.0)."""

    hmp_commit_is_drained: bool = came_with("11.1")
    """Whether everything is quiet while the human monitor commits (hmp_commit(); measured: not in 10.0)."""

    hmp_stats_are_tables: bool = came_with("11.1")
    """Whether ``info blockstats`` prints a table for each drive, not a line (measured: not in 10.0)."""

    snapshot_table_is_wide: bool = came_with("9.2")
    """Whether tables of internal snapshots have ``VM_SIZE``, four digits of hours and ``--`` for no instruction count.

    bdrv_snapshot_dump() in block/qapi.c.
    """

    qemu_io_commands: frozenset[str]
    """The commands of qemu-io, by the names that :mod:`qbitsim.qemu_io.table` declares."""

    qemu_io_registered_buffers: bool
    """Whether reads and writes of qemu-io have the option ``-r``, a registered I/O buffer (qemu-io-cmds.c)."""

    qemu_io_sizes_strict: bool
    """How qemu-io reads sizes (qemu_strtosz(), util/cutils.c).

    Strictly: no multiplier after a hexadecimal number, ``.5k`` is a number, a fraction near 1 is rounded up. Otherwise
    the multiplier is only warned of, a digit must precede the point, and such a fraction is rounded to nothing.
    """

    qemu_io_truncate_needs_size: bool
    """Whether qemu-io refuses a ``truncate`` with options alone, of which it dies otherwise (truncate_f())."""

    snapshot_names_node_of_failed_flush: bool
    """Whether a snapshot of a node that cannot be flushed says which one (external_snapshot_action(), blockdev.c)."""

    device_help_has_json: bool
    """Whether ``-device NAME,help`` prints default values as JSON (qdev_device_help(), system/qdev-monitor.c)."""

    qemu_img_options: Mapping[str, str]
    """The commands of qemu-img and the options of each, as :mod:`qbitsim.qemu_img.options` reads them."""

    qemu_img_commands_complain: bool
    """Whether each command of qemu-img reads its own command line (qemu-img.c).

    Then complaints are getopt's own and name the command, as the hint to ask for help does, and a wrong ``--output`` is
    found before a wrong number of files. Otherwise qemu-img words them all.
    """

    qemu_img_quotes_sizes: bool
    """Whether qemu-img quotes a size that it cannot read and tells the range to a negative one (cvtnum_full()).

    Otherwise it explains the suffixes.
    """

    qemu_img_texts_polished: bool
    """How qemu-img words some complaints (qemu-img.c).

    Polished: ``--output expects 'human' or 'json', not 'x'``, no full stop behind a value that is quoted, and a hint
    to ask for ``more information``. Otherwise there is no comma, a full stop, and ``more info``.
    """

    qemu_img_hint_ends_line: bool
    """Whether the hint about a missing backing format ends its line (bdrv_img_create(), block.c)."""

    qemu_img_info_shows_children: bool
    """Whether ``qemu-img info`` has a part about the protocol node (bdrv_do_query_node_info(), block/qapi.c)."""

    qemu_img_map_shows_compression: bool
    """Whether ``qemu-img map`` says of each range whether it is compressed (dump_map_entry(), qemu-img.c)."""

    qemu_img_snapshot_lists: bool = came_with("10.0")
    """Whether ``qemu-img snapshot`` of a file and nothing else lists the snapshots."""

    qemu_img_rebase_writes_clusters: bool = came_with("8.2")
    """Whether ``qemu-img rebase`` compares and writes whole clusters, not sectors (img_rebase, qemu-img.c)."""

    def __repr__(self) -> str:
        return f"<Profile of QEMU {self.name}>"

    @property
    def name(self) -> str:
        """The release as users name it, ``major.minor``."""
        major, minor, _ = self.version
        return f"{major}.{minor}"

    @property
    def full_version(self) -> str:
        """The version with the package behind it, as programs print it."""
        number = ".".join(map(str, self.version))
        return f"{number} ({self.package})" if self.package else number

    def offers(self, since: str | None = None, until: str | None = None) -> bool:
        """Whether something that came with release ``since`` and was gone in release ``until`` is in this one.

        :param since: first release that has it, such as ``"9.1"``; None for always.
        :param until: first release that does not have it any more; None for never.
        """
        release = self.version[:2]
        return (since is None or release >= _numbers(since)) and (until is None or release < _numbers(until))


@lru_cache(maxsize=None)
def _numbers(release: str) -> tuple[int, int]:
    """``"10.0"`` as (10, 0)."""
    major, minor = release.split(".")
    return int(major), int(minor)
