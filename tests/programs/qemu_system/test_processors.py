"""Processors of a PC: how many, where, and what they tell of themselves; measured on QEMU 10.0 and 11.1."""

from __future__ import annotations

import json
import os
import shlex

import pytest
from qemu_process import run

MONITOR = '{"execute": "qmp_capabilities"}'
PROCESSOR = "/machine/unattached/device[0]"


def told(words: str, *commands: str) -> list[object]:
    """What a machine replies."""
    asked = [MONITOR, *commands, '{"execute": "quit"}']
    status, out, err = run("10.0", *shlex.split(f"-nodefaults -display none -qmp stdio {words}"), stdin="".join(asked))
    assert (status, err) == (0, "")
    return [message["return"] for message in map(json.loads, out.splitlines()) if "return" in message][1:-1]


def get(name: str) -> str:
    """A request for a property of the first processor."""
    return json.dumps({"execute": "qom-get", "arguments": {"path": PROCESSOR, "property": name}})


def test_places_taken_and_free() -> None:
    there, places, memory = told(
        "-M q35 -smp 2,maxcpus=4,dies=2 -m 256 -cpu Nehalem",
        *(f'{{"execute": "{name}"}}' for name in ("query-cpus-fast", "query-hotpluggable-cpus")),
        '{"execute": "query-memory-size-summary"}',
    )
    assert isinstance(there, list)
    assert isinstance(places, list)
    assert [each["qom-path"] for each in there] == [PROCESSOR, "/machine/unattached/device[2]"]
    assert [each["props"] for each in places] == [
        {"socket-id": 0, "die-id": die, "core-id": core, "thread-id": 0}
        for die, core in ((1, 1), (1, 0), (0, 1), (0, 0))
    ]
    assert ["qom-path" in each for each in places] == [False, False, True, True]
    assert {each["type"] for each in places} == {"Nehalem-x86_64-cpu"}
    assert memory == {"base-memory": 256 << 20, "plugged-memory": 0}


def test_threads_are_threads_of_the_process() -> None:
    (there,) = told("-M pc -smp 3", '{"execute": "query-cpus-fast"}')
    assert isinstance(there, list)
    numbers = {each["thread-id"] for each in there}
    assert len(numbers) == 3
    assert os.getpid() not in numbers


def test_features_are_those_of_the_model_and_what_was_switched() -> None:
    names = ("type", "sse4.2", "sse", "avx512f", "aes", "family", "vendor")
    assert told("-M pc -cpu Nehalem,-sse,+avx512f,aes=on", *map(get, names)) == [
        *("Nehalem-x86_64-cpu", True, False, False, True, 6, "GenuineIntel")
    ]


PLACES = "sockets (1) * dies (1) * modules (1) * cores (2) * threads (1)"
LESS = f"maxcpus must be equal to or greater than smp: {PLACES} == maxcpus (2) < smp_cpus (4)"
MORE = "product of the hierarchy must match maxcpus:"


@pytest.mark.parametrize(
    ("release", "words", "text"),
    [
        ("10.0", "-M pc -cpu foo", "unable to find CPU model 'foo'"),
        ("10.0", "-M pc -cpu qemu64,+foo", "Property 'qemu64-x86_64-cpu.foo' not found"),
        (
            "11.1",
            "-M none -cpu qemu64,foo=1",
            "can't apply global qemu64-x86_64-cpu.foo=1: Property 'qemu64-x86_64-cpu.foo' not found",
        ),
        ("7.2", "-M none -cpu qemu64,+foo", "apic-id property was not initialized properly"),
        ("10.0", "-M pc -smp 0", "Invalid CPU topology: CPU topology parameters must be greater than zero"),
        (
            "10.0",
            "-M pc -smp 3,sockets=2,cores=1",
            (
                f"Invalid CPU topology: {MORE} "
                "sockets (2) * dies (1) * modules (1) * cores (1) * threads (1) != maxcpus (3)"
            ),
        ),
        (
            "7.2",
            "-M pc -smp cores=2,maxcpus=5",
            f"Invalid CPU topology: {MORE} sockets (2) * dies (1) * cores (2) * threads (1) != maxcpus (5)",
        ),
        (
            "10.0",
            "-M none -smp 3,cores=2",
            f"Invalid CPU topology: {MORE} sockets (1) * cores (2) * threads (1) != maxcpus (3)",
        ),
        ("10.0", "-M pc -smp 4,maxcpus=2", f"Invalid CPU topology: {LESS}"),
        ("7.2", "-M pc -smp clusters=2", "clusters not supported by this machine's CPU topology"),
        ("10.0", "-M pc -smp clusters=2", "clusters > 1 not supported by this machine's CPU topology"),
        ("10.0", "-M none -smp dies=2", "dies > 1 not supported by this machine's CPU topology"),
        ("7.2", "-M pc -smp modules=2", "Parameter 'smp.modules' is unexpected"),
        (
            "10.0",
            "-M none -smp sockets=2",
            "Invalid SMP CPUs 2. The max CPUs supported by machine 'none' is 1",
        ),
        ("7.2", "-M q35 -smp 5000", "Invalid SMP CPUs 5000. The max CPUs supported by machine 'pc-q35-7.2' is 288"),
        ("10.0", "-M q35 -smp 5000", "Invalid SMP CPUs 5000. The max CPUs supported by machine 'pc-q35-10.0' is 4096"),
        ("10.0", "-M pc -smp -1", "Invalid SMP CPUs -1. The max CPUs supported by machine 'pc-i440fx-10.0' is 255"),
    ],
)
def test_what_is_refused(release: str, words: str, text: str) -> None:
    status, _, err = run(release, *shlex.split(f"-display none -qmp stdio {words}"), stdin=MONITOR)
    assert (status, err) == (1, f"qemu-system-x86_64: {text}\n")
