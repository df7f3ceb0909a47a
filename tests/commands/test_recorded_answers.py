"""What clients ask about machines, processors and options; recorded scenarios compare all of it with real QEMU."""

from __future__ import annotations

import re

import pytest

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.profiles import PROFILES, QEMU_2_5
from qbitsim.profiles import release as changed_release


@pytest.mark.parametrize("release", [name for name in PROFILES if PROFILES[name].recorded_answers == name])
def test_each_release_has_its_own_machines(release: str) -> None:
    machines = {each["name"]: each for each in Machine(release).execute("query-machines", {})}
    assert {"none", f"pc-i440fx-{release}", f"pc-q35-{release}"} <= machines.keys()
    assert [machines[f"pc-i440fx-{release}"]["alias"], machines[f"pc-q35-{release}"]["alias"]] == ["pc", "q35"]


def test_a_release_that_nobody_asked_tells_nothing() -> None:
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate the machines of QEMU 2\.5$"):
        Machine("2.5").execute("query-machines", {})


def test_compatibility_properties_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate 'compat-props' of query-machines$"):
        Machine().execute("query-machines", {"compat-props": True})


def test_options_are_told_all_or_one() -> None:
    machine = Machine()
    told = machine.execute("query-command-line-options", {})
    assert {"name", "object", "device", "drive", "sandbox"} <= {each["option"] for each in told}
    assert machine.execute("query-command-line-options", {"option": "drive"}) == [told[-1]]
    with pytest.raises(QmpError, match=r"^invalid option name: blockdev$"):
        machine.execute("query-command-line-options", {"option": "blockdev"})


def test_an_answer_belongs_to_who_asked() -> None:
    machine = Machine()
    machine.execute("query-cpu-definitions", {}).clear()
    assert machine.execute("query-cpu-definitions", {})


def expanded(machine: Machine, kind: str, name: str, **props: object) -> tuple[str, dict[str, object]]:
    """The name and the properties that a model of processors is expanded to."""
    model = {"name": name, "props": {each.replace("_", "-"): value for each, value in props.items()}}
    told = machine.execute("query-cpu-model-expansion", {"type": kind, "model": model})["model"]
    return told["name"], told["props"]


@pytest.mark.parametrize("release", [name for name in PROFILES if PROFILES[name].recorded_answers == name])
def test_a_model_of_processors_is_expanded(release: str) -> None:
    machine = Machine(release)
    name, static = expanded(machine, "static", "Haswell-v2")
    assert (name, static["avx2"], static["rtm"], static["model-id"]) == (
        *("base", True, False),
        "Intel Core Processor (Haswell, no TSX)",
    )
    name, full = expanded(machine, "full", "Haswell-v2")
    assert (name, full["realized"], full["phys-bits"], "migratable" in full) == ("Haswell-v2", False, 0, False)
    assert static.items() <= full.items()
    assert expanded(machine, "full", "base", **static)[1]["avx2"] is True
    assert expanded(machine, "static", "host") == expanded(machine, "static", "max")


def test_properties_of_a_model_are_known_by_several_names() -> None:
    machine = Machine()
    assert expanded(machine, "full", "max")[1]["nx"] is True
    for name in ("nx", "xd"):
        told = expanded(machine, "full", "max", **{name: False})[1]
        assert (told["nx"], told["xd"]) == (False, False)
    told = expanded(machine, "full", "base", min_level=13)[1]
    assert (told["level"], told["min-level"]) == (13, 13)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"name": "nope"}, "CPU model 'nope' not found"),
        ({"name": "max", "props": {"foo": True}}, "Property 'max-x86_64-cpu.foo' not found"),
        ({"name": "max", "props": {"avx": "x"}}, "Invalid parameter type for 'model.props.avx', expected: boolean"),
        ({"name": "max", "props": 7}, "Invalid parameter type for 'model.props', expected: object"),
    ],
)
def test_models_and_properties_that_there_are_not_are_refused(model: dict[str, object], text: str) -> None:
    with pytest.raises(QmpError, match=f"^{re.escape(text)}$"):
        Machine().execute("query-cpu-model-expansion", {"type": "full", "model": model})


def test_before_its_properties_had_paths_they_were_refused_by_their_names() -> None:
    machine = Machine("7.2")
    arguments = {"type": "full", "model": {"name": "max", "props": {"avx": "x"}}}
    with pytest.raises(QmpError, match=r"^Invalid parameter type for 'avx', expected: boolean$"):
        machine.execute("query-cpu-model-expansion", arguments)
    arguments["model"] = {"name": "max", "props": 7}
    assert machine.execute("query-cpu-model-expansion", arguments)["model"]["name"] == "max"


def test_models_of_a_release_that_nobody_asked_are_not_emulated() -> None:
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate the processors of QEMU 2\.9$"):
        expanded(Machine(changed_release("2.9", like=QEMU_2_5)), "full", "max")
