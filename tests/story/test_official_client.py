"""The whole story of the document, told by QEMU's own client library to a server in another process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import acts
import pytest
from qemu.qmp import EventListener, ExecuteError, Message, QMPClient

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 20.0


class There:
    """The stage behind a socket, seen through ``qemu.qmp``."""

    def __init__(self, socket: Path, profile: str = "2.5") -> None:
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("backstage.py")), profile, str(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        assert self._answer() == "ready"
        self.runner = asyncio.Runner()
        self.client = QMPClient("story")
        self.listener = EventListener()
        self.client.register_listener(self.listener)
        self._run(self.client.connect(str(socket)))

    def _run(self, coroutine: Any) -> Any:
        return self.runner.run(asyncio.wait_for(coroutine, PATIENCE))

    def _answer(self) -> Any:
        assert self.server.stdout is not None
        return json.loads(self.server.stdout.readline())

    def _backstage(self, *order: Any) -> Any:
        assert self.server.stdin is not None
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return self._answer()

    def say(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"return": self._run(self.client.execute_msg(Message(message)))}
        except ExecuteError as error:
            return {"error": {"class": error.error_class, "desc": error.error.desc}}

    def settle(self) -> list[dict[str, Any]]:
        while self.say({"execute": "query-block-jobs"})["return"]:
            pass
        seen = [dict(event) for event in self.listener.clear()]
        for event in seen:
            assert set(event.pop("timestamp")) == {"seconds", "microseconds"}
        return seen

    def shell(self, argv: list[str]) -> str:
        status, output = self._backstage("shell", argv)
        assert status == 0, output
        assert isinstance(output, str)
        return output

    def limit(self, image: str, capacity: int | None) -> None:
        self._backstage("limit", image, capacity)

    def break_reads(self, image: str, offset: int) -> None:
        self._backstage("break", image, offset)

    def quit(self) -> int:
        """Say quit and wait for the end of the other process; return its exit status."""
        assert self.say({"execute": "quit"}) == {"return": {}}
        return self.server.wait(PATIENCE)

    def close(self) -> None:
        try:
            with contextlib.suppress(EOFError):  # how the library tells that the server hung up first
                self._run(self.client.disconnect())
        finally:
            self.runner.close()
            if self.server.poll() is None:
                self.server.kill()
            self.server.communicate()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[There]:
    there = There(tmp_path / "qmp.sock")
    yield there
    there.close()


def test_backups_and_a_failure_with_its_retry(stage: There) -> None:
    acts.basic_usage(stage)
    acts.full_backups(stage)
    acts.incremental_backups(stage)
    stage.shell(["rm", "incremental.0.img", "incremental.1.img"])
    acts.accept(stage, acts.NEW_ANCHOR)
    assert stage.settle() == [acts.completed("drive0")]
    stage.shell(["cp", "/path/to/new_full_backup.img", "full_backup.img"])
    acts.failure_and_retry(stage)
    assert stage.quit() == 0


def test_partial_failure_of_a_transaction(stage: There) -> None:
    acts.partial_failure(stage)
    assert stage.quit() == 0


def test_grouped_failure_of_a_transaction(stage: There) -> None:
    acts.grouped_failure(stage)
    assert stage.quit() == 0


def test_the_client_sees_the_version_and_the_names_of_the_commands(stage: There) -> None:
    version = {"qemu": {"major": 2, "minor": 5, "micro": 0}, "package": ""}
    assert stage.say({"execute": "query-version"}) == {"return": version}
    names = {each["name"] for each in stage.say({"execute": "query-commands"})["return"]}
    assert {"block-dirty-bitmap-add", "block-dirty-bitmap-remove", "block-dirty-bitmap-clear"} <= names
    assert "block-dirty-bitmap-merge" not in names


def test_two_clients_see_the_same_events_and_one_that_goes_leaves_the_other_alone(tmp_path: Path) -> None:
    stage = There(tmp_path / "qmp.sock", "10.0")
    try:
        second = QMPClient("second")
        listener = EventListener()
        second.register_listener(listener)
        stage._run(second.connect(str(tmp_path / "qmp.sock.2")))
        for command in ("stop", "cont"):
            assert stage.say({"execute": command}) == {"return": {}}
        assert [event["event"] for event in stage.settle()] == ["STOP", "RESUME"]
        stage._run(second.execute("query-status"))
        assert [event["event"] for event in listener.clear()] == ["STOP", "RESUME"]
        stage._run(second.disconnect())
        assert stage.say({"execute": "query-status"})["return"]["status"] == "running"
        assert stage.quit() == 0
    finally:
        stage.close()
