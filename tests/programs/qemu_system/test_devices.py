"""Drives and devices of a command line in the tree of devices; what is not emulated is taken by name, or refused."""

from __future__ import annotations

import json
import shlex

import pytest
from qemu_process import run

BASE = "-M pc -nodefaults -display none -qmp stdio "
MONITOR = '{"execute": "qmp_capabilities"}'


def told(words: str, *commands: str) -> list[object]:
    """What a machine replies to commands, and its status is 0."""
    asked = [MONITOR, *commands, '{"execute": "quit"}']
    status, out, err = run("10.0", *shlex.split(BASE + words), stdin="".join(asked))
    assert (status, err) == (0, "")
    messages = [json.loads(line) for line in out.splitlines()]
    replies = [message for message in messages if "return" in message or "error" in message]
    return [reply.get("return", reply.get("error")) for reply in replies[1:-1]]


def refused(words: str) -> str:
    """Why a machine does not start."""
    status, _, err = run("10.0", *shlex.split(BASE + words), stdin=MONITOR)
    assert status == 1
    return err


def test_drives_are_used_by_the_devices_of_the_board_and_of_the_command_line() -> None:
    drives = "-drive driver=null-co -drive if=virtio,driver=null-co -drive if=none,id=d,driver=null-co "
    (found,) = told(drives + "-device virtio-blk-pci,drive=d,id=v", '{"execute": "query-block"}')
    assert isinstance(found, list)
    assert [(each["device"], each["qdev"]) for each in found] == [
        ("ide0-hd0", "/machine/unattached/device[4]"),
        ("virtio0", "/machine/peripheral-anon/device[0]/virtio-backend"),
        ("d", "/machine/peripheral/v/virtio-backend"),
    ]


def test_a_device_that_is_not_emulated_is_taken_and_listed() -> None:
    (found, gone) = told(
        "-device virtio-balloon-pci,id=b -device qemu-xhci,id=x -device usb-tablet",
        '{"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}}',
        '{"execute": "device_del", "arguments": {"id": "b"}}',
    )
    assert isinstance(found, list)
    assert {"name": "b", "type": "child<virtio-balloon-pci>"} in found
    assert gone == {}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-device nvme,drive=d,serial=1", "qbitsim does not emulate the device 'nvme'"),
        ("-device isa-serial,chardev=c", "Property 'isa-serial.chardev' can't find value 'c'"),
        (
            "-device qemu-xhci -device usb-tablet,port=1 -device usb-mouse,port=1",
            "usb port 1 (bus usb-bus.0) not found",
        ),
        ('-device virtio-balloon-pci,id=b -device \'{"driver":"ide-cd","id":"b"}\'', "Duplicate device ID 'b'"),
        ("-device virtio-serial-pci -device scsi-hd,drive=d", "No 'SCSI' bus found for device 'scsi-hd'"),
        ("-M microvm", "qbitsim does not emulate the machine type 'microvm'"),
    ],
)
def test_what_is_refused(words: str, text: str) -> None:
    assert text in refused(f"-drive if=none,id=d,driver=null-co {words}")


def test_every_drive_without_a_place_is_named() -> None:
    assert refused("-drive if=scsi -drive if=ide,index=9") == (
        "qemu-system-x86_64: -drive if=scsi: machine type does not support if=scsi,bus=0,unit=0\n"
        "qemu-system-x86_64: -drive if=ide,index=9: machine type does not support if=ide,bus=4,unit=1\n"
    )
