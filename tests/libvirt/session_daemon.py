"""An isolated session daemon of libvirt in a folder of its own, and domains in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

PATIENCE = 60
"""Seconds for a command of virsh."""

NOBODY = 65534
NEEDED = ("libvirtd", "virsh", "qemu-img", "setpriv")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def lacking() -> str:
    """Why there can be no daemon here; empty if there can."""
    missing = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if missing:
        return f"no {', '.join(missing)} on the path (Debian: libvirt-daemon, libvirt-clients, qemu-utils)"
    if not Path("/sys/devices/system/cpu/online").exists():
        return "/sys is not mounted: libvirt cannot start a domain"
    return ""


class RefusedError(Exception):
    """Virsh has failed; the text is what it said."""


class Daemon:
    """A daemon for one user, who is never root, with all that it keeps in a folder that is gone at the end.

    :ivar folder: for images and targets; the daemon may write there.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lv", dir="/tmp"))  # short: sockets are in it
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        for name in ("run", "config", "cache", "data", "home", "files", "config/libvirt"):
            (self.folder / name).mkdir()
        (self.folder / "config/libvirt/qemu.conf").write_text('stdio_handler = "file"\nsecurity_driver = "none"\n')
        (self.folder / "libvirtd.conf").write_text('auth_unix_ro = "none"\nauth_unix_rw = "none"\n')
        (self.folder / "run").chmod(0o700)
        if os.geteuid() == 0:
            self._as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        self.files = self.folder / "files"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        command = [*self._as_user, "libvirtd", "-f", str(self.folder / "libvirtd.conf")]
        with (self.folder / "libvirtd.out").open("ab") as out:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.files
            )
        for _ in range(100):
            if self._run("virsh", "-q", "uri").returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "libvirtd.out").read_text())

    def stop(self) -> None:
        """Stop the daemon; domains run on."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)

    def virsh(self, *words: str) -> str:
        """What a command of virsh prints.

        :raises RefusedError: it fails.
        """
        done = self._run("virsh", "-q", *words)
        if done.returncode != 0:
            raise RefusedError(done.stderr.strip())
        return done.stdout

    def qemu_img(self, *words: str) -> str:
        """What the qemu-img of the host prints."""
        done = self._run("qemu-img", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def written(self, name: str, text: str) -> str:
        """The path of a new file with that text."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def log(self, domain: str) -> str:
        """What the emulator of a domain wrote on standard error, and what it was started with."""
        return (self.folder / f"cache/libvirt/qemu/log/{domain}.log").read_text()

    def _environment(self) -> dict[str, str]:
        folders = {"RUNTIME_DIR": "run", "CONFIG_HOME": "config", "CACHE_HOME": "cache", "DATA_HOME": "data"}
        return {
            "PATH": PATH,
            "HOME": str(self.folder / "home"),
            "LIBVIRT_DEFAULT_URI": "qemu:///session",
            **{f"XDG_{name}": str(self.folder / folder) for name, folder in folders.items()},
        }

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._as_user, *command],
            env=self._environment(),
            cwd=self.files,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


DISK = """
<disk type='file' device='{device}'><driver name='qemu' type='{format}'/>{source}<target dev='{target}' bus='{bus}'/>
</disk>"""

DOMAIN = """
<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>{processors}</vcpu>{model}
<os><type arch='x86_64' machine='{machine}'>hvm</type></os><features><acpi/></features>
<devices><emulator>{emulator}</emulator>{devices}</devices></domain>"""

BARE = "<controller type='usb' model='none'/><memballoon model='none'/>"


