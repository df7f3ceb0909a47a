"""The state machine finds what clients do wrong, tells it in few lines, and lets subclasses say what they are about."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import rule

from qbitsim import Machine, QmpError
from qbitsim.profiles import PROFILES
from qbitsim.testing import laws
from qbitsim.testing.clients import NEXT_EVENT, Chain, Conversation, Monitor, Plain, Sleep, execute
from qbitsim.testing.counter_examples import first_failure
from qbitsim.testing.laws import LawBrokenError
from qbitsim.testing.moves import move, play
from qbitsim.testing.shorten import shortened
from qbitsim.testing.stateful import GRANULE, BackupClientMachine, run_as_test

SHORT = settings(
    max_examples=25,
    stateful_step_count=4,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Idle:
    """A client that holds nothing and does nothing; tests give it actions."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def chains(self) -> list[Chain]:
        return []

    def nothing(self) -> Conversation:
        yield execute("query-status")

    def never_rests(self) -> Conversation:
        self.machine.images.create("t", "qcow2", self.machine.drive("drive0").size)
        self.machine.inject_error("t", "write", "EIO")
        backup = {"device": "drive0", "target": "t", "sync": "full", "mode": "existing", "format": "qcow2"}
        yield execute("drive-backup", on_target_error="ignore", **backup)
        yield from self.waits()

    def tidies_up(self) -> Conversation:
        yield execute("drive-backup", device="drive0", job_id="j", target="t", sync="full")
        while (event := (yield NEXT_EVENT))["event"] != "JOB_STATUS_CHANGE" or event["data"]["status"] != "null":
            continue
        yield execute("block-dirty-bitmap-add", node="drive0", name="b0")
        yield execute("block-dirty-bitmap-add", node="drive0", name="b1")

    def merges_in_vain(self) -> Conversation:
        sources = ["b0", {"node": "drive1", "name": "b1"}]
        try:
            yield execute("block-dirty-bitmap-merge", node="drive0", target="all", bitmaps=sources)
        except QmpError as error:
            raise KeyError(error.desc) from error

    def waits(self) -> Conversation:
        while (yield NEXT_EVENT)["event"] != "SHUTDOWN":
            continue

    def talks(self) -> Conversation:
        while True:
            yield execute("query-jobs")

    def leaves_a_node(self) -> Conversation:
        yield execute("blockdev-add", driver="null-co", node_name="mine")

    def crashes(self) -> Conversation:
        yield execute("query-status")
        raise LookupError("what is that?")


class IdleMachine(BackupClientMachine):
    actions = ("nothing",)

    def client(self, machine: Machine) -> Any:
        return Idle(machine)


MAY_CRASH = {"actions": ("crashes",), "failures": (LookupError,)}


