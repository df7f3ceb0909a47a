"""All commands, gathered: importing this module declares them."""

from __future__ import annotations

from functools import cache

from qbitsim.commands import (
    backing_file,
    backups,
    bitmaps,
    block_graph,
    blockstats,
    commits,
    creation,
    descriptors,
    devices,
    exports,
    furniture,
    human_monitor,
    internal_snapshots,
    io_throttle,
    jobs,
    machine_queries,
    machine_snapshots,
    migration,
    mirrors,
    monitor,
    nodes,
    objects,
    processor_models,
    qom,
    queries,
    recorded_answers,
    reopen,
    snapshots,
    streams,
    transactions,
    trays,
)
from qbitsim.profiles import Profile
from qbitsim.qapi.registry import Registry

MODULES = (
    backing_file,
    backups,
    bitmaps,
    block_graph,
    blockstats,
    commits,
    creation,
    descriptors,
    devices,
    exports,
    furniture,
    human_monitor,
    internal_snapshots,
    io_throttle,
    jobs,
    machine_queries,
    processor_models,
    machine_snapshots,
    migration,
    mirrors,
    monitor,
    nodes,
    objects,
    qom,
    queries,
    recorded_answers,
    reopen,
    snapshots,
    streams,
    transactions,
    trays,
)
"""The modules that declare commands."""


@cache
def registry_for(profile: Profile) -> Registry:
    """The commands of that profile; one registry serves all machines."""
    return Registry(profile)
