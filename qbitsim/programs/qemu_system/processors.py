"""``-smp`` and ``-cpu``: the processors that they mean (hw/core/machine-smp.c and target/i386/cpu.c, QEMU 10.0)."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from qbitsim.devices.processors import Processors
from qbitsim.errors import QmpError
from qbitsim.programs.option_text import read_switch
from qbitsim.records import changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.profiles import Profile
    from qbitsim.programs.qemu_system.machine_types import MachineType
    from qbitsim.qapi.keyval import Tree

_NUMBER = r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)"
_OTHER_LEVELS = ("modules", "clusters", "dies", "books", "drawers")
"""Those that a machine may not have, in the order in which they are refused."""

_FILLED_UP = ("cores", "sockets", "threads")
"""The first of these that is not given takes what processors the others leave."""


def read_topology(tree: Tree, machine: MachineType, profile: Profile) -> Processors:
    """The processors that the numbers of ``-smp`` mean, of the usual model (machine_parse_smp_config).

    :raises QmpError: a number is about nothing that there is, is none, does not fit, or is too big for the machine.
    """
    given = _read_numbers(tree, profile)
    if 0 in given.values():
        raise QmpError("Invalid CPU topology: CPU topology parameters must be greater than zero")
    levels = _levels(machine, profile)
    for name in _OTHER_LEVELS:
        if name not in levels and given.get(name, 1) > 1:
            more = " > 1" if profile.processors_have_modules else ""
            raise QmpError(f"{name}{more} not supported by this machine's CPU topology")
    processors = _complete(given, levels)
    places = {"none": 1, "pc": 255, "q35": profile.most_processors_of_q35}[machine.kind]
    if processors.most > places:
        number = processors.most - (processors.most >> 31 << 32)
        raise QmpError(f"Invalid SMP CPUs {number}. The max CPUs supported by machine '{machine.name}' is {places}")
    return processors


def _read_numbers(tree: Tree, profile: Profile) -> dict[str, int]:
    """The numbers by name, each below 2^32."""
    known = {"cpus", "maxcpus", "clusters", "dies", *_FILLED_UP}
    if profile.processors_have_books:
        known |= {"books", "drawers"}
    if profile.processors_have_modules:
        known.add("modules")
    numbers = {}
    for name, value in tree.items():
        if name not in known:
            raise QmpError(f"Parameter 'smp.{name}' is unexpected")
        if not (isinstance(value, str) and re.fullmatch(_NUMBER, value)):
            raise QmpError(f"Parameter 'smp.{name}' expects integer")
        numbers[name] = int(value, 0) % (1 << 32)
    return numbers


def _levels(machine: MachineType, profile: Profile) -> tuple[str, ...]:
    if machine.kind == "none":
        return ("sockets", "cores", "threads")
    return ("sockets", "dies", *(("modules",) if profile.processors_have_modules else ()), "cores", "threads")


def _complete(given: Mapping[str, int], levels: tuple[str, ...]) -> Processors:
    """All numbers, where some are given only."""
    wanted = given.get("maxcpus") or given.get("cpus")
    parts = {level: given.get(level, 1) for level in levels}
    left_out = next((level for level in _FILLED_UP if level not in given), None)
    if wanted and left_out is not None:
        parts[left_out] = wanted // prod(parts.values())
    total = prod(parts.values())
    most = wanted or total
    count = given.get("cpus") or most
    text = " * ".join(f"{level} ({number})" for level, number in parts.items())
    if total != most:
        text = f"product of the hierarchy must match maxcpus: {text} != maxcpus ({most})"
        raise QmpError(f"Invalid CPU topology: {text}")
    if most < count:
        text = f"maxcpus must be equal to or greater than smp: {text} == maxcpus ({most}) < smp_cpus ({count})"
        raise QmpError(f"Invalid CPU topology: {text}")
    return Processors(
        count=count,
        most=most,
        sockets=parts["sockets"],
        dies=parts.get("dies", 1),
        cores=parts.get("modules", 1) * parts["cores"],
        threads=parts["threads"],
    )


def read_model(text: str, processors: Processors, machine: MachineType, profile: Profile) -> Processors:
    """The same processors, of the model and with the features that the argument of ``-cpu`` names.

    :raises QmpError: there is no such model or feature, or the machine has no place for one (x86_cpu_realizefn).
    """
    model, *features = text.split(",")
    processors = changed(processors, model=model)
    processors.check(profile)
    switched = {}
    for feature in filter(None, features):
        name, given, value = feature.partition("=")
        if feature[0] in "+-":
            switched[_hyphenated(feature[1:])] = feature[0] == "+"
            continue
        value = value if given else "on"
        _check_feature(processors, _hyphenated(name), value, profile)
        if value in ("on", "off", "yes", "no", "true", "false", "y", "n"):  # others change nothing that is told
            switched[_hyphenated(name)] = read_switch(name, value)
    if machine.kind == "none":
        raise QmpError("apic-id property was not initialized properly")
    processors = changed(processors, switched=switched)
    processors.check(profile)
    return processors


def _check_feature(processors: Processors, name: str, value: str, profile: Profile) -> None:
    """Refuse to set a property that the model does not have."""
    if profile.recorded_answers is not None and name not in processors.properties(profile):
        property_ = f"{processors.type}.{name}"
        raise QmpError(f"can't apply global {property_}={value}: Property '{property_}' not found")


def _hyphenated(name: str) -> str:
    return name.replace("_", "-")
