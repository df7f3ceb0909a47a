"""``nbd``: a machine that is a client of another machine, both in one process, without sockets.

The texts are those of QEMU 7.2.22 and 10.0.13 (measured with blockdev-add, and with real qemu-nbd).
"""

from __future__ import annotations

import errno
import json

import pytest

from qbitsim import ImageStore, Machine, QmpError, UnsupportedError
from qbitsim.files.network import InetAddress, UnixAddress
from qbitsim.nbd.protocol import Command

MB = 1 << 20
KB64 = 65536
PLACE = {"type": "unix", "path": "/nbd.sock"}


class Pair:
    """Two machines on one store: the server with a writable export ``disk`` of its drive, and the client."""

    def __init__(self, *, writable: bool = True, release: str = "10.0") -> None:
        images = ImageStore()
        self.server = Machine(release, images=images)
        self.client = Machine(release, images=images)
        self.disk = self.server.add_disk("disk", 2 * MB, discard=True)
        self.disk.write(0, b"x" * KB64)
        self.server.execute("block-dirty-bitmap-add", {"node": "disk", "name": "b0"})
        self.disk.write(MB, b"y" * KB64)
        self.listen()
        self.server.export_nbd("disk", writable=writable, bitmaps=["b0"] if writable else [])

    def listen(self) -> None:
        self.server.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "/nbd.sock"}}})

    def come_back(self) -> None:
        """The server starts anew."""
        self.listen()
        self.server.export_nbd("disk", writable=True)

    def add(self, name: str = "n", **options: object) -> None:
        node = {"driver": "nbd", "node-name": name, "server": PLACE, "export": "disk", **options}
        self.client.execute("blockdev-add", {key.replace("_", "-"): value for key, value in node.items()})

    def drive(self, **options: object):
        self.add(**options)
        return self.client.add_drive("d", self.client.graph.nodes["n"])

    def job(self, name: str):
        """What was told of the end of a job: the event, and its error."""
        for event in self.client.events.read(0):
            if event["event"].startswith("BLOCK_JOB_COMP") and event["data"]["device"] == name:
                return event["data"].get("error", "fine")
        return None


def refusal(pair: Pair, **options: object) -> str:
    before = list(pair.client.graph.nodes)
    with pytest.raises(QmpError) as caught:
        pair.add(**options)
    assert list(pair.client.graph.nodes) == before
    return caught.value.desc


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_client_reads_and_writes_what_the_server_has(release: str) -> None:
    pair = Pair(release=release)
    drive = pair.drive(discard="unmap")
    assert drive.node.length == 2 * MB
    assert drive.read(MB, 3) == b"yyy"
    drive.write(512, b"z" * 512)
    assert pair.disk.read(511, 3) == b"xzz"
    drive.write_zeroes(0, KB64)
    drive.discard(MB, KB64)
    drive.flush()
    assert pair.disk.read(0, KB64) == pair.disk.read(MB, KB64) == bytes(KB64)


def test_requests_are_cut_to_what_the_server_takes_at_once() -> None:
    pair = Pair()
    pair.add()
    export = pair.client.graph.nodes["n"].export
    export._session.block_sizes = (1, 4096, 1000)
    export.write(10, bytes(range(250)) * 12)
    assert export.read(0, 3020) == b"x" * 10 + bytes(range(250)) * 12 + b"x" * 10


def test_what_the_server_tells_of_ranges_is_the_status_of_the_node() -> None:
    pair = Pair()
    pair.add()
    pair.add("dirty", x_dirty_bitmap="qemu:dirty-bitmap:b0")
    node, dirty = (pair.client.graph.nodes[name] for name in ("n", "dirty"))
    data, hole = node.status(0, 2 * MB), node.status(KB64, 2 * MB)
    assert (data.length, data.data, data.zero) == (KB64, True, False)
    assert (hole.length, hole.data, hole.zero) == (MB - KB64, False, True)
    clean, marked = dirty.status(0, 2 * MB), dirty.status(MB, MB)
    assert (clean.length, clean.data, clean.allocated) == (MB, True, True)
    assert (marked.length, marked.data, marked.zero, marked.allocated) == (KB64, False, False, False)


