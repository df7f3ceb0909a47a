"""A release that qbitsim does not know, made of one that it knows: every table answers for it.

9.2 here is 10.0 by another number. What is declared with ``since="10.0"`` is not in it, facts whose release is known
follow from its number, and all others are those of 10.0.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.cli.main import main
from qbitsim.commands.offered import registry_for
from qbitsim.facts import Profile
from qbitsim.profiles import PROFILES, QEMU_2_5, QEMU_7_2, QEMU_10_0, release
from qbitsim.programs.shell import Shell
from qbitsim.qapi.introspect import query_qmp_schema
from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, ObjectShape, Shape
from qbitsim.qemu_io.parser import Output, parse
from qbitsim.records import FIELDS
from qbitsim.scenario.player import Player

QEMU_9_2 = release("9.2", like=QEMU_10_0)
CLUSTER = 65536

STATED = [name for name, omissible in getattr(Profile, FIELDS).items() if not omissible]
FROM_THE_NUMBER = [name for name, omissible in getattr(Profile, FIELDS).items() if omissible]
BETWEEN = ("2.6", "2.12", "3.0", "4.0", "4.2", "5.1", "6.0", "7.0", "8.0", "8.2", "9.0", "9.2", "10.1", "11.1")
"""Releases between those that are known, and after them."""


@pytest.fixture
def machine() -> Machine:
    """Disk ``drive0`` of 1 MiB on ``node0`` with the bitmap ``b0``; the guest has written clusters 0 and 2."""
    machine = Machine(QEMU_9_2)
    drive = machine.add_disk("drive0", "1M", node_name="node0")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    for cluster in (0, 2):
        drive.write(cluster * CLUSTER, b"A" * CLUSTER)
    return machine


def hmp(machine: Machine, line: str) -> str:
    text = machine.qmp("human-monitor-command", command_line=line)
    assert isinstance(text, str)
    return text


# -- the record


def test_it_has_the_facts_of_the_release_that_it_is_like() -> None:
    own = ("version", "package")
    assert [name for name in STATED if getattr(QEMU_9_2, name) != getattr(QEMU_10_0, name)] == list(own)
    assert (QEMU_9_2.name, QEMU_9_2.version, QEMU_9_2.package) == ("9.2", (9, 2, 0), "")


def test_facts_that_follow_from_the_number_follow_from_its_own() -> None:
    differing = {name for name in FROM_THE_NUMBER if getattr(QEMU_9_2, name) != getattr(QEMU_10_0, name)}
    assert differing == {
        *(
            "boards_have_sd_drive",
            "processor_errors_have_paths",
            "cpu_hotplug_blames_machine",
            "drives_unmap_zeroes",
            "root_containers_made_early",
            "commit_keeps_zeroes",
            "creation_waits_first",
            "migration_always_says_device",
            "migration_levels_checked",
            "migration_shows_setup",
            "multifd_excludes_xbzrle",
        ),
        *("migration_counts_state", "nodes_show_active", "postcopy_excludes_multifd", "qemu_img_snapshot_lists"),
        *("block_size_refused_in_one", "board_numbers_floppies_first", "device_add_takes_texts"),
        *("device_ids_checked_first", "undeletable_is_not_hotpluggable"),
        *("active_nodes_have_active_children", "nbd_handshake_limited", "prompt_waits_for_nothing"),
        "snapshots_load_through_filters",
    }
    between = release("8.1.3", like=QEMU_7_2, package="mine")
    assert (between.name, between.full_version) == ("8.1", "8.1.3 (mine)")
    assert between.transaction_commit_reversed
    assert between.status_shows_singlestep
    assert not between.job_schema_first
    assert not isinstance(Profile.job_schema_first, bool)  # no release, no answer


def test_a_fact_that_differs_is_stated_whether_or_not_it_would_follow_from_the_number() -> None:
    other = release("9.2", like=QEMU_10_0, nodes_show_active=True, drains_at_quit=7)
    assert (other.nodes_show_active, other.drains_at_quit) == (True, 7)
    assert release("9.1", like=other).nodes_show_active


@pytest.mark.parametrize("fact", STATED)
def test_a_record_that_lacks_a_fact_cannot_be_made(fact: str) -> None:
    facts = {name: value for name, value in QEMU_10_0.__dict__.items() if name != fact}
    with pytest.raises(TypeError, match=f"^Profile needs {fact}$"):
        Profile(**facts)


def test_a_fact_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"^Profile has no zones_are_round$"):
        release("9.2", like=QEMU_10_0, zones_are_round=True)


@pytest.mark.parametrize("version", ["9", "x.y", "9.2.1.4"])
def test_a_number_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=f"^{version!r} is no version of QEMU, such as 9.2 or 9.2.4$"):
        release(version, like=QEMU_10_0)


# -- QMP


def test_it_tells_its_own_version(machine: Machine) -> None:
    version = {"qemu": {"major": 9, "minor": 2, "micro": 0}, "package": ""}
    assert machine.qmp("query-version") == machine.greeting()["QMP"]["version"] == version
    assert repr(machine).startswith("<Machine 9.2 ")


def members(profile: Profile) -> set[str]:
    """The members of all objects in the reply to query-qmp-schema."""
    return {
        member["name"]
        for entry in Machine(profile).qmp("query-qmp-schema")
        if entry["meta-type"] == "object"
        for member in entry["members"]
    }


def test_its_schema_is_that_of_10_0_without_what_came_with_10_0() -> None:
    came = {"active", "allow-inactive", "delay-ns", "handshake-max-seconds"}
    assert members(QEMU_10_0) - members(QEMU_9_2) == came
    assert members(QEMU_9_2) <= members(QEMU_10_0)


def test_its_commands_and_events_come_in_the_order_of_10_0() -> None:
    ours, theirs = (
        [entry["name"] for entry in Machine(each).qmp("query-qmp-schema") if entry["meta-type"] in ("command", "event")]
        for each in (QEMU_9_2, QEMU_10_0)
    )
    assert ours == [name for name in theirs if name != "blockdev-set-active"]


@pytest.mark.parametrize("version", BETWEEN)
def test_the_schema_of_any_release_is_whole(version: str) -> None:
    """Every type that is mentioned is described, and every command is listed once."""
    registry = registry_for(release(version, like=QEMU_10_0))
    entries = {entry["name"]: entry for entry in query_qmp_schema(registry)}
    mentioned = {entry[key] for entry in entries.values() for key in ("arg-type", "ret-type") if key in entry}
    for entry in entries.values():
        for part in [*entry.get("members", []), *entry.get("variants", [])]:
            mentioned |= {part["type"]} if "type" in part else set()
    assert mentioned <= set(entries)
    assert {name for name, entry in entries.items() if entry["meta-type"] == "command"} == set(registry.names())


def test_more_and_more_is_offered_from_release_to_release() -> None:
    """Of what is emulated, no command is ever gone."""
    offered = [set(registry_for(release(version, like=QEMU_10_0)).names()) for version in BETWEEN]
    assert all(older <= newer for older, newer in pairwise(offered))
    assert offered[0] < offered[-1]


def test_arguments_are_checked_as_declared(machine: Machine) -> None:
    node: dict[str, Any] = {"driver": "null-co", "node-name": "n", "size": 1 << 20}
    with pytest.raises(QmpError, match=r"^Parameter 'active' is unexpected$"):
        machine.qmp("blockdev-add", **node, active=True)
    assert machine.qmp("blockdev-add", **node) == {}
    assert machine.qmp("blockdev-del", node_name="n") == {}
    assert Machine(QEMU_10_0).qmp("blockdev-add", **node, active=True) == {}


def test_a_file_is_shown_by_the_names_of_10_0(machine: Machine) -> None:
    machine.images.create("x.raw", "raw", 1 << 20)
    file = {"driver": "file", "filename": "x.raw"}
    machine.qmp("blockdev-add", driver="raw", node_name="whole", file=file)
    machine.qmp("blockdev-add", driver="raw", node_name="part", offset=CLUSTER, file="whole")
    shown = {each["node-name"]: each["file"] for each in machine.qmp("query-named-block-nodes")}
    assert shown["whole"] == "x.raw"
    assert shown["part"].startswith("json:{")


def undeclared(shape: Shape, value: Any, place: str) -> list[str]:
    """The members of a reply that its type does not have."""
    match shape:
        case ArrayShape():
            return [each for item in value for each in undeclared(shape.element, item, place)]
        case AlternateShape():
            return []
        case EnumShape():
            return [] if value in shape.values else [f"{place}={value}"]
        case ObjectShape():
            known = {member.wire: member.shape for member in shape.members}
            if shape.tag is not None and value[shape.tag.wire] in shape.variants:
                variant = shape.variants[value[shape.tag.wire]]
                known |= {member.wire: member.shape for member in variant.members}
            found = [f"{place}.{name}" for name in value if name not in known]
            return found + [
                each
                for name, member in value.items()
                if name in known
                for each in undeclared(known[name], member, f"{place}.{name}")
            ]
    return []


QUERIES = (
    "query-block",
    "query-named-block-nodes",
    "query-block-jobs",
    "query-jobs",
    "query-block-exports",
    "query-status",
    "query-version",
)


@pytest.mark.parametrize(
    "profile",
    [*PROFILES.values(), QEMU_9_2, *(release(version, like=QEMU_7_2) for version in BETWEEN)],
    ids=lambda each: each.name,
)
def test_what_queries_show_is_what_is_declared(profile: Profile) -> None:
    """A fact about a reply must not contradict the type of the reply."""
    machine = Machine(profile)
    machine.add_disk("drive0", "1M", node_name="node0").write(0, b"A")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").node.image.store_bitmaps([])
    backup = {"device": "drive0", "sync": "incremental", "bitmap": "b0", "target": "t.qcow2", "format": "qcow2"}
    machine.qmp("drive-backup", **backup, speed=1)
    for name in QUERIES:
        command = machine.find(name)
        if command is not None:
            shape = machine.registry.shapes.of(command.returns)
            assert undeclared(shape, machine.qmp(name), name) == []


# -- a backup, and what becomes of machines


def test_a_backup_is_whole_and_its_increment_too(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-clear", node="node0", name="b0")
    machine.qmp("drive-backup", device="drive0", sync="full", target="full.qcow2", format="qcow2", job_id="full")
    machine.until("BLOCK_JOB_COMPLETED")
    assert machine.images.compare("full.qcow2", "drive0.qcow2") is None
    machine.drive("drive0").write(5 * CLUSTER, b"B" * CLUSTER)
    machine.images.create("inc.qcow2", "qcow2", 1 << 20, backing="full.qcow2", backing_format="qcow2")
    increment = {"sync": "incremental", "bitmap": "b0", "target": "inc.qcow2", "mode": "existing"}
    machine.qmp("drive-backup", device="drive0", **increment, job_id="inc")
    assert machine.until("BLOCK_JOB_COMPLETED")["data"] == {
        "type": "backup",
        "device": "inc",
        "len": CLUSTER,
        "offset": CLUSTER,
        "speed": 0,
    }
    assert machine.images.compare("inc.qcow2", "drive0.qcow2") is None
    machine.qmp("quit")
    shutdown = [event for event in machine.events.read(0) if event["event"] == "SHUTDOWN"]
    assert [event["data"] for event in shutdown] == [{"guest": False, "reason": "host-qmp-quit"}]


def test_a_snapshot_is_of_the_very_release(machine: Machine) -> None:
    kept = machine.snapshot()
    machine.qmp("block-dirty-bitmap-remove", node="node0", name="b0")
    machine.restore(kept)
    assert machine.qmp("query-block")[0]["inserted"]["dirty-bitmaps"][0]["name"] == "b0"
    with pytest.raises(ValueError, match=r"^the snapshot is of QEMU 9.2, the machine is QEMU 9.2$"):
        Machine(release("9.2", like=QEMU_10_0)).restore(kept)


# -- the human monitor and qemu-io


def test_the_human_monitor_has_the_commands_of_its_record(machine: Machine) -> None:
    assert hmp(machine, "singlestep on") == "unknown command: 'singlestep'\r\n"
    with pytest.raises(UnsupportedError, match="'info cryptodev'"):
        hmp(machine, "info cryptodev")
    names = QEMU_10_0.hmp_commands - {"info cryptodev"} | {"singlestep"}
    other = Machine(release("9.2", like=QEMU_10_0, hmp_commands=names))
    assert hmp(other, "info cryptodev") == "unknown command: 'info cryptodev'\r\n"
    with pytest.raises(UnsupportedError, match="'singlestep'"):
        hmp(other, "singlestep on")


@pytest.mark.parametrize(
    ("line", "reply", "printed"),
    [
        ("qemu-io drive0 'read -P 65 0 64k'", "", "read 65536/65536 bytes at offset 0\n"),
        ("qemu-io drive0 'read -r -P 65 128k 64k'", "", "read 65536/65536 bytes at offset 131072\n"),
        ("qemu-io drive0 'write -P 66 .5k 512'", "", "wrote 512/512 bytes at offset 512\n"),
        (
            "qemu-io drive0 'read 0 0x1k'",
            "",
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- 0x1k\n",
        ),
        (
            "qemu-io drive0 'truncate -m off'",
            "",
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- -m\n",
        ),
        ("qemu-io drive0 length", "", "1 MiB\n"),
        ("qemu-io drive0 'help zone_report'", "", "zone_report offset number -- report zone information\n"),
        ("drive_del nobody", "Device 'nobody' not found\r\n", ""),
    ],
)
def test_lines_of_the_human_monitor_are_answered_as_in_10_0(
    machine: Machine, line: str, reply: str, printed: str
) -> None:
    line = line.replace("'", '"')
    assert hmp(machine, line) == reply
    assert machine.take_stdout().startswith(printed)


def test_qemu_io_has_the_commands_and_options_of_its_record() -> None:
    without = QEMU_10_0.qemu_io_commands - {"zone_report"}
    old = release("9.2", like=QEMU_10_0, qemu_io_commands=without, qemu_io_registered_buffers=False)
    for line, refused in (("zone_report 0 1", 'command "zone_report" not found\n'), ("read -r 0 1", "read: invalid")):
        assert (parse(line, old).refusal or Output()).stderr.startswith(refused)
    assert parse("zone_append 0 1 1 1 1 1", QEMU_9_2).refusal == parse("zone_append 0 1 1 1 1 1", QEMU_10_0).refusal


def test_a_record_that_names_a_command_of_qemu_io_that_is_not_declared_is_told() -> None:
    names = QEMU_10_0.qemu_io_commands | {"zone_paint"}
    with pytest.raises(AssertionError, match=r"^the record of 9.2 names .*'zone_paint'"):
        parse("length", release("9.2", like=QEMU_10_0, qemu_io_commands=names))


# -- qemu-img


def images(profile: Profile, *commands: str) -> list[tuple[int, str]]:
    """Exit status and output of each command of qemu-img, one after the other on the same files."""
    shell = Shell(Machine(profile).images, profile)
    return [shell.run(["qemu-img", *command.split()]) for command in commands]


COMMANDS = (
    "create -f qcow2 a.qcow2 1M",
    "bitmap --add -g 64k a.qcow2 b0",
    "info a.qcow2",
    "info --output=json a.qcow2",
    "check a.qcow2",
    "map --output json a.qcow2",
    "convert --output-format qcow2 --bitmaps a.qcow2 c.qcow2",
    "compare a.qcow2 c.qcow2",
    "resize a.qcow2 2M",
    "create -f qcow2 -b a.qcow2 d.qcow2",
    "info --nothing a.qcow2",
    "resize a.qcow2 -1x",
    "create a.raw 1x",
    "paint a.qcow2",
)


def test_qemu_img_answers_as_in_10_0() -> None:
    ours = images(QEMU_9_2, *COMMANDS)
    assert ours == images(QEMU_10_0, *COMMANDS)
    assert [status for status, _ in ours] == [0] * 9 + [1] * 5
    assert ours != images(QEMU_7_2, *COMMANDS)


def test_qemu_img_tells_its_own_version() -> None:
    ((status, text),) = images(QEMU_9_2, "--version")
    assert (status, text) == (0, f"qemu-img version 9.2.0{QEMU_10_0.copyright}")


def test_qemu_img_has_the_commands_and_options_of_its_record() -> None:
    options = {**QEMU_10_0.qemu_img_options, "info": QEMU_7_2.qemu_img_options["info"], "paint": "h,help"}
    del options["rebase"]
    other = release("9.2", like=QEMU_10_0, qemu_img_options=options)
    create, info, rebase, paint = images(
        other, "create -q a.raw 1M", "info --image-opts -b a.raw", "rebase a.raw", "paint a.raw"
    )
    assert create == (0, "")
    assert info == (1, "qemu-img info: invalid option -- 'b'\nTry 'qemu-img info --help' for more info\n")
    assert rebase == (1, "qemu-img: Command not found: rebase\nTry 'qemu-img --help' for more info\n")
    assert paint == (1, "qbitsim does not emulate qemu-img paint\n")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_release_that_is_known_has_a_row_in_every_table(profile: Profile) -> None:
    assert {"qemu-io", "drive_del", "info block"} <= profile.hmp_commands
    assert {"read", "write", "truncate"} <= profile.qemu_io_commands
    assert set(profile.qemu_img_options) == set(QEMU_10_0.qemu_img_options)


# -- everything that lists the releases


def test_a_release_that_is_listed_is_offered_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ", ".join(PROFILES)
    with pytest.raises(ValueError, match=f"^no profile '9.2': choose one of {known}$"):
        Machine("9.2")
    assert main(["demo", "--profile", "9.2"]) == 2
    assert capsys.readouterr().err == f"qbitsim: unknown profile '9.2': choose one of {known}\n"

    monkeypatch.setitem(PROFILES, "9.2", QEMU_9_2)
    assert Machine("9.2").profile is QEMU_9_2
    assert Player("9.2").profile is QEMU_9_2
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert f"the QEMU release to be: {known}, 9.2 (default: 10.0)" in " ".join(capsys.readouterr().out.split())
    assert main(["demo", "--profile", "9.2"]) == 0
    assert "A machine as QEMU 9.2" in capsys.readouterr().out
    assert main(["reference"]) == 0
    assert re.search(r"^block-job-change  \(since 8\.2; in .* 9\.2\)", capsys.readouterr().out, re.MULTILINE)


def test_a_profile_shows_its_name() -> None:
    assert repr(QEMU_9_2) == "<Profile of QEMU 9.2>"


def test_2_5_is_like_7_2_but_for_what_its_document_tells() -> None:
    differing = {name for name in STATED if getattr(QEMU_2_5, name) != getattr(QEMU_7_2, name)}
    own = {"version", "package", "copyright", "capabilities"}
    assert differing - own == {"failed_group_order", "progress_is_position", "recorded_answers"}
