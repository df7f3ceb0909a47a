"""``-smp`` and ``-cpu``: the processors that they mean (hw/core/machine-smp.c and target/i386/cpu.c, QEMU 10.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.devices.processors import Processors
from qbitsim.errors import QmpError
from qbitsim.programs.option_text import read_switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qbitsim.profiles import Profile
    from qbitsim.qapi.keyval import Tree

_NUMBER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_LEVELS = ("sockets", "dies", "modules", "clusters", "cores", "threads")
_TOPOLOGY = frozenset({"books", "cpus", "drawers", "maxcpus", *_LEVELS})
_DIVIDED = ("books", "drawers", "clusters")
"""What a PC has not."""


def read_topology(tree: Tree) -> dict[str, int]:
    """The numbers of ``-smp``.

    :raises QmpError: one is about nothing that there is, or is no number.
    """
    numbers = {}
    for name, value in tree.items():
        if name not in _TOPOLOGY:
            raise QmpError(f"Parameter 'smp.{name}' is unexpected")
        if not (isinstance(value, str) and _NUMBER.fullmatch(value)):
            raise QmpError(f"Parameter 'smp.{name}' expects integer")
        numbers[name] = int(value, 0)
    return numbers


def read_processors(
    profile: Profile, topology: Mapping[str, int], cpu: str | None, make_threads: Callable[[int], list[int]]
) -> Processors:
    """The processors of a PC (machine_parse_smp_config).

    :param cpu: the argument of ``-cpu``.
    :param make_threads: makes so many threads, and tells the host's numbers of them.
    :raises QmpError: there is no such model or feature, or the numbers do not fit.
    """
    model, switched = _read_model(cpu) if cpu is not None else ("qemu64", {})
    numbers = _complete(topology)
    processors = Processors(model=model, switched=switched, thread_ids=make_threads(numbers["count"]), **numbers)
    processors.check(profile)
    return processors


def _read_model(text: str) -> tuple[str, dict[str, bool]]:
    """A model and its features: ``+svm``, ``-svm``, ``svm=off``; values of other kinds change nothing that is told."""
    model, *features = text.split(",")
    switched = {}
    for feature in filter(None, features):
        name, given, value = feature.partition("=")
        if feature[0] in "+-":
            switched[_hyphenated(feature[1:])] = feature[0] == "+"
        elif not given or value in ("on", "off", "yes", "no", "true", "false", "y", "n"):
            switched[_hyphenated(name)] = not given or read_switch(name, value)
    return model, switched


def _hyphenated(name: str) -> str:
    return name.replace("_", "-")


def _complete(given: Mapping[str, int]) -> dict[str, int]:
    """All numbers, where some are given only; what is missing falls to the cores."""
    if any(number <= 0 for number in given.values()):
        raise QmpError("Invalid CPU topology: CPU topology parameters must be greater than zero")
    for name in _DIVIDED:
        if given.get(name, 1) > 1:
            raise QmpError(f"{name} not supported by this machine's CPU topology")
    count, most = given.get("cpus", 0), given.get("maxcpus", 0)
    sockets, threads = given.get("sockets", 1), given.get("threads", 1)
    dies, modules = given.get("dies", 1), given.get("modules", 1)
    cores = given.get("cores", 0)
    wanted = most or count
    if not cores:
        cores = max(wanted // (sockets * dies * modules * threads), 1) if "sockets" in given or wanted else 1
    if wanted and "sockets" not in given and "cores" in given:
        sockets = max(wanted // (dies * modules * cores * threads), 1)
    total = sockets * dies * modules * cores * threads
    most = most or count or total
    if total != most:
        numbers = f"sockets ({sockets}) * dies ({dies}) * modules ({modules}) * cores ({cores}) * threads ({threads})"
        raise QmpError(
            f"Invalid CPU topology: product of the hierarchy must match maxcpus: {numbers} != maxcpus ({most})"
        )
    return {
        "count": count or most,
        "most": most,
        "sockets": sockets,
        "dies": dies,
        "cores": modules * cores,
        "threads": threads,
    }
