"""A guest migrates between two machines of one process; the order of events is that of real QEMU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qbitsim import ImageStore, Machine, QmpError, UnsupportedError
from qbitsim.migration.stream import QEMU_MAGIC

Pair = tuple[Machine, Machine]

RELEASES = ("7.2", "10.0", "11.1")


def enable(machine: Machine, *names: str) -> None:
    machine.qmp("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in names])


def pair(profile: str = "10.0", *, shared: bool = False, disk: str = "d0", size: str = "1M") -> Pair:
    """A source, and a destination that waits; both with the disk ``n0`` and the capabilities that matter here."""
    images = ImageStore()
    source = Machine(profile, images=images)
    destination = Machine(profile, images=images if shared else ImageStore(), incoming=True)
    source.add_disk("d0", "1M", node_name="n0", file="disk.qcow2")
    destination.add_disk(disk, size, node_name="n0", file="disk.qcow2")
    for machine in (source, destination):
        enable(machine, "events", "dirty-bitmaps")
    return source, destination


def events(machine: Machine) -> list[str]:
    found = machine.events.read(machine.events.start)
    return [" ".join([each["event"], *map(str, each.get("data", {}).values())]) for each in found]


def bitmaps(machine: Machine) -> dict[str, tuple[int, bool, bool]]:
    """Name -> bytes, whether it records, whether it is persistent; newest first."""
    found = machine.graph.nodes["n0"].bitmaps
    return {each.name or "": (each.count, each.recording, each.persistent) for each in found}


def status(machine: Machine) -> str:
    value = machine.qmp("query-status")["status"]
    assert isinstance(value, str)
    return value


COMPLETE = {
    "7.2": ["MIGRATION_PASS 1", "MIGRATION active", "STOP", "MIGRATION_PASS 2", "MIGRATION completed"],
    "10.0": [
        *("MIGRATION_PASS 1", "MIGRATION active", "STOP", "MIGRATION device", "MIGRATION_PASS 2"),
        "MIGRATION completed",
    ],
    "11.1": ["MIGRATION active", "MIGRATION_PASS 2", "STOP", "MIGRATION device", "MIGRATION completed"],
}


@pytest.mark.parametrize("release", RELEASES)
def test_bitmaps_go_with_the_guest_and_the_source_keeps_its_own(release: str) -> None:
    source, destination = pair(release)
    source.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    source.qmp("block-dirty-bitmap-add", node="n0", name="p0", persistent=True, granularity=4096)
    source.qmp("block-dirty-bitmap-add", node="n0", name="off", disabled=True)
    source.drive("d0").write(4096, b"x")
    before = bitmaps(source)

    source.migrate_to(destination)

    assert events(source) == ["MIGRATION setup", *COMPLETE[release]]
    assert events(destination) == ["MIGRATION setup", "MIGRATION active", "RESUME", "MIGRATION completed"]
    assert (status(source), status(destination)) == ("postmigrate", "running")
    assert bitmaps(source) == before
    assert list(bitmaps(destination).items()) == [
        ("b0", (65536, True, False)),
        ("p0", (4096, True, True)),
        ("off", (0, False, False)),
    ]
    destination.drive("d0").write(500000, b"y")
    assert bitmaps(destination)["b0"] == (131072, True, False)
    assert bitmaps(destination)["off"] == (0, False, False)


def test_a_mapping_gives_nodes_and_bitmaps_other_names_and_leaves_out_what_it_does_not_name() -> None:
    source, destination = pair()
    for name in ("b0", "b1"):
        source.qmp("block-dirty-bitmap-add", node="n0", name=name)
    for machine, name in ((source, "b0"), (destination, "new")):
        mapped = {"name": name, "alias": "on-the-way", "transform": {"persistent": True}}
        mapping = [{"node-name": "n0", "alias": "disk", "bitmaps": [mapped]}]
        machine.qmp("migrate-set-parameters", block_bitmap_mapping=mapping)
    source.migrate_to(destination)
    assert bitmaps(destination) == {"new": (0, True, True)}


def test_on_shared_storage_persistent_bitmaps_go_by_the_image() -> None:
    source, destination = pair(shared=True)
    enable(source, "events")
    for machine in (source, destination):
        machine.qmp("migrate-set-capabilities", capabilities=[{"capability": "dirty-bitmaps", "state": False}])
    source.qmp("block-dirty-bitmap-add", node="n0", name="stored", persistent=True)
    source.qmp("block-dirty-bitmap-add", node="n0", name="lost")
    source.drive("d0").write(0, b"abc")

    source.migrate_to(destination)

    assert bitmaps(source) == {"lost": (65536, True, False)}
    assert bitmaps(destination) == {"stored": (65536, True, True)}
    assert destination.drive("d0").read(0, 3) == b"abc"
    with pytest.raises(QmpError, match=r'^Failed to get "write" lock$'):
        source.qmp("cont")
    assert status(source) == "postmigrate"
    with pytest.raises(OSError, match="Operation not permitted"):
        source.drive("d0").write(0, b"late")
    destination.close()
    source.qmp("cont")
    assert status(source) == "running"
    assert bitmaps(source) == {"stored": (65536, True, True), "lost": (65536, True, False)}


def test_a_disk_below_many_filters_is_given_away() -> None:
    source, destination = pair("11.1", shared=True)
    for machine in (source, destination):
        machine.qmp("blockdev-add", driver="copy-on-read", file="n0", **{"node-name": "cor"})
        machine.qmp("blockdev-add", driver="blkdebug", image="cor", **{"node-name": "debug"})
        machine.qmp("blockdev-add", driver="null-co", **{"node-name": "null", "read-zeroes": True})
        machine.qmp("blockdev-add", driver="blkverify", test="debug", raw="null", **{"node-name": "verify"})

    source.migrate_to(destination)

    assert (status(source), status(destination)) == ("postmigrate", "running")
    destination.drive("d0").write(0, b"abc")


def test_a_backing_file_has_its_bitmaps_again_when_the_guest_goes_on() -> None:
    images = ImageStore()
    for name, backing in (("base.qcow2", None), ("top.qcow2", "base.qcow2")):
        images.create(name, "qcow2", 1 << 20, backing=backing, backing_format="qcow2" if backing else None)
    machine = Machine(images=images)
    machine.add_disk("base", "1M", node_name="n", file="base.qcow2")
    machine.qmp("block-dirty-bitmap-add", node="n", name="b0", persistent=True)
    machine.close()
    source, destination = Machine(images=images), Machine(images=images, incoming=True)
    source.add_node({"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": "top.qcow2"}})
    before = source.state()["nodes"]
    source.migrate_to(destination)
    source.qmp("cont")
    assert source.state()["nodes"] == before


def test_a_bitmap_that_migrated_is_stored_if_the_guest_goes_on_at_the_source() -> None:
    source, destination = pair()
    source.qmp("block-dirty-bitmap-add", node="n0", name="p0", persistent=True)
    source.migrate_to(destination)
    source.qmp("cont")
    source.restart()
    assert bitmaps(source) == {"p0": (0, True, True)}


def test_images_of_a_machine_that_waits_lock_nobody_out() -> None:
    source, destination = pair(shared=True)
    assert [node.inactive for node in destination.graph.nodes.values()] == [True, True]
    source.drive("d0").write(0, b"x")
    destination.qmp("cont")
    assert status(destination) == "inmigrate"


def test_a_machine_that_waits_can_be_told_to_stay_paused() -> None:
    source, destination = pair()
    destination.qmp("stop")
    source.migrate_to(destination)
    assert status(destination) == "paused"
    destination.qmp("cont")
    assert status(destination) == "running"


def test_a_guest_that_was_paused_stays_so() -> None:
    source, destination = pair()
    source.qmp("stop")
    source.migrate_to(destination)
    assert (status(source), status(destination)) == ("postmigrate", "paused")
    assert events(source).count("STOP") == 1


def test_it_waits_before_the_switch_over_and_goes_on() -> None:
    source, destination = pair()
    enable(source, "pause-before-switchover")
    source.migrate_to(destination)
    assert events(source)[-2:] == ["STOP", "MIGRATION pre-switchover"]
    assert status(source) == "finish-migrate"
    with pytest.raises(QmpError, match=r"^Migration is not finalized yet$"):
        source.qmp("cont")
    with pytest.raises(QmpError, match=r"^There's a migration process in progress$"):
        source.qmp("migrate", uri="unix:/nobody")
    with pytest.raises(QmpError, match=r"^Migration not in expected state: pre-switchover$"):
        source.qmp("migrate-continue", state="device")
    assert source.qmp("query-migrate")["status"] == "pre-switchover"
    source.qmp("migrate-continue", state="pre-switchover")
    source.run_until_idle()
    assert (status(source), status(destination)) == ("postmigrate", "running")


def test_a_cancelled_migration_leaves_the_guest_where_it_is() -> None:
    source, destination = pair()
    enable(source, "pause-before-switchover")
    source.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    source.migrate_to(destination)
    with pytest.raises(QmpError, match="is currently in use by another operation"):
        source.qmp("block-dirty-bitmap-clear", node="n0", name="b0")
    source.qmp("migrate_cancel")
    assert events(source)[-3:] == ["MIGRATION cancelling", "RESUME", "MIGRATION cancelled"]
    assert source.qmp("query-migrate") == {"status": "cancelled"}
    assert status(source) == "running"
    source.qmp("block-dirty-bitmap-clear", node="n0", name="b0")
    source.drive("d0").write(0, b"x")
    assert bitmaps(source) == {"b0": (65536, True, False)}
    assert destination.closing


def test_in_postcopy_the_guest_writes_before_the_bitmap_is_there() -> None:
    source, destination = pair()
    source.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    source.drive("d0").write(0, b"x")
    destination.qmp("migrate-incoming", uri="unix:/m")
    source.images.network = destination.images.network
    source.qmp("migrate", uri="unix:/m")
    source.qmp("migrate-start-postcopy")
    source.until(lambda machine: machine.outgoing.status == "postcopy-active")
    assert status(destination) == "running"
    assert destination.qmp("query-migrate")["status"] == "postcopy-active"
    destination.drive("d0").write(500000, b"y")
    with pytest.raises(QmpError, match=r"^Postcopy migration in progress, cannot cancel\.$"):
        source.qmp("migrate_cancel")
    with pytest.raises(QmpError, match="is currently in use by another operation"):
        destination.qmp("block-dirty-bitmap-remove", node="n0", name="b0")
    source.until(lambda machine: not machine.outgoing.under_way)
    assert bitmaps(destination) == {"b0": (131072, True, False)}
    assert (status(source), source.qmp("query-migrate")["status"]) == ("postmigrate", "completed")


def in_postcopy() -> Pair:
    """A guest that runs at the destination, where its bitmaps are not yet."""
    source, destination = pair()
    for name in ("b0", "b1"):
        source.qmp("block-dirty-bitmap-add", node="n0", name=name, persistent=True)
    destination.qmp("migrate-incoming", uri="unix:/m")
    source.images.network = destination.images.network
    source.qmp("migrate", uri="unix:/m")
    source.qmp("migrate-start-postcopy")
    source.until(lambda machine: machine.outgoing.status == "postcopy-active")
    return source, destination


def test_a_source_that_is_gone_in_postcopy_loses_bitmaps_and_not_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Machine, "complain", lambda _machine, text: said.append(text))
    source, destination = in_postcopy()
    source.close()
    assert events(source)[-2:] == ["SHUTDOWN False host-qmp-quit", "MIGRATION cancelling"]
    assert bitmaps(destination) == {}
    assert (status(destination), events(destination)[-1]) == ("running", "MIGRATION completed")
    assert [text.partition(". ")[0] for text in said] == [
        "postcopy_ram_listen_thread: loadvm failed during postcopy: -5"
    ]


def test_a_destination_that_ends_in_postcopy_stores_no_bitmap_that_is_not_complete() -> None:
    _, destination = in_postcopy()
    destination.close()
    after = Machine(images=destination.images)
    after.add_node({"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "disk.qcow2"}})
    assert bitmaps(after) == {}


def _exists_already(_: Machine, destination: Machine) -> None:
    destination.qmp("block-dirty-bitmap-add", node="n0", name="b0")


def _is_busy(source: Machine, _: Machine) -> None:
    source.graph.find_bitmap("n0", "b0").busy = True


REFUSED: dict[str, Callable[[Machine, Machine], None]] = {
    "Bitmap with the same name ('b0') already exists on destination": _exists_already,
    "Bitmap 'b0' is currently in use by another operation and cannot be used": _is_busy,
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_migration_that_fails_changes_nothing_at_the_source(text: str) -> None:
    source, destination = pair()
    source.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    REFUSED[text](source, destination)
    before = source.state() | {"now": 0, "events": []}
    with pytest.raises(QmpError) as refused:
        source.migrate_to(destination)
    assert refused.value.desc == text
    assert source.qmp("query-migrate") == {"status": "failed", "error-desc": text}
    source.graph.find_bitmap("n0", "b0").skip_store = False
    assert source.state() | {"now": 0, "events": []} == before


def test_an_unknown_node_at_the_destination_loses_the_bitmaps_and_not_the_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Machine, "complain", lambda _machine, text: said.append(text))
    source, destination = pair(disk="other")
    source.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    source.migrate_to(destination)
    assert said == ["Cannot find device='d0' nor node-name='d0'"]
    assert bitmaps(destination) == {}
    assert status(destination) == "running"


def test_the_target_of_a_mirror_is_given_away_and_the_base_of_an_active_commit_is_not() -> None:
    """Only a mirror's target may belong to the destination already (mirror_start_job, block/mirror.c, QEMU 10.0)."""
    source, destination = pair("11.1")
    source.images.create("target", "qcow2", 1 << 20)
    source.qmp("blockdev-add", driver="qcow2", node_name="t", file={"driver": "file", "filename": "target"})
    source.qmp("blockdev-mirror", device="n0", target="t", sync="full", job_id="j")
    source.run_until_idle()
    source.migrate_to(destination)
    assert (status(source), status(destination)) == ("postmigrate", "running")
    assert source.graph.nodes["t"].inactive

    source, destination = pair("11.1")
    source.qmp("blockdev-snapshot-sync", device="d0", snapshot_file="top", snapshot_node_name="top")
    source.qmp("block-commit", device="d0", job_id="j")
    source.run_until_idle()
    with pytest.raises(QmpError, match=r"^Block inactivate failed during switchover$"):
        source.migrate_to(destination)
    assert status(source) == "running"
    assert not any(node.inactive for node in source.graph.nodes.values())


