"""Files with rules of blkdebug, and names that lead to them (read_config, block/blkdebug.c, QEMU 10.0)."""

from __future__ import annotations

import pytest

from qbitsim.drivers.blkdebug_config import read_config
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.store import ImageStore
from qbitsim.machine.machine import Machine
from qbitsim.profiles import PROFILES


def store_with(text: str) -> ImageStore:
    """A store with the file ``rules``."""
    images = ImageStore()
    images.create("rules", "raw", 4096).write(0, text.encode())
    return images


RULES = """\
# a comment

[inject-error]
event = "read_aio"
errno = "28"
sector = "1"
once = "on"
immediately = "off"

[set-state "second"]
state = "1"
event = "write_aio"
new_state = "2"
"""


def test_a_file_has_rules() -> None:
    assert read_config(store_with(RULES), "rules", PROFILES["10.0"]) == {
        "inject-error": [{"event": "read_aio", "errno": 28, "sector": 1, "once": True, "immediately": False}],
        "set-state": [{"state": 1, "event": "write_aio", "new_state": 2}],
    }


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ('event = "none"\n', "no group defined"),
        ("[inject-error]\n   \n", "parse error"),
        ("\0\0", "parse error"),
        ("word\n", "no group defined"),
        ("[inject-error]\nerrno\n", "Parameter 'errno' expects a number"),
        ('[inject-error]\nerrno = "5"\n', "Missing event name for rule"),
        ("[nosuch]\n", "There is no option group 'nosuch'"),
        ('[inject-error]\nnosuch = "5"\n', "Invalid parameter 'nosuch'"),
        ('[inject-error]\nerrno = "five"\n', "Parameter 'errno' expects a number"),
    ],
)
def test_a_file_without_sense_is_refused(text: str, refusal: str) -> None:
    with pytest.raises(QmpError) as caught:
        read_config(store_with(text), "rules", PROFILES["10.0"])
    assert caught.value.desc == refusal


def test_there_must_be_such_a_file() -> None:
    with pytest.raises(QmpError, match=r"^Could not read blkdebug config file: No such file or directory$"):
        read_config(ImageStore(), "rules", PROFILES["10.0"])


def test_a_name_leads_to_the_rules_of_a_file() -> None:
    machine = Machine()
    machine.images.create("rules", "raw", 4096).write(0, b'[inject-error]\nevent = "read_aio"\nerrno = "28"\n')
    machine.images.create("disk", "raw", 65536)
    machine.images.create("top", "qcow2", 65536, backing="blkdebug:rules:disk", backing_format="raw")
    drive = machine.add_drive("d", machine.open_file("top", {}))
    with pytest.raises(OSError, match="No space left"):
        drive.read(0, 512)
    assert drive.node.backing.children[0].node.filename == "blkdebug:rules:disk"


def test_events_that_do_not_come_are_refused_in_a_file_too() -> None:
    machine = Machine()
    machine.images.create("rules", "raw", 4096).write(0, b'[inject-error]\nevent = "l2_load"\n')
    machine.images.create("disk", "raw", 65536)
    with pytest.raises(UnsupportedError):
        machine.open_file("blkdebug:rules:disk", {"driver": "raw"})


def test_the_null_device_has_no_rules():
    assert read_config(ImageStore(), "/dev/null", PROFILES["10.0"]) == {"inject-error": [], "set-state": []}


@pytest.mark.parametrize(("line", "event"), [('event = "foo"', "foo"), ('event = ""', ""), ("event none", "")])
def test_an_event_that_there_is_not_is_refused(line: str, event: str) -> None:
    machine = Machine(images=store_with(f"[inject-error]\n{line}\n"))
    with pytest.raises(QmpError) as caught:
        machine.add_node({"driver": "blkdebug", "node-name": "d", "config": "rules", "image": {"driver": "null-co"}})
    assert caught.value.desc == f"invalid parameter value: {event}"
    assert list(machine.graph.nodes) == []
