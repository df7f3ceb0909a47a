"""The QEMU releases that qbitsim can be, each a record of the facts in which releases differ.

A release is added here and nowhere else: :func:`release` makes it like another one but for some facts, and
:data:`PROFILES` lists it. What the facts mean is said in :mod:`qbitsim.facts`.
"""

from __future__ import annotations

from qbitsim.facts import Profile
from qbitsim.records import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILES",
    "QEMU_2_5",
    "QEMU_7_2",
    "QEMU_10_0",
    "QEMU_11_1",
    "Profile",
    "ReleaseName",
    "profile",
    "release",
]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# -- the human monitor: what 7.2 and 10.0 list both, and what one of them lists alone

_HMP = _names("""
    announce_self balloon block_job_cancel block_job_complete block_job_pause block_job_resume block_job_set_speed
    block_resize block_set_io_throttle block_stream boot_set calc_dirty_rate cancel_vcpu_dirty_limit change chardev-add
    chardev-change chardev-remove chardev-send-break client_migrate_info closefd commit cont cpu delvm device_add
    device_del drive_add drive_backup drive_del drive_mirror dump-guest-memory dumpdtb eject exit_preconfig
    expire_password gdbserver getfd gpa2hpa gpa2hva gva2gpa help hostfwd_add hostfwd_remove i info loadvm log logfile
    mce memsave migrate migrate_cancel migrate_continue migrate_incoming migrate_pause migrate_recover
    migrate_set_capability migrate_set_parameter migrate_start_postcopy mouse_button mouse_move mouse_set
    nbd_server_add nbd_server_remove nbd_server_start nbd_server_stop netdev_add netdev_del nmi o object_add object_del
    pcie_aer_inject_error pmemsave print qemu-io qom-get qom-list qom-set quit replay_break replay_delete_break
    replay_seek ringbuf_read ringbuf_write savevm screendump sendkey set_link set_password set_vcpu_dirty_limit
    snapshot_blkdev snapshot_blkdev_internal snapshot_delete_blkdev_internal stop stopcapture sum sync-profile
    system_powerdown system_reset system_wakeup trace-event watchdog_action wavcapture x x_colo_lost_heartbeat xp
""")
_HMP_INFO = _names("""
    balloon block block-jobs blockstats capture chardev cpus dirty_rate dump history hotpluggable-cpus iothreads irq jit
    kvm lapic mem memdev memory-devices memory_size_summary mice migrate migrate_capabilities migrate_parameters mtree
    name network numa opcount pci pic qdm qom-tree qtree ramblock registers replay rocker rocker-of-dpa-flows
    rocker-of-dpa-groups rocker-ports roms sev sgx snapshots spice stats status sync-profile tlb tpm trace-events usb
    usbhost usernet uuid vcpu_dirty_limit version virtio virtio-queue-element virtio-queue-status virtio-status
    virtio-vhost-queue-status vm-generation-id vnc
""")
_HMP_COMMON = _HMP | {f"info {topic}" for topic in _HMP_INFO}
_HMP_7_2 = _HMP_COMMON | {"singlestep", "info profile", "info rdma"}
_HMP_10_0 = _HMP_COMMON | {"one-insn-per-tb", "xen-event-inject", "xen-event-list", "info cryptodev"}
_HMP_11_1 = (_HMP_10_0 - {"info opcount"}) | {
    *("clear", "info accel", "info accelerators", "info firmware-log", "info via"),
}

# -- qemu-io

_QEMU_IO_7_2 = _names("""
    abort aio_flush aio_read aio_write alloc break discard flush help info length map read readv remove_break reopen
    resume sigraise sleep truncate wait_break write writev
""")
_QEMU_IO_10_0 = _QEMU_IO_7_2 | _names("""
    aio_discard zone_append zone_close zone_finish zone_open zone_report zone_reset
""")

# -- qemu-img

