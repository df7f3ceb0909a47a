"""Images whose clusters are compressed with zstd, on both trees.

Where Python has no :mod:`compression.zstd` a stand-in with its interface takes its place: it is the way to it, not the
compression, that is tested here.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
import zlib
from types import SimpleNamespace

import pytest

from qbitsim import Machine, UnsupportedError
from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

MODULE = "compression.zstd"
COMPRESSION_TYPE, INCOMPATIBLE_FEATURES = 104, slice(72, 80)


class StandIn:
    """A decompressor with the interface of ZstdDecompressor."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj()

    def decompress(self, data: bytes, length: int) -> bytes:
        return self._inner.decompress(data, length)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


@pytest.fixture
def zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has zstd, or what passes for it."""
    if importlib.util.find_spec("compression") is None:
        stand_in = SimpleNamespace(compress=zlib.compress, ZstdDecompressor=StandIn, ZstdError=zlib.error)
        monkeypatch.setitem(sys.modules, MODULE, stand_in)


@pytest.fixture
def no_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has none."""
    monkeypatch.setitem(sys.modules, MODULE, None)


def run(store: ImageStore, line: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    return Shell(store, PROFILES["10.0"]).run(shlex.split(line))


@pytest.mark.usefixtures("zstd")
def test_compressed_clusters_are_written_and_read(store: ImageStore) -> None:
    for line in (
        "qemu-img create -q -f raw plain 1M",
        "qemu-io -f raw -c 'write -q -P 1 0 256k' -c 'write -q -P 2 100k 1k' plain",
        "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd plain packed",
        "qemu-io -f qcow2 -c 'write -q -P 3 10k 1k' -c 'write -q -c -P 4 512k 64k' packed",
        "qemu-io -f qcow2 -c 'read -q -P 1 64k 36k' -c 'read -q -P 3 10k 1k' -c 'read -q -P 4 512k 64k' packed",
        "qemu-img check -q packed",
        "qemu-img convert -f raw -O raw packed copy",
        "qemu-img compare -q packed copy",
    ):
        assert run(store, line) == (0, "")
    assert "    compression type: zstd\n" in run(store, "qemu-img info packed")[1]
    assert '"compressed": true' in run(store, "qemu-img map --output=json packed")[1]
    header = store.lookup("packed", "raw").content.read(0, 112)
    assert header[COMPRESSION_TYPE] == 1
    assert int.from_bytes(header[INCOMPATIBLE_FEATURES], "big") == 8


@pytest.mark.usefixtures("zstd")
def test_damaged_data_are_not_taken_for_others(store: ImageStore) -> None:
    run(store, "qemu-img create -q -f raw plain 64k")
    run(store, "qemu-io -f raw -c 'write -q -P 1 0 64k' plain")
    run(store, "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd plain packed")
    run(store, "qemu-io -f raw -c 'write -q -P 255 327680 16' packed")
    status, text = run(store, "qemu-io -f qcow2 -c 'read -P 1 0 64k' packed")
    assert status == 1
    assert "read 65536/65536 bytes" not in text


@pytest.mark.usefixtures("no_zstd")
def test_without_zstd_such_an_image_is_not_made(store: ImageStore) -> None:
    refusal = "qbitsim does not emulate qcow2 images with compression type zstd\n"
    status, text = run(store, "qemu-img create -q -f qcow2 -o compression_type=zstd a 1M")
    assert (status, text) == (1, refusal)
    assert "a" not in store
    store.create("f", "raw", 0)
    machine = Machine("10.0", images=store)
    machine.add_node({"driver": "file", "node-name": "f", "filename": "f"})
    options = {"driver": "qcow2", "file": "f", "size": 1 << 20, "compression-type": "zstd"}
    with pytest.raises(UnsupportedError, match="compression type zstd"):
        machine.qmp("blockdev-create", job_id="j", options=options)


def test_without_zstd_such_an_image_is_refused_by_name(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store, "qemu-img create -q -f qcow2 a 1M")
    run(store, "qemu-io -f raw -c 'write -q -P 8 79 1' -c 'write -q -P 1 104 1' a")
    monkeypatch.setitem(sys.modules, MODULE, None)
    status, text = run(store, "qemu-img info a")
    assert (status, text) == (1, "qbitsim does not emulate qcow2 images with compression type zstd\n")
    with pytest.raises(UnsupportedError, match="compression type zstd"):
        store.lookup("a")
    assert run(store, "qemu-img info -f raw a")[0] == 0


def test_a_compression_type_that_there_is_not_is_refused(store: ImageStore) -> None:
    line = "qemu-img create -q -f qcow2 -o compression_type=lzma a 1M"
    assert run(store, line) == (1, "qemu-img: a: Parameter 'compression-type' does not accept value 'lzma'\n")
    line = "qemu-img create -q -f qcow2 -o compression_type=zstd,compat=0.10 a 1M"
    assert run(store, line)[1].startswith("qemu-img: a: Non-zlib compression type is only supported with compat")


@pytest.mark.parametrize(
    ("poked", "text"),
    [
        ((79, 16), "qbitsim does not emulate qcow2 images with extended L2 entries"),
        ((35, 1), "qbitsim does not emulate encrypted qcow2 images"),
    ],
)
def test_extended_l2_and_encryption_are_refused_by_name(store: ImageStore, poked: tuple[int, int], text: str) -> None:
    run(store, "qemu-img create -q -f qcow2 a 1M")
    place, byte = poked
    run(store, f"qemu-io -f raw -c 'write -q -P {byte} {place} 1' a")
    assert run(store, "qemu-img info a") == (1, f"{text}\n")
    assert run(store, "qemu-io -c 'read 0 512' a") == (1, f"{text}\n")
