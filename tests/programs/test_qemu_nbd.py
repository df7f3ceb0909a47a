"""qemu-nbd as a process: what it serves, when it ends, what it says; and the same command lines on the real one.

Some are drawn in every run; ``QBITSIM_PROGRAM_LINES`` asks for more, for instance 500 for each release.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import pytest
from program_duel import Real, installations
from qemu_process import connected
from real_qemu import temporary
from trees import folder_of_files

from qbitsim.nbd.client import ClientSession, Pending
from qbitsim.nbd.protocol import Command

MB = 1 << 20
REFUSED = [
    ("", "Invalid number of arguments\nTry `qemu-nbd --help' for more information."),
    ("a b", "Invalid number of arguments\nTry `qemu-nbd --help' for more information."),
    ("-Z", "invalid option -- 'Z'\nqemu-nbd: Try `qemu-nbd --help' for more information."),
    ("--bogus=1", "unrecognized option '--bogus=1'\nqemu-nbd: Try `qemu-nbd --help' for more information."),
    ("-k rel a.qcow2", "socket path must be absolute"),
    ("-k %D/s nosuch", "Failed to blk_new_open 'nosuch': Could not open 'nosuch': No such file or directory"),
    ("-k %D/no/s a.qcow2", "Failed to bind socket to %D/no/s: No such file or directory"),
    ("-k %D/s -f bogus a.qcow2", "Failed to blk_new_open 'a.qcow2': Unknown driver 'bogus'"),
    ("-k %D/s --image-opts -f raw a.qcow2", "--image-opts and -f are mutually exclusive"),
    (
        "-k %D/s --image-opts a.qcow2",
        "Failed to blk_new_open 'a.qcow2': Cannot find device='a.qcow2' nor node-name='a.qcow2'",
    ),
    ("-k %D/s -B nosuch -f qcow2 a.qcow2", "Bitmap 'nosuch' is not found"),
    ("-k %D/s -f qcow2 -l nosuch a.qcow2", "Failed to load snapshot: Can't find snapshot"),
    ("-k %D/s -f qcow2 -l snapshot.id=1,snapshot.name=x a.qcow2", "Failed to load snapshot: Can't find snapshot"),
    (
        "-k %D/s -f raw -l s0 r.raw",
        (
            "Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily loading "
            "internal snapshots"
        ),
    ),
    (
        "-l snapshot.foo=x a.qcow2",
        "Invalid parameter 'snapshot.foo'\nqemu-nbd: Failed in parsing snapshot param `snapshot.foo=x'",
    ),
    ("-e 1x a.qcow2", "Invalid shared device number '1x'"),
    ("-o x a.qcow2", "Invalid offset 'x'"),
    (
        "-k %D/s -f raw -o 2097152 r.raw",
        "Offset (2097152) cannot be greater than size of the containing file (1048576)",
    ),
    (
        "-k %D/s -f qcow2 -l snapshot.id a.qcow2",
        (
            "warning: short-form boolean option 'snapshot.id' deprecated\nPlease use snapshot.id=on instead\n"
            "qemu-nbd: Failed to load snapshot: Can't find snapshot"
        ),
    ),
    ("-k %D/s -f raw -o -1 r.raw", "Value '-1' is out of range for parameter 'offset'"),
    ("-k %D/s -f raw -o 0xffffffffffffffff r.raw", "Value '-1' is out of range for parameter 'offset'"),
    ("-o 18446744073709551616 a.qcow2", "Invalid offset '18446744073709551616'"),
    ("--cache=x a.qcow2", "Invalid cache mode `x'"),
    ("-n --cache=none a.qcow2", "-n and --cache can only be specified once"),
    (
        "-k %D/s --aio=native file:r.raw",
        (
            "Failed to blk_new_open 'file:r.raw': aio=native was specified, but it requires cache.direct=on, which was "
            "not specified."
        ),
    ),
    ("--aio=x a.qcow2", "Invalid aio mode 'x'"),
    ("--discard=x a.qcow2", "Invalid discard mode `x'"),
    ("--detect-zeroes=x a.qcow2", "Failed to parse detect_zeroes mode: invalid parameter value: x"),
    (
        "--detect-zeroes=unmap a.qcow2",
        "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
    ),
    (f"-x {'n' * 4097} a.qcow2", f"export name '{'n' * 4097}' too long"),
    ("-L a.qcow2", "List mode is incompatible with a file name"),
    ("-L -o 1", "List mode is incompatible with per-device settings"),
    ("-L --cache=none", "List mode is incompatible with per-device settings"),
    ("-L --fork", "List mode is incompatible with forking"),
    ("-L -k %D/s", "Failed to connect to '%D/s': No such file or directory"),
    ("-L -b 127.0.0.1 -p 1", "Failed to connect to '127.0.0.1:1': Connection refused"),
    ("--tls-creds=x -k %D/s a.qcow2", "Failed to get TLS creds: No TLS credentials with id 'x'"),
    ("--tls-authz=x -k %D/s a.qcow2", "--tls-authz is not permitted without --tls-creds"),
    ("-d /dev/nbd0", "Cannot open /dev/nbd0: No such file or directory"),
    ("-c /dev/nbd0 a.qcow2", "Failed to open /dev/nbd0: No such file or directory"),
    ("-b 127.0.0.1 -p x a.qcow2", "address resolution failed for 127.0.0.1:x: Servname not supported for ai_socktype"),
    (
        "--fork -k %D/s -f qcow2 nosuch",
        "Failed to blk_new_open 'nosuch': Could not open 'nosuch': No such file or directory",
    ),
    ("--fork --pid-file %D/no/x -k %D/s -f qcow2 a.qcow2", "Could not create '%D/no/x': No such file or directory"),
]
SERVED = [
    "-f qcow2 a.qcow2",
    "-f qcow2 -r a.qcow2",
    "-f qcow2 -r -x name -D text -A -B b1 -e 0 a.qcow2",
    "-f qcow2 -e 4 -B b0 -B b1 a.qcow2",
    "-f qcow2 -s a.qcow2",
    "-f qcow2 -l s0 a.qcow2",
    "-f qcow2 -l snapshot.name=s0 a.qcow2",
    "-f qcow2 --cache=writethrough --discard=unmap --detect-zeroes=unmap a.qcow2",
    "r.raw",
    "file:r.raw",
    "-r r.raw",
    "-f raw -o 65536 r.raw",
    "--image-opts driver=raw,offset=65536,size=512,file.driver=file,file.filename=r.raw",
    "null-co://",
    "--aio=native --image-opts driver=null-co,size=3",
]

LINES = int(os.environ.get("QBITSIM_PROGRAM_LINES", "6"))
OPTIONS = [
    *("-f qcow2", "-f qcow2", "-f qcow2", "-f raw", "-f bogus", "--format=qcow2", "-r", "-r", "-s", "-n", "-A"),
    *("-x name", "-x=", "--export-name=a/b", "-D text", "--description=", "-e 0", "-e 3", "-e -1"),
    *("--shared=x", "-e 1k", "-B b0", "-B b0", "-B b1", "-B nosuch", "--bitmap=b0", "-o 512", "-o 65536", "-o 1k"),
    *("-o 2M", "-o -1", "-o 0x200", "-l s0", "-l 1", "-l nosuch", "-l snapshot.id=1", "-l snapshot.name=s0"),
    *("-l snapshot.x=1", "-l snapshot.id", "--cache=none", "--cache=unsafe", "--cache=writethrough", "--cache=x"),
    *("--aio=threads", "--aio=native", "--aio=x", "--discard=unmap", "--discard=on", "--discard=x"),
    *("--detect-zeroes=on", "--detect-zeroes=unmap", "-t", "-Z", "two", "--image-opts", "--tls-creds=x"),
    *("--tls-authz=x", "--tls-hostname=x", "--bogus", "--read", "--desc=1", "--de=1", "-L", "-k rel", "-k %D/no/s"),
    *("-p x", "-b 127.0.0.1", "--fork=1", "--handshake-limit=5", "--handshake-limit=x", "-V"),
]
FILES = [
    *("a.qcow2", "a.qcow2", "a.qcow2", "r.raw", "r.raw", "nosuch", "", "null-co://"),
    *("driver=qcow2,file.filename=a.qcow2", "driver=raw,offset=512,size=1k,file.driver=file,file.filename=r.raw"),
    *("json:{}", "file:r.raw", "driver=null-co,size=3"),
]
"""What a command line may be about; options of images with ``--image-opts``, or as names of files."""


class Folder:
    """A folder with images, and the qemu-nbd that is started in it.

    :ivar program: how it is started.
    :param inside: what the program calls the folder.
    :param release: of qbitsim's own program.
    """

    def __init__(self, path: Path, program: list[str], inside: str, release: str | None = None) -> None:
        self.path = path
        self.socket = str(path / "s")
        self.program = program
        self._inside = inside
        self._release = release
        self._clients: list[Client] = []

    def run(self, line: str) -> tuple[int, str, str]:
        """Run it to its end, or that of the process that was started; what it says has no paths."""
        argv = line.replace("%D", self._inside).split()
        if self._release is not None and "--fork" not in argv:
            status, *said = forked.run("qemu-nbd", self._release, *argv, cwd=self.path)
        else:
            argv[:0] = self.program
            done = subprocess.run(argv, capture_output=True, check=False, timeout=30, cwd=self.path)
            status, *said = done.returncode, done.stdout, done.stderr
        return status, *(each.decode().replace(self._inside, "%D") for each in said)

    def start(self, line: str) -> int:
        """Start it in the background; the number of its process."""
        status, _, said = self.run(f"--fork --pid-file=%D/pid -k %D/s {line}")
        assert status == bool(said), said
        return int((self.path / "pid").read_text())

    def connect(self, *contexts: str) -> Client:
        """A client of the program that was started."""
        self._clients.append(Client(self.socket, contexts))
        return self._clients[-1]

    def close(self) -> None:
        """Hang up on everybody."""
        for client in self._clients:
            client.close()

    def remove_socket(self) -> None:
        """Remove the file of a socket that was left behind."""
        Path(self.socket).unlink(missing_ok=True)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(process: int) -> None:
    until = time.monotonic() + 20
    while alive(process):
        assert time.monotonic() < until
        time.sleep(0.01)


def stop(process: int) -> None:
    os.kill(process, signal.SIGTERM)
    wait_for_end(process)


def make_images(path: Path, qemu_img: str, qemu_io: str) -> None:
    for line in (
        f"{qemu_img} create -q -f qcow2 a.qcow2 1M",
        f"{qemu_img} bitmap --add a.qcow2 b0",
        f"{qemu_img} bitmap --add --disable a.qcow2 b1",
        f"{qemu_img} create -q -f raw r.raw 1M",
        f"{qemu_img} snapshot -c s0 a.qcow2",
    ):
        subprocess.run(line.split(), check=True, cwd=path)
    subprocess.run([qemu_io, "-f", "qcow2", "-c", "write -q -P 7 64k 64k", "a.qcow2"], check=True, cwd=path)


@pytest.fixture(scope="module")
def images(programs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of 10.0."""
    folder, made = tmp_path_factory.mktemp("images"), programs("10.0")
    make_images(folder, str(made / "qemu-img"), str(made / "qemu-io"))
    return folder