def test_the_refusals_are_those_of_qemu() -> None:
    pair = Pair()
    nowhere = {"type": "unix", "path": "/none.sock"}
    assert refusal(pair, server=nowhere) == "Failed to connect to '/none.sock': No such file or directory"
    tcp = {"type": "inet", "host": "localhost", "port": "10809"}
    assert refusal(pair, server=tcp) == "Failed to connect to 'localhost:10809': Connection refused"
    neither = {**tcp, "ipv4": False, "ipv6": False}
    assert refusal(pair, server=neither) == "Cannot disable IPv4 and IPv6 at same time"
    assert refusal(pair, export="nope") == "Requested export not available"
    assert refusal(pair, export="x" * 4097) == "export name too long to send to server"
    assert refusal(pair, x_dirty_bitmap="x" * 4097) == "x-dirty-bitmap query too long to send to server"
    assert refusal(pair, x_dirty_bitmap="qemu:dirty-bitmap:no") == "Could not open image: Invalid argument"
    assert refusal(pair, tls_creds="t") == "No TLS credentials with id 't'"
    for kind in ({"type": "vsock", "cid": "3", "port": "1"}, {"type": "fd", "str": "7"}):
        assert (
            refusal(pair, server=kind) == f"qbitsim does not emulate an NBD server on a socket of type '{kind['type']}'"
        )
    pair.add()
    assert refusal(pair, name="n") == "Duplicate nodes with node-name='n'"
    assert len(pair.server.exports.connections) == 1


def test_an_export_that_is_read_only_needs_a_node_that_is() -> None:
    pair = Pair(writable=False)
    assert refusal(pair) == "Could not open image: Permission denied"
    pair.add("r", read_only=True)
    pair.add("a", auto_read_only=True)
    assert [pair.client.graph.nodes[name].read_only for name in ("r", "a")] == [True, True]
    options = {"driver": "nbd", "node-name": "r", "server": PLACE, "export": "disk", "read-only": False}
    with pytest.raises(QmpError, match=r"^Can't reopen read-only NBD mount as read/write$"):
        pair.client.execute("blockdev-reopen", {"options": [options]})


def test_an_option_of_the_connection_cannot_be_changed() -> None:
    pair = Pair()
    pair.add()
    options = {"driver": "nbd", "node-name": "n", "server": PLACE, "export": "disk"}
    pair.client.execute("blockdev-reopen", {"options": [{**options, "read-only": True}]})
    assert pair.client.graph.nodes["n"].read_only
    with pytest.raises(QmpError, match=r"^Cannot change the option 'export'$"):
        pair.client.execute("blockdev-reopen", {"options": [{**options, "export": "other"}]})


def test_the_length_cannot_grow_and_a_shorter_one_changes_nothing() -> None:
    pair = Pair()
    pair.add()
    with pytest.raises(QmpError, match=r"^Cannot grow NBD nodes$"):
        pair.client.execute("block_resize", {"node-name": "n", "size": 4 * MB})
    pair.client.execute("block_resize", {"node-name": "n", "size": MB})
    assert pair.client.graph.nodes["n"].length == 2 * MB


def test_queries_show_the_address() -> None:
    pair = Pair()
    pair.add()
    pair.client.execute("blockdev-add", {"driver": "raw", "node-name": "f", "file": "n"})
    shown = {each["node-name"]: each for each in pair.client.execute("query-named-block-nodes", {"flat": True})}
    assert shown["n"]["file"] == shown["f"]["file"] == "nbd+unix:///disk?socket=/nbd.sock"
    assert shown["n"]["image"] == {"virtual-size": 2 * MB, "filename": shown["n"]["file"], "format": "nbd"}


