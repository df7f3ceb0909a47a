"""The recorded scenarios with their images in files of the host and a history that watches: the same transcripts.

How much is played says the option ``--on-files``; see ``tests/conftest.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from real_tools import ROOTS, RealTools
from recordings import CASES, COMPARED, VERSIONS, as_recorded, recorded, scenario
from trees import complaints, folder_of_files

from qbitsim.history.history import History
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Result, Shell
from qbitsim.scenario.player import Player

NOT_CLEAN: dict[str, dict[str, str]] = {
    "r08-img-amend": {"src.qcow2": "{'leaks': 2}"},
    "r34-other-tools-with-bitmaps": {"d.qcow2": "{'leaks': 2}"},
    "m-u24-compressed-clusters-and-snapshots-at-a-kill": {"disk.qcow2": "{'leaks': 2}"},
    "m-u26-zeroes-and-discards-at-a-kill": {"disk.qcow2": "{'leaks': 1}"},
    "m-q94-loading-puts-the-size-back": {"a.qcow2": "{'leaks': 1}"},
    "m-y01-bytes-of-a-qcow2-file": {
        "a.qcow2": 'qemu-img: Could not open \'json:{"driver": "qcow2", "file": {"driver": "file", "filename": '
        '"a.qcow2"}, "backing": null}\': Unsupported qcow2 version 33686018'
    },
}
"""What ``qemu-img check`` says where QEMU, too, loses clusters, or a header is written over."""


class RealShell(Shell):
    """A shell whose qemu-img is the real one.

    :param tools: they run in the folder of the images.
    """

    def __init__(self, images: ImageStore, tools: RealTools) -> None:
        super().__init__(images, tools.profile)
        self._tools = tools

    def _qemu_img(self, arguments: list[str]) -> Result:
        return self._tools.run_together("qemu-img", *arguments)


@cache
def tools_of(version: str) -> str | None:
    """The root directory of a system with the tools of a release; what else was found, if there is none of that one."""
    roots = [root for root in ROOTS if RealTools.are_in(root)]
    if not roots:
        pytest.skip("no qemu-img and qemu-io on the path (Debian: qemu-utils)")
    for root in roots:
        with RealTools(root) as tools:
            if tools.profile.name == version:
                return root
    return roots[0]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that is gone after the test."""
    with folder_of_files() as place:
        yield place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each scenario for one release, or for all."""
    if metafunc.function is not test_the_same_in_files_and_watched:
        return
    cases = CASES
    if metafunc.config.getoption("--on-files") == "some":
        cases = [(VERSIONS[number % len(VERSIONS)], name) for number, name in enumerate(COMPARED)]
    metafunc.parametrize(("version", "name"), [pytest.param(*case, id="-".join(case)) for case in cases])


def test_the_same_in_files_and_watched(version: str, name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    mode = request.config.getoption("--on-files")
    with ExitStack() as stack:
        tools = None
        if mode in {"checked", "real-tools"}:
            tools = stack.enter_context(RealTools(tools_of(version)))
            folder = tools.directory
        history = History()
        player = Player(version, history, images=HostImageStore(str(folder)))
        if mode == "real-tools":
            assert tools is not None
            if tools.profile is not PROFILES[version]:
                pytest.skip(f"no qemu-img {version}")
            player.shell = RealShell(player.images, tools)
        mine = as_recorded(player.play(scenario(name)["steps"]))
        ways = recorded(version, name)
        assert mine == (mine if mine in ways else ways[0])
        written = history.to_json()
        assert json.loads(json.dumps(written)) == written
        if player.machine is not None:
            player.machine.shut_down()
        if tools is not None:
            assert complaints(tools) == NOT_CLEAN.get(name, {})
