"""Two histories, and where they differ first."""

from __future__ import annotations

from typing import Any

from qbitsim import Machine
from qbitsim.history.compare import first_difference


def run(*, name: str = "b0", write: int = 0, steps: int = 99, epoch: int = 0) -> dict[str, Any]:
    machine = Machine(epoch=epoch)
    machine.add_disk("drive0", "1M")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="drive0", name=name)
    machine.drive("drive0").write(write, b"x" * 65536)
    machine.qmp("drive-backup", device="drive0", target="t", sync="full")
    for _ in range(steps):
        machine.step()
    return history.to_json()


def test_equal_runs_have_no_difference_though_it_is_another_day() -> None:
    assert first_difference(run(), run(epoch=1_000_000)) is None


def test_another_request_is_a_difference() -> None:
    text = (
        "Moment 1 differs in what happens: block-dirty-bitmap-add node=drive0 name=b0 / "
        "block-dirty-bitmap-add node=drive0 name=b1."
    )
    assert first_difference(run(), run(name="b1")) == {"moments": [1, 1], "text": text}


def test_another_state_is_a_difference() -> None:
    one, other = run(), run()
    other["moments"][3]["changes"]["1"]["+"] = [1, 1]
    node = one["lanes"][1]["node"].partition("k")[0]
    found = first_difference(one, other)
    assert found is not None
    assert found["moments"] == [3, 3]
    assert found["text"].startswith(f"Moment 3 differs in the state of bitmap b0 of {node}")


def test_a_run_that_goes_on_is_a_difference() -> None:
    short, long = run(steps=0), run()
    end = len(short["moments"])
    text = f"Up to moment {end} they are equal; then only the second goes on: {long['moments'][end]['text']}"
    assert first_difference(short, long) == {"moments": [end, end], "text": text}
    assert first_difference(long, short) == {"moments": [end, end], "text": text.replace("second", "first")}