def test_what_no_name_can_say_is_shown_as_options() -> None:
    pair = Pair()
    pair.server.execute("nbd-server-stop", {})
    inet = {"type": "inet", "data": {"host": "here", "port": "1"}}
    pair.server.execute("nbd-server-start", {"addr": inet})
    pair.server.export_nbd("disk")
    pair.add(server={"type": "inet", "host": "here", "port": "1"}, read_only=True)
    pair.add("v4", server={"type": "inet", "host": "here", "port": "1", "ipv4": True}, read_only=True)
    shown = {each["node-name"]: each["file"] for each in pair.client.execute("query-named-block-nodes", {"flat": True})}
    assert shown["n"] == "nbd://here:1/disk"
    found = json.loads(shown["v4"].removeprefix("json:"))
    address = {"server.type": "inet", "server.host": "here", "server.port": "1", "server.ipv4": True}
    assert found == {"driver": "nbd", "export": "disk", **address}


def test_a_drive_by_name_is_probed() -> None:
    pair = Pair()
    name = "nbd:unix:/nbd.sock:exportname=disk"
    assert pair.client.execute("human-monitor-command", {"command-line": f"drive_add 0 if=none,id=d,file={name}"}) == (
        "OK\r\n"
    )
    assert pair.client.drive("d").node.driver == "raw"
    reply = pair.client.execute(
        "human-monitor-command", {"command-line": "drive_add 0 if=none,id=e,file=nbd+unix:///no?socket=/nbd.sock"}
    )
    assert reply == "Requested export not available\r\nserver reported: export 'no' not present\r\n"


def test_a_qcow2_image_in_an_export_is_an_image() -> None:
    pair = Pair()
    pair.server.add_disk("holder", MB, format="raw")
    pair.server.export_nbd("holder", writable=True)
    file = {"driver": "nbd", "server": PLACE, "export": "holder"}
    pair.client.execute("blockdev-add", {**file, "node-name": "f"})
    image = pair.client.graph.nodes["f"].image_file.make_qcow2(512 * 1024)
    image.write(0, b"q" * KB64)
    image.save()
    pair.client.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": "f"})
    drive = pair.client.add_drive("d", pair.client.graph.nodes["q"])
    drive.write(KB64, b"r" * KB64)
    drive.flush()
    pair.client.shut_down()
    assert pair.server.drive("holder").read(0, 4) == b"QFI\xfb"
    again = Machine("10.0", images=pair.server.images)
    again.execute("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": {**file, "node-name": "f"}})
    assert again.add_drive("d", again.graph.nodes["q"]).read(KB64 - 1, 2) == b"qr"


# -- jobs


def backup(pair: Pair, source: str, target: str, **options: object):
    arguments = {"job-id": "j", "device": source, "target": target, "sync": "full", **options}
    pair.client.execute("blockdev-backup", arguments)
    pair.client.run_until_idle()
    return pair.job("j")


def test_backups_and_mirrors_go_to_and_from_an_export() -> None:
    pair = Pair()
    pair.add()
    drive = pair.client.add_disk("own", 2 * MB, format="raw")
    own = drive.node.name
    assert backup(pair, "n", own) == "fine"
    assert drive.read(0, 2 * MB) == pair.disk.read(0, 2 * MB)
    drive.write(0, b"back" * 1024)
    pair.client.execute("blockdev-mirror", {"job-id": "m", "device": own, "target": "n", "sync": "full"})
    pair.client.run_until_idle()
    drive.write(MB, b"late" * 1024)
    pair.client.execute("block-job-complete", {"device": "m"})
    pair.client.run_until_idle()
    assert pair.job("m") == "fine"
    assert pair.disk.read(0, 4) == b"back"
    assert pair.disk.read(MB, 4) == b"late"


