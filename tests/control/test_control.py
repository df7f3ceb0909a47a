"""The commands of qbitsim's own, as a client in another language uses them."""

from __future__ import annotations

import base64
import json
import socket
from contextlib import suppress

import pytest

from qbitsim import Machine, QmpError
from qbitsim.commands.offered import registry_for
from qbitsim.control.registry import controlled_registry_for
from qbitsim.profiles import PROFILES
from qbitsim.qapi.registry import CONTROL_COMMANDS
from qbitsim.qapi.structs import struct_fields
from qbitsim.qmp.session import Session

X = "x-qbitsim-"


@pytest.fixture
def machine():
    made = Machine(control=True)
    made.add_disk("d", "1M")
    return made


def ask(machine, name, /, **arguments):
    return machine.execute(X + name, {key.replace("_", "-"): value for key, value in arguments.items()})


def backup(machine, **more):
    given = {"job-id": "j", "device": "d", "target": "t", "sync": "full", "format": "qcow2", **more}
    machine.execute("drive-backup", given)


def refused(machine, name, /, **arguments):
    """The text of the refusal, which has changed nothing."""
    before = machine.state(), list(machine.handles), len(machine.monitor_faults), len(machine.refusals)
    with pytest.raises(QmpError) as caught:
        ask(machine, name, **arguments)
    assert before == (machine.state(), list(machine.handles), len(machine.monitor_faults), len(machine.refusals))
    return caught.value.desc


# -- who has them


@pytest.mark.parametrize("release", PROFILES)
def test_only_a_machine_with_control_lists_them_behind_those_of_qemu(release):
    machine = Machine(release, control=True)
    own = [*CONTROL_COMMANDS]
    plain = registry_for(PROFILES[release]).names()
    controlled = [each["name"] for each in machine.execute("query-commands", {})]
    assert controlled[: len(plain)] == plain
    assert sorted(controlled[len(plain) :]) == sorted(own)
    assert not set(own) & set(plain)
    assert all(name.startswith(X) for name in own)


@pytest.mark.parametrize("release", [name for name in PROFILES if name != "2.5"])
def test_the_schema_lists_them_too(release):
    schema = Machine(release, control=True).qmp("query-qmp-schema")
    assert CONTROL_COMMANDS.keys() <= {each["name"] for each in schema}


def test_any_other_machine_says_how_to_get_them():
    text = "The command x-qbitsim-step is qbitsim's own: it needs --control, or Machine(control=True)"
    machine = Machine()
    with pytest.raises(QmpError) as caught:
        machine.qmp("x-qbitsim-step")
    assert caught.value.desc == text
    session = Session(machine)
    session.feed(b'{"execute": "qmp_capabilities"}')
    reply = json.loads(session.feed(b'{"execute": "x-qbitsim-step"}'))
    assert reply["error"]["desc"] == text


def test_an_unknown_one_is_not_found_as_any_command(machine):
    assert refused(machine, "frob") == "The command x-qbitsim-frob has not been found"


# -- what makes no sense

USUAL = {
    "where": "d", "drive": "d", "operation": "read", "command": "query-block", "file": "d.qcow2", "seconds": 1,
    "pacing": "manual", "arguments": ["info", "d.qcow2"], "option": "go", "desc": "no", "bitmap": "b",
}  # fmt: skip
"""What an argument is that must be given; all others are 1 or a name."""
NONSENSE = [
    1e300, -1e300, 1e-300, (1 << 63) - 1, -(1 << 63), -1, 0, 1.5, "", "é", "x" * 10_000, "1e300", "nan", "64k", "-1",
    True, False, None, [], {}, [1], [-1], ["é"], {"a": 1}, [{"offset": 0, "length": 0}],
]  # fmt: skip


def own_commands():
    """Those that are declared once somebody wants them."""
    controlled_registry_for(PROFILES["10.0"])
    return CONTROL_COMMANDS


def usual(name):
    return USUAL.get(name, 1 if name in ("offset", "length") else f"a-{name}")


