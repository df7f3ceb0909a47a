"""Disks, image files and failures as people describe them on the command line and in files of commands.

Every function here applies one description to a machine, or raises :class:`.CliError` with one line that quotes it.
Parts are separated by commas; a comma that belongs to a value is doubled, as for QEMU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from qbitsim.argument_types import OPERATIONS
from qbitsim.errnos import errno_name, errno_number
from qbitsim.errors import QmpError
from qbitsim.images.store import ImageStore
from qbitsim.injection.declaration import Kind
from qbitsim.injection.faults import KINDS
from qbitsim.machine.boot import add_drive, check_node_options
from qbitsim.machine.disks import IMAGE_FORMATS, ImageFormat
from qbitsim.machine.machine import Machine
from qbitsim.qemu_img import run as qemu_img
from qbitsim.sizes import parse_size
from qbitsim.terminal.errors import CliError

IMAGE_HELP = "NAME[=SIZE][,format=qcow2|raw][,cluster-size=S][,backing=B]"
DISK_HELP = "ID" + IMAGE_HELP.removeprefix("NAME") + "[,node-name=N][,file=F][,discard=on][,read-only=on]"
FAIL_HELP = "WHERE:OPERATION:OFFSET+LENGTH:ERRNO[:once]"
FAULTS_HELP = f"KIND,NAME=VALUE,... where KIND is one of {', '.join(KINDS)}"

_IMAGE_KEYS = ("size", "format", "cluster-size", "backing")
_DISK_KEYS = (*_IMAGE_KEYS, "node-name", "file", "discard", "read-only")
_SWITCH = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False}
_DISCARD = {**_SWITCH, "unmap": True, "ignore": False}
_FAIL = re.compile(r"(?P<where>.+?):(?P<operation>[a-z-]+):(?P<range>\*|[^:+]+\+[^:+]+):(?P<errno>\w+)(?P<once>:once)?")


def add_disk(machine: Machine, text: str) -> None:
    """``drive0=64M,format=qcow2``: a drive, on a new image file unless ``file`` names one that exists.

    :raises CliError: it is malformed, or QEMU refuses it.
    """
    identifier, options = _named(text, _DISK_KEYS, DISK_HELP)
    if identifier in machine.graph.drives:
        raise CliError(f"{text!r}: there is a drive '{identifier}' already")
    read_only = _switch(text, options, "read-only", _SWITCH)
    discard = _switch(text, options, "discard", _DISCARD)
    name = options.get("file", f"{identifier}.{_format(text, options)}")
    if name not in machine.images:
        _create(machine.images, name, _format(text, options), options, text)
    elif "size" in options or "backing" in options or "cluster-size" in options:
        has = "so it has a size, a format and a backing file"
        raise CliError(f"{text!r}: the file '{name}' exists already, {has}: leave them out to use it as it is")
    else:
        options.setdefault("format", machine.images.lookup(name).format)
    with _Quoting(text):
        machine.add_disk(
            identifier,
            file=name,
            format=_format(text, options),
            node_name=options.get("node-name"),
            discard=discard,
            read_only=read_only,
        )


def add_image(machine: Machine, text: str) -> None:
    """``full.img=64M,format=qcow2``: an image file that no drive uses yet, for instance the target of a backup.

    :raises CliError: it is malformed, or qemu-img refuses it.
    """
    name, options = _named(text, _IMAGE_KEYS, IMAGE_HELP)
    if name in machine.images:
        raise CliError(f"{text!r}: the file '{name}' exists already")
    _create(machine.images, name, _format(text, options), options, text)


def add_blockdev(machine: Machine, text: str) -> None:
    """QEMU's ``-blockdev`` with a JSON object.

    :raises CliError: it is no JSON object, or QEMU refuses it.
    """
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise CliError(f'{text!r} is no JSON object; write one such as {{"driver": "null-co", "node-name": "n0"}}')
    with _Quoting(text):
        check_node_options(machine, options)
        if "node-name" not in options:
            raise QmpError("'node-name' must be specified for the root node")
        machine.add_node(options)


def add_drive_options(machine: Machine, text: str) -> None:
    """QEMU's ``-drive``: ``id=drive0,file=disk.qcow2,format=qcow2``, for image files that exist.

    :raises CliError: it is malformed, or QEMU refuses it.
    """
    given = {}
    for key, value in _parts(text):
        if value is None:
            raise CliError(f"{text!r}: {key!r} has no value; write {key}=…")
        given[key] = value
    for key in given:
        path = key.split(".")
        for depth in range(1, len(path)):
            if (above := ".".join(path[:depth])) in given:
                raise CliError(f"{text!r}: '{above}' and '{key}' exclude each other")
    if not given.get("id"):
        raise CliError(f"{text!r}: a drive needs an id, such as id=drive0")
    with _Quoting(text):
        add_drive(machine, given)


def limit_capacity(machine: Machine, text: str) -> None:
    """``incremental.0.img=128k``: room for so much data in a file; ``=none`` lifts the limit.

    :raises CliError: it is malformed.
    """
    machine.limit_capacity(*parse_capacity(text))


def parse_capacity(text: str) -> tuple[str, int | None]:
    """The file of such a description, and the bytes for which it has room; None lifts the limit.

    :raises CliError: it is malformed.
    """
    name, equals, size = text.rpartition("=")
    if not equals or not name:
        raise CliError(f"{text!r}: write FILE=BYTES, such as incremental.0.img=128k")
    return name, None if size == "none" else _size(text, size)


def parse_fault(text: str) -> tuple[Kind, dict[str, Any]]:
    """A kind of fault, and what is said of it by the names of its members.

    ``drive1:read:0+64k:EIO:once`` is short for ``inject-error,where=drive1,operation=read,offset=0,length=64k,once``.

    :raises CliError: it is malformed.
    """
    (name, value), *pairs = _parts(text)
    kind = KINDS.get(name) if value is None else None
    if kind is None:
        return KINDS["inject-error"], _short_fault(text)
    try:
        return kind, kind.read(pairs)
    except ValueError as error:
        raise CliError(f"{text!r}: {error}") from None


def _short_fault(text: str) -> dict[str, Any]:
    found = _FAIL.fullmatch(text)
    if found is None:
        raise CliError(f"{text!r}: write {FAIL_HELP}, such as drive1:read:0+64k:EIO:once")
    given: dict[str, Any] = {"where": found["where"], "operation": found["operation"]}
    if found["range"] != "*":
        given["offset"], given["length"] = (_size(text, part) for part in found["range"].split("+"))
    if found["operation"] not in OPERATIONS:
        raise CliError(f"{text!r}: unknown operation '{found['operation']}': choose one of {', '.join(OPERATIONS)}")
    try:
        given["errno"] = errno_name(errno_number(found["errno"]))
    except ValueError as error:
        raise CliError(f"{text!r}: {error}") from None
    return {**given, "once": True} if found["once"] else given


def begin_fault(machine: Machine, text: str) -> None:
    """``drive1:read:0+64k:EIO:once`` or ``delay-io,where=drive1,operation=read,seconds=2``: let something fail.

    Whoever controls the machine can list and lift it; it is called ``fail0`` unless it is given an ``id``.

    :raises CliError: it is malformed, or there is nothing of that name.
    """
    kind, given = parse_fault(text)
    with _Quoting(text):
        if machine.control is not None:
            machine.faults.begin(kind, given, prefix="fail")
        else:
            kind.begin(machine.faults, given)


def _create(images: ImageStore, name: str, image_format: str, options: Mapping[str, str], text: str) -> None:
    """Make an image file with the checks of qemu-img."""
    if "size" not in options and "backing" not in options:
        raise CliError(f"{text!r}: '{name}' needs a size, such as {text.split(',', maxsplit=1)[0]}=64M")
    argv = ["create", "-q", "-f", image_format]
    if "cluster-size" in options:
        argv += ["-o", f"cluster_size={_size(text, options['cluster-size'])}"]
    if "backing" in options:
        backing = options["backing"]
        if backing not in images:
            raise CliError(f"{text!r}: there is no backing file '{backing}'; make it with an earlier --image or --disk")
        argv += ["-b", backing, "-F", images.lookup(backing).format]
    argv += ["--", name]
    if "size" in options:
        argv.append(str(_size(text, options["size"])))
    status, output = qemu_img.run(images, argv)
    if status:
        raise CliError(f"{text!r}: {output.strip().splitlines()[0].removeprefix('qemu-img: ')}")


def _named(text: str, keys: tuple[str, ...], usage: str) -> tuple[str, dict[str, str]]:
    """The name that a description begins with, and its options; the value of the name is the size."""
    parts = _parts(text)
    name, size = parts[0]
    if not name or name in keys:
        raise CliError(f"{text!r} begins with no name; write {usage}")
    options = {} if size is None else {"size": size}
    for key, value in parts[1:]:
        if key not in keys:
            raise CliError(f"{text!r}: unknown option {key!r}: choose among {', '.join(keys)}")
        if key in options:
            raise CliError(f"{text!r}: {key!r} is given twice")
        options[key] = "on" if value is None else value
    return name, options


def _parts(text: str) -> list[tuple[str, str | None]]:
    """``a=1,b`` as [("a", "1"), ("b", None)]."""
    parts: list[tuple[str, str | None]] = []
    for part in re.findall(r"(?:[^,]|,,)+", text) or [""]:
        key, equals, value = part.replace(",,", ",").partition("=")
        parts.append((key, value if equals else None))
    return parts


def _format(text: str, options: Mapping[str, str]) -> ImageFormat:
    chosen = options.get("format", "qcow2")
    if chosen not in IMAGE_FORMATS:
        raise CliError(f"{text!r}: unknown disk format {chosen!r}: choose {' or '.join(IMAGE_FORMATS)}")
    return chosen


def _switch(text: str, options: Mapping[str, str], key: str, values: Mapping[str, bool]) -> bool:
    given = options.get(key, "off")
    if given not in values:
        raise CliError(f"{text!r}: '{key}' is on or off, not {given!r}")
    return values[given]


def _size(text: str, size: str) -> int:
    try:
        return parse_size(size)
    except ValueError as error:
        raise CliError(f"{text!r}: {error}") from None


class _Quoting:
    """Turns a refusal into one line that quotes the description."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, QmpError):
            raise CliError(f"{self.text!r}: {error.desc}") from None
        if isinstance(error, OSError):
            raise CliError(f"{self.text!r}: {error.strerror}") from None
        if isinstance(error, ValueError):
            raise CliError(f"{self.text!r}: {error}") from None


SETTINGS: dict[str, Callable[[Machine, str], None]] = {
    "image": add_image,
    "blockdev": add_blockdev,
    "disk": add_disk,
    "drive": add_drive_options,
    "capacity": limit_capacity,
    "fail": begin_fault,
}
"""What a machine can be given, by the name of the option, in the order in which it is applied."""
