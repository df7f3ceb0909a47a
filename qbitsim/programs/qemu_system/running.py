"""A machine from its making to its end: what :mod:`.main` loads when the command line asks for one."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.images.host.store import HostImageStore
from qbitsim.machine.talking import TalkingMachine
from qbitsim.programs.complaints import StartError
from qbitsim.programs.qemu_system.command_line import line
from qbitsim.programs.qemu_system.startup import Startup, add_descriptor
from qbitsim.serving import process
from qbitsim.serving.migration_listener import MigrationListener
from qbitsim.serving.server import Server
from qbitsim.serving.socket_network import SocketNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.programs.qemu_system.machine_types import MachineType
    from qbitsim.programs.qemu_system.plan import Plan


class Running:
    """One run of the emulator.

    :param print_: prints on standard output; *complain* on standard error.
    """

    def __init__(self, plan: Plan, print_: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self._plan = plan
        self._print = print_
        self._complain = complain

    def run(self) -> int:
        """Make the machine, serve until its end, and return the exit status of the program.

        :raises StartError: it cannot be made.
        :raises EndError: help was asked for.
        """
        plan = self._plan
        background = process.Background() if plan.daemonize else None
        pid_file = self._pid_file()
        try:
            images = HostImageStore(os.getcwd(), closes_unused=True)
            images.network = SocketNetwork(images.network)
            for asked in plan.descriptors:
                with asked.given.blamed():
                    add_descriptor(images.fdsets, asked.value.values)
            machine_type = plan.machine_type()
            machine = self._machine(machine_type, images)
            startup = Startup(plan, machine, machine_type, self._print, self._complain)
            startup.run()
            with process.raw_terminal():
                in_time = process.run(self._serve(machine, startup, background), machine.crash)
            return self._end_of_migration(machine) if in_time else 1
        finally:
            if pid_file is not None:
                pid_file.remove()

    def _end_of_migration(self, machine: TalkingMachine) -> int:
        """The exit status; a guest that could not come ends the process with an error."""
        incoming = machine.incoming
        if incoming is None:
            return 0
        return 1 if incoming.status == "failed" and incoming.exits_on_error else 0

    def _machine(self, machine_type: MachineType, images: HostImageStore) -> TalkingMachine:
        machine = TalkingMachine(
            self._plan.profile,
            images=images,
            epoch=process.seconds(),
            running=False,
            machine_type=machine_type.kind,
        )
        machine.guest_name = self._plan.guest_name
        machine.guest_uuid = self._plan.guest_uuid or machine.guest_uuid
        return machine

    def _pid_file(self) -> process.PidFile | None:
        if self._plan.pid_file is None:
            return None
        try:
            return process.PidFile(self._plan.pid_file)
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
                self._complain(line(words))
            try:
                process.finish(lambda: machine.close("host-signal"))
            finally:
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