@pytest.mark.parametrize("name", sorted(own_commands()))
def test_no_value_of_an_argument_is_more_than_refused(name):
    arguments = CONTROL_COMMANDS[name][-1].arguments
    fields = struct_fields(arguments) if arguments is not None else {}
    members = {each.replace("_", "-"): optional for each, (optional, _) in fields.items()}
    needed = {each: usual(each) for each, optional in members.items() if not optional}
    for member in members:
        for value in NONSENSE:
            machine = Machine(control=True)
            machine.add_disk("d", "1M")
            with suppress(QmpError):
                machine.execute(name, {**needed, member: value})
            with suppress(QmpError):
                machine.execute("x-qbitsim-query-faults", {})


def test_time_beyond_all_bounds_is_refused(machine):
    for name, more in (
        ("delay-io", {"where": "d", "operation": "read"}),
        ("hold-reply", {"command": "query-block"}),
        ("slow-nbd-reads", {}),
        ("hold-nbd-answer", {}),
    ):
        assert refused(machine, name, seconds=1e300, **more) == "seconds: 1e+300 seconds are none from 0 to 1000000000"
    text = "every: -1.0 seconds are none from 0 to 1000000000"
    assert refused(machine, "guest-writes", drive="d", every=-1) == text


def test_writes_that_cannot_be_are_refused(machine):
    for given, text in (
        ({"length": 0}, "length: a write of 0 bytes is none"),
        ({"count": 10**15}, "count: 1000000000000000 writes are none of 1 to 100000"),
        ({"count": -1}, "count: -1 writes are none of 1 to 100000"),
    ):
        assert refused(machine, "guest-writes", drive="d", **given) == text
    text = "'data' is no base64: string argument should contain only ASCII characters"
    assert refused(machine, "write", drive="d", offset=0, data="YWJé") == text
    text = "1044481+4096 goes beyond the end of 'd', which has 1048576 bytes"
    assert refused(machine, "write", drive="d", offset=1044481, length=4096) == text
    assert refused(machine, "read", drive="d", offset=1044481, length=4096) == text
    assert refused(machine, "discard", drive="d", offset=1044481, length=4096) == text


def test_a_fault_of_so_many_bytes_that_begins_nowhere_is_refused(machine):
    text = "length: without an offset all of 'd' is meant; say where 4096 bytes begin"
    assert refused(machine, "inject-error", where="d", operation="read", length=4096) == text


# -- time and order


def test_a_wait_returns_what_came_before_what_the_last_one_has_returned(machine):
    for name in ("a", "b"):
        machine.add_disk(name, "1M")
        backup(machine, device=name, **{"job-id": name, "target": f"to-{name}"})
    came = [ask(machine, "until", event="BLOCK_JOB_COMPLETED", data={"device": name}) for name in ("b", "a")]
    assert [event["data"]["device"] for event in came] == ["b", "a"]
    with pytest.raises(QmpError, match="the machine is idle, but waits for event BLOCK_JOB_COMPLETED"):
        ask(machine, "until", event="BLOCK_JOB_COMPLETED")


def test_things_happen_step_by_step(machine):
    machine.add_disk("e", "64M")
    for offset in (0, 16 << 20, 32 << 20):
        ask(machine, "write", drive="e", offset=offset, length=65536)
    backup(machine, device="e")
    assert ask(machine, "step") == {"steps": 1, "now": 0}
    assert len(machine.jobs.jobs) == 1
    assert ask(machine, "step", count=1000)["steps"] < 1000
    assert machine.jobs.jobs == []
    assert ask(machine, "run-until-idle") == {"steps": 0, "now": 0}


def test_time_passes_on_request(machine):
    machine.drive("d").write(0, b"A" * 65536)
    backup(machine, speed=65536)
    assert ask(machine, "advance", seconds=0.5)["now"] == 500_000_000
    assert len(machine.jobs.jobs) == 1
    ask(machine, "settle")
    assert machine.jobs.jobs == []


def test_a_choice_that_does_not_fit_ends_the_order_and_nothing_else(machine):
    ask(machine, "set-order", choices=[-1, 7])
    backup(machine)
    ask(machine, "guest-writes", drive="d", count=3)
    assert ask(machine, "run-until-idle")["steps"] > 3
    assert machine.jobs.jobs == []


def test_a_client_waits_for_an_event_or_for_a_job(machine):
    backup(machine, **{"auto-dismiss": False})
    assert ask(machine, "until", job="j", status="concluded") == {}
    machine.qmp("job-dismiss", id="j")
    found = ask(machine, "until", event="JOB_STATUS_CHANGE", data={"id": "j", "status": "null"})
    assert found["data"] == {"id": "j", "status": "null"}
    assert ask(machine, "until", job="j", status="null") == {}