def test_drive_mirror_goes_to_a_name_with_a_protocol() -> None:
    pair = Pair()
    drive = pair.client.add_disk("own", 2 * MB)
    drive.write(0, b"own" * 512)
    arguments = {"device": "own", "target": "nbd:unix:/nbd.sock:exportname=disk", "sync": "full", "format": "raw"}
    for mode in ("existing", "absolute-paths"):
        pair.client.execute("drive-mirror", {**arguments, "mode": mode, "job-id": "j"})
        pair.client.run_until_idle()
        pair.client.execute("block-job-cancel", {"device": "j"})
        pair.client.run_until_idle()
        assert pair.disk.read(0, 3) == b"own"
        assert pair.disk.read(MB, KB64) == bytes(KB64)  # what was there before is no part of a new image either
        pair.disk.write(0, b"x" * KB64)
        pair.disk.write(MB, b"y" * KB64)


def test_a_new_image_is_made_in_an_export_as_far_as_it_has_room() -> None:
    pair = Pair()
    pair.client.add_disk("own", 2 * MB).write(0, b"own" * 512)
    pair.client.add_disk("long", 4 * MB)
    target = "nbd:unix:/nbd.sock:exportname=disk"
    pair.client.execute("drive-backup", {"device": "own", "target": target, "sync": "full", "format": "qcow2"})
    pair.client.run_until_idle()
    assert pair.disk.read(0, 4) == b"QFI\xfb"
    with pytest.raises(QmpError, match=r"^Cannot grow NBD nodes$"):
        pair.client.execute("drive-backup", {"device": "long", "target": target, "sync": "full", "format": "raw"})
    pair.client.execute("drive-mirror", {"device": "long", "target": target, "sync": "full", "format": "qcow2"})
    pair.client.run_until_idle()
    pair.client.execute("blockdev-snapshot-sync", {"device": "own", "snapshot-file": target, "format": "qcow2"})
    assert pair.client.drive("own").read(0, 3) == b"own"


NOTHING_MADE = {
    "7.2": "image creation, and opening the image failed: ",
    "10.0": "creating new images, so an existing image must be selected as the target; however, opening the given "
    "target as an existing image failed: ",
}


@pytest.mark.parametrize(("release", "text"), NOTHING_MADE.items())
def test_no_image_is_made_where_none_can_be_opened(release: str, text: str) -> None:
    pair = Pair(release=release, writable=False)
    pair.client.add_disk("own", 2 * MB)
    for target, reason in (
        ("nbd:unix:/nbd.sock:exportname=disk", "Could not open image: Permission denied"),
        ("nbd:unix:/nbd.sock:exportname=nope", "Requested export not available"),
        ("nbd+unix:///disk?socket=/nope", "Failed to connect to '/nope': No such file or directory"),
        ("nbd:", "NBD server address missing"),
        ("nbd:frob", "error parsing address 'frob'"),
    ):
        with pytest.raises(QmpError) as caught:
            pair.client.execute("drive-backup", {"device": "own", "target": target, "sync": "full", "format": "raw"})
        assert caught.value.desc == f"Protocol driver 'nbd' does not support {text}{reason}"
    for kind in ("drive-backup", "drive-mirror"):
        arguments = {"device": "own", "target": "nbd:unix:/nbd.sock:exportname=disk", "sync": "full"}
        with pytest.raises(QmpError, match=r"^Block node is read-only$"):
            pair.client.execute(kind, {**arguments, "mode": "existing", "format": "qcow2"})
    assert pair.server.exports.connections == []


@pytest.mark.parametrize("sync", ["full", "top"])
def test_a_backup_from_a_server_that_has_gone_fails(sync: str) -> None:
    pair = Pair()
    pair.add()
    own = pair.client.add_disk("own", 2 * MB, format="raw").node.name
    pair.server.execute("nbd-server-stop", {})
    assert backup(pair, "n", own, sync=sync) == "Input/output error"


