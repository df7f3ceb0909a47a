"""The reference: complete, current in its document, and true about what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from documents import REPOSITORY, document

from qbitsim import Machine, UnsupportedError
from qbitsim.cli import coverage, reference
from qbitsim.cli.coverage import Coverage
from qbitsim.cli.main import main
from qbitsim.commands.offered import registry_for
from qbitsim.drivers.driver import DRIVERS
from qbitsim.profiles import PROFILES
from qbitsim.qapi.not_emulated import NOT_EMULATED
from qbitsim.qapi.shapes import ObjectShape
from qbitsim.terminal.errors import CliError

CONFORMANCE = REPOSITORY / "tests/conformance"
DRAWS = REPOSITORY / "tests/oracle/coverage.json"
UPDATE = (
    "qbitsim reference --update qbitsim/docs/reference.md "
    "--conformance tests/conformance --draws tests/oracle/coverage.json"
)


def rows(text: str, kind: str) -> dict[str, str]:
    """The lines of the table whose first heading is ``kind``, by name."""
    table = text[text.index(f"| {kind} | since |") :].partition("\n\n")[0]
    return {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}


# -- complete and current


def test_the_document_is_up_to_date() -> None:
    text = reference.markdown(coverage.read(CONFORMANCE, DRAWS))
    assert reference.replaced(document("reference"), text) == document("reference"), f"run: {UPDATE}"


def test_the_help_names_the_command_that_brings_the_document_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reference", "--help"])
    assert UPDATE in capsys.readouterr().out


@pytest.mark.parametrize("release", PROFILES)
def test_every_command_argument_and_event_that_a_profile_offers_is_listed_with_that_profile(release: str) -> None:
    text = reference.markdown(Coverage())
    commands, events = rows(text, "command"), rows(text, "event")
    registry = registry_for(PROFILES[release])
    for command in registry.commands():
        _, since, profiles, _, arguments, *_ = commands[command.name].strip("| ").split(" | ")
        assert release in profiles.split()
        assert PROFILES[release].offers(since)
        if command.arguments is None or command.name == "blockdev-add":
            continue
        shape = registry.shapes.of(command.arguments)
        assert isinstance(shape, ObjectShape)
        for member in [*shape.members, *(each for variant in shape.variants.values() for each in variant.members)]:
            assert f"`[{member.wire}]`" in arguments or f"`{member.wire}`" in arguments
    assert all(release in events[name] for name in registry.events)


def test_every_driver_that_can_be_opened_is_listed() -> None:
    assert set(rows(reference.markdown(Coverage()), "driver")) == set(DRIVERS)


def test_the_plain_form_names_the_same_commands_events_and_drivers() -> None:
    text, plain = reference.markdown(Coverage()), reference.plain(Coverage())
    for kind in ("command", "event", "driver"):
        assert all(f"\n{name}  (since " in plain for name in rows(text, kind))


# -- what is refused


@pytest.mark.parametrize("name", reference.refused()["the command"])
def test_a_command_that_is_listed_as_refused_is_refused_as_qbitsims_own_limit(name: str) -> None:
    since, until = NOT_EMULATED[name]
    release = next(each for each in reversed(PROFILES.values()) if each.offers(since, until))
    with pytest.raises(UnsupportedError, match=f"^qbitsim does not emulate the command '{name}'$"):
        Machine(release).find(name)


@pytest.mark.parametrize("driver", reference.refused()["the block driver"])
def test_a_driver_that_is_listed_as_refused_is_refused_as_qbitsims_own_limit(driver: str) -> None:
    arguments = {"children": [], "vote-threshold": 1, "throttle-group": "g", "file": "n0"} if driver == "quorum" else {}
    with pytest.raises(UnsupportedError, match=f"^qbitsim does not emulate .*'{driver}'$"):
        Machine().execute("blockdev-add", {"driver": driver, "node-name": "n0", **arguments})


OPTIONS: dict[str, dict[str, Any]] = {
    "blkdebug": {"image": "base"},
    "copy-on-read": {"file": "base"},
    "file": {"filename": "file"},
    "host_cdrom": {"filename": "f"},
    "host_device": {"filename": "f"},
    "null-aio": {},
    "null-co": {},
    "qcow2": {"file": {"driver": "file", "filename": "file"}},
    "vmdk": {"file": {"driver": "file", "filename": "file"}},
}
VALUES: dict[str, Any] = {
    "config": "x",
    "backing": "base",
    "bottom": "base",
    "pr-manager": "x",
    "encrypt": {"format": "luks"},
    "lazy-refcounts": True,
    "discard-no-unref": True,
}
"""Values of options that are no numbers."""


@pytest.mark.parametrize(
    ("driver", "option"),
    [(driver, option) for driver, declared in DRIVERS.items() for option in declared.accepts],
)
def test_an_option_that_is_listed_as_refused_is_refused_as_qbitsims_own_limit(driver: str, option: str) -> None:
    machine = Machine()
    machine.images.create("file", "qcow2" if driver == "qcow2" else "raw", 1 << 20)
    machine.add_node({"driver": "null-co", "node-name": "base"})
    before = machine.qmp("query-named-block-nodes")
    line = rows(reference.markdown(Coverage()), "driver")[driver]
    assert f"`[{option}]` refused" in line or f"`[{option}]` only " in line or f"`[{option}]` (8.1) only " in line
    with pytest.raises(UnsupportedError):
        machine.execute(
            "blockdev-add", {"driver": driver, "node-name": "n0", **OPTIONS[driver], option: VALUES.get(option, 512)}
        )
    assert machine.qmp("query-named-block-nodes") == before


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (
            "blockdev-add",
            {
                "driver": "blkdebug",
                "node-name": "n1",
                "image": "n0",
                "inject-error": [{"event": "none", "delay-ns": 1}],
            },
        ),
    ],
)
def test_a_value_that_is_listed_as_refused_is_refused_as_qbitsims_own_limit(
    command: str, arguments: dict[str, Any]
) -> None:
    machine = Machine()
    machine.add_disk("d", "1M", format="raw")
    machine.add_node({"driver": "null-co", "node-name": "n0", "size": 1 << 20})
    with pytest.raises(UnsupportedError):
        machine.execute(command, arguments)


# -- counting


def recorded(directory: Path, name: str, steps: list[Any], events: list[str] = []) -> None:  # noqa: B006
    """Write a scenario and its transcript."""
    records = [{"type": "event", "event": event} for event in events]
    scenario = {"name": name, "steps": steps, "transcripts": {"10.0": {"records": records}}}
    (directory / "recorded").mkdir(exist_ok=True)
    (directory / "recorded" / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(scenario).encode()))


def test_a_scenario_counts_once_for_each_command_argument_driver_and_event_in_it(tmp_path: Path) -> None:
    clear = {"node": "n", "name": "b"}
    actions = [{"type": "block-dirty-bitmap-clear", "data": clear}, {"type": "abort", "data": {}}]
    recorded(
        tmp_path,
        "a1",
        [
            {"start": {"drives": [{"id": "d", "file": "f", "format": "qcow2"}], "blockdevs": []}},
            {"qmp": {"execute": "transaction", "arguments": {"actions": actions}}},
            {"qmp": {"execute": "block-dirty-bitmap-clear", "arguments": clear}},
            {"write": ["d", 0, "64k", "1"]},
        ],
        ["STOP", "STOP"],
    )
    recorded(
        tmp_path, "a2", [{"raw": '{"execute": "stop"}'}, {"raw_hex": b'{"exec-oob": "cont"}'.hex()}, {"quit": True}]
    )
    recorded(tmp_path, "x1", [{"qmp": {"execute": "stop"}}])
    counted = coverage.read(tmp_path, None)
    expected = {
        "qmp_capabilities": 1,
        "driver qcow2": 1,
        "driver qcow2 file": 1,
        "driver file filename": 1,
        "every driver": 1,
        "transaction": 1,
        "transaction actions": 1,
        "block-dirty-bitmap-clear": 1,
        "block-dirty-bitmap-clear node": 1,
        "abort": 1,
        "human-monitor-command": 1,
        "STOP": 1,
        "stop": 1,
        "cont": 1,
        "quit": 1,
        "query-block": 0,
    }
    assert {subject: counted.of(subject) for subject in expected} == expected
    assert counted.total == 2
    assert counted.draws_of("stop") is None


def test_draws_are_shown_as_they_were_counted(tmp_path: Path) -> None:
    (tmp_path / "coverage.json").write_text('{"stop": 1234}')
    line = rows(reference.markdown(coverage.read(None, tmp_path / "coverage.json")), "command")["stop"]
    assert line == f"| `stop` | 0.14 | {' '.join(PROFILES)} |  |  | \N{EN DASH} | 1,234 |"


def test_without_a_checkout_the_counts_are_left_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "--markdown"]) == 0
    line = rows(capsys.readouterr().out, "command")["stop"]
    assert line == f"| `stop` | 0.14 | {' '.join(PROFILES)} |  |  | \N{EN DASH} | \N{EN DASH} |"


class Noting(Coverage):
    """Counts that keep what they were asked for."""

    def __init__(self, counted: Coverage) -> None:
        super().__init__(counted.scenarios, counted.total, counted.draws)
        self.asked: set[str] = set()

    def of(self, subject: str) -> int | None:
        self.asked.add(subject)
        return super().of(subject)


ONLY_REFUSED = {f"driver {name} {option}" for name, driver in DRIVERS.items() for option in driver.accepts}
ONLY_REFUSED |= {"driver blkdebug inject-error delay-ns"}
COMPARED_ELSEWHERE = {"query-commands", "query-qmp-schema"}
"""Whole replies of all versions are compared in ``tests/qmp``."""
NOT_PLAYED_YET = {
    *("object-add prealloc-context", "object-add hugetlbsize", "object-add loaded"),  # values of them are not checked
    "query-machines compat-props",  # a machine that has some is refused
}
WITHOUT_EFFECT = {
    *("aio-max-batch", "align", "discard-data", "dump", "host-nodes", "hugetlb", "hugetlbsize", "iv", "loaded"),
    *("mem-path", "merge", "offset", "pmem", "policy", "poll-grow", "poll-max-ns", "poll-shrink", "poll-weight"),
    *("prealloc", "prealloc-context", "prealloc-threads", "readonly", "reserve", "rom", "seal", "share"),
    *("thread-pool-max", "thread-pool-min", "x-use-canonical-path-for-ramblock-id"),
}
"""What objects take and nothing here depends on; the schema is compared with real QEMU's."""
NETWORKS = {
    *("bootfile", "dhcpstart", "dns", "dnssearch", "dnssearch str", "domainname", "guestfwd", "guestfwd str", "host"),
    *("hostfwd", "hostfwd str", "hostname", "ip", "ipv4", "ipv6", "ipv6-dns", "ipv6-host", "ipv6-prefix"),
    *("ipv6-prefixlen", "net", "restrict", "smb", "smbserver", "tftp", "tftp-server-name"),
}
"""What a network takes that nothing here depends on."""
TWO_MACHINES = (
    "migrate",
    "migrate-incoming",
    "migrate-continue",
    "migrate-start-postcopy",
    "migrate_cancel",
    "MIGRATION",
)
"""A migration takes two of them, and the recorder of transcripts has one: measured by hand, and by QEMU's test 194."""
PLAYED_BY_UNIT_TESTS = {
    *(f"netdev_add {name}" for name in NETWORKS),
    *("netdev_add", "netdev_add id", "netdev_add type", "netdev_del", "netdev_del id"),
    *("balloon", "balloon value", "query-balloon", "query-vnc"),
    *("add-fd", "add-fd fdset-id", "add-fd opaque", "remove-fd", "remove-fd fd", "remove-fd fdset-id"),
    *("getfd", "getfd fdname", "closefd", "closefd fdname", "driver blkdebug align"),
    *("BLOCK_IO_ERROR", "blockdev-change-medium device", "blockdev-change-medium force"),
    *("blockdev-close-tray device", "blockdev-open-tray force", "qom-list-types abstract"),
    *("driver blkdebug config", "driver blkdebug take-child-perms", "driver blkdebug unshare-child-perms"),
    *("driver quorum blkverify", "driver quorum rewrite-corrupted"),
}
"""Measured by hand: a guest that makes requests, and descriptors, are more than the recorder of transcripts has."""