def test_waiting_for_what_never_comes_says_so(machine):
    with pytest.raises(QmpError, match=r"BLOCK_JOB_COMPLETED"):
        ask(machine, "until", event="BLOCK_JOB_COMPLETED")
    assert refused(machine, "until", event="FROB") == "QEMU 10.0 has no event 'FROB'"
    assert refused(machine, "until", job="j", status="frob") == "there is no job status 'frob'"
    assert refused(machine, "until", job="j") == "give either 'event', or 'job' and 'status'"
    assert refused(machine, "until", event="STOP", data=[]) == "'data' is not an object"
    assert refused(machine, "until", event="STOP", within=-1) == "within: -1.0 seconds are none from 0 to 1000000000"


def test_a_status_that_a_job_has_for_less_than_a_step_is_told_from_one_that_it_never_has(machine):
    backup(machine, **{"auto-dismiss": False})
    with pytest.raises(QmpError) as passed:
        ask(machine, "until", job="j", status="pending")
    assert passed.value.desc == (
        "the machine is idle, but waits for job 'j' pending, which it was for less than a step: "
        "wait for JOB_STATUS_CHANGE"
    )
    with pytest.raises(QmpError) as never:
        ask(machine, "until", job="j", status="ready")
    assert never.value.desc == "the machine is idle, but waits for job 'j' ready"


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("step", {"count": 0}, "0 steps are none"),
        ("advance", {"seconds": -1}, "seconds: -1.0 seconds are none from 0 to 1000000000"),
        ("set-pacing", {"pacing": "frob"}, "unknown pacing 'frob': choose manual, immediate, realtime"),
        ("set-pacing", {"pacing": "realtime:1e300"}, "pacing 'realtime:1e300': a factor is from 1e-09 to 1e+09"),
        ("set-order", {"seed": 1, "choices": []}, "give 'seed' or 'choices', not both"),
        ("restore", {"name": "n"}, "there is no snapshot 'n' (there are: none)"),
        ("inject-error", {"where": "d", "operation": "frob"}, "unknown operation 'frob': choose one of"),
        ("inject-error", {"where": "x", "operation": "read"}, "no drive with a medium, no node and no image file"),
        ("inject-error", {"where": "d", "operation": "read", "errno": "EFROB"}, "unknown errno 'EFROB'"),
        ("delay-io", {"where": "d", "operation": "read", "seconds": 0}, "a delay of 0.0 seconds is none"),
        ("stall-io", {"where": "x", "operation": "read"}, "no drive with a medium"),
        ("refuse", {"command": "frob", "desc": "no"}, "this machine has no command 'frob'"),
        ("refuse", {"command": "stop", "desc": "no", "times": 1, "always": True}, "give 'times' or 'always', not both"),
        ("hold-reply", {"command": "frob"}, "this machine has no command 'frob'"),
        ("half-reply", {"command": "frob"}, "this machine has no command 'frob'"),
        ("drop-monitor", {"command": "stop", "times": 0}, "a drop 0 times never strikes"),
        ("limit-capacity", {"file": "t", "capacity": -1}, "invalid capacity -1"),
        (
            "guest-writes",
            {"drive": "d", "pattern": [{"offset": 0, "length": (64 << 20) + 1}]},
            "a write of 67108865 bytes: at once a guest writes up to 67108864",
        ),
        ("guest-writes", {"drive": "x"}, "there is no drive 'x' with a medium"),
        ("foreign-job", {"id": "", "kind": "backup"}, "Invalid job ID ''"),
        ("foreign-job", {"id": "f", "kind": "frob"}, "no foreign job is of the kind 'frob'"),
        ("end-foreign-job", {"id": "f"}, "nothing has the id 'f' (there are: none)"),
        ("lift", {"id": "f"}, "nothing has the id 'f' (there are: none)"),
        ("release", {"id": "f"}, "nothing has the id 'f' (there are: none)"),
        ("write", {"drive": "x", "offset": 0, "length": 1}, "there is no drive 'x'"),
        ("write", {"drive": "d", "offset": 1 << 20, "length": 1}, "1048576+1 goes beyond the end"),
        ("write", {"drive": "d", "offset": 0}, "give either 'length' and perhaps 'pattern', or 'data'"),
        ("write", {"drive": "d", "offset": 0, "data": "?"}, "'data' is no base64"),
        ("write", {"drive": "d", "offset": 0, "length": 1, "pattern": 256}, "pattern 256 is no byte"),
        (
            "write",
            {"drive": "d", "offset": 0, "length": 1 << 40},
            "1099511627776 bytes: one read or write is of 1 to 67108864 bytes (64 MiB)",
        ),
        ("read", {"drive": "d", "offset": -1, "length": 1}, "Input/output error"),
        (
            "discard",
            {"drive": "d", "offset": 0, "length": 1 << 40},
            "0+1099511627776 goes beyond the end",
        ),
        ("create-image", {"file": "d.qcow2", "size": 1024}, "the file 'd.qcow2' exists already"),
        ("create-image", {"file": "t", "backing": "x"}, "there is no backing file 'x'"),
        ("create-image", {"file": "t", "size": 1024, "format": "frob"}, "t: Unknown file format 'frob'"),
        ("remove-image", {"file": "t"}, "there is no file 't'"),
        ("add-disk", {"id": "d", "size": 1024, "file": "new"}, "Device with id 'd' already exists"),
        ("add-disk", {"id": "e"}, "disk 'e' needs a size"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_half_applied(machine, name, arguments, text):
    assert refused(machine, name, **arguments).startswith(text)


def test_the_order_of_tasks_can_be_seeded_and_replayed(machine):
    machine.add_disk("e", "1M")

    def trace():
        for device in ("d", "e"):
            backup(machine, device=device, target=f"t-{device}", **{"job-id": device})
        ask(machine, "run-until-idle")
        return [event.get("data") for event in machine.events.read(start)]

    machine.drive("d").write(0, b"A" * (1 << 20))
    machine.drive("e").write(0, b"A" * (1 << 20))
    ask(machine, "snapshot", name="before")
    start = machine.events.end
    ask(machine, "set-order", seed=3)
    first, choices = trace(), machine.scheduler.policy.choices
    ask(machine, "restore", name="before")
    ask(machine, "set-order", choices=choices)
    assert trace() == first
    ask(machine, "restore", name="before")
    ask(machine, "set-order")
    assert trace() != []


# -- state


def test_the_state_is_plain_json(machine):
    machine.qmp("block-dirty-bitmap-add", node="d", name="b")
    machine.drive("d").write(65536, b"A")
    state = ask(machine, "state")
    assert state == json.loads(json.dumps(machine.state()))
    [bitmap] = state["nodes"][state["drives"]["d"]["node"]]["bitmaps"]
    assert (bitmap["name"], bitmap["dirty"]) == ("b", [[65536, 65536]])


def test_a_machine_is_put_back_by_name_again_and_again(machine):
    ask(machine, "inject-error", where="d", operation="read", id="f")
    ask(machine, "snapshot", name="one")
    before = machine.state()
    for _ in range(2):
        backup(machine)
        ask(machine, "settle")
        ask(machine, "lift", id="f")
        ask(machine, "snapshot", name="two")
        assert machine.state() != before
        ask(machine, "restore", name="one")
        assert machine.state() == before
        assert list(machine.handles) == ["f"]
    ask(machine, "restore", name="two")
    assert list(machine.handles) == []


# -- faults


def test_a_fault_strikes_until_it_is_lifted_by_its_id(machine):
    handle = ask(machine, "inject-error", where="d", operation="write", errno="ENOSPC", offset=0, length=512)
    assert handle == {"id": "error0"}
    assert refused(machine, "write", drive="d", offset=0, length=512) == "No space left on device"
    assert ask(machine, "query-faults") == [{"id": "error0", "text": "d: writes that touch 0+512 fail with ENOSPC"}]
    ask(machine, "lift", id="error0")
    ask(machine, "write", drive="d", offset=0, length=512)
    assert ask(machine, "query-faults") == []


def test_an_id_is_chosen_by_the_client_and_only_once(machine):
    assert ask(machine, "refuse", command="stop", desc="no", id="mine") == {"id": "mine"}
    text = refused(machine, "refuse", command="cont", desc="no", id="mine")
    assert text == "the id 'mine' is taken: stop is refused, once: no"


def test_the_next_commands_are_refused_as_the_client_says(machine):
    ask(machine, "refuse", command="stop", desc="not now", error_class="DeviceNotActive", times=1)
    with pytest.raises(QmpError) as caught:
        machine.qmp("stop")
    assert (caught.value.desc, caught.value.error_class) == ("not now", "DeviceNotActive")
    machine.qmp("stop")


def test_a_stall_says_how_many_wait_and_lets_them_go(machine):
    ask(machine, "write", drive="d", offset=0, length=65536)
    ask(machine, "stall-io", where="d", operation="read", id="s")
    backup(machine)
    ask(machine, "run-until-idle")
    assert ask(machine, "query-faults")[0]["waiting"] == 1
    assert refused(machine, "end-foreign-job", id="s") == "'s' is no foreign job: d: reads of jobs wait"
    ask(machine, "release", id="s")
    ask(machine, "settle")
    assert machine.jobs.jobs == []


def test_a_delay_takes_virtual_time(machine):
    ask(machine, "write", drive="d", offset=0, length=65536)
    ask(machine, "delay-io", where="d", operation="read", seconds=5)
    backup(machine)
    assert ask(machine, "settle")["now"] >= 5_000_000_000


def test_a_full_target_fails_the_backup(machine):
    ask(machine, "write", drive="d", offset=0, length=65536)
    ask(machine, "limit-capacity", file="t", capacity=0)
    backup(machine)
    found = ask(machine, "until", event="BLOCK_JOB_COMPLETED")
    assert found["data"]["error"] == "No space left on device"


def test_files_with_little_room_are_listed_whether_they_are_there_or_not(machine):
    for file, capacity in (("t", 0), ("d.qcow2", 1 << 20), ("other", 5)):
        ask(machine, "limit-capacity", file=file, capacity=capacity)
    ask(machine, "limit-capacity", file="other")
    assert ask(machine, "query-capacities") == [{"file": "d.qcow2", "capacity": 1 << 20}, {"file": "t", "capacity": 0}]


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("inject-error", {"where": "d", "operation": "read", "errno": "EIO"}, "d: reads fail with EIO"),
        (
            "inject-error",
            {"where": "d.qcow2", "operation": "flush", "times": 2, "after": 3, "probability": 0.5},
            "d.qcow2: flushes fail with EIO with probability 0.5, 2 times after 3 that do not",
        ),
        ("delay-io", {"where": "d", "operation": "discard", "seconds": 0.5}, "d: discards of jobs take 0.5 s"),
        ("stall-io", {"where": "d", "operation": "write-zeroes"}, "d: writes of zeroes of jobs wait"),
        ("refuse", {"command": "stop", "desc": "no", "always": True}, "stop is refused: no"),
        ("hold-reply", {"command": "stop"}, "the reply to stop is held back, once"),
        ("hold-reply", {"command": "stop", "seconds": 2}, "the reply to stop comes 2 s later, once"),
        ("half-reply", {"command": "stop"}, "the monitor hangs up in the middle of the reply to stop, once"),
        ("drop-monitor", {"command": "stop"}, "the monitor hangs up behind the reply to stop, once"),
        (
            "drop-monitor",
            {"command": "stop", "before_reply": True, "always": True},
            "the monitor hangs up before the reply to stop",
        ),
        ("drop-monitor", {"command": "stop", "before_command": True}, "the monitor hangs up before stop, once"),
        ("guest-writes", {"drive": "d", "count": 3}, "d: the guest has made 0 of 3 writes"),
        ("foreign-job", {"id": "mine"}, "a backup job of another client, running"),
    ],
)
def test_what_has_an_id_is_listed_in_plain_words(machine, name, arguments, text):
    ask(machine, name, **{"id": "mine", **arguments})
    [found] = ask(machine, "query-faults")
    assert (found["id"], found["text"]) == ("mine", text)


