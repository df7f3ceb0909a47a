"""What Tab offers."""

from __future__ import annotations

import pytest

from qbitsim.profiles import PROFILES

DISKS = {"drive0": "1M", "drive1": "1M", "busy": "1M"}


def texts(shell, line):
    return [each.text for each in shell.completer.complete(line)]


def notes(shell, line):
    return {each.text: each.note for each in shell.completer.complete(line)}


@pytest.fixture
def shell(new_shell, say):
    """Two drives with a bitmap on each, and one on which a job runs."""
    shell = new_shell(**DISKS)
    say(
        shell,
        "block-dirty-bitmap-add node=drive0 name=first",
        "block-dirty-bitmap-add node=drive1-node name=second",
        "blockdev-add driver=null-co node-name=target size=1M",
        ":write busy 0 1M",
        "blockdev-backup device=busy target=target sync=full job-id=job0",
    )
    return shell


def test_an_empty_line_may_become_any_command(shell):
    found = texts(shell, "")
    assert {"query-block", "transaction", ":show"} <= set(found)
    assert len(found) == len(set(found)) == len(shell.schema.commands) + 14


@pytest.mark.parametrize("profile", PROFILES)
def test_a_command_is_completed_in_every_release(new_shell, profile):
    found = texts(new_shell(profile), "block-dirty-bitmap-")
    assert {"block-dirty-bitmap-add", "block-dirty-bitmap-clear", "block-dirty-bitmap-remove"} <= set(found)
    assert ("block-dirty-bitmap-merge" in found) == (profile != "2.5")


@pytest.mark.parametrize(
    ("profile", "keys"),
    [
        ("10.0", ["node=", "name=", "granularity=", "persistent=", "disabled="]),
        ("7.2", ["node=", "name=", "granularity=", "persistent=", "disabled="]),
        ("2.5", ["node=", "name=", "granularity="]),
    ],
)
def test_arguments_are_those_of_the_release_those_that_are_needed_first(new_shell, profile, keys):
    assert texts(new_shell(profile), "block-dirty-bitmap-add ") == keys


def test_an_argument_that_is_given_is_not_offered_again(shell):
    assert texts(shell, "block-dirty-bitmap-remove node=drive0 ") == ["name="]
    assert texts(shell, "block-dirty-bitmap-remove node=drive0 name=first ") == []


def test_the_note_of_an_argument_says_what_it_takes(shell):
    assert notes(shell, "block-dirty-bitmap-add ") == {
        "node=": "text, needed",
        "name=": "text, needed",
        "granularity=": "int",
        "persistent=": "on|off",
        "disabled=": "on|off",
    }


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("drive-backup sync=", ["top", "full", "none", "incremental", "bitmap"]),
        ("drive-backup sync=in", ["incremental"]),
        ("drive-backup compress=", ["on", "off"]),
        ("blockdev-add driver=q", ["qcow2", "quorum"]),
        ("blockdev-add driver=qcow2 file.driver=fi", ["file"]),
        ("block-dirty-bitmap-add node=drive", ["drive0", "drive1", "drive0-node", "drive1-node"]),
        ("block-dirty-bitmap-remove name=", ["first", "second"]),
        ("block-dirty-bitmap-remove node=drive1 name=", ["second"]),
        ("block-dirty-bitmap-remove node=drive1-node name=", ["second"]),
        ("block-dirty-bitmap-merge node=drive0 target=", ["first"]),
        ("block-dirty-bitmap-merge node=drive0 bitmaps=first,", ["first,first"]),
        ("block-dirty-bitmap-merge node=drive0 bitmaps.0=f", ["first"]),
        ("block-dirty-bitmap-merge bitmaps.0.node=drive1 bitmaps.0.name=", ["second"]),
        ("block-dirty-bitmap-add node=drive0 name=", []),
        ("drive-backup device=drive0 bitmap=", ["first"]),
        ("job-cancel id=", ["job0"]),
        ("block-job-cancel device=j", ["job0"]),
        ("blockdev-backup device=drive1 target=t", ["target"]),
        ("x-qbitsim-until event=BLOCK_JOB_C", ["BLOCK_JOB_CANCELLED", "BLOCK_JOB_COMPLETED"]),
        ("unheard-of node=t", ["target"]),
        ("drive-backup device=fish bitmap=", ["first", "second"]),
    ],
)
def test_values_are_those_that_are_possible_now(shell, line, values):
    assert texts(shell, line) == values


