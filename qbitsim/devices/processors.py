"""The processors of a PC: how many there are and where they sit, what model they are, and what they tell of themselves.

What the models are like is kept as QEMU 7.2, 10.0 and 11.1 (x86_64) showed it with TCG, in a file for each release,
which is read when it is asked for. A feature that is asked for and that TCG lacks stays off, as there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from qbitsim.devices.properties import parse
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.recorded import recorded_json
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_NO_THREAD = 999
_SAME = {
    "sse3": "pni",
    "pclmuldq": "pclmulqdq",
    "sse4-1": "sse4.1",
    "sse4_1": "sse4.1",
    "sse4-2": "sse4.2",
    "sse4_2": "sse4.2",
    "xd": "nx",
    "ffxsr": "fxsr-opt",
    "i64": "lm",
    "hv-apicv": "hv-avic",
    **{
        name.replace("-", "_"): name
        for name in (
            *("ds-cpl", "tsc-adjust", "fxsr-opt", "lahf-lm", "cmp-legacy", "nodeid-msr", "perfctr-core", "perfctr-nb"),
            *(
                "kvm-nopiodelay",
                "kvm-mmu",
                "kvm-asyncpf",
                "kvm-asyncpf-int",
                "kvm-steal-time",
                "kvm-pv-eoi",
                "kvm-pv-unhalt",
            ),
            *("kvm-poll-control", "svm-lock", "nrip-save", "tsc-scale", "vmcb-clean", "pause-filter", "lbr-fmt"),
        )
    },
}
"""Other names of properties (x86_cpu_initfn, target/i386/cpu.c)."""

_FOLLOWING = {**_SAME, "level": "min-level", "xlevel": "min-xlevel"}
"""Properties that become what others are, if nothing is said of them (x86_cpu_expand_features, as well)."""

_ALL_OF_TCG = "max"
"""The model that has every feature that TCG has."""


@record(kw_only=True)
class Processors:
    """The processors of a machine.

    :ivar model: as ``-cpu`` names it.
    :ivar switched: feature -> whether it was switched on or off.
    :ivar count: how many there are; *most*: how many places there are.
    :ivar sockets: and dies of a socket, cores of a die, threads of a core.
    :ivar thread_ids: the host's numbers of the threads that run them; made up if there are none.
    """

    model: str = "qemu64"
    switched: Mapping[str, bool] | None = None
    count: int = 1
    most: int = 1
    sockets: int = 1
    dies: int = 1
    cores: int = 1
    threads: int = 1
    thread_ids: list[int] | None = None

    @property
    def type(self) -> str:
        """Their type."""
        return f"{self.model}-x86_64-cpu"

    def place(self, number: int) -> Json:
        """Where a processor sits, as its properties tell it (x86_possible_cpu_arch_ids, hw/i386/x86.c, QEMU 10.0)."""
        core, thread = divmod(number, self.threads)
        die, core = divmod(core, self.cores)
        socket, die = divmod(die, self.dies)
        place: Json = {"socket-id": socket}
        if self.dies > 1:
            place["die-id"] = die
        return place | {"core-id": core, "thread-id": thread}

    def thread_id(self, number: int) -> int:
        """The host's number of the thread that runs a processor."""
        return self.thread_ids[number] if self.thread_ids is not None else _NO_THREAD + number

    @staticmethod
    def path(number: int) -> str:
        """The QOM path of a processor; the second place goes to a part of the board."""
        return f"/machine/unattached/device[{number + (number > 0)}]"

    def number_at(self, path: str) -> int | None:
        """Which processor is at a QOM path, None if none is."""
        return next((number for number in range(self.count) if self.path(number) == path), None)

    def properties(self, profile: Profile) -> dict[str, str]:
        """Name -> type of what each tells of itself.

        :raises UnsupportedError: nobody has asked such a QEMU.
        """
        if profile.recorded_answers is None:
            raise UnsupportedError(f"the processors of QEMU {profile.name}")
        types: dict[str, str] = _read(profile.recorded_answers)["properties"]
        return types

    def value(self, profile: Profile, number: int, name: str) -> Any:
        """What a processor tells of itself.

        :raises QmpError: it has no such property.
        :raises UnsupportedError: nobody has asked a QEMU for it.
        """
        kind = self.properties(profile).get(name)
        if kind is None:
            raise QmpError(f"Property '{self.type}.{name}' not found")
        if name == "type":
            return self.type
        if name in self.place(0) or name == "die-id":
            return self.place(number).get(name, 0)
        if kind.startswith("child<"):
            return f"{self.path(number)}/{name}"
        values = self._values(profile)
        if kind == "bool":
            return self._is_on(profile, values, name)
        if name not in values:
            raise UnsupportedError(f"the property '{name}' of a processor")
        return values[name]

    def check(self, profile: Profile) -> None:
        """Refuse a model or a feature that there is not.

        :raises QmpError: there is none.
        """
        if profile.recorded_answers is None:
            return
        types = self.properties(profile)
        self._values(profile)
        for name in self.switched or {}:
            if name not in types:
                raise QmpError(f"Property '{self.type}.{name}' not found")

    def _is_on(self, profile: Profile, values: Json, name: str) -> bool:
        wanted = (self.switched or {}).get(name)
        if wanted is None:
            return name in values["on"]
        return wanted and name in _model(profile, _ALL_OF_TCG)["on"]

    def _values(self, profile: Profile) -> Json:
        return _model(profile, self.model)