def test_a_fault_that_has_struck_is_said_to_do_so_no_more(machine):
    ask(machine, "inject-error", where="d", operation="write", once=True)
    refused(machine, "write", drive="d", offset=0, length=512)
    assert [each["text"] for each in ask(machine, "query-faults")] == ["d: writes fail with EIO, no more"]


def test_the_guest_writes_by_itself_until_it_is_stopped(machine):
    machine.qmp("block-dirty-bitmap-add", node="d", name="b")
    pattern = [{"offset": 0, "length": 1}, {"offset": 65536, "length": 1}]
    ask(machine, "guest-writes", drive="d", pattern=pattern, every=1)
    ask(machine, "advance", seconds=1.5)
    assert machine.drive("d").node.bitmaps[0].dirty_ranges == [(0, 65536)]
    ask(machine, "lift", id="guest0")
    ask(machine, "settle")
    assert machine.drive("d").node.bitmaps[0].dirty_ranges == [(0, 65536)]


def test_the_job_of_another_client_ends_when_it_is_told_to(machine):
    assert ask(machine, "foreign-job", id="other", kind="stream") == {"id": "other"}
    ask(machine, "settle")
    assert "x-qbitsim-end-foreign-job" in refused(machine, "lift", id="other")
    text = refused(machine, "end-foreign-job", id="other", errno="EIO", cancel=True)
    assert text == "give 'errno' or 'cancel', not both"
    ask(machine, "end-foreign-job", id="other", errno="EIO")
    assert ask(machine, "until", event="BLOCK_JOB_COMPLETED")["data"]["error"] == "Input/output error"
    assert ask(machine, "query-faults") == []