_QEMU_IMG_11_1 = {
    "bitmap": "h,help f:,format: image-opts add g:,granularity: remove remove-all clear enable disable merge: "
    "b:,source-file: F:,source-format: object:",
    "check": "h,help f:,format: image-opts T:,cache: r:,repair: U,force-share output: q,quiet object:",
    "compare": "h,help f:,a-format: F:,b-format: image-opts s,strict T:,cache: U,force-share p,progress q,quiet "
    "object:",
    "convert": "h,help f:,source-format: image-opts T:,source-cache: l:,snapshot: bitmaps skip-broken-bitmaps salvage "
    "O:,target-format: target-image-opts o:,target-format-options: t:,target-cache: B:,b:,backing: F:,backing-format: "
    "S:,sparse-size: n,no-create target-is-zero c U,force-share r:,rate-limit: m:,parallel: W,oob-writes "
    "C,copy-range-offloading p,progress q,quiet object:",
    "create": "h,help f:,format: o:,options: b:,backing: F:,B:,backing-format: u,backing-unsafe q,quiet object:",
    "info": "h,help f:,format: image-opts backing-chain t:,cache: U,force-share limits output: object:",
    "map": "h,help f:,format: image-opts s:,start-offset: l:,max-length: U,force-share output: object:",
    "rebase": "h,help f:,format: image-opts t:,cache: c,compress b:,backing: F:,B:,backing-format: T:,backing-cache: "
    "u,backing-unsafe U,force-share p,progress q,quiet object:",
    "resize": "h,help f:,format: image-opts preallocation: shrink q,quiet object:",
    "snapshot": "h,help f:,format: image-opts l,list c:,create: a:,apply: d:,delete: U,force-share q,quiet object:",
    "commit": "h,help f:,format: image-opts t:,cache: d,drop b:,base: r:,rate-limit: p,progress q,quiet object:",
    "measure": "h,help f:,format: image-opts l:,snapshot: O:,target-format: o: output: U,force-share object: s:,size:",
    "dd": "h,help f:,format: image-opts O:,output-format: U,force-share object:",
    "amend": "h,help o:,options: f:,format: image-opts t:,cache: force p,progress q,quiet object:",
    "bench": "h,help f:,format: image-opts t:,cache: c:,count: d:,depth: o:,offset: s:,buffer-size: S:,step-size: "
    "w,write pattern: flush-interval: no-drain i:,aio: n,native U,force-share q,quiet object:",
}
_QEMU_IMG_10_0 = {
    "bitmap": "h,help f: object: image-opts add remove clear enable disable merge: g:,granularity: b:,source-file: "
    "F:,source-format:",
    "check": "h,help q,quiet f:,format: T:,cache: r:,repair: output: object: image-opts U,force-share",
    "compare": "h,help q,quiet object: T:,cache: image-opts f:,a-format:,left-format: F:,b-format:,right-format: "
    "U,force-share s,strict p,progress",
    "convert": "h,help q,quiet object: image-opts,source-image-opts f:,source-format: T:,source-cache: l:,snapshot: "
    "S:,sparse-size: O:,output-format: o:,options: t:,output-cache: B:,backing: F:,backing-format: U,force-share "
    "target-image-opts salvage target-is-zero bitmaps skip-broken-bitmaps r:,rate: m:,parallel: W,oob-writes "
    "C,copy-range-offloading c n p",
    "create": "h,help q,quiet object: f:,format: b:,backing: F:,backing-format: u,backing-unsafe o:,options:",
    "info": "h,help f:,format: output: backing-chain,b object: image-opts U,force-share",
    "map": "h,help f:,format: output: object: image-opts U,force-share s:,start-offset: l:,max-length:",
    "rebase": "h,help q,quiet p,progress object: image-opts U,force-share f:,format: t:,cache: c,compress b:,backing: "
    "F:,backing-format: T:,backing-cache: u,backing-unsafe",
    "resize": "h,help q,quiet object: f:,format: image-opts preallocation: shrink",
    "snapshot": "h,help q,quiet f:,format: image-opts U,force-share l,list c:,create a:,apply d:,delete object:",
    "commit": "h,help q,quiet p,progress f:,format: image-opts t:,cache: d,drop b:,base: r:,rate: object:",
    "measure": "h,help f:,format: image-opts l:,snapshot: o: O:,target-format: output: size: U,force-share object:",
    "dd": "h,help f:,format: image-opts O:,output-format: U,force-share object:",
    "amend": "h,help q,quiet p,progress f:,format: image-opts t:,cache: o:,options: force object:",
    "bench": "h,help q f:,format: image-opts t:,cache: c:,count: d:,depth: o:,offset: s:,buffer-size: "
    "S:,step-size: i:,aio: n,native w,write pattern: flush-interval: no-drain U,force-share object:",
}
_QEMU_IMG_7_2 = {
    "bitmap": "h,help f: image-opts add g:,granularity: remove clear enable disable merge: b:,source-file: "
    "F:,source-format: object:",
    "check": "h,help f:,format: r:,repair: output: T: q object: image-opts U,force-share",
    "compare": "h,help object: image-opts f: F: T: p q s U,force-share",
    "convert": "h,help object: image-opts target-image-opts target-is-zero bitmaps skip-broken-bitmaps salvage "
    "f: O: B: C c o: l: S: p q n t: T: m: W U,force-share r: F:",
    "create": "h,help object: F: b: f: o: q u",
    "info": "h,help f:,format: output: backing-chain object: image-opts U,force-share",
    "map": "h,help f:,format: output: object: image-opts U,force-share s:,start-offset: l:,max-length:",
    "rebase": "h,help object: image-opts f: F: b: t: T: u p q U,force-share",
    "resize": "h,help f: q object: image-opts preallocation: shrink",
    "snapshot": "h,help object: image-opts l a: c: d: q U,force-share",
    "commit": "h,help object: image-opts f: t: b: d p q r:",
    "measure": "h,help object: image-opts f: l: o: O: output: size: U,force-share",
    "dd": "h,help image-opts f: O: U,force-share",
    "amend": "h,help object: image-opts force p q f: t: o:",
    "bench": "h,help image-opts c: d: f: n i: o: q s: S: t: w U,force-share flush-interval: pattern: no-drain",
}