def expanded(profile: Profile, model: str, given: Json, *, full: bool) -> Json:
    """The properties of a model that no processor is of (qmp_query_cpu_model_expansion, target/i386/cpu-system.c).

    :param given: properties that are to be otherwise.
    :param full: all that can be set; otherwise those by which the model can be made of the model ``base``.
    :raises QmpError: there is no such model or property, or the property cannot be so.
    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the processors of QEMU {profile.name}")
    known = _ALL_OF_TCG if model == "host" else model  # with TCG, the host's own model has what TCG has
    values = _read_expansion(profile.recorded_answers, known)
    types = _read(profile.recorded_answers)["properties"]
    changed = {_SAME.get(name, name): _parsed(profile, model, types, name, value) for name, value in given.items()}
    for name, other in _FOLLOWING.items():
        if name in values and name not in changed and other in changed:
            changed[name] = changed[other]
    values |= changed
    return values if full else {name: values[name] for name in _static(profile.recorded_answers)}


def _parsed(profile: Profile, model: str, types: dict[str, str], name: str, value: Any) -> Any:
    """The value that a property is given."""
    kind = types.get(name)
    if kind is None:
        raise QmpError(f"Property '{model}-x86_64-cpu.{name}' not found")
    path = f"model.props.{name}" if profile.processor_errors_have_paths else name
    return parse(path, kind, value, from_json=True)


def _static(release: str) -> list[str]:
    names: str = _read(release)["expansion"]["static"]
    return names.split()


def _read_expansion(release: str, model: str) -> Json:
    """The values of all properties of a model that can be set, while no processor is of it."""
    recorded = _read(release)
    expansion, types = recorded["expansion"], recorded["properties"]
    models: Json = expansion["models"]
    mine = models.get(model) or models.get(f"{model}-v1")
    if mine is None:
        raise QmpError(f"CPU model '{model}' not found")
    real = _read_model(release, model)
    turned = set(mine["turned"].split())
    left_out = expansion["max"].split() if model != _ALL_OF_TCG else []
    given: Json = {**expansion["common"], **mine}
    return {
        name: given[name]
        if name in given
        else (name in real["on"]) != (name in turned)
        if types[name] == "bool"
        else real[name]
        for name in expansion["full"].split()
        if name not in left_out
    }


def _model(profile: Profile, name: str) -> Json:
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the processors of QEMU {profile.name}")
    return _read_model(profile.recorded_answers, name)


@cache
def _read_model(release: str, name: str) -> Json:
    """The values of a model, and under ``on`` the names of its properties that are true."""
    recorded = _read(release)
    found = recorded["models"].get(name) or recorded["models"].get(f"{name}-v1")
    if found is None:
        raise QmpError(f"unable to find CPU model '{name}'")
    common: Json = recorded["common"]
    on = {*found["on"].split(), *(each for each, value in common.items() if value is True)}
    return {**common, **found, "on": on}


@cache
def _read(release: str) -> Json:
    recorded: Json = recorded_json(__file__, f"{release}-processors.json")
    return recorded