def found(**what: Any) -> Exception:
    """What is found in a machine that differs from :class:`IdleMachine` so."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is checked by who calls
        run_as_test(type("Machine", (IdleMachine,), what), settings=SHORT)
    return caught.value


def story(error: Exception) -> list[str]:
    return "\n".join(error.__notes__).splitlines()


def test_a_client_that_does_nothing_breaks_no_law() -> None:
    run_as_test(IdleMachine, settings=SHORT)


def test_a_client_that_waits_for_ever_is_found() -> None:
    error = found(actions=("waits",))
    assert str(error) == f"{laws.NEVER_HANGS}: waits waits for an event that will not come"
    lines = story(error)
    assert lines[:4] == ["what happened:", "the client begins: waits", "as a test:", "state = Machine()"]
    assert lines[4] in ('state.client_begins(action="waits", pause_after=None)', 'state.client_does(action="waits")')
    assert lines[5:] == ["state.teardown()"]


def test_a_client_that_never_waits_is_found() -> None:
    error = found(actions=("talks",))
    assert str(error) == f"{laws.NEVER_HANGS}: talks asks for ever"


def test_a_story_tells_what_is_merged_and_what_is_refused() -> None:
    error = found(actions=("merges_in_vain",))
    assert story(error)[1:4] == [
        "the client begins: merges_in_vain",
        "  block-dirty-bitmap-merge drive0 all <- b0, drive1/b1",
        "  refused: Dirty bitmap 'all' not found",
    ]


def test_a_job_that_never_rests_is_found() -> None:
    error = found(actions=("never_rests",))
    what = "what is due has no end: 20000 steps without any time (drive0 at work)"
    assert str(error) == f"{laws.NEVER_HANGS}: {what}"


@pytest.mark.parametrize(("more", "bitmaps"), [(0, 0), (1, 1), (2, 2)])
def test_a_backup_ends_and_the_client_goes_on_by_so_many_commands(more: int, bitmaps: int) -> None:
    state = type("Tidy", (IdleMachine,), {"actions": ("tidies_up",)})()
    state.client_begins(action="tidies_up", pause_after=1)
    state.backup_ends(more=more)
    assert state.machine.jobs.jobs == []
    assert [each.name for each in state.machine.graph.nodes["drive0-node"].bitmaps] == ["b1", "b0"][2 - bitmaps :]
    state.teardown()


def test_a_run_that_is_cut_off_is_not_played_to_its_end() -> None:
    state = type("Tidy", (IdleMachine,), {"actions": ("tidies_up",)})()
    state.client_begins(action="tidies_up", pause_after=1)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        state.teardown()
    assert [job.status for job in state.machine.jobs.jobs] == ["running"]


def test_a_client_that_leaves_something_behind_is_found_unless_it_may() -> None:
    error = found(actions=("leaves_a_node",))
    assert str(error) == f"{laws.NOTHING_LEFT}: leaves_a_node has left mine"
    run_as_test(type("Machine", (IdleMachine,), {"actions": ("leaves_a_node",), "tidy": False}), settings=SHORT)


def test_what_a_client_raises_is_a_bug_unless_it_is_among_its_failures() -> None:
    error = found(actions=("crashes",))
    assert (type(error), story(error)[1:3]) == (LookupError, ["the client begins: crashes", "  query-status "])
    assert first_failure(type("Machine", (IdleMachine,), MAY_CRASH), settings=SHORT) is None


def test_a_client_that_never_succeeds_is_told_so() -> None:
    error = found(**MAY_CRASH)
    assert re.fullmatch(
        r"crashes has never succeeded: it gave up \d+ times, last with LookupError: what is that\?", str(error)
    )


def test_a_client_that_may_be_refused_and_mostly_is_not_is_fine() -> None:
    run_as_test(
        type("Machine", (IdleMachine,), {"actions": ("nothing", "leaves_a_node"), "tidy": False}), settings=SHORT
    )


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"actions": ("nothin",)}, "Idle has no method 'nothin'; did you mean 'nothing'?"),
        ({"client": lambda *_: object()}, "object has no method 'chains'"),
        ({"client": lambda *_: Plain(lambda _: object())}, "object has no method 'chains'"),
        (
            {"actions": ("chains",)},
            (
                "an action returned [], which is no conversation: yield requests in it, or put a client with plain "
                "calls into qbitsim.testing.clients.Plain"
            ),
        ),
    ],
)
def test_what_cannot_be_a_client_is_told_in_a_line(what: dict[str, Any], text: str) -> None:
    error = found(**what)
    assert (type(error), str(error)) == (TypeError, text)


def test_a_weight_of_no_move_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^weights: there is no move 'machine_crash'; did you mean 'machine_crashes'"):
        type("Machine", (IdleMachine,), {"weights": {"machine_crash": 0}})


class Preparing(Idle):
    """A client that has two jobs before its backup, which make the file and the image in it."""

    def backs_up(self) -> Conversation:
        yield execute("blockdev-create", job_id="file", options={"driver": "file", "filename": "t", "size": 0})
        yield from self.dismissed("file")
        yield execute("blockdev-add", driver="file", node_name="f", filename="t")
        yield execute("blockdev-create", job_id="image", options={"driver": "qcow2", "file": "f", "size": 8 * GRANULE})
        yield from self.dismissed("image")
        yield execute("blockdev-add", driver="qcow2", node_name="t", file="f")
        yield execute("blockdev-backup", job_id="backup", device="drive0", target="t", sync="full")
        while (yield NEXT_EVENT)["event"] != "BLOCK_JOB_COMPLETED":
            continue

    def dismissed(self, job: str) -> Conversation:
        while (yield execute("query-jobs"))[0]["status"] != "concluded":
            yield Sleep(0.1)
        yield execute("job-dismiss", id=job)


class PreparingMachine(IdleMachine):
    actions = ("backs_up",)

    def client(self, machine: Machine) -> Any:
        return Preparing(machine)


def test_a_backup_is_reached_whatever_comes_before_it() -> None:
    state = PreparingMachine()
    state.client_begins(action="backs_up", pause_after=None)
    state.backup_begins()
    assert [(job.id, str(job.status)) for job in state.machine.jobs.jobs] == [("backup", "running")]
    state.another_client_cancels()
    assert [job.id for job in state.machine.jobs.jobs if job.is_cancelled] == ["backup"]


def test_who_makes_no_backup_comes_to_its_end_meanwhile() -> None:
    state = IdleMachine()
    state.client_begins(action="nothing", pause_after=0)
    state.backup_begins()
    assert state.at_rest


def test_a_machine_that_ends_cleanly_takes_the_connection_of_a_client_at_work() -> None:
    state = type("Machine", (PreparingMachine,), {"tidy": False})()
    state.client_begins(action="backs_up", pause_after=None)
    state.backup_begins()
    state.machine_restarts()
    assert state.at_rest
    assert "the client gives up: QEMU has ended" in state.story.lines()


class Forgetful:
    """A plain client that believes in a full backup at once."""

    def __init__(self, monitor: Monitor, machine: Machine) -> None:
        self.monitor = monitor
        self.machine = machine
        self.files: list[str] = []

    def chains(self) -> list[Chain]:
        return [Chain("drive0", (name,)) for name in self.files]

    def full(self) -> None:
        name = f"full{len(self.files)}"
        self.machine.images.create(name, "qcow2", self.machine.drive("drive0").size)
        options = {"job_id": name, "device": "drive0", "target": name, "mode": "existing", "sync": "full"}
        self.monitor.qmp("drive-backup", **options)
        self.files.append(name)


class ForgetfulMachine(BackupClientMachine):
    actions = ("full",)
    tidy = False

    def client(self, machine: Machine) -> Any:
        return Plain(lambda monitor: Forgetful(monitor, machine))


def test_plain_clients_can_be_plugged_in_and_are_found_out() -> None:
    with pytest.raises(LawBrokenError) as caught:
        run_as_test(ForgetfulMachine, settings=SHORT)
    assert caught.value.law == laws.RESTORES
    assert len(caught.value.__dict__["moves"]) == 2


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_can_be_played(profile: str) -> None:
    run_as_test(type("Machine", (IdleMachine,), {"profile": profile}), settings=SHORT)


class OwnRuleMachine(IdleMachine):
    drives: ClassVar = {"sda": "128K"}

    @rule()
    @move()
    def guest_writes(self) -> None:
        self.machine.drive("sda").write(0, b"x")
        self.check_laws()


class OwnRuleSubclass(OwnRuleMachine):
    drives: ClassVar = {"sda": "128K", "sdb": "64K"}


def test_a_subclass_has_its_own_disks_and_keeps_its_own_rules() -> None:
    run_as_test(OwnRuleSubclass, settings=SHORT)
    state = OwnRuleSubclass()
    state.guest_writes()
    state.guest_zeroes(drive="sdb", granule=0, length=512, unmap=False)
    assert state.witness.writes == [("sdb", 0, 512)]


def test_the_test_case_of_a_subclass_runs_it() -> None:
    case = type("Machine", (IdleMachine,), {"actions": ("waits",)}).TestCase
    case.settings = SHORT
    with pytest.raises(LawBrokenError):
        case("runTest").runTest()


def test_a_drawn_order_is_told_as_a_replay() -> None:
    class Failing(IdleMachine):
        drives: ClassVar = {"drive0": "256K", "drive1": "256K"}

    state = Failing()
    for drive in state.drives:
        state.machine.guest_writes(drive, [(0, 512), (65536, 512)])
    state.steps(order=[1, 0, 3])
    error = LawBrokenError("law", "detail")
    state.end_badly(error)
    assert story(error)[-1] == "(the order of the tasks: Replay([1, 0, 1]))"


def test_shortening_leaves_only_what_cannot_be_left_out() -> None:
    moves = [(str(number), {}) for number in range(20)]
    needed = {"3", "4", "17"}
    assert [name for name, _ in shortened(moves, lambda some: needed <= {name for name, _ in some})] == ["3", "4", "17"]
    assert shortened(moves, lambda _: True) == []


def test_moves_can_be_made_again_without_hypothesis() -> None:
    moves = [("client_begins", {"action": "nothing", "pause_after": None}), ("client_goes_on", {"pause_after": 1})]
    assert play(IdleMachine, moves) is None


def test_hypothesis_is_imported_only_by_those_who_need_it() -> None:
    program = (
        "import sys, qbitsim, qbitsim.scenario.player, qbitsim.testing.clients, qbitsim.testing.laws;"
        "assert 'hypothesis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"], check=True)


class Asking(Idle):
    """A client that asks again and again, without waiting, until a job is over."""

    def full(self) -> Conversation:
        arguments = {"job_id": "j", "device": "drive0", "target": "t", "speed": 65536, "sync": "full"}
        yield execute("drive-backup", **arguments)
        while (yield execute("query-jobs")):
            continue


def test_a_client_that_asks_without_waiting_lets_time_pass() -> None:
    class Machine(IdleMachine):
        actions = ("full",)

        def client(self, machine: Any) -> Any:
            return Asking(machine)

    assert play(Machine, [("client_does", {"action": "full"})]) is None


class Explicit(Idle):
    """A client that leaves a failed job where it is."""

    def full(self) -> Conversation:
        node = "drive0-node"
        yield execute("block-dirty-bitmap-add", node=node, name="b")
        arguments = {"job_id": "j", "device": "drive0", "target": "t", "sync": "incremental", "bitmap": "b"}
        yield execute("drive-backup", auto_dismiss=False, **arguments)
        while (yield execute("query-jobs"))[0]["status"] != "concluded":
            yield NEXT_EVENT
        yield Sleep(1)
        yield execute("job-dismiss", id="j")


def test_a_failed_job_that_is_not_dismissed_keeps_no_bitmap_busy() -> None:
    class Machine(IdleMachine):
        actions = ("full",)

        def client(self, machine: Any) -> Any:
            return Explicit(machine)

    state = Machine()
    state.guest_writes(drive="drive0", granule=0, length=65536)
    state.disk_fails(drive="drive0", once=True)
    state.client_begins(action="full", pause_after=None)
    state.steps(order=[0] * 20)
    state.client_goes_on(pause_after=None)
    assert [job.status for job in state.machine.jobs.jobs] == ["concluded"]
    state.another_client_clears_a_busy_bitmap()
    state.teardown()


def test_a_client_loses_its_connection_when_qemu_is_killed() -> None:
    class Waiting(Idle):
        def waits(self) -> Conversation:
            try:
                yield NEXT_EVENT
            finally:
                self.heard = True

    class Machine(IdleMachine):
        actions = ("waits",)

        def client(self, machine: Any) -> Any:
            return Waiting(machine)

    state = Machine()
    state.client_begins(action="waits", pause_after=None)
    state.machine_crashes()
    assert state.at_rest
    assert state.story.lines()[1:3] == ["QEMU is killed, and started anew", "the client gives up: QEMU has ended"]
    state.machine_restarts()
    state.teardown()
