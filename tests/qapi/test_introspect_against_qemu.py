"""Every offered command and event against what real QEMUs say about it (see tests/extract_qapi.py)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from schema_comparison import Comparison

from qbitsim.commands.offered import COMMANDS, registry_for
from qbitsim.commands.queries import QueryBlock
from qbitsim.profiles import PROFILES
from qbitsim.qapi.block import (
    BlockDirtyBitmap,
    BlockDirtyBitmapSha256,
    BlockExportOptions,
    BlockJobChangeOptions,
    NbdServerOptions,
)
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.info import (
    BlockExportInfo,
    BlockInfo,
)
from qbitsim.qapi.introspect import query_qmp_schema
from qbitsim.qapi.job import BlockJobInfo, JobInfo
from qbitsim.qapi.monitor import CommandInfo, NameInfo, SchemaInfo, StatusInfo, UuidInfo, VersionInfo
from qbitsim.qapi.registry import Command, Registry

RELEASES = ("7.2", "10.0", "11.1")


def real(release):
    """The entries of a real QEMU by name."""
    packed = Path(__file__).parents[1] / "data" / f"qapi-{release}.json.gz"
    return {entry["name"]: entry for entry in json.loads(gzip.decompress(packed.read_bytes()))}


def probe(name, arguments=None, returns=None, features=(), since=None):
    return Command(
        name=name,
        handler=print,
        arguments=arguments,
        returns=returns,
        action=False,
        standalone=True,
        groupable=False,
        allow_oob=False,
        since=since,
        until=None,
        action_since=None,
        features=features,
    )


SHARED_TYPES = [
    probe("query-version", returns=VersionInfo),
    probe("query-status", returns=StatusInfo),
    probe("query-commands", returns=list[CommandInfo]),
    probe("query-qmp-schema", returns=list[SchemaInfo]),
    probe("query-name", returns=NameInfo),
    probe("query-uuid", returns=UuidInfo),
    probe("query-block", QueryBlock, returns=list[BlockInfo]),
    probe("query-jobs", returns=list[JobInfo]),
    probe("query-block-jobs", returns=list[BlockJobInfo]),
    probe("query-block-exports", returns=list[BlockExportInfo]),
    probe("x-debug-block-dirty-bitmap-sha256", BlockDirtyBitmap, BlockDirtyBitmapSha256, ["unstable"]),
    probe("nbd-server-start", NbdServerOptions),
    probe("block-export-add", BlockExportOptions),
    probe("block-job-change", BlockJobChangeOptions, since="8.2"),
    probe("blockdev-add", BlockdevOptions),
]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("command", SHARED_TYPES, ids=lambda each: each.name)
def test_types_are_those_of_qemu(release, command):
    profile = PROFILES[release]
    if profile.offers(command.since):
        Comparison(Registry(profile, {command.name: [command]}, []), real(release)).check(command.name)


@pytest.mark.parametrize("release", RELEASES)
def test_events_are_those_of_qemu(release):
    registry = Registry(PROFILES[release], {})
    comparison = Comparison(registry, real(release))
    for name in registry.events:
        comparison.check(name)
    assert set(registry.events) == {
        name for name in comparison.theirs if comparison.theirs[name]["meta-type"] == "event"
    }


@pytest.mark.parametrize("release", RELEASES)
def test_commands_are_those_of_qemu(release):
    registry = registry_for(PROFILES[release])
    comparison = Comparison(registry, real(release))
    for name in registry.names():
        comparison.check(name)


@pytest.mark.parametrize("release", RELEASES)
def test_commands_and_events_are_listed_in_the_order_of_qemu(release):
    ours = [entry["name"] for entry in query_qmp_schema(registry_for(PROFILES[release]))]
    offered = set(ours)
    named = ("command", "event")
    theirs = [entry["name"] for entry in real(release).values() if entry["meta-type"] in named]
    assert ours[: ours.index("0")] == [name for name in theirs if name in offered]


def test_every_declared_command_is_one_of_qemu_in_some_release():
    known = {name for release in RELEASES for name in real(release)}
    assert {name for name, found in COMMANDS.items() if all(each.standalone for each in found)} <= known
