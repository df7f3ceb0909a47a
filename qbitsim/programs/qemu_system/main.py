"""The program from its first to its last moment."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from qbitsim.commands.offered import registry_for
from qbitsim.errors import QmpError
from qbitsim.images.host.store import HostImageStore
from qbitsim.machine.talking import TalkingMachine
from qbitsim.programs.complaints import EndError, StartError
from qbitsim.programs.qemu_system.command_line import line, read_words
from qbitsim.programs.qemu_system.plan import Plan
from qbitsim.programs.qemu_system.startup import Startup, add_descriptor
from qbitsim.serving import process
from qbitsim.serving.migration_listener import MigrationListener
from qbitsim.serving.server import Server
from qbitsim.serving.socket_network import SocketNetwork

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.programs.qemu_system.machine_types import MachineType


def main(argv: list[str], profile: Profile) -> int:
    """Run the program, and return its exit status.

    :param argv: without the name of the program.
    """
    program = _Program(profile)
    try:
        return program.run(argv)
    except EndError:
        return 0
    except StartError as error:
        sys.stdout.flush()
        if error.text:
            program.complain(line(error.text, error.words))
        return error.status
    finally:
        sys.stdout.flush()


class _Program:
    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._timestamps = False

    def complain(self, text: str) -> None:
        """Write on standard error."""
        sys.stderr.write(f"{process.timestamp()} {text}" if self._timestamps else text)
        sys.stderr.flush()

    def print(self, text: str) -> None:
        """Write on standard output."""
        sys.stdout.write(text)

    def run(self, argv: list[str]) -> int:
        given = read_words(argv, self._profile)
        plan = Plan(registry_for(self._profile), self.print, self.complain)
        plan.read(given)
        self._timestamps = plan.timestamps
        if plan.nographic and plan.daemonize and plan.defaults:
            raise StartError("-nographic cannot be used with -daemonize")
        background = process.Background() if plan.daemonize else None
        pid_file = self._pid_file(plan)
        try:
            images = HostImageStore(os.getcwd(), closes_unused=True)
            images.network = SocketNetwork(images.network)
            for asked in plan.descriptors:
                with asked.given.blamed():
                    add_descriptor(images.fdsets, asked.value.values)
            machine_type = plan.machine_type()
            machine = self._machine(plan, machine_type, images)
            startup = Startup(plan, machine, machine_type, self.print, self.complain)
            startup.run()
            with process.raw_terminal():
                process.run(self._serve(machine, startup, background))
            return self._end_of_migration(machine)
        finally:
            if pid_file is not None:
                pid_file.remove()

    def _end_of_migration(self, machine: TalkingMachine) -> int:
        """The exit status; a guest that could not come ends the process with an error."""
        incoming = machine.incoming
        if incoming is None:
            return 0
        return 1 if incoming.status == "failed" and incoming.exits_on_error else 0

    def _machine(self, plan: Plan, machine_type: MachineType, images: HostImageStore) -> TalkingMachine:
        machine = TalkingMachine(
            self._profile,
            images=images,
            epoch=process.seconds(),
            running=False,
            machine_type=machine_type.kind,
        )
        machine.guest_name = plan.guest_name
        machine.guest_uuid = plan.guest_uuid or machine.guest_uuid
        return machine

    def _pid_file(self, plan: Plan) -> process.PidFile | None:
        if plan.pid_file is None:
            return None
        try:
            return process.PidFile(plan.pid_file)
        except QmpError as error:
            raise StartError(error.desc) from None

    async def _serve(self, machine: TalkingMachine, startup: Startup, background: process.Background | None) -> None:
        """Serve until the end."""
        server = Server(machine, trim_events=True)
        server.nbd.attach()
        machine.migration_host = MigrationListener(server)
        startup.listen_for_migration()
        process.hold_signals()
        if not startup.starts_paused:
            machine.cont()

        def end(words: str) -> None:
            if startup.qtest is None:  # qemu_kill_report (system/runstate.c, QEMU 10.0)
                self.complain(line(words))
            machine.shut_down("host-signal")
            server.stop()

        process.on_ending_signal(lambda words: server.call_soon(partial(end, words)))
        for monitor in startup.monitors:
            await server.add_chardev(monitor.device, monitor.kind)
        if startup.qtest is not None:
            await startup.qtest.attach(server)
        if background is not None:
            background.ready()
        server.turn()
        await server.run()
        if startup.qtest is not None:
            startup.qtest.close()