def test_an_error_that_needs_no_io_stops_a_mirror_at_once() -> None:
    pair = Pair()
    pair.add()
    pair.server.execute("nbd-server-stop", {})
    pair.client.add_node({"driver": "null-co", "node-name": "own", "size": 2 * MB})
    arguments = {"job-id": "m", "device": "n", "target": "own", "sync": "full", "buf-size": KB64}
    pair.client.execute("blockdev-mirror", {**arguments, "on-source-error": "stop"})
    pair.client.run_until_idle()
    [job] = pair.client.execute("query-block-jobs", {})
    assert (job["status"], job["io-status"], job["offset"]) == ("paused", "failed", 0)
    errors = [each["data"] for each in pair.client.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
    assert errors == [{"device": "m", "operation": "read", "action": "stop"}]


def test_the_policy_of_a_job_holds_for_a_server_that_has_gone() -> None:
    pair = Pair()
    pair.add()
    drive = pair.client.add_disk("own", 2 * MB, format="raw")
    drive.write(0, b"o" * 512)
    pair.server.execute("nbd-server-stop", {})
    assert backup(pair, drive.node.name, "n", **{"on-target-error": "stop"}) is None
    assert pair.client.execute("query-jobs", {})[0]["status"] == "paused"
    pair.come_back()
    pair.client.execute("block-job-resume", {"device": "j"})
    pair.client.run_until_idle()
    assert pair.job("j") == "fine"
    assert pair.disk.read(0, 1) == b"o"


def test_faults_strike_the_clients_requests() -> None:
    pair = Pair()
    drive = pair.drive()
    pair.client.faults.inject_error("n", "read", errno.ENOSPC, times=1)
    with pytest.raises(OSError, match="No space left"):
        drive.read(0, 512)
    assert drive.read(0, 1) == b"x"


# -- the connection


def test_a_broken_connection_is_made_again_by_the_next_but_one_request() -> None:
    pair = Pair()
    drive = pair.drive()
    pair.server.execute("nbd-server-stop", {})
    pair.come_back()
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            drive.read(0, 512)
    assert drive.read(0, 1) == b"x"


def test_reconnect_delay_lets_a_request_connect_again() -> None:
    pair = Pair()
    drive = pair.drive(reconnect_delay=10)
    pair.server.execute("nbd-server-stop", {})
    pair.come_back()
    assert drive.read(0, 1) == b"x"


def test_reconnect_delay_lets_a_job_wait() -> None:
    pair = Pair()
    pair.add(reconnect_delay=10)
    drive = pair.client.add_disk("own", 2 * MB, format="raw")
    drive.write(0, b"o" * 512)
    pair.server.execute("nbd-server-stop", {})
    assert backup(pair, drive.node.name, "n") is None
    pair.client.advance(5)
    assert pair.job("j") is None
    pair.come_back()
    pair.client.advance(6)
    assert pair.job("j") == "fine"
    assert pair.disk.read(0, 1) == b"o"


def test_reconnect_delay_comes_to_an_end() -> None:
    pair = Pair()
    pair.add(reconnect_delay=10)
    own = pair.client.add_disk("own", 2 * MB, format="raw").node.name
    pair.server.execute("nbd-server-stop", {})
    assert backup(pair, own, "n", **{"on-source-error": "report"}) in (None, "Input/output error")
    pair.client.advance(11)
    assert pair.job("j") == "Input/output error"


@pytest.mark.parametrize("kind", ["blockdev-backup", "blockdev-mirror"])
def test_who_cancels_a_job_does_not_wait_for_the_server(kind: str) -> None:
    pair = Pair()
    pair.add(reconnect_delay=10)
    pair.client.add_node({"driver": "raw", "node-name": "r", "file": "n"})
    drive = pair.client.add_disk("own", pair.client.graph.nodes["n"].length, format="raw")
    drive.write(0, b"o" * 512)
    pair.server.execute("nbd-server-stop", {})
    arguments = {"job-id": "j", "device": drive.node.name, "target": "r", "sync": "full", "auto-dismiss": False}
    pair.client.execute(kind, arguments)
    pair.client.advance(1)
    assert [each["status"] for each in pair.client.qmp("query-jobs")] == ["running"]
    pair.client.execute("job-cancel", {"id": "j"})
    pair.client.advance(0)
    assert [each["status"] for each in pair.client.qmp("query-jobs")] == ["concluded"]
    pair.come_back()
    assert pair.client.graph.nodes["r"].read(0, 1) == b"x"


def goes_amid_a_write(pair: Pair) -> None:
    """Let the server go when the client has data for it."""
    session = pair.client.graph.nodes["n"].export._session
    request = session.request

    def interrupted(command, *arguments):
        if command is Command.WRITE:
            pair.server.execute("nbd-server-stop", {})
        return request(command, *arguments)

    session.request = interrupted


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("kind", ["blockdev-backup", "blockdev-mirror"])
def test_a_job_waits_for_a_server_that_goes_amid_a_request(kind: str, comes_back: bool) -> None:
    pair = Pair()
    pair.add(reconnect_delay=10)
    drive = pair.client.add_disk("own", 2 * MB, format="raw")
    drive.write(0, b"o" * 512)
    goes_amid_a_write(pair)
    pair.client.qmp(kind, job_id="j", device=drive.node.name, target="n", sync="full", auto_dismiss=False)
    pair.client.advance(5)
    assert [each["status"] for each in pair.client.qmp("query-jobs")] == ["running"]
    if comes_back:
        pair.come_back()
    pair.client.advance(6)
    ends = "ready" if comes_back and kind == "blockdev-mirror" else "concluded"
    assert [each["status"] for each in pair.client.qmp("query-jobs")] == [ends]
    assert pair.disk.read(0, 1) == (b"o" if comes_back else b"x")


@pytest.mark.parametrize("kind", ["blockdev-backup", "blockdev-mirror"])
def test_who_cancels_a_job_does_not_wait_for_a_server_that_went_amid_a_request(kind: str) -> None:
    pair = Pair()
    pair.add(reconnect_delay=10)
    drive = pair.client.add_disk("own", 2 * MB, format="raw")
    drive.write(0, b"o" * 512)
    goes_amid_a_write(pair)
    pair.client.qmp(kind, job_id="j", device=drive.node.name, target="n", sync="full", auto_dismiss=False)
    pair.client.advance(1)
    pair.client.qmp("job-cancel", id="j")
    pair.client.advance(0)
    assert [each["status"] for each in pair.client.qmp("query-jobs")] == ["concluded"]


def test_the_server_notices_that_a_client_goes() -> None:
    pair = Pair()
    pair.add()
    assert len(pair.server.exports.connections) == 1
    pair.client.execute("blockdev-del", {"node-name": "n"})
    assert pair.server.exports.connections == []
    pair.add()
    pair.client.crash()
    assert pair.server.exports.connections == []


def test_a_server_that_crashes_is_gone_and_one_that_restarts_is_there_again() -> None:
    pair = Pair()
    drive = pair.drive()
    pair.server.crash()
    with pytest.raises(OSError, match="Input/output error"):
        drive.read(0, 512)
    assert refusal(pair, name="m").startswith("Failed to connect to '/nbd.sock'")


def test_a_machine_is_no_client_of_its_own_and_waits_for_no_room() -> None:
    pair = Pair()
    node = {"driver": "nbd", "node-name": "n", "server": PLACE, "export": "disk"}
    with pytest.raises(UnsupportedError, match="own server: real QEMU hangs"):
        pair.server.execute("blockdev-add", node)
    pair.server.execute("nbd-server-stop", {})
    pair.server.execute(
        "nbd-server-start", {"addr": {"type": "unix", "data": {"path": "/nbd.sock"}}, "max-connections": 1}
    )
    pair.server.export_nbd("disk", writable=True)
    pair.add()
    with pytest.raises(UnsupportedError, match="all the clients it takes"):
        pair.add("m")


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    pair = Pair()
    drive = pair.drive()
    pair.server.hold_nbd_answer(request="read")
    with pytest.raises(UnsupportedError, match="does not answer"):
        drive.read(0, 512)


def test_a_client_that_is_put_back_connects_anew() -> None:
    pair = Pair()
    drive = pair.drive()
    before = pair.client.snapshot()
    drive.write(0, b"later")
    pair.client.execute("block-dirty-bitmap-add", {"node": "n", "name": "b"})
    for _ in range(2):
        pair.client.restore(before)
        assert pair.server.exports.connections == []
        assert pair.client.drive("d").read(0, 5) == b"later"  # what the server has is the server's
        assert len(pair.server.exports.connections) == 1
        assert pair.client.drive("d").node.bitmaps == []
    pair.server.execute("nbd-server-stop", {})
    pair.client.restore(before)
    with pytest.raises(OSError, match="Input/output error"):
        pair.client.drive("d").read(0, 1)


def test_a_job_to_a_server_goes_on_from_a_snapshot() -> None:
    pair = Pair()
    pair.add()
    pair.client.add_disk("own", 2 * MB, format="raw").write(0, b"own" * KB64)
    pair.client.execute("blockdev-backup", {"device": "own", "target": "n", "sync": "full", "job-id": "j"})
    pair.client.step()
    before, heard = pair.client.snapshot(), []
    for _ in range(2):
        pair.client.restore(before)
        start = pair.client.events.end
        pair.client.run_until_idle()
        heard.append([event["event"] for event in pair.client.events.read(start)])
        assert pair.disk.read(0, 3 * KB64) == b"own" * KB64
    assert heard[0] == heard[1]
    assert heard[0][-1] == "JOB_STATUS_CHANGE"


def test_an_image_of_a_format_on_a_server_has_no_snapshots() -> None:
    pair = Pair()
    pair.client.add_disk("own", 2 * MB)
    target = "nbd:unix:/nbd.sock:exportname=disk"
    pair.client.execute("blockdev-snapshot-sync", {"device": "own", "snapshot-file": target, "format": "qcow2"})
    with pytest.raises(UnsupportedError, match="image of a format on an NBD server"):
        pair.client.snapshot()


def test_a_server_that_was_put_back_is_found_again() -> None:
    pair = Pair()
    before = pair.server.snapshot()
    pair.server.execute("nbd-server-stop", {})
    pair.server.restore(before)
    assert pair.drive().read(0, 1) == b"x"


# -- where servers are found


def test_addresses_are_said_as_messages_say_them() -> None:
    assert str(UnixAddress("/a")) == "/a"
    assert str(InetAddress("h", "1")) == "h:1"


def test_what_a_snapshot_has_given_up_is_an_error_of_the_server_and_the_connection_lives() -> None:
    """The answer is EINVAL, for there is no EACCES on the wire (iotest image-fleecing)."""
    pair = Pair()
    server = pair.server
    server.add_disk("fleece", 2 * MB, format="raw")
    fleece = server.drive("fleece").node.name
    bitmap = {"node": "disk", "name": "b0"}
    cbw = {"driver": "copy-before-write", "node-name": "cbw", "target": fleece, "bitmap": bitmap}
    server.execute("nbd-server-stop", {})
    server.execute("blockdev-add", {**cbw, "file": pair.disk.node.name})
    server.execute("blockdev-add", {"driver": "snapshot-access", "node-name": "access", "file": "cbw"})
    pair.listen()
    server.export_nbd("access")
    drive = pair.drive(export="access", read_only=True)
    with pytest.raises(OSError, match="unable to check for holes: Permission denied") as caught:
        drive.read(0, 512)
    assert caught.value.errno == errno.EINVAL
    assert drive.read(MB, 1) == b"y"