@pytest.fixture
def folder(programs: Callable[[str], Path], images: Path) -> Iterator[Folder]:
    """Images of 10.0, and its qemu-nbd."""
    made = programs("10.0")
    with folder_of_files() as path:
        shutil.copytree(images, path, dirs_exist_ok=True)
        found = Folder(path, [str(made / "qemu-nbd")], str(path), "10.0")
        yield found
        found.close()


class Client:
    """A client on a UNIX socket."""

    def __init__(self, path: str, contexts: tuple[str, ...]) -> None:
        self._socket = connected(Path(path))
        self.session = ClientSession(self._socket.sendall, "", contexts)
        self._wait(lambda: self.session.ready)

    def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            self.session.receive(data)
            if self.session.error is not None:
                raise self.session.error

    def ask(self, command: Command, offset: int = 0, length: int = 0, data: bytes = b"") -> Pending:
        pending = self.session.request(command, offset, length, data=data)
        self._wait(lambda: pending.done)
        return pending

    def leave(self) -> None:
        self.session.request(Command.DISC)
        self.close()

    def close(self) -> None:
        self._socket.close()


# -- what is refused


@pytest.mark.parametrize(("line", "text"), REFUSED)
def test_a_wrong_command_line_is_refused(folder: Folder, line: str, text: str) -> None:
    assert folder.run(line) == (1, "", f"qemu-nbd: {text}\n")
    assert not (folder.path / "pid").exists()


