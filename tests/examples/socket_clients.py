"""Backup clients that talk QMP over a socket, as they are: one that blocks, one of asyncio, one that is a program.

Each makes full backups of one disk. What plugs them in is one line each, at the end.

``python socket_clients.py SOCKET TARGET`` is the program.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from typing import Any, ClassVar

from qbitsim import Machine
from qbitsim.testing.clients import Chain
from qbitsim.testing.event_loops import InLoop
from qbitsim.testing.over_sockets import InProcess, InThread
from qbitsim.testing.stateful import BackupClientMachine


class BackupError(Exception):
    """A backup failed."""


def command(name: str, **arguments: str) -> bytes:
    """A command as it is sent."""
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


def backup_to(target: str) -> bytes:
    """A full backup of the disk."""
    return command("drive-backup", device="drive0", target=target, sync="full", format="qcow2", **{"job-id": target})


def has_ended(message: dict[str, Any], target: str) -> bool:
    """Whether the backup is good; not, if it still runs.

    :raises BackupError: it has failed.
    """
    if "error" in message:
        raise BackupError(message["error"]["desc"])
    data = message.get("data", {})
    if data.get("device") != target or message["event"] not in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"):
        return False
    if message["event"] == "BLOCK_JOB_CANCELLED" or "error" in data:
        raise BackupError(data.get("error", "cancelled"))
    return True


class Holder:
    """What all three know of their backups."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.files: list[str] = []
        self.number = 0

    def chains(self) -> list[Chain]:
        """The last full backup."""
        return [Chain("drive0", (self.files[-1],))] if self.files else []

    def new_target(self) -> str:
        """A name for a file."""
        self.number += 1
        return f"full-{self.number}"


class BlockingClient(Holder):
    """Calls that block."""

    def full(self) -> None:
        """Back up the disk."""
        target = self.new_target()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            with connection.makefile("rwb") as monitor:
                monitor.readline()
                monitor.write(command("qmp_capabilities") + backup_to(target))
                monitor.flush()
                while line := monitor.readline():
                    if has_ended(json.loads(line), target):
                        self.files.append(target)
                        return
        raise ConnectionError("QEMU has hung up")


class AsyncClient(Holder):
    """Coroutines of asyncio."""

    async def full(self) -> None:
        """Back up the disk."""
        target = self.new_target()
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            await reader.readline()
            writer.write(command("qmp_capabilities") + backup_to(target))
            while line := await reader.readline():
                if has_ended(json.loads(line), target):
                    self.files.append(target)
                    return
        finally:
            writer.close()
        raise ConnectionError("QEMU has hung up")


class ProgramClient(Holder):
    """A program, which says by its exit status how it went."""

    begun: subprocess.Popen[bytes] | None = None

    def full(self) -> subprocess.Popen[bytes]:
        """Back up the disk."""
        self.target = self.new_target()
        words = [sys.executable, __file__, self.path, self.target]
        self.begun = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        return self.begun

    def chains(self) -> list[Chain]:
        """The last full backup, if the program that made it was content."""
        if self.begun is not None and self.begun.poll() == 0:
            self.files.append(self.target)
            self.begun = None
        return super().chains()


class BlockingMachine(BackupClientMachine):
    """Plugs in the client that blocks."""

    actions = ("full",)
    drives: ClassVar = {"drive0": "512K"}
    failures = (BackupError,)

    def client(self, machine: Machine) -> Any:
        return InThread(machine, BlockingClient)


class AsyncMachine(BlockingMachine):
    """Plugs in the client of asyncio."""

    def client(self, machine: Machine) -> Any:
        return InLoop(machine, AsyncClient)


class ProgramMachine(BlockingMachine):
    """Plugs in the program."""

    failures = (subprocess.CalledProcessError,)

    def client(self, machine: Machine) -> Any:
        return InProcess(machine, ProgramClient)


if __name__ == "__main__":
    program = BlockingClient(sys.argv[1])
    program.new_target = lambda: sys.argv[2]  # type: ignore[method-assign]
    program.full()