class Domain:
    """A domain that is started paused.

    :ivar disks: target -> path of its image.
    """

    def __init__(
        self,
        daemon: Daemon,
        emulator: str,
        name: str,
        disks: str = "vda:virtio:qcow2 vdb:virtio:qcow2",
        *,
        machine: str = "pc",
        processors: int = 1,
        model: str = "",
        more: str = BARE,
    ) -> None:
        self.daemon = daemon
        self.name = name
        self.disks: dict[str, Path] = {}
        devices = ""
        for number, disk in enumerate(disks.split()):
            target, bus, kind = disk.split(":")
            devices += self._disk(number, target, bus, kind)
        text = DOMAIN.format(
            name=name,
            machine=machine,
            processors=processors,
            model=model,
            emulator=emulator,
            devices=devices + more,
        )
        daemon.virsh("define", daemon.written(f"{name}.xml", text))
        try:
            daemon.virsh("start", "--paused", name)
        except RefusedError as error:
            raise AssertionError(f"{error}\n{daemon.log(name)[-2000:]}") from None

    def _disk(self, number: int, target: str, bus: str, kind: str) -> str:
        if kind == "cdrom":
            return DISK.format(device="cdrom", format="raw", source="<readonly/>", target=target, bus=bus)
        path = self.daemon.files / f"{self.name}-{target}.{kind}"
        content = self.daemon.files / f"{self.name}-{target}.content"
        with content.open("wb") as file:
            file.truncate(16 << 20)
            for place in range(0, 16, 4):
                file.seek(place << 20)
                file.write(bytes([100 + 10 * number + place]) * (1 << 20))
        self.daemon.qemu_img("convert", "-f", "raw", "-O", kind, str(content), str(path))
        self.disks[target] = path
        source = f"<source file='{path}'/>"
        device = "floppy" if bus == "fdc" else "disk"
        return DISK.format(device=device, format=kind, source=source, target=target, bus=bus)

    def virsh(self, command: str, *words: str) -> str:
        """What a command about this domain prints.

        :raises RefusedError: it fails.
        """
        return self.daemon.virsh(command, self.name, *words)

    def qmp(self, text: str) -> str:
        """What the monitor answers to a request."""
        return self.virsh("qemu-monitor-command", text)

    def write(self, target: str, offset: int, length: int, byte: int) -> None:
        """The guest of the first disk of virtio, or of the second one, writes; sizes in KiB."""
        number = list(self.disks).index(target)
        path = f"/machine/peripheral/virtio-disk{number}/virtio-backend"
        said = self.virsh("qemu-monitor-command", "--hmp", f'qemu-io -d {path} "write -P {byte} {offset}k {length}k"')
        assert said.strip() == "", said
        with (self.daemon.files / f"{self.name}-{target}.content").open("r+b") as file:
            file.seek(offset << 10)
            file.write(bytes([byte]) * (length << 10))

    def content(self, target: str) -> bytes:
        """What a disk must hold now."""
        return (self.daemon.files / f"{self.name}-{target}.content").read_bytes()

    def begin(self, backup: str, checkpoint: str | None = None) -> None:
        """Begin a backup.

        :raises RefusedError: it is refused.
        """
        words = [self.daemon.written(f"{self.name}-backup.xml", backup)]
        if checkpoint is not None:
            text = f"<domaincheckpoint><name>{checkpoint}</name></domaincheckpoint>"
            words.append(self.daemon.written(f"{self.name}-checkpoint.xml", text))
        self.virsh("backup-begin", *words)

    def end(self) -> str:
        """Wait until the job has ended; what became of it."""
        for _ in range(300):
            if "None" in self.virsh("domjobinfo"):
                return self.virsh("domjobinfo", "--completed", "--anystats")
            time.sleep(0.1)
        raise AssertionError(self.virsh("domjobinfo"))

    def push(self, targets: str, checkpoint: str | None = None, incremental: str | None = None) -> str:
        """Make a backup of all disks into files that begin with *targets*; what became of it."""
        self.begin(self.push_xml(targets, incremental), checkpoint)
        return self.end()

    def push_xml(self, targets: str, incremental: str | None = None, kind: str = "qcow2") -> str:
        """A description of such a backup."""
        disks = "".join(
            f"<disk name='{target}' backup='yes' type='file'><driver type='{kind}'/>"
            f"<target file='{self.daemon.files / targets}.{target}.{kind}'/></disk>"
            for target in self.disks
        )
        since = f"<incremental>{incremental}</incremental>" if incremental else ""
        return f"<domainbackup mode='push'>{since}<disks>{disks}</disks></domainbackup>"

    def pull_xml(self, socket: Path, incremental: str | None = None) -> str:
        """A description of a backup that clients of NBD read at a socket."""
        disks = "".join(
            f"<disk name='{target}' backup='yes' type='file'>"
            f"<scratch file='{self.daemon.files / self.name}.{target}.scratch{incremental or ''}'/></disk>"
            for target in self.disks
        )
        since = f"<incremental>{incremental}</incremental>" if incremental else ""
        server = f"<server transport='unix' socket='{socket}'/>"
        return f"<domainbackup mode='pull'>{since}{server}<disks>{disks}</disks></domainbackup>"

    def extents(self, path: Path) -> list[dict[str, Any]]:
        """Which parts of an image are in itself, and which in those behind it."""
        found: list[dict[str, Any]] = json.loads(self.daemon.qemu_img("map", "--output=json", str(path)))
        return found

    def raw(self, path: Path | str, kind: str = "qcow2") -> bytes:
        """What an image of a backup holds, with those behind it."""
        copy = self.daemon.files / "raw"
        self.daemon.qemu_img("convert", "-f", kind, "-O", "raw", str(path), str(copy))
        return copy.read_bytes()


Start = Callable[..., Domain]
"""Starts a domain that is gone at the end of the test."""


def kind_of(job: str) -> str:
    """What domjobinfo says has become of a job."""
    found = re.search(r"Job type: +(\w+)", job)
    assert found is not None, job
    return found[1]