# -- disks and files


def test_the_guest_writes_reads_and_discards(machine):
    data = base64.b64encode(b"hello").decode()
    ask(machine, "write", drive="d", offset=3, data=data)
    ask(machine, "write", drive="d", offset=0, length=3, pattern=0x2A)
    assert base64.b64decode(ask(machine, "read", drive="d", offset=0, length=9)["data"]) == b"***hello\0"
    ask(machine, "discard", drive="d", offset=0, length=512)


def test_files_are_made_inspected_and_removed(machine):
    ask(machine, "create-image", file="base", size=1 << 20, format="raw")
    ask(machine, "create-image", file="top", backing="base", cluster_size=4096)
    result = ask(machine, "qemu-img", arguments=["info", "--output=json", "top"])
    info = json.loads(result["output"])
    assert (result["status"], info["backing-filename"], info["cluster-size"]) == (0, "base", 4096)
    ask(machine, "add-disk", id="e", file="top", node_name="n", read_only=True)
    assert machine.drive("e").node.name == "n"
    ask(machine, "remove-image", file="t") if "t" in machine.images else None
    assert ask(machine, "qemu-img", arguments=["info", "nope"])["status"] == 1


# -- crash and restart


def persistent(machine):
    machine.qmp("block-dirty-bitmap-add", node="d", name="b", persistent=True)


