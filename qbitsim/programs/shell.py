"""The commands on image files that a scenario may run: no process is started, the image store is all there is."""

from __future__ import annotations

from collections.abc import Callable

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import UnsupportedError
from qbitsim.images.store import ImageStore
from qbitsim.machine.machine import EPOCH
from qbitsim.profiles import Profile
from qbitsim.programs.qemu_io import QemuIo
from qbitsim.qemu_img import run as qemu_img
from qbitsim.standard_streams import StandardStreams

Result = tuple[int, str]


class Shell:
    """A shell on one image store.

    :param profile: whose qemu-img and qemu-io they are.
    """

    def __init__(self, images: ImageStore, profile: Profile) -> None:
        self.images = images
        self.profile = profile
        self._commands: dict[str, Callable[[list[str]], Result]] = {
            "qemu-img": self._qemu_img,
            "qemu-io": self._qemu_io,
            "ls": self._ls,
            "rm": self._rm,
            "mv": self._mv,
            "cp": self._cp,
            "mkdir": self._mkdir,
        }

    def run(self, argv: list[str]) -> Result:
        """Run one command; return its exit status and what it printed.

        A command that is not known gets exit status 127, as a shell gives it.
        """
        command = self._commands.get(argv[0])
        if command is None:
            return 127, f"qbitsim does not emulate the command '{argv[0]}'\n"
        try:
            return command(argv[1:])
        except UnsupportedError as error:
            return 1, f"{error.desc}\n"

    def _qemu_img(self, arguments: list[str]) -> Result:
        return qemu_img.run(self.images, arguments, self.profile, EPOCH * NANOSECONDS)

    def _qemu_io(self, arguments: list[str]) -> Result:
        printed: list[str] = []
        streams = StandardStreams(lambda _, text: printed.append(text))
        return QemuIo(self.images, self.profile, streams).run(arguments), "".join(printed)

    def _ls(self, arguments: list[str]) -> Result:
        lines, status = "", 0
        for name in arguments or [""]:
            if name in self.images:
                lines += f"{name}\n"
            elif self.images.is_directory(name):
                lines += "".join(f"{entry}\n" for entry in self.images.names(name))
            else:
                lines += f"ls: cannot access '{name}': No such file or directory\n"
                status = 2
        return status, lines

    def _rm(self, arguments: list[str]) -> Result:
        force = "-f" in arguments
        lines, status = "", 0
        for name in (argument for argument in arguments if not argument.startswith("-")):
            try:
                self.images.remove(name)
            except OSError as error:
                if not force:
                    lines += f"rm: cannot remove '{name}': {error.strerror}\n"
                    status = 1
        return status, lines

    def _mv(self, arguments: list[str]) -> Result:
        if len(arguments) != 2:
            return 1, "mv: two file names are needed\n"
        try:
            self.images.rename(*arguments)
        except OSError as error:
            return 1, f"mv: cannot stat '{arguments[0]}': {error.strerror}\n"
        return 0, ""

    def _cp(self, arguments: list[str]) -> Result:
        if len(arguments) != 2:
            return 1, "cp: two file names are needed\n"
        try:
            self.images.copy(*arguments)
        except OSError as error:
            return 1, f"cp: cannot stat '{arguments[0]}': {error.strerror}\n"
        return 0, ""

    def _mkdir(self, arguments: list[str]) -> Result:
        for name in (argument for argument in arguments if argument != "-p"):
            try:
                self.images.mkdir(name)
            except OSError as error:
                return 1, f"mkdir: cannot create directory '{name}': {error.strerror}\n"
        return 0, ""