def test_images_that_a_job_writes_cannot_be_given_away() -> None:
    source, destination = pair()
    source.add_disk("t0", "1M", node_name="t")
    source.drive("d0").write(0, b"x" * 200000)
    source.qmp("blockdev-backup", device="n0", target="t", sync="full", job_id="j", speed=1)
    with pytest.raises(QmpError, match=r"^Block inactivate failed during switchover$"):
        source.migrate_to(destination)
    assert status(source) == "running"
    assert not any(node.inactive for node in source.graph.nodes.values())


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("name:x", "unknown migration protocol: name:x"),
        ("", "unknown migration protocol: "),
        ("tcp:foo", "error parsing address 'foo'"),
        ("unix:", "invalid Unix socket address"),
        ("file:/x", "qbitsim does not emulate a migration to or from a file"),
    ],
)
def test_addresses_that_are_refused_change_nothing(uri: str, text: str) -> None:
    source, destination = pair()
    before = source.state(), destination.state()
    for machine, command in ((source, "migrate"), (destination, "migrate-incoming")):
        with pytest.raises(QmpError) as refused:
            machine.qmp(command, uri=uri)
        assert refused.value.desc == text
    assert (source.state(), destination.state()) == before


def test_inside_of_a_process_no_program_is_started() -> None:
    source, destination = pair()
    before = destination.state()
    text = "qbitsim does not emulate a migration through the program of 'exec:' from a machine inside of a process"
    with pytest.raises(QmpError) as refused:
        destination.qmp("migrate-incoming", uri="exec:false")
    assert refused.value.desc == text
    assert destination.state() == before
    source.qmp("migrate", uri="exec:false")
    assert source.qmp("query-migrate") == {"status": "failed", "error-desc": text}
    assert status(source) == "running"