def bitmaps(machine):
    return [
        (bitmap.get("name"), bitmap.get("inconsistent", False))
        for bitmap in machine.qmp("query-block")[0]["inserted"].get("dirty-bitmaps", [])
    ]


def test_after_a_crash_a_stored_bitmap_comes_back_inconsistent(machine):
    persistent(machine)
    ask(machine, "shut-down", restart=True)
    assert bitmaps(machine) == [("b", False)]
    ask(machine, "crash", restart=True)
    assert bitmaps(machine) == [("b", True)]


def test_a_restart_gives_generated_nodes_new_names_and_keeps_given_ones(machine):
    machine.add_disk("e", "1M", node_name="mine", discard=True)
    before = machine.drive("d").node.name
    ask(machine, "shut-down", restart=True)
    assert machine.drive("d").node.name != before or before.startswith("#block")
    assert machine.drive("e").node.name == "mine"
    assert machine.drive("e").node.unmap
    assert machine.qmp("query-status")["status"] == "running"


def test_after_a_restart_time_goes_on_and_disk_faults_stay(machine):
    ask(machine, "inject-error", where="d", operation="write", id="f")
    ask(machine, "foreign-job", id="other")
    ask(machine, "advance", seconds=2)
    ask(machine, "crash", restart=True)
    assert machine.clock() == 2_000_000_000
    assert list(machine.handles) == ["f"]
    assert machine.qmp("query-jobs") == []
    assert refused(machine, "write", drive="d", offset=0, length=1) == "Input/output error"


