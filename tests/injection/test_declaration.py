"""What follows from the signature of a fault: a control command, a text, and what may be left out."""

from __future__ import annotations

import errno

import pytest

from qbitsim import Machine, QmpError
from qbitsim.files.faults import Fault
from qbitsim.injection.declaration import Ranges, fault, kinds_of
from qbitsim.injection.faults import KINDS
from qbitsim.qapi.registry import PREFIX
from qbitsim.terminal.errors import CliError
from qbitsim.terminal.options import begin_fault, parse_fault
from qbitsim.testing import strategies
from qbitsim.testing.settings import Settings

SHORT = "inject-error,where=d,operation=read,errno="


class Declared:
    """Two kinds of faults that no machine has."""

    @fault("flood", "monitor", waits=True)
    def flood(self, command: str, rate: float, *, loud: bool = False, times: int | None = 1) -> list[object]:
        """Nothing but what was said."""
        return [command, rate, loud, times]

    @fault("", "file", ended_by="mend")
    def tear(self, identifier: str, ranges: Ranges, size: int | None) -> list[object]:
        """Nothing but what was said."""
        return [identifier, ranges, size]


FLOOD, TEAR = kinds_of(Declared).values()


@pytest.fixture
def machine():
    made = Machine(control=True)
    made.add_disk("d", "1M")
    return made


# -- from a signature


def test_the_members_of_a_kind_are_its_parameters_and_what_stands_for_no_limit_and_for_its_id():
    assert [(each.name, each.type, each.optional) for each in FLOOD.members] == [
        ("command", str, False),
        ("rate", float, False),
        ("loud", bool, True),
        ("times", int, True),
        ("always", bool, True),
        ("id", str, True),
    ]
    assert FLOOD.usage == "flood,command=...,rate=...[,loud=...][,times=...][,always=...][,id=...]"
    assert (FLOOD.handle, FLOOD.victim, FLOOD.waits, FLOOD.ended_by) == ("flood", "monitor", True, "lift")


def test_what_may_be_none_may_be_left_out_and_an_identifier_is_the_id():
    assert TEAR.usage == "tear,id=...,ranges=...[,size=...]"
    assert TEAR.read([("id", "t"), ("ranges", "0+64k/1M+512")]) == {"id": "t", "ranges": [(0, 65536), (1 << 20, 512)]}
    assert TEAR.begin(Declared(), {"id": "t", "ranges": []}) == ["t", [], None]


