"""What real clients said to real QEMU 10.0.13, said again: nbdinfo, nbdcopy, nbdsh, qemu-img and qemu-io.

They were recorded one after the other on one disk, to which some of them write, and are played so.
"""

from __future__ import annotations

import pytest
from nbd_wires import RECORDS, Connection, comparable, connections

from qbitsim import Machine

MB = 1 << 20
IN_ORDER = [
    *("nbdinfo-list", "nbdinfo", "nbdinfo-json", "nbdinfo-map", "nbdinfo-map-bitmap", "nbdinfo-map-bitmap4k"),
    *("nbdinfo-map-depth", "nbdinfo-map-wrong-bitmap", "nbdinfo-wrong-export", "nbdinfo-default-export"),
    *("nbdinfo-can-connect", "nbdinfo-is-readonly", "nbdinfo-size", "nbdcopy", "nbdcopy-single", "nbdcopy-to-ro"),
    *("nbdcopy-to-rw", "qemu-img-72-info", "qemu-img-72-map", "qemu-img-72-map-bitmap"),
    *("qemu-img-72-map-wrong-bitmap", "qemu-img-72-map-depth", "qemu-img-72-convert", "qemu-img-72-convert-to"),
    *("qemu-img-72-compare", "qemu-img-72-wrong-export", "qemu-img-10-info", "qemu-img-10-map"),
    *("qemu-img-10-map-bitmap", "qemu-img-10-map-wrong-bitmap", "qemu-img-10-map-depth", "qemu-img-10-convert"),
    *("qemu-img-10-convert-to", "qemu-img-10-compare", "qemu-img-10-wrong-export", "qemu-io-72-rw"),
    *("qemu-io-72-ro-write", "qemu-io-72-ro", "nbdsh", "nbdsh-rw", "nbdsh-lists"),
]


@pytest.fixture(scope="module")
def machine():
    made = Machine("10.0")
    disk = made.add_disk("d0", 16 * MB, node_name="n0", discard=True)
    disk.write(0, b"a" * MB)
    made.qmp("block-dirty-bitmap-add", node="n0", name="b0")
    made.qmp("block-dirty-bitmap-add", node="n0", name="b4k", granularity=4096)
    disk.write(2 * MB, b"b" * 131072)
    disk.write(4 * MB + 5, b"c" * 100)
    disk.write_zeroes(8 * MB, 65536)
    made.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    for name in ("b0", "b4k"):
        made.qmp("block-dirty-bitmap-disable", node="n0", name=name)
    more = {"name": "disk", "description": "a disk", "allocation-depth": True, "bitmaps": ["b0", "b4k"]}
    made.qmp("block-export-add", type="nbd", id="e0", node_name="n0", **more)
    made.qmp("block-export-add", type="nbd", id="e1", node_name="n0", name="rw", writable=True)
    return made


def test_every_record_is_played():
    assert {f"{name}.wire" for name in IN_ORDER} == {path.name for path in RECORDS.iterdir()}


@pytest.mark.parametrize("name", IN_ORDER)
def test_the_server_says_what_real_qemu_said(machine, name):
    for said, heard in connections(f"{name}.wire"):
        connection = Connection(machine)
        for line in said:
            connection.say(line)
        connection.session.hang_up()
        assert comparable(connection.lines(), said) == comparable(heard, said)