@pytest.mark.parametrize("option", ["--trace x", "--object secret,id=x", "--selinux-label=x"])
def test_an_option_that_is_not_emulated_says_so(folder: Folder, option: str) -> None:
    status, _, said = folder.run(f"{option} -k %D/s a.qcow2")
    assert status == 1
    assert said.startswith("qbitsim does not emulate option '--")


def test_help_and_version(folder: Folder, programs: Callable[[str], Path]) -> None:
    assert folder.run("-V")[1].startswith("qemu-nbd 10.0.13")
    assert "--handshake-limit VALUE" in folder.run("-h")[1]
    old = Folder(folder.path, [str(programs("7.2") / "qemu-nbd")], str(folder.path))
    assert "--handshake-limit" not in old.run("--help")[1]
    assert "unrecognized option '--handshake-limit=1'" in old.run("--handshake-limit=1 a.qcow2")[2]


# -- serving


def test_it_ends_with_the_last_client_that_chose_the_export(folder: Folder) -> None:
    process = folder.start("-f qcow2 a.qcow2")
    listed = folder.run("-L -k %D/s")
    assert listed[0] == 0
    assert "exports available: 1\n export: ''\n  size:  1048576\n" in listed[1]
    client = folder.connect()
    client.ask(Command.WRITE, 0, 3, b"abc")
    assert alive(process)
    client.leave()
    wait_for_end(process)
    assert not Path(folder.socket).exists()
    assert (folder.path / "pid").exists()  # as QEMU leaves it


