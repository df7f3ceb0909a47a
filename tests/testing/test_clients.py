"""Clients are moved on by one request at a time, whether they are written as conversations or with plain calls."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from qbitsim import Machine, QmpError
from qbitsim.errors import NeverError
from qbitsim.testing.clients import NEXT_EVENT, Chain, Conversation, Dialogue, Monitor, Plain, Sleep, execute, run


class Polite:
    """A client as conversations; it notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def stops(self) -> Conversation:
        yield execute("stop")
        event = yield NEXT_EVENT
        self.heard.append(event["event"])
        yield Sleep(0.5)
        try:
            yield execute("block-dirty-bitmap-add", node="none", name="b")
        except QmpError as error:
            self.heard.append(error.desc)
        self.heard.append((yield execute("query-status"))["running"])


class Blunt:
    """The same with plain calls."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.heard: list[Any] = []

    def chains(self) -> list[Chain]:
        return [Chain("drive0", ("full",))]

    def stops(self) -> None:
        self.monitor.qmp("stop")
        self.heard.append(self.monitor.next_event()["event"])
        self.monitor.sleep(0.5)
        try:
            self.monitor.execute("block-dirty-bitmap-add", {"node": "none", "name": "b"})
        except QmpError as error:
            self.heard.append(error.desc)
        self.heard.append(self.monitor.qmp("query-status")["running"])

    def fails(self) -> None:
        raise LookupError("no")

    def holds_on(self) -> None:
        try:
            self.monitor.next_event()
        finally:
            self.monitor.qmp("stop")


HEARD = ["STOP", "Cannot find device='none' nor node-name='none'", False]


def test_a_conversation_is_had_to_its_end_while_time_passes() -> None:
    machine, client = Machine(), Polite()
    run(machine, client.stops())
    assert (client.heard, machine.clock()) == (HEARD, 500_000_000)


def test_a_plain_client_says_the_same() -> None:
    machine, client = Machine(), Plain(Blunt)
    run(machine, client.stops())
    assert (client.client.heard, machine.clock()) == (HEARD, 500_000_000)
    assert list(client.chains()) == [Chain("drive0", ("full",))]


def test_anything_may_happen_between_two_requests() -> None:
    for make in (lambda: Polite().stops(), lambda: Plain(Blunt).stops()):
        machine = Machine()
        dialogue = Dialogue(machine, make(), seen=0)
        dialogue.begin()
        assert (dialogue.waiting, dialogue.can_go_on) == (execute("stop"), True)
        assert machine.running
        dialogue.go_on()
        assert (dialogue.waiting, machine.running) == (NEXT_EVENT, False)
        machine.cont()
        dialogue.go_on()
        assert (dialogue.waiting, dialogue.can_go_on, dialogue.wakes) == (Sleep(0.5), False, 500_000_000)
        machine.advance(0.5)
        assert dialogue.can_go_on
        dialogue.close()
        assert dialogue.over


def test_what_a_client_raises_comes_out_of_its_conversation() -> None:
    with pytest.raises(LookupError, match=r"^'no'$|^no$"):
        run(Machine(), Plain(Blunt).fails())


def test_closing_a_plain_client_ends_its_thread_whatever_it_still_wants_to_say() -> None:
    before = threading.active_count()
    dialogue = Dialogue(Machine(), Plain(Blunt).holds_on(), seen=0)
    dialogue.begin()
    dialogue.close()
    assert threading.active_count() == before


def test_waiting_for_what_never_comes_is_an_error() -> None:
    def waits() -> Conversation:
        yield NEXT_EVENT

    with pytest.raises(NeverError):
        run(Machine(), waits())


def test_a_client_that_yields_something_else_is_told_so() -> None:
    def wrong() -> Any:
        yield "stop"

    with pytest.raises(TypeError, match=r"^a client yields execute\(.*\), NEXT_EVENT or Sleep\(.*\), not 'stop'$"):
        run(Machine(), wrong())
