"""Files opened as formats that are not emulated."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine


def machine() -> Machine:
    made = Machine()
    made.images.create("src.qcow2", "qcow2", 1 << 20)
    made.images.create("other.qcow2", "qcow2", 1 << 20)
    made.images.create("other.raw", "raw", 1 << 20)
    made.images.create("tiny.raw", "raw", 0)
    made.execute(
        "blockdev-add", {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "src.qcow2"}}
    )
    return made


def backup_to(target: str, image_format: str) -> None:
    arguments = {"device": "n0", "job-id": "j", "target": target, "sync": "full", "mode": "existing"}
    machine().execute("drive-backup", {**arguments, "format": image_format})


@pytest.mark.parametrize(
    ("image_format", "text"),
    [
        ("vmdk", "invalid VMDK image descriptor"),
        ("vpc", "invalid VPC image"),
        ("vhdx", "Could not open 'other.qcow2': Invalid argument"),
        ("qed", "Image not in QED format"),
        ("nosuch", "Unknown driver 'nosuch'"),
    ],
)
def test_a_file_of_another_format_is_refused_as_by_that_formats_driver(image_format: str, text: str) -> None:
    with pytest.raises(QmpError) as caught:
        backup_to("other.qcow2", image_format)
    assert caught.value.desc == text


def test_a_missing_file_is_missed_before_its_format_matters() -> None:
    with pytest.raises(QmpError) as caught:
        backup_to("missing", "vmdk")
    assert caught.value.desc == "Could not open 'missing': No such file or directory"


def test_a_raw_file_is_no_qcow_file() -> None:
    with pytest.raises(QmpError) as caught:
        backup_to("other.raw", "qcow")
    assert caught.value.desc == "Image not in qcow format"


@pytest.mark.parametrize(
    ("target", "image_format"), [("other.qcow2", "vdi"), ("other.raw", "cloop"), ("tiny.raw", "vpc")]
)
def test_where_the_text_would_quote_the_file_the_refusal_is_qbitsims_own(target: str, image_format: str) -> None:
    with pytest.raises(UnsupportedError):
        backup_to(target, image_format)


@pytest.mark.parametrize(
    ("release", "image_format", "text"),
    [
        ("7.2", "bochs", "Format driver 'bochs' does not support image creation"),
        ("10.0", "throttle", "Format driver 'throttle' does not support image creation"),
        ("10.0", "io_uring", "Format driver 'io_uring' does not support image creation"),
        ("7.2", "io_uring", "Unknown file format 'io_uring'"),
        ("7.2", "nosuch", "Unknown file format 'nosuch'"),
    ],
)
def test_a_driver_that_makes_no_images_says_so(release: str, image_format: str, text: str) -> None:
    made = Machine(release)
    made.add_node({"driver": "null-co", "node-name": "n", "size": 1 << 20})
    with pytest.raises(QmpError) as caught:
        made.execute(
            "drive-backup", {"device": "n", "job-id": "j", "sync": "full", "target": "t", "format": image_format}
        )
    assert caught.value.desc == text


@pytest.mark.parametrize("image_format", ["vdi", "nbd"])
def test_images_that_only_qemu_makes_are_refused_loudly(image_format: str) -> None:
    made = Machine()
    made.add_node({"driver": "null-co", "node-name": "n", "size": 1 << 20})
    arguments = {"device": "n", "job-id": "j", "sync": "full", "target": "t", "format": image_format}
    with pytest.raises(UnsupportedError, match=f"^qbitsim does not emulate images of format '{image_format}'$"):
        made.execute("drive-backup", arguments)
