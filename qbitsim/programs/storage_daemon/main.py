"""The program from its first to its last moment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.programs.complaints import EndError, StartError
from qbitsim.programs.process import flush_output, write_output
from qbitsim.programs.storage_daemon.command_line import LONG, PROGRAM, line, read_words

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.programs.storage_daemon.command_line import Given
    from qbitsim.programs.storage_daemon.daemon import StorageDaemon
    from qbitsim.serving.process import Background, PidFile


def main(argv: list[str], profile: Profile) -> int:
    """Run the program, and return its exit status.

    :param argv: without the name of the program.
    """
    try:
        return _Daemon(profile).run(argv)
    except EndError:
        return 0
    except StartError as error:
        if error.text:
            _complain(line(error.text, error.words))
        return error.status
    finally:
        flush_output()


def _complain(text: str) -> None:
    """Write on standard error."""
    sys.stderr.write(text)
    sys.stderr.flush()


class _Daemon:
    """What the options say of the process itself; they are obeyed before all others.

    :ivar rest: the other options.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._daemonize = False
        self._pid_path: str | None = None
        self._rest: list[Given] = []

    def run(self, argv: list[str]) -> int:
        """Run to the end, and return the exit status.

        :raises StartError: something is refused.
        :raises EndError: help was asked for.
        """
        for given in read_words(argv):
            self._read(given)
        from qbitsim.serving import process  # noqa: PLC0415 - not for those who ask for help

        background = process.Background() if self._daemonize else None
        machine = self._machine(process.seconds())
        return 0 if process.run(self._serve(machine, background), machine.crash) else 1

    def _read(self, given: Given) -> None:
        match given.name:
            case "help":
                write_output(_usage())
                raise EndError
            case "version":
                write_output(f"{PROGRAM} version {self._profile.full_version}{self._profile.copyright}")
                raise EndError
            case "daemonize":
                self._daemonize = True
            case "pidfile":
                self._pid_path = given.argument
            case _:
                self._rest.append(given)

    async def _serve(self, machine: StorageDaemon, background: Background | None) -> None:
        """Obey the options and serve until the end; the pid file says that all is ready (main())."""
        from qbitsim.programs.storage_daemon.startup import Startup  # noqa: PLC0415 - not for those who ask for help
        from qbitsim.serving import process  # noqa: PLC0415 - likewise
        from qbitsim.serving.server import Server  # noqa: PLC0415 - likewise

        server = Server(machine, trim_events=True)
        server.nbd.attach()
        startup = Startup(machine, write_output, _complain, in_background=background is not None)
        for given in self._rest:
            startup.obey(given)
        process.hold_signals()
        pid_file = self._pid_file()

        def end(_words: str) -> None:
            try:
                process.finish(machine.close)
            finally:
                server.stop()

        try:
            process.on_ending_signal(lambda words: server.call_soon(lambda: end(words)))
            with process.raw_terminal():
                for device, kind in startup.monitors:
                    await server.add_chardev(device, kind)
                if background is not None:
                    background.ready()
                server.turn()
                await server.run()
        finally:
            if pid_file is not None:
                pid_file.remove()

    def _machine(self, epoch: int) -> StorageDaemon:
        from qbitsim.images.host.store import HostImageStore  # noqa: PLC0415 - not for those who ask for help
        from qbitsim.programs.storage_daemon.daemon import StorageDaemon  # noqa: PLC0415 - likewise

        return StorageDaemon(self._profile, epoch=epoch, images=HostImageStore(os.getcwd(), closes_unused=True))

    def _pid_file(self) -> PidFile | None:
        from qbitsim.serving.process import PidFile  # noqa: PLC0415 - not for those who ask for help

        try:
            return None if self._pid_path is None else PidFile(self._pid_path)
        except QmpError as error:
            raise StartError(error.desc) from None


def _usage() -> str:
    """As ``--help`` prints it, in qbitsim's own words."""
    options = [f"  --{name.rstrip(':')}" + (" VALUE" if name.endswith(":") else "") for name in LONG]
    return f"Usage: {PROGRAM} [options]\nQEMU storage daemon\n\n" + "\n".join(options) + "\n"