# -- the releases


def release(version: str, *, like: Profile, package: str = "", **facts: object) -> Profile:
    """A release that is like another one but for its number, its package and some facts.

    Facts that follow from the number of a release follow from the new one.

    :param version: such as ``"9.2"`` or ``"9.2.4"``.
    :param facts: members of :class:`.Profile`.
    :raises TypeError: there is no such fact; the text names it.
    :raises ValueError: there can be no such version.
    """
    numbers = version.split(".")
    if len(numbers) not in (2, 3) or not all(each.isdecimal() for each in numbers):
        raise ValueError(f"{version!r} is no version of QEMU, such as 9.2 or 9.2.4")
    major, minor, micro = (*map(int, numbers), 0)[:3]
    return changed(like, version=(major, minor, micro), package=package, **facts)


_VARIABLE_LENGTH = frozenset({"raw", "copy-on-read", "compress", "preallocate"})

QEMU_10_0 = Profile(
    version=(10, 0, 13),
    package="Debian 1:10.0.13+ds-0+deb13u1",
    copyright="\nCopyright (c) 2003-2025 Fabrice Bellard and the QEMU Project developers\n",
    capabilities=("oob",),
    json_errors_at_once=False,
    migrate_pause_states="postcopy-active or postcopy-recover state",
    eject_root_text=" is not a device",
    grouped_checked_first=True,
    grouped_property_text="transaction property",
    failed_group_order="reverse",
    backup_bitmap_on_filter=True,
    progress_is_position=False,
    lengths_followed_by=frozenset(),
    graph_changes_stay_quiet=False,
    aio_context_checks_drain=False,
    qcow2_creation_changes=15,
    drains_at_quit=2,
    most_processors_of_q35=4096,
    resize_blocked_names_job=True,
    exports_go_oldest_first=False,
    throttle_group_in_use_text="object '{}' is in use, can not be deleted",
    chardev_in_use_text="chardev '{}' is already in use",
    persistent_bitmaps_need_writable_node=False,
    recorded_answers="10.0",
    machine_state_size=1107,
    unused_nodes_passed_over=True,
    hmp_commands=_HMP_10_0,
    qemu_io_commands=_QEMU_IO_10_0,
    qemu_io_registered_buffers=True,
    qemu_io_sizes_strict=True,
    qemu_io_truncate_needs_size=True,
    snapshot_names_node_of_failed_flush=True,
    device_help_has_json=False,
    qemu_img_options=_QEMU_IMG_10_0,
    qemu_img_commands_complain=True,
    qemu_img_quotes_sizes=True,
    qemu_img_texts_polished=False,
    qemu_img_hint_ends_line=True,
    qemu_img_info_shows_children=True,
    qemu_img_map_shows_compression=True,
)