def test_a_snapshot_is_what_the_disk_was(folder: Folder) -> None:
    before = (folder.path / "a.qcow2").read_bytes()
    for name in ("s0", "1", "snapshot.id=1"):
        folder.start(f"-f qcow2 -l {name} a.qcow2")
        client = folder.connect()
        assert client.ask(Command.READ, 0, 128 << 10).result() == bytes(128 << 10)
        client.leave()
        wait_for_end(int((folder.path / "pid").read_text()))
    assert (folder.path / "a.qcow2").read_bytes() == before


def test_it_stays_if_it_is_persistent_and_ends_by_a_signal_with_all_written_down(folder: Folder) -> None:
    process = folder.start("-t -e 2 -B b0 -f qcow2 a.qcow2")
    first, second = (folder.connect("qemu:dirty-bitmap:b0") for _ in range(2))
    first.ask(Command.WRITE, 3 * 65536, 65536, b"x" * 65536)
    extents = second.ask(Command.BLOCK_STATUS, 0, MB).extents["qemu:dirty-bitmap:b0"]
    assert extents == [(65536, 0), (65536, 1), (65536, 0), (65536, 1), (12 * 65536, 0)]
    first.leave()
    second.leave()
    assert alive(process)
    stop(process)
    assert not Path(folder.socket).exists()
    again = folder.start("-r -B b1 -f qcow2 a.qcow2")
    reader = folder.connect()
    assert reader.ask(Command.READ, 3 * 65536, 3).result() == b"xxx"
    reader.leave()
    wait_for_end(again)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_it_with_success(folder: Folder, number: int) -> None:
    argv = [*folder.program, "-t", "-k", folder.socket, "-f", "qcow2", "a.qcow2"]
    with subprocess.Popen(argv, cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            client = folder.connect()
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == b""
        with pytest.raises(ConnectionError):
            client.ask(Command.READ, 0, 1)


def test_as_many_clients_as_may_share_it_are_greeted(folder: Folder) -> None:
    process = folder.start("-t -e 2 -f qcow2 a.qcow2")
    clients = [folder.connect() for _ in range(2)]
    with socket.socket(socket.AF_UNIX) as third:
        third.connect(folder.socket)
        third.settimeout(0.2)
        with pytest.raises(TimeoutError):
            third.recv(1)
        clients[0].leave()
        third.settimeout(20)
        assert third.recv(8) == b"NBDMAGIC"
    stop(process)


def test_a_snapshot_keeps_the_file_as_it_is(folder: Folder) -> None:
    before = (folder.path / "a.qcow2").read_bytes()
    process = folder.start("-s -f qcow2 a.qcow2")
    client = folder.connect()
    client.ask(Command.WRITE, 0, 3, b"abc")
    assert client.ask(Command.READ, 0, 3).result() == b"abc"
    client.leave()
    wait_for_end(process)
    assert (folder.path / "a.qcow2").read_bytes() == before


@pytest.mark.parametrize(("option", "remains"), [("--discard=unmap", b"\0"), ("--discard=ignore", b"\7"), ("", b"\7")])
def test_a_trim_reaches_the_image_if_it_may(folder: Folder, option: str, remains: bytes) -> None:
    process = folder.start(f"{option} -f qcow2 a.qcow2")
    client = folder.connect()
    client.ask(Command.TRIM, 65536, 65536)
    assert client.ask(Command.READ, 65536, 1).result() == remains
    client.leave()
    wait_for_end(process)


def test_it_serves_on_tcp(folder: Folder) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    status, _, said = folder.run(f"--fork --pid-file=%D/pid -t -b 127.0.0.1 -p {port} -x n -f qcow2 a.qcow2")
    assert (status, said) == (0, "")
    assert " export: 'n'\n" in folder.run(f"-L -b 127.0.0.1 -p {port}")[1]
    stop(int((folder.path / "pid").read_text()))


def test_an_image_is_locked_while_it_is_served(folder: Folder) -> None:
    process = folder.start("-t -f qcow2 a.qcow2")
    status, _, said = folder.run("-k %D/t -f qcow2 a.qcow2")
    assert status == 1
    assert 'Failed to get "write" lock\nIs another process using the image [a.qcow2]?' in said
    stop(process)


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (b"", "Failed to read initial magic: Unexpected end-of-file before all data were read"),
        (b"x" * 18, "Bad initial magic received: 0x7878787878787878"),
    ],
)
def test_a_server_that_is_none_has_no_list(folder: Folder, greeting: bytes, text: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(folder.socket)
        server.listen()
        argv = [*folder.program, "-L", "-k", folder.socket]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as asking:
            client, _ = server.accept()
            with client:
                client.sendall(greeting)
            assert asking.stderr is not None
            assert asking.stderr.read() == f"qemu-nbd: {text}\n"
        assert asking.returncode == 1


# -- beside the real one

REAL = [pytest.param(each, id=each.release) for each in installations()] or [
    pytest.param(
        None, marks=pytest.mark.skip(reason="no qemu-img and qemu-io on the path (Debian: qemu-utils)"), id="none"
    )
]


@pytest.fixture
def pair(request: pytest.FixtureRequest, programs: Callable[[str], Path]) -> Iterator[list[Folder]]:
    """The same images twice: for the real program, and for ours."""
    real: Real = request.param
    if not (shutil.which("qemu-nbd") if real.root is None else Path(real.root, "usr/bin/qemu-nbd").exists()):
        pytest.skip("no qemu-nbd there")
    base = Path(tempfile.mkdtemp(prefix="nbd-", dir=temporary(real.root)))
    ours = base / "ours"
    ours.mkdir()
    made = programs(real.release)
    make_images(ours, str(made / "qemu-img"), str(made / "qemu-io"))
    theirs = base / "real"
    shutil.copytree(ours, theirs)
    inside = str(theirs) if real.root is None else "/" + str(theirs.relative_to(real.root))
    yield [
        Folder(theirs, real.wrap(theirs, ["qemu-nbd"]), inside),
        Folder(ours, [str(made / "qemu-nbd")], str(ours), real.release),
    ]
    shutil.rmtree(base)


@pytest.mark.parametrize("pair", REAL, indirect=True)
def test_command_lines_are_refused_as_by_the_real_one(pair: list[Folder]) -> None:
    for line, _ in REFUSED:
        outcomes = []
        for each in pair:
            outcomes.append((each.run(line), Path(each.socket).exists()))
            each.remove_socket()
        assert outcomes[0] == outcomes[1], line


@pytest.mark.parametrize("pair", REAL, indirect=True)
def test_exports_are_listed_as_by_the_real_one(pair: list[Folder]) -> None:
    for line in SERVED:
        outcomes = []
        for each in pair:
            started = each.run(f"--fork --pid-file=%D/pid -t -k %D/s {line}")
            listed = each.run("-L -k %D/s")
            stop(int((each.path / "pid").read_text()))
            outcomes.append((started, listed, Path(each.socket).exists()))
        assert outcomes[0] == outcomes[1], line


def drawn(draw: random.Random) -> str:
    """A command line for a server on a socket; most of its options are right on their own."""
    options = draw.sample(OPTIONS, draw.choice((0, 1, 1, 2, 3)))
    file = draw.choice(FILES)
    if file.startswith("driver=") and draw.random() < 0.8:
        options.append("--image-opts")
    return " ".join([*options, file])


def serve(folder: Folder, line: str) -> list[object]:
    """How a server started, what it listed, and whether its socket is left when it has ended."""
    found: list[object] = [folder.run(f"--fork --pid-file=%D/pid -t -k %D/s {line}")]
    number = folder.path / "pid"
    if number.exists() and alive(int(number.read_text())):
        found.append(folder.run("-L -k %D/s"))
        stop(int(number.read_text()))
    number.unlink(missing_ok=True)
    found.append(Path(folder.socket).exists())
    folder.remove_socket()
    return found


@pytest.mark.parametrize("pair", REAL, indirect=True)
def test_drawn_command_lines_do_what_they_do_on_the_real_one(
    pair: list[Folder], request: pytest.FixtureRequest
) -> None:
    draw = random.Random(request.node.callspec.id)
    for _ in range(LINES):
        line = drawn(draw)
        theirs, ours = (serve(each, line) for each in pair)
        assert ours == theirs, line
