"""Every JSON example of the document of 2015, as it stands, on the profile 2.5."""

from __future__ import annotations

import errno
import json
from typing import Any

import acts
import document
import pytest

from qbitsim.machine.machine import Machine
from qbitsim.profiles import profile
from qbitsim.programs.shell import Shell
from qbitsim.qmp.session import Session

TRAILING_COMMAS = [acts.PARTIAL, acts.GROUPED]


def negotiated(machine: Machine) -> Session:
    session = Session(machine)
    session.connect()
    session.feed(b'{"execute": "qmp_capabilities"}')
    return session


def messages(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


class Here:
    """The stage in this process."""

    def __init__(self) -> None:
        self.machine = Machine("2.5")
        for name in ("drive0", "drive1"):
            self.machine.add_disk(name, "64M")
        self.session = negotiated(self.machine)
        self.events: list[dict[str, Any]] = []

    def _take(self, data: bytes) -> list[dict[str, Any]]:
        seen = messages(data)
        for message in seen:
            if "event" in message:
                assert set(message.pop("timestamp")) == {"seconds", "microseconds"}
        self.events += [message for message in seen if "event" in message]
        return [message for message in seen if "event" not in message]

    def say(self, message: dict[str, Any]) -> dict[str, Any]:
        (reply,) = self._take(self.session.feed(json.dumps(message).encode()))
        return reply

    def settle(self) -> list[dict[str, Any]]:
        self.machine.run_until_idle()
        assert self._take(self.session.pump()) == []
        events, self.events = self.events, []
        return events

    def shell(self, argv: list[str]) -> str:
        status, output = Shell(self.machine.images, profile("2.5")).run(argv)
        assert status == 0, output
        return output

    def limit(self, image: str, capacity: int | None) -> None:
        self.machine.limit_capacity(image, capacity)

    def break_reads(self, image: str, offset: int) -> None:
        self.machine.inject_error(image, "read", errno.EIO, offset, 1)


@pytest.fixture
def stage() -> Here:
    return Here()


def test_the_document_has_22_json_examples_and_the_acts_use_each() -> None:
    assert len(document.EXAMPLES) == 22
    assert acts.GROUPED_CANCELLED == 21


def test_exactly_two_examples_are_no_json_and_are_when_their_trailing_comma_is_removed() -> None:
    wrong = []
    for number, text in enumerate(document.EXAMPLES):
        try:
            json.loads(text)
        except ValueError:
            wrong.append(number)
            json.loads(document.corrected(text))
    assert wrong == TRAILING_COMMAS


@pytest.mark.parametrize("number", TRAILING_COMMAS)
@pytest.mark.parametrize("version", ["10.0", "7.2"])
def test_an_example_with_its_trailing_comma_is_refused_as_qemu_refuses_it(version: str, number: int) -> None:
    machine = Machine(version)
    for name in ("drive0", "drive1"):
        machine.add_disk(name, "64M")
    session = negotiated(machine)
    answer = session.feed(document.EXAMPLES[number].encode())
    refusal = {"error": {"class": "GenericError", "desc": "JSON parse error, expecting value"}}
    assert messages(answer) == [refusal]
    assert messages(session.feed(b'{"execute": "query-jobs"}')) == [{"return": []}]
    assert machine.images.names() == ["drive0.qcow2", "drive1.qcow2"]


def test_creation_deletion_and_resetting(stage: Here) -> None:
    acts.basic_usage(stage)


def test_new_incremental_backup_and_new_anchor_point(stage: Here) -> None:
    acts.full_backups(stage)


def test_first_and_second_incremental_backup(stage: Here) -> None:
    acts.full_backups(stage)
    acts.incremental_backups(stage)


def test_a_failed_backup_and_its_retry(stage: Here) -> None:
    acts.full_backups(stage)
    acts.failure_and_retry(stage)


def test_partial_failure_of_a_transaction(stage: Here) -> None:
    acts.partial_failure(stage)


def test_grouped_failure_of_a_transaction(stage: Here) -> None:
    acts.grouped_failure(stage)


def test_a_frozen_bitmap_cannot_be_deleted_reset_or_used_a_second_time(stage: Here) -> None:
    acts.basic_usage(stage)
    acts.accept(stage, acts.DEFAULT_ADD)
    acts.write(stage, "drive0", 0, acts.CLUSTER, 1)
    stage.shell(["qemu-img", "create", "-f", "qcow2", "incremental.0.img", "64M"])
    acts.accept(stage, acts.FIRST)
    frozen = next(each for each in acts.bitmaps(stage, "drive0") if each.get("name") == "bitmap0")
    assert frozen["status"] == "frozen"
    for number in (acts.REMOVE, acts.CLEAR):
        assert "error" in stage.say(document.example(number))
        assert frozen in acts.bitmaps(stage, "drive0")
    assert "error" in stage.say(document.example(acts.SECOND))
    assert stage.settle() == [acts.completed("drive0")]
    assert acts.bitmaps(stage, "drive0") == [acts.shown("bitmap0", 0)]


def test_a_cancelled_backup_sends_cancelled_instead_of_error_and_completed(stage: Here) -> None:
    acts.accept(stage, acts.DEFAULT_ADD)
    acts.write(stage, "drive0", 0, acts.CLUSTER, 1)
    stage.shell(["qemu-img", "create", "-f", "qcow2", "incremental.0.img", "64M"])
    acts.accept(stage, acts.FIRST)
    assert stage.say({"execute": "block-job-cancel", "arguments": {"device": "drive0"}}) == {"return": {}}
    assert [each["event"] for each in stage.settle()] == ["BLOCK_JOB_CANCELLED"]
    assert acts.bitmaps(stage, "drive0") == [acts.shown("bitmap0", acts.CLUSTER)]


def test_names_are_unique_per_node_and_not_empty(stage: Here) -> None:
    acts.accept(stage, acts.DEFAULT_ADD)
    again = stage.say(document.example(acts.DEFAULT_ADD))
    assert again == {"error": {"class": "GenericError", "desc": "Bitmap already exists: bitmap0"}}
    elsewhere = document.example(acts.DEFAULT_ADD)
    elsewhere["arguments"]["node"] = "drive1"
    assert stage.say(elsewhere) == {"return": {}}
    elsewhere["arguments"]["name"] = ""
    nameless = stage.say(elsewhere)
    assert nameless == {"error": {"class": "GenericError", "desc": "Bitmap name cannot be empty"}}
    assert acts.bitmaps(stage, "drive1") == [acts.shown("bitmap0", 0)]