def test_channels_are_another_way_to_name_a_socket() -> None:
    machine = Machine()
    socket = {"transport": "socket", "type": "unix", "path": "/nobody"}
    machine.qmp("migrate", channels=[{"channel-type": "main", "addr": socket}])
    assert machine.qmp("query-migrate") == {
        "status": "failed",
        "error-desc": "Failed to connect to '/nobody': No such file or directory",
    }
    main = {"channel-type": "main", "addr": socket}
    with pytest.raises(QmpError, match=r"^Channel list has more than one main entry$"):
        machine.qmp("migrate", channels=[main, main])
    with pytest.raises(QmpError, match=r"^need either 'uri' or 'channels' argument$"):
        machine.qmp("migrate")
    with pytest.raises(QmpError, match=r"^Parameter 'channels\[0\]\.addr\.path' is missing$"):
        machine.qmp("migrate", channels=[{**main, "addr": {"transport": "socket", "type": "unix"}}])


def test_who_was_not_made_to_wait_does_not() -> None:
    source, destination = pair()
    with pytest.raises(QmpError, match=r"^'-incoming' was not specified on the command line$"):
        source.qmp("migrate-incoming", uri="unix:/m")
    with pytest.raises(QmpError, match=r"^Guest is waiting for an incoming migration$"):
        destination.qmp("migrate", uri="unix:/m")
    with pytest.raises(ValueError, match="does not wait for a migration"):
        destination.migrate_to(source)
    destination.qmp("migrate-incoming", uri="unix:/m")
    with pytest.raises(QmpError, match=r"^The incoming migration has already been started$"):
        destination.qmp("migrate-incoming", uri="unix:/m2")


