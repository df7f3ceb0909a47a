"""The table of internal snapshots (bdrv_snapshot_dump, block/qapi.c, QEMU 7.2 and 10.0)."""

from __future__ import annotations

from qbitsim.sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile


def snapshot_table(snapshots: Iterable[Json], profile: Profile) -> str:
    """A head and one line for each SnapshotInfo; dates are in UTC."""
    wide = profile.snapshot_table_is_wide
    if wide:
        head = f"{'ID':7} {'TAG':16} {'VM_SIZE':>8} {'DATE':>19} {'VM_CLOCK':>15} {'ICOUNT':>10}"
    else:
        head = f"{'ID':10}{'TAG':17}{'VM SIZE':>8}{'DATE':>20}{'VM CLOCK':>13}{'ICOUNT':>11}"
    return "".join(f"{line}\n" for line in (head, *(_row(snapshot, wide=wide) for snapshot in snapshots)))


def _row(snapshot: Json, *, wide: bool) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - few images have snapshots

    date = datetime.fromtimestamp(snapshot["date-sec"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    minutes, seconds = divmod(snapshot["vm-clock-sec"], 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours:0{4 if wide else 2}}:{minutes:02}:{seconds:02}.{snapshot['vm-clock-nsec'] // 1_000_000:03}"
    size = human_size(snapshot["vm-state-size"])
    count = snapshot.get("icount", "--" if wide else "")
    if wide:
        return f"{snapshot['id']:7} {snapshot['name']:16} {size:>8} {date} {clock:>15} {count:>10}"
    return f"{snapshot['id']:9} {snapshot['name']:16} {size:>8}{date:>20}{clock:>13}{count:>11}"