QEMU_11_1 = release(
    "11.1.3",
    like=QEMU_10_0,
    package="Debian 1:11.1.3+ds-1~bpo13+1",
    copyright="\nCopyright (c) 2003-2026 Fabrice Bellard and the QEMU Project developers\n",
    json_errors_at_once=True,
    lengths_followed_by=_VARIABLE_LENGTH | {"throttle", "blkdebug", "blklogwrites"},
    graph_changes_stay_quiet=True,
    aio_context_checks_drain=True,
    qcow2_creation_changes=13,
    throttle_group_in_use_text="Cannot delete throttle group '{}' with active references",
    persistent_bitmaps_need_writable_node=True,
    recorded_answers="11.1",
    machine_state_size=1102,
    unused_nodes_passed_over=False,
    hmp_commands=_HMP_11_1,
    qemu_img_options=_QEMU_IMG_11_1,
    qemu_img_texts_polished=True,
)

QEMU_7_2 = Profile(
    version=(7, 2, 22),
    package="Debian 1:7.2+dfsg-7+deb12u18+b3",
    copyright="\nCopyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\n",
    capabilities=("oob",),
    json_errors_at_once=False,
    migrate_pause_states="postcopy-active state",
    eject_root_text=" is not a hotpluggable device",
    grouped_checked_first=False,
    grouped_property_text="Transaction property",
    failed_group_order="reverse",
    backup_bitmap_on_filter=False,
    progress_is_position=False,
    lengths_followed_by=_VARIABLE_LENGTH,
    graph_changes_stay_quiet=False,
    aio_context_checks_drain=False,
    qcow2_creation_changes=15,
    drains_at_quit=1,
    most_processors_of_q35=288,
    resize_blocked_names_job=False,
    exports_go_oldest_first=True,
    throttle_group_in_use_text="object '{}' is in use, can not be deleted",
    chardev_in_use_text="Device '{}' is in use",
    persistent_bitmaps_need_writable_node=False,
    recorded_answers="7.2",
    machine_state_size=765,
    unused_nodes_passed_over=False,
    hmp_commands=_HMP_7_2,
    qemu_io_commands=_QEMU_IO_7_2,
    qemu_io_registered_buffers=False,
    qemu_io_sizes_strict=False,
    qemu_io_truncate_needs_size=False,
    snapshot_names_node_of_failed_flush=False,
    device_help_has_json=True,
    qemu_img_options=_QEMU_IMG_7_2,
    qemu_img_commands_complain=False,
    qemu_img_quotes_sizes=False,
    qemu_img_texts_polished=False,
    qemu_img_hint_ends_line=False,
    qemu_img_info_shows_children=False,
    qemu_img_map_shows_compression=False,
)

QEMU_2_5 = release(
    "2.5",
    like=QEMU_7_2,
    copyright=", Copyright (c) 2004-2008 Fabrice Bellard\n",
    capabilities=(),
    failed_group_order="failed-first",
    progress_is_position=True,
    recorded_answers=None,
)

ReleaseName: TypeAlias = "Literal['2.5', '7.2', '10.0', '11.1']"
"""The names of the releases that there are, for those who check types."""

PROFILES = {each.name: each for each in (QEMU_2_5, QEMU_7_2, QEMU_10_0, QEMU_11_1)}
"""Every profile by name, oldest first."""

DEFAULT_PROFILE = QEMU_10_0
"""The profile of whoever does not ask for one."""


def profile(given: str | Profile) -> Profile:
    """The profile of that name; a profile is given back as it is.

    :raises ValueError: there is none of that name; the text lists those there are.
    """
    if isinstance(given, Profile):
        return given
    try:
        return PROFILES[given]
    except KeyError:
        raise ValueError(f"no profile {given!r}: choose one of {', '.join(PROFILES)}") from None