def test_a_machine_with_somebody_at_the_other_end_has_no_snapshot() -> None:
    source, destination = pair()
    enable(source, "pause-before-switchover")
    source.migrate_to(destination)
    with pytest.raises(UnsupportedError, match="a snapshot of a machine that migrates"):
        source.snapshot()
    source.qmp("migrate_cancel")
    source.snapshot().put_back(source)
    assert status(source) == "running"


def test_real_qemu_at_the_other_end_is_told_apart() -> None:
    _, destination = pair()
    destination.qmp("migrate-incoming", uri="unix:/m", exit_on_error=False)
    assert destination.incoming is not None
    destination.incoming.connected()
    assert destination.incoming.feed(QEMU_MAGIC + b"\0\0\0\3") == b""
    text = "qbitsim does not emulate QEMU's own migration stream: both ends have to be qbitsim"
    assert destination.qmp("query-migrate") == {"status": "failed", "error-desc": text}
    assert not destination.closing


@pytest.mark.parametrize("release", RELEASES)
def test_the_human_monitor_shows_a_migration(release: str) -> None:
    source, destination = pair(release)
    source.migrate_to(destination)
    shown = source.qmp("human-monitor-command", command_line="info migrate")
    assert ("Status: \t\tcompleted\r\n" if release == "11.1" else "Migration status: completed\r\n") in shown
    mapping = [{"node-name": "n0", "alias": "al", "bitmaps": [{"name": "b0", "alias": "xb0"}]}]
    source.qmp("migrate-set-parameters", block_bitmap_mapping=mapping)
    shown = source.qmp("human-monitor-command", command_line="info migrate_parameters")
    assert "block-bitmap-mapping:\r\n  'n0' -> 'al'\r\n    'b0' -> 'xb0'\r\n" in shown
    assert shown.startswith("announce-initial: 50 ms\r\n")


def test_11_1_shows_in_short_what_a_machine_did_not_migrate() -> None:
    machine = Machine("11.1")
    assert machine.qmp("human-monitor-command", command_line="info migrate") == ""
    assert machine.qmp("human-monitor-command", command_line="info migrate -a") == (
        "Globals:\r\n  store-global-state: on\r\n  only-migratable: off\r\n  send-configuration: on\r\n"
        "  send-section-footer: on\r\n  send-switchover-start: on\r\n  clear-bitmap-shift: 18\r\n"
    )
    machine.qmp("migrate", uri="unix:/nobody")
    reason = "Failed to connect to '/nobody': No such file or directory"
    shown = f"Status: \t\tfailed ({reason})\r\n"
    assert machine.qmp("human-monitor-command", command_line="info migrate") == shown
