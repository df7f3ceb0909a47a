"""VMDK files go both ways between the real qemu-img and ours."""

from __future__ import annotations

import pytest
from footer import GRAIN, streamed
from real_tools import RealTools

from qbitsim.images.host.store import HostImageStore
from qbitsim.images.store import ImageStore
from qbitsim.programs.shell import Shell

DATA = bytes(100_000) + bytes(range(256)) * 1000 + bytes(300_000) + b"end"
DESCRIPTOR_END = 21 * 512
KINDS = ["monolithicSparse", "monolithicSparse,zeroed_grain=on", "streamOptimized"]


def without_identifier(data: bytes) -> tuple[bytes, ...]:
    """A file in pieces, without the line of its descriptor that QEMU draws, which is not always of one length."""
    head, tail = data[:DESCRIPTOR_END], data[DESCRIPTOR_END:]
    before, _, rest = head.partition(b"\nCID=")
    return before, rest.partition(b"\n")[2].rstrip(b"\0"), tail


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_converted_here_is_byte_for_byte_what_the_real_one_makes(root: str | None, kind: str) -> None:
    with RealTools(root) as real:
        real.write("raw", DATA)
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "raw", "d.vmdk"]
        real.output(*convert)
        theirs = real.read("d.vmdk")
        shell = Shell(HostImageStore(str(real.directory)), real.profile)
        assert shell.run(convert) == (0, "")
        ours = real.read("d.vmdk")
        assert without_identifier(ours) == without_identifier(theirs)
        real.output("qemu-img", "compare", "-f", "vmdk", "-F", "raw", "d.vmdk", "raw")
        real.output("qemu-img", "check", "d.vmdk")


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_real_one_wrote_is_read_here_and_goes_on_being_written(root: str | None, kind: str) -> None:
    with RealTools(root) as real:
        real.write("raw", DATA)
        real.output("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "raw", "d.vmdk")
        shell = Shell(HostImageStore(str(real.directory)), real.profile)
        compare = ["qemu-img", "compare", "-F", "raw", "d.vmdk", "raw"]
        assert shell.run(compare) == (0, "Images are identical.\n")
        for argv in (["qemu-img", "map", "--output=json", "d.vmdk"], ["qemu-img", "info", "d.vmdk"]):
            assert shell.run(argv) == (0, real.output(*argv))
        status, _ = shell.run(["qemu-io", "-c", "write -P 9 0 64k", "d.vmdk"])
        assert status == 0
        shell.images.save()
        real.output("qemu-io", "-f", "vmdk", "-c", "read -P 9 0 64k", "d.vmdk")
        real.output("qemu-img", "check", "d.vmdk")


def test_a_streamed_file_reads_alike(root: str | None) -> None:
    with RealTools(root) as real:
        data = streamed({1: b"b" * GRAIN, 600: bytes(range(256)) * 256}, 700 * GRAIN)
        real.write("d.vmdk", data)
        store = ImageStore()
        store.create("d.vmdk", "raw", len(data)).write(0, data)
        shell = Shell(store, real.profile)
        for argv in (
            ["qemu-img", "map", "--output=json", "d.vmdk"],
            ["qemu-io", "-r", "-c", "read -P 98 64k 64k", "-c", "read -v 39321600 4096", "d.vmdk"],
        ):
            shown = [text.partition(" ops")[0] for text in (shell.run(argv)[1], real.output(*argv))]
            assert shown[0] == shown[1]
