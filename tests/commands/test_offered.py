"""Commands are loaded one by one, from where they are said to be."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import qbitsim.commands
import qbitsim.commands.hmp
from qbitsim.commands.hmp import offered as hmp_offered
from qbitsim.commands.hmp.declaration import DECLARED
from qbitsim.commands.offered import COMMANDS, MODULES
from qbitsim.light_library import import_module
from qbitsim.qapi.registry import DECLARED_COMMANDS


def test_each_module_declares_the_commands_that_are_listed_and_no_others() -> None:
    for module in pkgutil.iter_modules(qbitsim.commands.__path__, "qbitsim.commands."):
        import_module(module.name)
    declared: dict[str, list[str]] = {}
    for name, found in DECLARED_COMMANDS.items():
        (place,) = {each.handler.__module__.rpartition(".")[2] for each in found}
        declared.setdefault(place, []).append(name)
    assert declared == {module: names.split() for module, names in MODULES.items()}


def test_every_command_is_found_by_its_name() -> None:
    assert {name: {each.name for each in found} for name, found in COMMANDS.items()} == {
        name: {name} for name in COMMANDS
    }


def test_what_is_not_asked_for_is_not_loaded() -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}; from qbitsim import Machine; Machine().qmp('query-jobs')"
    program += "; print(*sorted(each for each in sys.modules if each.startswith('qbitsim.commands.')))"
    shown = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    asked, others = "qbitsim.commands.jobs", {"qbitsim.commands.mirrors", "qbitsim.commands.blockstats"}
    loaded = {*shown.stdout.split()}
    assert asked in loaded
    assert not others & loaded


def test_each_module_declares_the_lines_of_the_human_monitor_that_are_listed_and_no_others() -> None:
    for module in pkgutil.iter_modules(qbitsim.commands.hmp.__path__, "qbitsim.commands.hmp."):
        import_module(module.name)
    declared: dict[str, list[str]] = {}
    for name, found in DECLARED.items():
        declared.setdefault(found.handler.__module__.rpartition(".")[2], []).append(name)
    assert declared == hmp_offered.MODULES