@pytest.mark.parametrize("profile", PROFILES)
def test_names_are_found_in_every_release(new_shell, say, profile):
    shell = new_shell(profile)
    say(
        shell,
        "block-dirty-bitmap-add node=drive0 name=bitmap0",
        ":write drive0 0 64k",
        "drive-backup device=drive0 target=t sync=incremental bitmap=bitmap0 format=qcow2",
    )
    assert texts(shell, "block-dirty-bitmap-clear node=drive0 name=") == ["bitmap0"]
    assert texts(shell, "block-job-cancel device=") == ["drive0"]


def test_names_are_asked_for_again_after_a_command(shell, say):
    assert texts(shell, "block-dirty-bitmap-remove name=") == ["first", "second"]
    say(shell, "block-dirty-bitmap-remove node=drive1 name=second")
    assert texts(shell, "block-dirty-bitmap-remove name=") == ["first"]


def test_the_driver_says_which_members_there_are(shell):
    assert "size=" not in texts(shell, "blockdev-add ")
    assert "size=" in texts(shell, "blockdev-add driver=null-co ")
    assert texts(shell, "blockdev-add driver=qcow2 fi") == ["file=", "file."]


def test_members_of_members_are_completed(shell):
    assert texts(shell, "blockdev-add cache.") == ["cache.direct=", "cache.no-flush="]
    assert texts(shell, "blockdev-add cache.direct=on cache.") == ["cache.no-flush="]
    assert texts(shell, "blockdev-add driver=qcow2 file.driver=file file.filen") == ["file.filename="]
    assert texts(shell, "block-dirty-bitmap-merge bitmaps.0.n") == ["bitmaps.0.node=", "bitmaps.0.name="]


def test_in_a_transaction_actions_are_completed_and_their_arguments(shell):
    assert texts(shell, "transaction( ab") == ["abort"]
    assert texts(shell, "transaction(\nblock-dirty-bitmap-clear ") == ["node=", "name="]
    assert texts(shell, "transaction(\nblock-dirty-bitmap-clear node=drive1 name=") == ["second"]
    assert texts(shell, "transaction(\nabort\nblockdev-b") == ["blockdev-backup"]
    assert texts(shell, "transaction( abort; blockdev-b") == ["blockdev-backup"]
    assert texts(shell, "transaction( abort ) properties.completion-mode=") == ["individual", "grouped"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (":s", [":show", ":step", ":source"]),
        (":show drive", ["drive0", "drive1"]),
        (":write drive1", ["drive1"]),
        (":events o", ["on", "off"]),
        (":json o", ["on", "off"]),
        (":wait BLOCK_JOB_R", ["BLOCK_JOB_READY"]),
        (":help block-dirty-bitmap-m", ["block-dirty-bitmap-merge"]),
        (":help :u", [":undo"]),
        (":fault drive0", ["drive0:", "drive0-node:"]),
        (":fault stall", ["stall-io"]),
        (":quit ", []),
    ],
)
def test_meta_commands_are_completed(shell, line, found):
    assert texts(shell, line) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"execute": "block-dirty-bitmap-m', ["block-dirty-bitmap-merge"]),
        ('{"execute": "block-dirty-bitmap-clear", "arguments": {"', ['node": ', 'name": ']),
        ('{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "drive0", "', ['name": ']),
        ('{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "dr', []),
    ],
)
def test_in_a_json_object_the_command_and_its_arguments_are_completed(shell, line, found):
    assert texts(shell, line) == found


@pytest.mark.parametrize(
    "line", ['{"execute": "qu', "=", "a=b c=d", "transaction( ; ", "blockdev-add file=[", ':write "', "  "]
)
def test_nothing_that_is_typed_breaks_completion(shell, line):
    assert isinstance(texts(shell, line), list)
    assert isinstance(shell.completer.hint(line), str)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("block-dirty-bitmap-add", ""),
        ("block-dirty-bitmap-add ", "block-dirty-bitmap-add node name [granularity] [persistent] [disabled]"),
        ("block-dirty-bitmap-add node=d", "block-dirty-bitmap-add name [granularity] [persistent] [disabled]"),
        ("transaction( block-dirty-bitmap-clear node=d ", "block-dirty-bitmap-clear name"),
        ("blockdev-add cache.", "blockdev-add [cache.direct] [cache.no-flush]"),
    ],
)
def test_the_hint_says_what_may_still_be_written(shell, line, hint):
    assert shell.completer.hint(line) == hint
