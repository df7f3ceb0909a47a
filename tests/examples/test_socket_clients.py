"""Clients that talk over a socket are plugged in as they are, and found out like others."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
from hypothesis import settings
from socket_clients import AsyncClient, AsyncMachine, BackupError, BlockingClient, BlockingMachine, ProgramMachine

from qbitsim import Machine
from qbitsim.testing.counter_examples import find
from qbitsim.testing.event_loops import InLoop
from qbitsim.testing.laws import NEVER_HANGS, RESTORES, LawBrokenError
from qbitsim.testing.moves import Move, play
from qbitsim.testing.over_sockets import InThread

WRITE: Move = ("guest_writes", {"drive": "drive0", "granule": 1, "length": 65536})
BEGIN: Move = ("client_begins", {"action": "full", "pause_after": 1})
GOOD: list[Move] = [WRITE, BEGIN, ("steps", {"order": [0]}), WRITE, ("everything_ends", {})]
FAILED: list[Move] = [WRITE, BEGIN, ("disk_fails", {"drive": "drive0", "once": True}), ("everything_ends", {})]
KILLED: list[Move] = [WRITE, BEGIN, ("machine_crashes", {}), ("client_does", {"action": "full"})]


@pytest.mark.parametrize("machine", [BlockingMachine, AsyncMachine, ProgramMachine])
def test_a_client_over_a_socket_backs_up_while_the_guest_writes(machine: type[BlockingMachine]) -> None:
    state = machine()
    for name, given in GOOD:
        getattr(state, name)(**given)
    assert [chain.files for chain in state._client.chains()] == [("full-1",)]
    state.teardown()


@pytest.mark.parametrize("machine", [BlockingMachine, AsyncMachine])
@pytest.mark.parametrize("moves", [FAILED, KILLED])
def test_it_survives_an_error_and_the_end_of_qemu(machine: type[BlockingMachine], moves: list[Move]) -> None:
    before = threading.active_count()
    assert play(machine, moves) is None
    assert threading.active_count() == before


def careless(client: type) -> type:
    """The client, content with whatever ends."""

    class Careless(client):  # type: ignore[misc]
        async def full(self) -> None:
            try:
                await super().full()
            except BackupError:
                self.files.append(f"full-{self.number}")

    return Careless


class CarelessMachine(AsyncMachine):
    def client(self, machine: Machine) -> Any:
        return InLoop(machine, careless(AsyncClient))


def test_what_a_coroutine_does_wrong_is_found() -> None:
    error = find(CarelessMachine, settings=settings(CarelessMachine.TestCase.settings, database=None, derandomize=True))
    assert isinstance(error, LawBrokenError)
    assert error.law == RESTORES
    assert len(error.__dict__["moves"]) <= 4


class Asking(BlockingClient):
    """Asks until its job is gone, and reads how that ended from what has come before the last reply."""

    def full(self) -> None:
        target, events = self.new_target(), list[Any]()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            with connection.makefile("rwb") as file:
                file.readline()

                def ask(name: str, **arguments: object) -> Any:
                    file.write(json.dumps({"execute": name, "arguments": arguments}).encode())
                    file.flush()
                    while "event" in (message := json.loads(file.readline())):
                        events.append(message)
                    if "error" in message:
                        raise BackupError(message["error"]["desc"])
                    return message["return"]

                ask("qmp_capabilities")
                ask("drive-backup", device="drive0", target=target, sync="full", format="qcow2")
                while ask("query-block-jobs"):
                    pass
        [end] = [each for each in events if each["event"].startswith("BLOCK_JOB_C")]
        if "error" in end["data"] or end["event"] != "BLOCK_JOB_COMPLETED":
            raise BackupError(end)
        self.files.append(target)


class AskingMachine(BlockingMachine):
    def client(self, machine: Machine) -> Any:
        return InThread(machine, Asking)


def test_what_happened_before_a_reply_is_told_before_it() -> None:
    assert play(AskingMachine, [WRITE, ("client_does", {"action": "full"})]) is None


class Deaf(BlockingClient):
    def full(self) -> None:
        self.path += "-none"
        try:
            super().full()
        except FileNotFoundError:
            threading.Event().wait(5)


class DeafMachine(BlockingMachine):
    def client(self, machine: Machine) -> Any:
        return InThread(machine, Deaf)


def test_a_thread_that_waits_for_what_never_comes_is_found() -> None:
    error = play(DeafMachine, [("client_does", {"action": "full"})])
    assert isinstance(error, LawBrokenError)
    assert error.law == NEVER_HANGS
