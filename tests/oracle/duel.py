"""Plays the same steps on qbitsim and on a real QEMU and compares what both answer."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from typing import Any

from channel import QemuDiedError
from dangers import DEATHS, danger, danger_before
from draws import Drawer
from real_qemu import Installation, RealQemu
from two_monitors import TwoMonitors

from qbitsim.machine.machine import Machine
from qbitsim.profiles import PROFILES
from qbitsim.scenario.player import ScenarioError
from qbitsim.scenario.reductions import by_step

Step = dict[str, Any]

PATIENCE = 6
"""How many times longer to wait when a difference is looked at again."""

SECTOR = 512

TRIES = 6
"""How often QEMU is asked whether it would answer the same again, before a difference is one."""

ROUNDS: Counter[str] = Counter()
"""How many examples had which end."""

LEFT_OUT: Counter[str] = Counter()
"""How many steps were drawn and not played, as there would be nothing to compare; by reason."""


class DifferenceError(AssertionError):
    """qbitsim answered something else than QEMU."""


def profile_for(installation: Installation) -> str:
    """The name of the profile that is nearest to the version found."""
    major, minor = installation.version[:2]
    release = major + minor / 10
    return min(PROFILES.values(), key=lambda each: abs(each.version[0] + each.version[1] / 10 - release)).name


class Duel:
    """One example.

    :ivar steps: what was played.
    :ivar over: why the example has ended, if it has: there is nothing more to compare.
    :ivar failed: a difference was found.
    :ivar again: how often a difference was none when all was played again, slower.
    :ivar strict: the records were the same one by one, without folding.
    """

    def __init__(self, installation: Installation, drawer: type[Drawer] = Drawer, *, patience: int = 1) -> None:
        self.installation = installation
        self._drawer = drawer
        self.real = RealQemu(installation, patience=patience)
        self.player = TwoMonitors(profile_for(installation))
        self.steps: list[Step] = []
        self.over: str | None = None
        self.strict = True
        self.failed = False
        self.again = 0
        self.counter = [0]

    def close(self) -> None:
        """Stop the real QEMU."""
        self.real.close()

    @property
    def machine(self) -> Machine:
        """The emulated machine."""
        assert self.player.machine is not None
        return self.player.machine

    def drawer(self, rng: random.Random) -> Drawer:
        """What draws steps for the machine as it is."""
        start = next(step for step in self.steps if "start" in step)
        return self._drawer(rng, self.machine, self.counter, start)

    def play(self, steps: list[Step]) -> None:
        """Play some steps, the last of which leaves nothing in progress, and compare.

        :raises DifferenceError: confirmed by slower plays of everything.
        """
        try:
            found = self._play(steps)
        except Exception:
            self.failed = True
            raise
        if found is None:
            return
        self.failed = True
        for _ in range(TRIES):
            again = Duel(self.installation, self._drawer, patience=PATIENCE)
            confirmed = again._play(self.steps)
            if confirmed is None:
                self._go_on_as(again)
                return
            again.close()
        raise DifferenceError(f"{confirmed}\nafter " + json.dumps(self.steps))

    def _go_on_as(self, other: Duel) -> None:
        """Take the place of a slower play of the same steps, in which nothing differed."""
        self.real.close()
        other.real.patience = self.real.patience
        self.real, self.player = other.real, other.player
        self.strict, self.failed, self.again = False, False, self.again + 1

    def _play(self, steps: list[Step]) -> str | None:
        """Play them; return the first difference."""
        real, emulated = self.real, self.player
        seen = [
            (len(real.records), len(emulated.records)),
            (len(real.second_records), len(emulated.second_records)),
        ]
        for step in steps:
            if self.over is None:
                died = self._step(step)
                if died is not None or self.over in DEATHS.values():
                    return died
        return self._compare(real.records, emulated.records, *seen[0]) or self._compare(
            real.second_records, emulated.second_records, *seen[1]
        )

    def _compare(self, real: list[Step], emulated: list[Step], *seen: int) -> str | None:
        real = without_host(real[seen[0] :])
        emulated = without_host(json.loads(json.dumps(emulated[seen[1] :])))
        self.strict = self.strict and real == emulated
        for expected, got in zip(by_step(real), by_step(emulated), strict=False):
            if expected != got:
                return f"QEMU:    {json.dumps(expected)}\nqbitsim: {json.dumps(got)}"
        return None if len(by_step(real)) == len(by_step(emulated)) else "more records of one than of the other"

    def _step(self, step: Step) -> str | None:
        """Play one step; return what QEMU died of, or whatever else cannot be compared record by record.

        What has an answer that cannot be compared is taken back and left out.
        """
        reason = self._try(step)
        if reason is not None:
            LEFT_OUT[reason] += 1
            return None
        if self.over is not None:
            return None
        self.steps.append(step)
        try:
            self.real.play([step])
        except QemuDiedError as death:
            self.over = next((reason for text, reason in DEATHS.items() if text in str(death)), None)
            return f"QEMU died: {death}" if self.over is None else None
        return None

    def _try(self, step: Step) -> str | None:
        """Let the emulator play a step; say why the step is left out, if it is."""
        asks = "qmp" in step or "second" in step or "write" in step or "io" in step
        answers = asks or step.get("may_fail", False)
        if asks:
            reason = danger_before(step, self.machine, self.player.files)
            if reason is not None:
                return reason
        if self.player.files.scattered and {"map", "check"} & set(step.get("shell", ())):
            return "places of what a mirror has copied several pieces of at once"
        seen, seen_by_second = len(self.player.records), len(self.player.second_records)
        try:
            self.player.play([step])
        except ScenarioError as refusal:
            self.over = "the machine does not start again"
            self._start_fails(step, str(refusal))
            return None
        if not answers:
            return None
        answer = self.player.records[seen:]
        reason = danger(step, answer, self.machine) if asks else None
        if "qbitsim does not" in json.dumps([answer, self.player.second_records[seen_by_second:]]):
            reason = "not emulated"
        if reason is not None:
            self.player = TwoMonitors(self.player.profile)
            self.player.play(self.steps)
        return reason

    def _start_fails(self, step: Step, refusal: str) -> None:
        """An image was overwritten with something else; real QEMU must refuse it with the same words.

        :raises DifferenceError: it does not.
        """
        text = refusal.removeprefix("the machine does not start: ")
        self.steps.append(step)
        try:
            self.real.play([step])
        except QemuDiedError as death:
            if text in str(death):
                return
            raise DifferenceError(f"QEMU:    {death}\nqbitsim: {text}\nafter " + json.dumps(self.steps)) from None
        raise DifferenceError(f"qbitsim: {refusal}\nafter " + json.dumps(self.steps))

    # -- the end of an example

    def finish(self) -> None:
        """Look at everything; then let both end, and compare the content of all images."""
        if self.over is None and self.player.machine is not None:
            self.play(self.drawer(random.Random(0)).last_look())
        if self.over is None:
            self.play([{"quit": True}])
        if self.over is None:
            self._compare_images()
        ROUNDS[self.over or ("equal, record by record" if self.strict else "equal")] += 1
        if self.again:
            ROUNDS["(of these, equal after a slower play)"] += 1

    def _compare_images(self) -> None:
        names = [name for name in self.player.images.names() if self._has_content(name)]
        contents = self.real.contents(names)
        for name in names:
            size = self.player.images.lookup(name).size
            emulated = self.player.images.read_chain(name, 0, size) + bytes(-size % SECTOR)
            if contents[name] != emulated:
                raise DifferenceError(_first(name, contents[name], emulated) + "\nafter " + json.dumps(self.steps))

    def _has_content(self, name: str) -> bool:
        """Whether it is an image whose backing files are all files."""
        try:
            return self.player.images.chain(name)[0].size > 0
        except OSError:
            return False


def _first(name: str, real: bytes, emulated: bytes) -> str:
    """Where two contents of a file differ first."""
    for place, (expected, got) in enumerate(zip(real, emulated, strict=False)):
        if expected != got:
            return f"the content of {name} at {place}: {expected:#x}, not {got:#x}"
    return f"the content of {name}: {len(real)} bytes, not {len(emulated)}"


def random_example(installation: Installation, seed: int, world: Any, drawer: type[Drawer] = Drawer) -> Duel:
    """Play an example drawn from a seed, for long runs without Hypothesis.

    :raises DifferenceError: as :meth:`Duel.play`.
    """
    rng = random.Random(seed)
    duel = Duel(installation, drawer)
    try:
        duel.play(world(rng))
        for _ in range(rng.randint(8, 30)):
            if duel.over is None:
                duel.play(duel.drawer(rng).draw())
        duel.finish()
    finally:
        duel.close()
    return duel


_NOT_COMPARED = ("_time_ns", "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec")
"""Ends of the names of members that depend on the host's clock, or on when QEMU writes tables that it has in memory."""

_TEXTS = re.compile(r"disk size: .*|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+:\d\d:\d\d\.\d{3}|\w+ alignment: \d+")
"""What reports for people have of the host: the clock, and what a file takes of its disk."""


def without_host(value: Any) -> Any:
    """The same without what depends on the host's clock and file system."""
    if isinstance(value, list):
        return [without_host(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"nodes", "edges"}:
        return _by_name(value)
    if isinstance(value, dict):
        return {key: "-" if key.endswith(_NOT_COMPARED) else without_host(item) for key, item in value.items()}
    return _TEXTS.sub("-", value) if isinstance(value, str) else value


def _by_name(graph: dict[str, Any]) -> list[str]:
    """The nodes and edges of x-debug-query-block-graph by their names, in no order."""
    names = {each["id"]: f"{each['type']} {each['name']}" for each in graph["nodes"]}
    edges = [
        f"{names[each['parent']]} has {each['name']} {names[each['child']]}"
        f" for {sorted(each['perm'])} and lets others {sorted(each['shared-perm'])}"
        for each in graph["edges"]
    ]
    return sorted(names.values()) + sorted(edges)