def test_nothing_that_is_emulated_was_never_played_on_real_qemu() -> None:
    counted = Noting(coverage.read(CONFORMANCE, DRAWS))
    reference.markdown(counted)
    never = {each for each in counted.asked if not counted.of(each) and not counted.draws_of(each)}
    never = {each for each in never if " options encrypt" not in each}  # refused as a whole
    never = {each for each in never if not f"{each} ".startswith("driver nbd ")}  # compared in tests/drivers
    never = {each for each in never if each.partition(" ")[0] not in TWO_MACHINES}
    never -= {f"object-add {name}" for name in WITHOUT_EFFECT}
    assert never <= ONLY_REFUSED | COMPARED_ELSEWHERE | NOT_PLAYED_YET | PLAYED_BY_UNIT_TESTS


# -- bad input


def test_a_directory_without_scenarios_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "--conformance", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"qbitsim: {tmp_path}: no recorded/*.json.gz\n"


@pytest.mark.parametrize("content", ["[", "[]", "\xff"])
def test_a_file_of_draws_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "coverage.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(CliError, match=r"coverage\.json: ") as raised:
        coverage.read(None, file)
    assert raised.value.status == 2


def test_a_file_without_the_marked_lines_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("nothing")
    assert main(["reference", "--update", str(file)]) == 2
    assert capsys.readouterr().err == f"qbitsim: {file}: there are no lines {reference.BEGIN} and {reference.END}\n"
    assert file.read_text() == "nothing"


def test_only_what_is_between_the_marked_lines_changes(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nbehind\n")
    assert main(["reference", "--update", str(file)]) == 0
    text = reference.markdown(Coverage())
    assert file.read_text() == f"before\n{reference.BEGIN}\n{text}\n{reference.END}\nbehind\n"
