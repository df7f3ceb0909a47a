"""What the options and marks of the pytest plugin say about machines, checked word by word."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from qbitsim.jsontypes import Json
from qbitsim.profiles import DEFAULT_PROFILE, profile
from qbitsim.serving.pacing import check_pacing
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.injection.declaration import Kind
    from qbitsim.machine.machine import Machine

_MARK = "@pytest.mark.qbitsim"


@dataclass(frozen=True)
class Settings:
    """What a machine is to be.

    :ivar profile: the QEMU release.
    :ivar pacing: how it goes on, as a text; None for the default of the fixture.
    :ivar disks: drive id -> size, or the arguments of :meth:`.Machine.add_disk`.
    :ivar faults: each a text as ``qbitsim serve --fail`` takes it, or the arguments of :meth:`.Machine.inject_error`;
        or those of another kind of fault, whose name is the argument ``fault``.
    """

    profile: str
    pacing: str | None
    disks: Mapping[str, Any]
    faults: Iterable[str | Mapping[str, Any]]

    def machine(self) -> Machine:
        """Make the machine; a test whose disks or faults cannot be made fails."""
        from qbitsim.machine.machine import Machine  # noqa: PLC0415 - options are checked without it

        machine = Machine(profile(self.profile), pacing="immediate" if self.pacing == "immediate" else "manual")
        for name, disk in self.disks.items():
            _make(f"disk {name!r}", _add_disk, machine, name, disk)
        for fault in self.faults:
            _make(f"fault {fault!r}", _inject, machine, fault)
        return machine


def settings_of(request: pytest.FixtureRequest) -> Settings:
    """What the marks of the test say, and else the options."""
    given: Json = {}
    for mark in request.node.iter_markers("qbitsim"):
        given = {**mark.kwargs, **given}
    config = request.config
    return Settings(
        profile=given.get("profile") or _option(config, "profile") or DEFAULT_PROFILE.name,
        pacing=given.get("pacing") or _option(config, "pacing"),
        disks=given.get("disks", {}),
        faults=given.get("faults", ()),
    )


def check_options(config: pytest.Config) -> None:
    """Check the options and the ini file.

    :raises pytest.UsageError: one of them is not what it can be; the text says what that is.
    """
    for name, check in _CHECKS.items():
        option, entry = f"--qbitsim-{name}", f"qbitsim_{name}"
        for place, given in ((option, config.getoption(option)), (entry, config.getini(entry))):
            if given:
                _check_one(place, check, given)


def check_marks(items: Iterable[pytest.Item]) -> None:
    """Check the marks of these tests.

    :raises pytest.UsageError: one of them is wrong; the text says what, and at which test.
    """
    known: set[int] = set()
    for item in items:
        for mark in item.iter_markers("qbitsim"):
            if id(mark) not in known:
                known.add(id(mark))
                _check_mark(item.nodeid, mark)


def _check_mark(where: str, mark: pytest.Mark) -> None:
    checks = {**_CHECKS, "disks": _check_disks, "faults": _check_faults}
    if mark.args:
        raise pytest.UsageError(f"{where}: {_MARK} takes only arguments with a name: {', '.join(checks)}")
    for key, value in mark.kwargs.items():
        if key not in checks:
            raise pytest.UsageError(f"{where}: {_MARK}: unknown argument {key!r}: choose among {', '.join(checks)}")
        _check_one(f"{where}: {_MARK}: {key}", checks[key], value)


def _check_one(place: str, check: Callable[[object], None], given: object) -> None:
    try:
        check(given)
    except ValueError as error:
        raise pytest.UsageError(f"{place}: {error}") from None


def _text(check: Callable[[str], object]) -> Callable[[object], None]:
    """A check of a text."""

    def checked(given: object) -> None:
        if not isinstance(given, str):
            raise ValueError(f"expected a text, not {given!r}")
        check(given)

    return checked


_CHECKS = {"profile": _text(profile), "pacing": _text(check_pacing)}


def _check_disks(given: object) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"expected {{id: size}}, not {given!r}")
    for name, disk in given.items():
        if not isinstance(name, str):
            raise ValueError(f"the id of a disk is a text, not {name!r}")
        if isinstance(disk, Mapping):
            _check_keys(f"disk {name!r}", disk, _parameters_of_add_disk())
        elif isinstance(disk, str) or (isinstance(disk, int) and not isinstance(disk, bool)):
            parse_size(disk)
        else:
            raise ValueError(f"disk {name!r} is a size or the arguments of Machine.add_disk, not {disk!r}")


def _check_faults(given: object) -> None:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"expected a list, not {given!r}")
    for fault in given:
        if isinstance(fault, Mapping):
            kind, given = _kind_of(fault)
            known = [each.name for each in kind.members if each.name != "id"]
            _check_keys(f"fault {fault!r}", given, known)
        elif not isinstance(fault, str):
            raise ValueError(f"a fault is a text or the arguments of Machine.inject_error, not {fault!r}")


def _kind_of(fault: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """The kind of a fault, and what is said of it.

    :raises ValueError: there is no such kind.
    """
    from qbitsim.injection.faults import KINDS  # noqa: PLC0415 - options are checked without it

    given = dict(fault)
    name = given.pop("fault", "inject-error")
    kind = KINDS.get(str(name).replace("_", "-"))
    if kind is None:
        raise ValueError(f"unknown fault {name!r}: choose one of {', '.join(KINDS)}")
    return kind, given


def _parameters_of_add_disk() -> list[str]:
    from qbitsim.machine.machine import Machine  # noqa: PLC0415 - options are checked without it

    return [name for name in inspect.signature(Machine.add_disk).parameters if name not in ("self", "identifier")]


def _check_keys(what: str, given: Mapping[Any, Any], known: list[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{what}: unknown argument {key!r}: choose among {', '.join(known)}")


def _make(what: str, make: Callable[..., None], *arguments: Any) -> None:
    from qbitsim.errors import QmpError  # noqa: PLC0415
    from qbitsim.terminal.errors import CliError  # noqa: PLC0415 - options are checked without it

    try:
        make(*arguments)
    except (CliError, QmpError, OSError, TypeError, ValueError) as error:
        raise pytest.fail.Exception(f"{_MARK}: {what}: {error}", pytrace=False) from None


def _add_disk(machine: Machine, name: str, disk: Any) -> None:
    machine.add_disk(name, **(disk if isinstance(disk, Mapping) else {"size": disk}))


def _inject(machine: Machine, fault: str | Mapping[str, Any]) -> None:
    if isinstance(fault, str):
        from qbitsim.terminal.options import begin_fault  # noqa: PLC0415 - only for faults as texts

        begin_fault(machine, fault)
    else:
        kind, given = _kind_of(fault)
        kind.begin(machine.faults, given)


def _option(config: pytest.Config, name: str) -> str | None:
    given: str | None = config.getoption(f"--qbitsim-{name}")
    return given or str(config.getini(f"qbitsim_{name}")) or None
