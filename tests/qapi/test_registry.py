"""Declared commands as a profile offers them."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.profiles import QEMU_2_5, QEMU_7_2, QEMU_10_0
from qbitsim.qapi import registry as module
from qbitsim.qapi.introspect import query_commands, query_qmp_schema
from qbitsim.qapi.registry import Registry, TransactionAction, command
from qbitsim.qapi.structs import struct


@struct
class Clear:
    node: str
    name: str


@struct
class Enable:
    node: str
    name: str


@struct
class Transaction:
    actions: list[TransactionAction]


@struct
class Nothing:
    pass


@pytest.fixture
def declared(monkeypatch):
    """A table of commands of our own."""
    table = {}
    monkeypatch.setattr(module, "DECLARED_COMMANDS", table)

    @command("transaction", Transaction)
    def transaction(context, args):
        """Runs actions."""

    @command("block-dirty-bitmap-enable", Enable, action=True, since="4.0", features=["deprecated", "odd"])
    def enable(context, args):
        """Enables."""

    @command("block-dirty-bitmap-clear", Clear, action=True, groupable=True)
    def clear(context, args):
        """Clears."""

    @command("abort", Nothing, action=True, standalone=False)
    def abort(context, args):
        """Fails."""

    @command("migrate-pause", oob=True, until="10.0")
    def migrate_pause(context, args):
        """Pauses."""

    return table


def refusal(registry, name, arguments):
    with pytest.raises(QmpError) as caught:
        registry.decode(name, arguments)
    return caught.value.to_json()


def test_commands_are_listed_backwards(declared):
    assert Registry(QEMU_7_2).names() == [
        "transaction",
        "migrate-pause",
        "block-dirty-bitmap-enable",
        "block-dirty-bitmap-clear",
    ]
    assert query_commands(Registry(QEMU_2_5)) == [
        {"name": "transaction"},
        {"name": "migrate-pause"},
        {"name": "block-dirty-bitmap-clear"},
    ]


def test_a_command_keeps_what_was_declared(declared):
    found = Registry(QEMU_7_2).find("migrate-pause")
    assert found.handler.__name__ == "migrate_pause"
    assert found.allow_oob
    assert found.arguments is None
    assert not found.action


def test_what_is_not_offered_is_not_found(declared):
    for name in ("change", "abort", "Transaction", ""):
        assert Registry(QEMU_10_0).find(name) is None
        assert refusal(Registry(QEMU_10_0), name, {}) == {
            "class": "CommandNotFound",
            "desc": f"The command {name} has not been found",
        }


def test_what_qemu_has_and_qbitsim_has_not_is_refused_as_qbitsims_own_limit(declared):
    for name in ("query-mice", "xen-event-list", "x-query-jit"):
        with pytest.raises(UnsupportedError, match=f"^qbitsim does not emulate the command '{name}'$"):
            Registry(QEMU_10_0).find(name)


def test_what_that_release_of_qemu_did_not_have_either_is_not_found(declared):
    assert Registry(QEMU_7_2).find("xen-event-list") is None
    assert Registry(QEMU_10_0).find("x-query-profile") is None
    assert Registry(QEMU_2_5).find("blockdev-mirror") is None


def test_a_declared_command_wins_over_the_table_of_those_that_are_not_emulated(declared):
    assert Registry(QEMU_7_2).find("migrate-pause").allow_oob


def test_a_command_without_arguments_accepts_none(declared):
    registry = Registry(QEMU_7_2)
    registry.decode("migrate-pause", {})
    assert refusal(registry, "migrate-pause", {"x": 1})["desc"] == "Parameter 'x' is unexpected"


def test_actions_are_decoded_with_the_arguments_of_their_commands(declared):
    registry = Registry(QEMU_10_0)
    actions = [
        {"type": "block-dirty-bitmap-clear", "data": {"node": "n", "name": "b"}},
        {"data": {}, "type": "abort"},
    ]
    decoded = registry.decode("transaction", {"actions": actions})
    assert decoded.actions == [
        TransactionAction("block-dirty-bitmap-clear", Clear(node="n", name="b")),
        TransactionAction("abort", Nothing()),
    ]
    assert [registry.action(each.type).groupable for each in decoded.actions] == [True, False]


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        (1, "Invalid parameter type for 'actions', expected: array"),
        ([1], "Invalid parameter type for 'actions[0]', expected: object"),
        ([{}], "Parameter 'actions[0].type' is missing"),
        ([{"data": {}}], "Parameter 'actions[0].type' is missing"),
        ([{"type": 1}], "Invalid parameter type for 'actions[0].type', expected: string"),
        ([{"type": "abort"}], "Parameter 'actions[0].data' is missing"),
        ([{"type": "transaction", "data": {}}], "Parameter 'type' does not accept value 'transaction'"),
        ([{"type": "Abort", "data": {}}], "Parameter 'type' does not accept value 'Abort'"),
        ([{"type": "abort", "data": 1}], "Invalid parameter type for 'actions[0].data', expected: object"),
        ([{"type": "abort", "data": {}, "x": 1}], "Parameter 'actions[0].x' is unexpected"),
        ([{"type": "abort", "data": {"x": 1}}], "Parameter 'actions[0].data.x' is unexpected"),
        (
            [{"type": "abort", "data": {}}, {"type": "block-dirty-bitmap-clear", "data": {"node": "a"}}],
            "Parameter 'actions[1].data.name' is missing",
        ),
    ],
)
def test_actions_are_checked(declared, actions, text):
    assert refusal(Registry(QEMU_10_0), "transaction", {"actions": actions})["desc"] == text


def test_an_action_is_there_since_its_command_is(declared):
    actions = [{"type": "block-dirty-bitmap-enable", "data": {"node": "n", "name": "b"}}]
    text = "Parameter 'type' does not accept value 'block-dirty-bitmap-enable'"
    assert refusal(Registry(QEMU_2_5), "transaction", {"actions": actions})["desc"] == text


def test_an_instance_tells_its_command(declared):
    registry = Registry(QEMU_10_0)
    assert registry.command_of(Clear(node="n", name="b")).name == "block-dirty-bitmap-clear"
    assert registry.command_of(Nothing()).name == "abort"


def test_no_name_is_declared_twice(declared):
    command("transaction", Transaction)(print)
    with pytest.raises(AssertionError, match=r"^transaction is declared twice"):
        Registry(QEMU_10_0).names()


def test_a_name_can_be_declared_for_different_releases(declared):
    command("migrate-pause", Nothing, since="10.0")(print)
    assert Registry(QEMU_7_2).find("migrate-pause").arguments is None
    assert Registry(QEMU_10_0).find("migrate-pause").arguments is Nothing


def test_the_schema_numbers_types_as_they_are_mentioned(declared):
    schema = query_qmp_schema(Registry(QEMU_10_0, events=[]))
    member = [{"name": "node", "type": "str"}, {"name": "name", "type": "str"}]
    kinds = ["abort", "block-dirty-bitmap-clear", "block-dirty-bitmap-enable"]
    assert schema == [
        {"name": "block-dirty-bitmap-clear", "meta-type": "command", "arg-type": "0", "ret-type": "1"},
        {
            "name": "block-dirty-bitmap-enable",
            "meta-type": "command",
            "arg-type": "2",
            "ret-type": "1",
            "features": ["deprecated", "odd"],
        },
        {"name": "transaction", "meta-type": "command", "arg-type": "3", "ret-type": "1"},
        {"name": "0", "meta-type": "object", "members": member},
        {"name": "1", "meta-type": "object", "members": []},
        {"name": "2", "meta-type": "object", "members": member},
        {"name": "3", "meta-type": "object", "members": [{"name": "actions", "type": "[4]"}]},
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
        {"name": "[4]", "meta-type": "array", "element-type": "4"},
        {
            "name": "4",
            "meta-type": "object",
            "members": [{"name": "type", "type": "5"}],
            "tag": "type",
            "variants": [{"case": kind, "type": number} for kind, number in zip(kinds, ("6", "7", "8"), strict=True)],
        },
        {
            "name": "5",
            "meta-type": "enum",
            "members": [{"name": kinds[0]}, {"name": kinds[1]}, {"name": kinds[2], "features": ["deprecated"]}],
            "values": kinds,
        },
        {"name": "6", "meta-type": "object", "members": [{"name": "data", "type": "1"}]},
        {"name": "7", "meta-type": "object", "members": [{"name": "data", "type": "0"}]},
        {"name": "8", "meta-type": "object", "members": [{"name": "data", "type": "2"}]},
    ]


def test_old_releases_show_neither_features_nor_members_of_enumerations(declared):
    schema = query_qmp_schema(Registry(QEMU_2_5, events=[]))
    assert not any("features" in entry for entry in schema)
    (kinds,) = (entry for entry in schema if entry["meta-type"] == "enum")
    assert kinds == {"name": kinds["name"], "meta-type": "enum", "values": ["abort", "block-dirty-bitmap-clear"]}