def test_texts_are_read_by_the_types_of_the_parameters():
    given = FLOOD.read([("command", "stop"), ("rate", "0.5"), ("loud", None), ("always", "on"), ("id", "x")])
    assert given == {"command": "stop", "rate": 0.5, "loud": True, "always": True, "id": "x"}
    assert FLOOD.begin(Declared(), given) == ["stop", 0.5, True, None]


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([("frob", "1")], "unknown member 'frob': choose among command, rate, loud, times, always, id"),
        ([("rate", "1"), ("rate", "2")], "'rate' is given twice"),
        ([("rate", "fast")], "'fast' is no number"),
        ([("loud", "very")], "'very' is neither on nor off"),
        ([("rate", "1")], f"'command' is missing: write {FLOOD.usage}"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_what_is_wrong(pairs, text):
    with pytest.raises(ValueError, match=r".") as caught:
        FLOOD.read(pairs)
    assert str(caught.value) == text


def test_a_range_is_written_with_a_plus():
    with pytest.raises(ValueError, match=r"^'5' is no range: write OFFSET\+LENGTH, several with / between them$"):
        TEAR.read([("ranges", "5")])


def test_a_limit_and_no_limit_exclude_each_other():
    with pytest.raises(ValueError, match=r"^give 'times' or 'always', not both$"):
        FLOOD.begin(Declared(), {"command": "stop", "rate": 1.0, "times": 2, "always": True})


# -- everywhere


def test_every_kind_has_a_control_command_with_the_same_members(machine):
    schema = {each["name"]: each for each in machine.qmp("query-qmp-schema")}
    for kind in KINDS.values():
        members = schema[schema[PREFIX + kind.name]["arg-type"]]["members"]
        assert sorted((each["name"], "default" in each) for each in members) == sorted(
            (each.name.replace("_", "-"), each.optional) for each in kind.members
        )


@pytest.mark.parametrize("written", [errno.ENOSPC, "28", "ENOSPC", "enospc"])
def test_an_errno_is_a_number_or_a_name_wherever_it_is_written(written):
    def fails(machine):
        with pytest.raises(OSError, match=r"No space left") as caught:
            machine.drive("d").read(0, 1)
        assert caught.value.errno == errno.ENOSPC

    def made():
        machine = Machine(control=True)
        machine.add_disk("d", "1M")
        return machine

    machine = made()
    machine.inject_error("d", "read", written)
    fails(machine)
    machine = made()
    machine.execute(f"{PREFIX}inject-error", {"where": "d", "operation": "read", "errno": written})
    fails(machine)
    for text in (f"d:read:*:{written}", f"{SHORT}{written}"):
        machine = made()
        begin_fault(machine, text)
        fails(machine)
    for marked in (f"d:read:*:{written}", {"where": "d", "operation": "read", "errno": written}):
        fails(Settings("10.0", None, {"d": "1M"}, [marked]).machine())
    job = machine.foreign_job("j")
    job.fail(written)
    assert machine.until("BLOCK_JOB_COMPLETED")["data"]["error"] == "No space left on device"


def test_what_is_no_errno_is_refused_everywhere_with_the_same_words(machine):
    text = "unknown errno 'EFROB': write a name such as EIO or ENOSPC"
    with pytest.raises(ValueError, match=f"^{text}$"):
        machine.inject_error("d", "read", "EFROB")
    with pytest.raises(QmpError, match=f"^{text}$"):
        machine.execute(f"{PREFIX}inject-error", {"where": "d", "operation": "read", "errno": "EFROB"})
    for line in ("d:read:*:EFROB", f"{SHORT}EFROB"):
        with pytest.raises(CliError) as caught:
            parse_fault(line)
        assert caught.value.text == f"{line!r}: {text}"


def test_an_option_makes_a_fault_of_any_kind_that_can_be_lifted(machine):
    begin_fault(machine, "delay-io,where=d,operation=read,seconds=2,offset=64k,length=512")
    begin_fault(machine, "hold-reply,command=stop,always,id=mine")
    assert [(each["id"], each["text"]) for each in machine.qmp("x-qbitsim-query-faults")] == [
        ("fail0", "d: reads that touch 65536+512 of jobs take 2 s"),
        ("mine", "the reply to stop is held back"),
    ]


def test_a_short_text_says_the_same_as_a_long_one():
    long = "inject-error,where=d,operation=read,offset=0,length=64k,errno=5,once"
    assert parse_fault("d:read:0+64k:EIO:once") == parse_fault(long)


def test_a_mark_of_pytest_makes_a_fault_of_any_kind():
    fault = {"fault": "refuse", "command": "stop", "desc": "no", "times": 1}
    machine = Settings("10.0", None, {}, [fault]).machine()
    with pytest.raises(QmpError, match=r"^no$"):
        machine.qmp("stop")
    machine.qmp("stop")


def test_a_strategy_draws_every_kind_that_can_strike_what_is_named():
    found = strategies.faults(["d"], files=["t"], refusable=["stop"], monitors=["cont"], exports=["e"], stalls=True)
    harmful = {f"faults.{kind.method.__name__}" for kind in KINDS.values() if kind.victim != "nobody"}
    drawn = set()
    machine = Machine()
    machine.add_disk("d", "1M")

    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415

    @settings(max_examples=200, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(found)
    def draw(call):
        call.on(machine)
        drawn.add(call.method)

    draw()
    assert drawn == harmful


def test_a_rule_is_told_in_the_words_of_its_kind(machine):
    assert isinstance(machine.faults.inject_error("d", "read", once=True), Fault)
    assert machine.faults.inject_error("d", "read", once=True).text == "d: reads fail with EIO, once"
    assert machine.handles == {}
