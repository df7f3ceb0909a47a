"""The pytest plugin: machines and servers as fixtures, and a report of the conversation when a test fails.

* ``qmp_machine`` is a :class:`qbitsim.Machine` in the process of the test.
* ``qmp_server`` is a machine of its own behind a UNIX socket, served by a thread; see :mod:`qbitsim.serving.threads`.
* ``@pytest.mark.qbitsim(profile="7.2", disks={"drive0": "64M"}, faults=["drive0:read:0+64k:EIO:once"],
  pacing="immediate")`` says what they are. A mark at a class or a module counts where a closer one says nothing else.
* ``--qbitsim-profile`` and ``--qbitsim-pacing``, or ``qbitsim_profile`` and ``qbitsim_pacing`` in the ini file, are
  for the tests that are not marked.
* ``--qbitsim-report DIR``, or ``qbitsim_report`` in the ini file, lets the machines be watched, and writes a page for
  each one of a test that fails.

This module is imported by every run of pytest. It imports nothing of the package until a fixture, an option or a mark
is used, and its only hooks are called once per run. (PYTEST_DONT_REWRITE: it asserts nothing, and pytest need not warn
if it was imported already.)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.serving.threads import ThreadServer

_NAMES = ("qbitsim", "qbitsim.testing.plugin")
_SHOWN_DIFFERENCES = 30
_WIDTH = 160


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options. The plugin may be asked for under its other name, too: that is no second plugin."""
    for name in _NAMES:
        if pluginmanager.get_plugin(name) is None:
            pluginmanager.set_blocked(name)
    group = parser.getgroup("qbitsim", "machines with QEMU's dirty bitmaps (qbitsim)")
    for name, metavar, text in (
        ("profile", "VERSION", "the QEMU release that qmp_machine and qmp_server are"),
        ("pacing", "PACING", "how they go on: manual, immediate, realtime or realtime:FACTOR"),
        ("report", "DIR", "write a page into DIR for each such machine of a test that fails, with all that happened"),
    ):
        group.addoption(f"--qbitsim-{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"qbitsim_{name}", f"{text}; --qbitsim-{name} overrides it", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known and refuse options with a typo."""
    config.addinivalue_line(
        "markers", "qbitsim(profile=, disks=, faults=, pacing=): what the fixtures qmp_machine and qmp_server are."
    )
    if any(config.getoption(f"--qbitsim-{each}") or config.getini(f"qbitsim_{each}") for each in ("profile", "pacing")):
        from qbitsim.testing.settings import check_options  # noqa: PLC0415 - only if used

        check_options(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse marks with a typo."""
    marked = [item for item in items if item.get_closest_marker("qbitsim")]
    if marked:
        from qbitsim.testing.settings import check_marks  # noqa: PLC0415 - only if used

        check_marks(marked)


@pytest.fixture
def qmp_machine(request: pytest.FixtureRequest) -> Machine:
    """An emulated QEMU in this process; in process the pacing ``realtime`` means ``manual``."""
    from qbitsim.testing.report import watch  # noqa: PLC0415 - only if used
    from qbitsim.testing.settings import settings_of  # noqa: PLC0415

    machine = settings_of(request).machine()
    watch(request, "qmp_machine", machine)
    return machine


@pytest.fixture
def qmp_server(request: pytest.FixtureRequest) -> Iterator[ThreadServer[Machine]]:
    """An emulated QEMU behind a UNIX socket, ``qmp_server.path``, until the test ends."""
    from qbitsim.serving.pacing import read_pacing  # noqa: PLC0415 - only if used
    from qbitsim.testing.report import watch  # noqa: PLC0415
    from qbitsim.testing.settings import settings_of  # noqa: PLC0415

    settings = settings_of(request)
    machine = settings.machine()
    seen = watch(request, "qmp_server", machine)
    with machine.serve(pacing=read_pacing(settings.pacing) if settings.pacing else None) as server:
        seen.server = server
        yield server


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say where two machines differ."""
    core = sys.modules.get("qbitsim.machine.machine")
    if op != "==" or core is None or not (isinstance(left, core.Machine) and isinstance(right, core.Machine)):
        return None
    from qbitsim.machine.state import differences  # noqa: PLC0415 - imported already

    found = differences(left, right)
    more = [f"... and {len(found) - _SHOWN_DIFFERENCES} more"] if len(found) > _SHOWN_DIFFERENCES else []
    return [f"{left!r} == {right!r}", *(line[:_WIDTH] for line in found[:_SHOWN_DIFFERENCES]), *more]