def test_a_crash_without_a_restart_is_the_end(machine):
    ask(machine, "crash")
    assert machine.closing


def test_a_stalled_machine_does_not_shut_down(machine):
    ask(machine, "write", drive="d", offset=0, length=65536)
    ask(machine, "stall-io", where="d", operation="read")
    backup(machine)
    ask(machine, "run-until-idle")
    assert "a request is stalled" in refused(machine, "shut-down", restart=True)
    assert not machine.closing


# -- over sockets


class Client:
    """One monitor over a socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(path)
        self.file = self.socket.makefile("rwb")
        self.file.readline()
        self.ask("qmp_capabilities")

    def send(self, name, /, **arguments):
        message = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self.file.write(json.dumps(message).encode())
        self.file.flush()

    def read(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, name, /, **arguments):
        self.send(name, **arguments)
        while (message := self.read()) is not None and "event" in message:
            pass
        return message

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def clients(machine):
    with machine.serve(pacing="manual") as server:
        pair = Client(server.path), Client(server.add_monitor())
        yield pair
        for each in pair:
            each.close()


def test_one_monitor_controls_what_another_sees(machine, clients):
    control, client = clients
    control.ask(X + "hold-reply", command="query-jobs", id="h")
    client.send("query-jobs")
    while control.ask(X + "query-faults")["return"][0]["waiting"] == 0:
        pass
    assert control.ask(X + "release", id="h") == {"return": {}}
    assert client.read() == {"return": []}


def test_the_pacing_changes_at_once(machine, clients):
    control, client = clients
    assert client.ask("drive-backup", job_id="j", device="d", target="t", sync="full", format="qcow2") == {"return": {}}
    assert len(client.ask("query-jobs")["return"]) == 1
    control.ask(X + "set-pacing", pacing="immediate")
    assert client.ask("query-jobs")["return"] == []


def test_in_real_time_a_machine_goes_on_from_where_a_command_has_moved_it(machine):
    with machine.serve(pacing="realtime") as server:
        client = Client(server.path)
        client.ask(X + "snapshot", name="s")
        client.ask(X + "advance", seconds=1000)
        now = client.ask(X + "run-until-idle")["return"]["now"]
        assert 1000e9 <= now < 1010e9
        client.ask(X + "restore", name="s")
        assert client.ask(X + "run-until-idle")["return"]["now"] < 10e9
        client.close()


def test_a_crash_ends_every_monitor_and_new_ones_find_the_new_machine(machine):
    with machine.serve() as server:
        control, client = Client(server.path), Client(server.add_monitor())
        assert control.ask(X + "crash", restart=True) == {"return": {}}
        assert (control.read(), client.read()) == (None, None)
        new = Client(server.path)
        assert [each["device"] for each in new.ask("query-block")["return"]] == ["d"]
        for each in (control, client, new):
            each.close()


def test_a_clean_restart_says_goodbye_to_everybody(machine):
    with machine.serve() as server:
        control, client = Client(server.path), Client(server.add_monitor())
        assert control.ask(X + "shut-down", restart=True) == {"return": {}}
        assert client.read()["event"] == "SHUTDOWN"
        assert (control.read(), client.read()) == (None, None)
        for each in (control, client):
            each.close()


# -- why


def test_a_machine_that_is_watched_says_why_a_granule_is_dirty(machine):
    machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="d", name="b0")
    ask(machine, "write", drive="d", offset=65536, length=1, pattern=1)
    why = ask(machine, "why", bitmap="b0", offset=65536)
    assert why["dirty"] is True
    assert [cause["text"] for cause in why["causes"]] == ["the guest writes 1 bytes at 65536 of d"]
    assert why["text"].startswith("b0 of d, 64 KiB at 65536: dirty\n  dirty since\n")
    assert ask(machine, "why", bitmap="b0", offset=0, node="d")["dirty"] is False
    assert refused(machine, "why", bitmap="b1", offset=0) == "there is no bitmap 'b1'"


def test_a_machine_that_nobody_watches_does_not_know_why(machine):
    machine.qmp("block-dirty-bitmap-add", node="d", name="b0")
    assert refused(machine, "why", bitmap="b0", offset=0) == (
        "nobody watches this machine: start it with 'serve --history FILE' or '--web', or watch() it"
    )
