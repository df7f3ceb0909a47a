"""The program."""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import __doc__ as described
from .campaign import Campaign, Outcome, Test
from .changes import Mutation, draw

MODULES = (
    "qbitsim/block/bitmap.py",
    "qbitsim/bits",
    "qbitsim/block/node.py",
    "qbitsim/copying",
    "qbitsim/jobs",
    "qbitsim/engine",
)
TESTS = (
    *("tests/bits", "tests/block", "tests/copying", "tests/engine", "tests/jobs", "tests/commands", "tests/drivers"),
    *("tests/control", "tests/injection", "tests/migration", "tests/history", "tests/stateful"),
    *("tests/machine/test_machine.py", "tests/machine/test_causing_failures.py", "tests/qmp/test_waiting.py"),
    "tests/conformance/test_recorded.py",
)
"""What uses these modules in the process of pytest, and is quick."""


def modules_in(places: Sequence[str]) -> list[str]:
    """The modules in files and folders."""
    found = [
        path for place in map(Path, places) for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
    ]
    return [path.as_posix() for path in found if path.name != "__init__.py"]


def lines(campaign: Campaign, chosen: Mapping[str, Sequence[Mutation]]) -> Iterator[str]:
    """The lines to print: what survives, and the share of each module, then of all, that was noticed."""
    outcomes: dict[str, Counter[Outcome]] = {path: Counter() for path in chosen}
    for path, mutation, outcome in campaign.run():
        outcomes[path][outcome] += 1
        if outcome is Outcome.SURVIVED:
            yield f"{path}:{mutation}"
    for path, counts in outcomes.items():
        yield f"{path}: {_share(counts)}"
    yield f"all: {_share(sum(outcomes.values(), Counter()))}"


def _share(counts: Counter[Outcome]) -> str:
    noticed, left_out = counts[Outcome.NOTICED], counts[Outcome.NOT_IMPORTED]
    tried = noticed + counts[Outcome.SURVIVED]
    text = f"{noticed} of {tried} noticed, {100 * noticed / max(tried, 1):.1f} %"
    return f"{text}; {left_out} cannot be imported" if left_out else text


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 1 if anything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=(described or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=MODULES, help="paths of modules and folders, from here")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests to run: folders, files, or names of tests")
    parser.add_argument("--limit", type=int, help="mutations of each module; all by default")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn")
    parser.add_argument("--budget", type=float, default=20, help="seconds of tests for each; 20 by default")
    parser.add_argument("--known", type=Path, help="a file that keeps what the tests reach, for the next run")
    options = parser.parse_args(arguments)
    modules = modules_in(options.modules)
    chosen = {path: draw(path, options.limit, options.seed) for path in modules}
    campaign = Campaign(chosen, options.tests, options.budget, kept(options.known, modules))
    count = 0
    for count, line in enumerate(lines(campaign, chosen)):  # noqa: B007
        print(line, flush=True)  # noqa: T201
    if options.known is not None:
        keep(options.known, modules, campaign.known)
    return int(count > len(modules))


def kept(file: Path | None, modules: Sequence[str]) -> list[Test]:
    """What a file says of tests; nothing if it is of other modules, or if they have changed since."""
    if file is None or not file.exists():
        return []
    sources, tests = pickle.loads(file.read_bytes())
    return tests if all(sources.get(path) == Path(path).read_text() for path in modules) else []


def keep(file: Path, modules: Sequence[str], tests: Sequence[Test]) -> None:
    """Write down what is known of tests."""
    file.write_bytes(pickle.dumps(({path: Path(path).read_text() for path in modules}, tests)))


if __name__ == "__main__":
    sys.exit(main())
