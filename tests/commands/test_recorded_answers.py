"""What clients ask about machines, processors and options; recorded scenarios compare all of it with real QEMU."""

from __future__ import annotations

import pytest

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.profiles import PROFILES


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
