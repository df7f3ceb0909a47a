"""What kills or hangs real QEMU: the draws end before it, for there is nothing to compare with.

Each is a bug of QEMU 7.2 and 10.0 alike, unless it says so. Some are known before the step. Most need a transaction
that fails after some of its actions were run, so whether a step is one of them is known from the emulator's answer.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qbitsim.block.chain import chain, status_above
from qbitsim.block.filter import FilterNode
from qbitsim.block.node import Node, downwards
from qbitsim.block.status import Status
from qbitsim.drivers.aligned import AlignedNode
from qbitsim.drivers.copy_before_write import CopyBeforeWriteNode
from qbitsim.drivers.copy_on_read import CopyOnReadNode
from qbitsim.drivers.null import NullNode
from qbitsim.drivers.qcow2 import COMPRESSING, Qcow2Node
from qbitsim.errors import QmpError
from qbitsim.jobs.backup import BackupJob
from qbitsim.jobs.job import Job
from qbitsim.jobs.mirror import MirrorJob
from qbitsim.machine.machine import Machine

Step = dict[str, Any]
Records = list[dict[str, Any]]
Actions = list[tuple[str, dict[str, Any]]]

Parts = list[tuple[int, int]]
"""Ranges of bytes, each from its first to behind its last."""


@dataclass
class FilesSeen:
    """What became of files in a scenario, which says more of them than their content.

    :ivar compressed: those in which compressed data were seen.
    :ivar scattered: of those to which a mirror or active commit copied several pieces at once, where pieces met.
    :ivar mirrored: plain files to which mirrors have written.
    :ivar zeroed: those in which a mirror zeroed what the guest did meanwhile, or which were read since.
    :ivar zeroed_in_place: plain files in which a guest zeroed data whose room they keep.
    """

    compressed: set[str] = field(default_factory=set)
    scattered: dict[str, set[int]] = field(default_factory=dict)
    mirrored: set[str] = field(default_factory=set)
    zeroed: set[str] = field(default_factory=set)
    zeroed_in_place: set[str] = field(default_factory=set)


CLUSTER = 65536
"""Bytes of a cluster of the disk."""


DEATHS = {
    "bdrv_do_drained_end: Assertion `bs->quiesce_counter > 0' failed": "QEMU 7.2 dies of a drained section in which a "
    "job has taken nodes away",
    "hbitmap_merge: Assertion `b->orig_size == result->orig_size' failed": "QEMU 7.2 dies of a copy-before-write node "
    "above a raw one whose file was resized",
}
"""What QEMU says as it dies of something that cannot be told beforehand -> why the example ends then."""

_DRAINING = {
    *("blockdev-backup", "drive-backup", "blockdev-snapshot", "blockdev-snapshot-sync"),
    *("blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync"),
}
"""Commands and actions before which 7.2 drains all nodes."""


def danger_before(step: Step, machine: Machine, files: FilesSeen) -> str | None:
    """The same, of what can be known before the step.

    In 7.2 the filter of a stream that is over has nothing below it, which the query does not expect.
    """
    if "write" in step or "io" in step:
        return _danger_of_request(step, str(step.get("write", step.get("io"))[0]), machine, files)
    message = step.get("qmp", step.get("second"))
    asked = f"{message['execute']} {message.get('arguments', {}).get('command-line', '')}"
    if machine.profile.name == "7.2" and (reason := _danger_of_draining(message, asked, machine)) is not None:
        return reason
    looks = any(_looks_at_places(*action, machine, files.scattered) for action in _actions(message))
    if looks and not _is_refused(message, machine):
        return "a limited job on what a mirror has copied several pieces of at once"
    if any(_writes_into_the_past(*action, machine) for action in _actions(message)):
        return "a commit or mirror into what ends in snapshot-access"
    if any(_looks_for_holes(*action, machine, files) for action in _actions(message)):
        return "a job on a plain file of which the host alone knows whether zeroes are holes"
    if _mirrors_past_a_threshold(message, machine):
        return "a threshold of what a mirror writes to"
    over = any(job.kind == "stream" and str(job.status) == "concluded" for job in machine.jobs.jobs)
    of_nodes = asked.startswith("query-named-block-nodes") or ("info block" in asked and "-n" in asked)
    if over and machine.profile.dropped_filter_detached and of_nodes:
        return "a query of the nodes while a stream is over and not dismissed"
    gone = [node.name for node in machine.graph.nodes.values() if getattr(node, "detached", False)]
    if any(f'"{name}"' in json.dumps(message) for name in gone):
        return "a new user of the filter of a stream that is over"
    return None


def _danger_of_draining(message: dict[str, Any], asked: str, machine: Machine) -> str | None:
    """What happens in the drained sections of 7.2, which last longer and reach farther."""
    if _ends_jobs_within(asked, machine):
        return "a stop while jobs work on chains, which may end in it"
    return next((reason for reason, check in _IN_DRAINED_SECTIONS.items() if check(message, machine)), None)


def _danger_of_request(step: Step, device: str, machine: Machine, files: FilesSeen) -> str | None:
    if _streams_nothing(step, device, machine):
        return "a read of what no layer holds through the filter of a stream that has nothing to copy"
    if machine.profile.name == "7.2" and _is_cut(device, machine):
        return "a request through a filter of whole clusters whose disk has been cut amid one"
    return (
        _hangs(device, machine)
        or _copies_too_far(step, device, machine)
        or _ends_behind(step, device, machine)
        or _spoils_a_cluster(device, machine, files.compressed)
        or _fails_among_others(step, device, machine)
        or _is_undefined(step, device, machine)
        or _passes_a_short_layer(step, device, machine)
    )


def _actions(message: dict[str, Any]) -> Actions:
    """The command, or those of a transaction."""
    arguments = message.get("arguments", {})
    if message["execute"] == "transaction":
        return [(action["type"], action["data"]) for action in arguments["actions"]]
    return [(message["execute"], arguments)]


def _looks_at_places(
    command: str, arguments: dict[str, Any], machine: Machine, scattered: Mapping[str, set[int]]
) -> bool:
    """A job with a speed stops where clusters do not follow each other in the file (qcow2_co_block_status, QEMU 10.0).

    What a mirror has in flight at a time finds its places in the order in which reading it ended: of 12 plays with
    QEMU 10.0 one stopped elsewhere. Who copies one cluster at a time does not notice.
    """
    one_by_one = arguments.get("x-perf", {}).get("max-chunk") == CLUSTER
    if command not in _COPYING or not arguments.get("speed") or one_by_one or arguments.get("sync") == "none":
        return False
    top = device_node(str(arguments.get("device")), machine)
    layer = top.skip_filters() if top is not None else None
    above: list[Node] = []
    while layer is not None:
        looks = above or command != "block-stream"
        if looks and any(_is_seen(layer, above, place) for place in scattered.get(layer.filename, ())):
            return True
        above.append(layer)
        layer = layer.backing_chain_next
    return False


_COPYING = {"block-stream", "block-commit", "blockdev-mirror", "drive-mirror", "blockdev-backup", "drive-backup"}


def _is_seen(layer: Node, above: list[Node], place: int) -> bool:
    """Whether this layer has the data on both sides of a place; their clusters may follow each other or not."""
    sides = (place - 1, place)
    return (
        0 < place < layer.length
        and isinstance(layer, Qcow2Node)
        and all(layer.status(side, 1).data for side in sides)
        and not any(each.status(side, 1).allocated for each in above for side in sides if side < each.length)
    )


def _writes_into_the_past(command: str, arguments: dict[str, Any], machine: Machine) -> bool:
    """QEMU fails with the first zeroes that it cannot write there, for they fail at once; here another piece is begun.

    (mirror_iteration, block/mirror.c, graph 6000114 and 24000699; 7.2 and 10.0 alike)
    """
    written = {"block-commit": "device", "blockdev-mirror": "target"}.get(command)
    top = device_node(str(arguments.get(written)), machine) if written is not None else None
    return any(layer.driver == "snapshot-access" for layer in chain(top))


def _looks_for_holes(command: str, arguments: dict[str, Any], machine: Machine, files: FilesSeen) -> bool:
    """Whether a job asks for the holes of a file of which the host alone knows whether zeroes are some.

    What was zeroed beside writes in flight may be on its way to the disk: 2 plays of QEMU 7.2 saw different holes. What
    was zeroed with fallocate and is in the host's cache, as it was read, is none to ext4; nor are data that were zeroed
    before they were on the disk, at which a job with a speed goes on.
    """
    if command not in _COPYING:
        return False
    layers = chain(device_node(str(arguments.get("device")), machine))
    unknown = files.zeroed | files.zeroed_in_place if arguments.get("speed") else files.zeroed
    return any(not layer.supports_backing and layer.filename in unknown for layer in layers)


def _is_refused(message: dict[str, Any], machine: Machine) -> bool:
    try:
        copy.deepcopy(machine).execute(message["execute"], message.get("arguments", {}))
    except QmpError:
        return True
    return False


def _lets_jobs_go_on(message: dict[str, Any], machine: Machine) -> bool:
    """Whether all nodes are drained beside two jobs that wait for their limits; which is done first is a race."""
    kinds = {"mirror", "commit", "stream"}
    waiting = [
        job for job in machine.jobs.jobs if job.kind in kinds and job.limit.speed and str(job.status) == "running"
    ]
    return len(waiting) > 1 and any(command in _DRAINING for command, _arguments in _actions(message))


def _ends_beside_a_new_job(message: dict[str, Any], machine: Machine) -> bool:
    """Which of the two is done first is a race: the limited one goes on while the nodes of the new one become quiet."""
    waiting = {
        job.id for job in machine.jobs.jobs if job.kind in {"stream", "commit"} and job.limit.speed and _runs(job)
    }
    if not waiting or not any(command in _COPYING for command, _arguments in _actions(message)):
        return False
    later = copy.deepcopy(machine)
    try:
        later.execute(message["execute"], message.get("arguments", {}))
    except QmpError:
        return False
    while later.step():
        pass
    at_work = {job.id for job in later.jobs.jobs if _runs(job)}
    is_new = {job.id for job in later.jobs.jobs} - {job.id for job in machine.jobs.jobs}
    return not waiting <= at_work and not is_new & at_work


def _ends_jobs_within(asked: str, machine: Machine) -> bool:
    """What stops the guest drains all nodes several times, and each time lets a job go on with another piece.

    A job may end so while QEMU goes over the nodes, of which it takes some away. It dies then, or at its end, if it was
    several layers.
    """
    working = _working_on_chains(machine)
    command, *words = asked.split()
    if command == "human-monitor-command" and words[:1] in (["savevm"], ["loadvm"]):
        return bool(working)
    if command in {"snapshot-save", "snapshot-load"}:
        return any(job.kind in {"stream", "commit"} for job in machine.jobs.jobs)
    if command != "stop" or not working:
        return False
    later = copy.deepcopy(machine)
    later.qmp("stop")
    later.advance(1)
    return len(working) > 1 or _working_on_chains(later) != working


def _working_on_chains(machine: Machine) -> set[str]:
    return {job.id for job in machine.jobs.jobs if job.kind in {"stream", "commit"} and not job.completed}


def _reopens_below_a_backup(message: dict[str, Any], machine: Machine) -> bool:
    """QEMU waits for ever for the layer to become quiet (bdrv_subtree_drained_begin, measured with 7.2.22)."""
    if message["execute"] != "block-stream":
        return False
    layer = device_node(str(message["arguments"].get("device")), machine)
    backups = [job for job in machine.jobs.jobs if isinstance(job, BackupJob) and _runs(job)]
    return layer is not None and layer.read_only and any(_looks_into(layer, job) for job in backups)


def _gives_what_is_used_twice(message: dict[str, Any], machine: Machine) -> bool:
    """QEMU dies, as it has drained that node once and lets it go on twice (bdrv_apply_subtree_drain, 7.2.22)."""
    if message["execute"] != "blockdev-reopen":
        return False
    for options in message["arguments"]["options"]:
        children = [
            device_node(value, machine)
            for name, value in options.items()
            if name in {"backing", "file"} and value and isinstance(value, str)
        ]
        below = downwards([child for child in children if child is not None])
        used = [edge.node for node in below for edge in node.children]
        if len(set(used)) < len(used):
            return True
    return False


def _lets_a_job_go_on(message: dict[str, Any], machine: Machine) -> bool:
    """Whether a throttle filter comes to what a limited stream or commit works on, or stands there at a drain.

    A throttle filter ends its drained section in a coroutine for which QEMU 7.2 waits (bdrv_drained_end, block/io.c),
    so that the job may do a second piece between two drains: it does if it need not read where the first piece is.
    """
    limited = [job for job in machine.jobs.jobs if job.kind in {"stream", "commit"} and job.speed and _runs(job)]
    used = [edge.node for job in limited for edge in job.edges]
    drains = not message["execute"].startswith(("query-", "x-debug-", "block-dirty-bitmap-"))
    adds = [arguments for command, arguments in _actions(message) if command == "blockdev-add"]
    below = [device_node(str(each.get("file")), machine) for each in adds if each.get("driver") == "throttle"]
    return any(node in below or (drains and node.driver == "throttle") for node in used)


def _looks_into(layer: Node, backup: BackupJob) -> bool:
    """Whether a backup has to ask this layer for what it copies next: the ones above do not have it."""
    source, area = backup.state.source, backup.state.copy_bitmap.next_area(0, backup.state.length, 1)
    if backup.options.sync == "none" or area is None or layer not in downwards([source]):
        return False
    return source.skip_filters() is layer or not status_above(source, layer, area[0], 1).allocated


def _mirrors_past_a_threshold(message: dict[str, Any], machine: Machine) -> bool:
    """Of several pieces that a mirror has in flight any may be the first that is written behind the threshold."""
    command, arguments = message["execute"], message.get("arguments", {})
    top = device_node(str(arguments.get("top-node", arguments.get("device"))), machine)
    if command == "block-set-write-threshold" and arguments.get("write-threshold"):
        mirrors = [job.target.node for job in machine.jobs.jobs if isinstance(job, MirrorJob)]
        return device_node(str(arguments.get("node-name")), machine) in [
            node for target in mirrors for node in _written(target)
        ]
    if command == "blockdev-mirror":
        target = device_node(str(arguments.get("target")), machine)
    elif command == "block-commit" and _is_root(top, machine):
        target = device_node(str(arguments.get("base-node", "base0")), machine)
    else:
        return False
    return target is not None and any(node.write_threshold for node in _written(target))


def _is_root(node: Node | None, machine: Machine) -> bool:
    drives = machine.graph.drives.values()
    return node is not None and any(drive.root is not None and drive.root.node is node for drive in drives)


def _written(node: Node) -> list[Node]:
    """The node and what its content is written to."""
    below = [child.node for child in node.children if child.name != "backing"]
    return [node, *(each for child in below for each in _written(child))]


def _runs(job: Job) -> bool:
    return str(job.status) == "running" and not job.user_paused


def _hangs(device: str, machine: Machine) -> str | None:
    """A mirror that waits to be finalized keeps its source drained, and the monitor waits with the request."""
    node = device_node(device, machine)
    while node is not None:
        if node.quiesce:
            return "a request on a disk that a finished mirror keeps drained"
        if not node.shows_children:
            return "a request on the filter of a stream that is over"
        node = node.filtered
    return None


def _streams_nothing(step: Step, device: str, machine: Machine) -> bool:
    """The filter looks for what the layers below hold down to the node itself, which is none of them.

    Where no layer holds anything it comes to the end of the chain, and QEMU dies of it (cor_co_preadv_part). Of a
    cluster of which it has found a part it makes a copy, in which it finds what follows.
    """
    top = device_node(device, machine)
    return top is not None and any(
        isinstance(node, CopyOnReadNode) and node.bottom is node.skip_filters() and _begins_nowhere(top, parts)
        for node, parts in _reached(step, top)
        if parts and (_is_read(step) or not _leaves_zeroes(top, parts))
    )


def _begins_nowhere(top: Node, parts: Parts) -> bool:
    """Whether no layer has what is read first of a cluster, in any cluster that is read."""
    firsts: dict[int, int] = {}
    for place, end in parts:
        for cluster in range(place // CLUSTER, -(-min(end, top.length) // CLUSTER)):
            firsts.setdefault(cluster, max(place, cluster * CLUSTER))
    return any(not _status(top, None, first, 1).allocated for first in firsts.values())


def _leaves_zeroes(top: Node, parts: list[tuple[int, int]]) -> bool:
    """Whether a write need not read what it leaves of its clusters, as that is known to be zeroes.

    (is_zero_cow, block/qcow2.c, 10.0)
    """
    return not any(has_data(top, *part) for part in parts)


def _status(top: Node, base: Node | None, place: int, length: int) -> Status:
    """The status above the base; where nobody knows it QEMU reads."""
    try:
        return status_above(top, base, place, length)
    except OSError:
        return Status(length, data=True)


def has_data(top: Node, place: int, end: int) -> bool:
    """Whether a part of the range has bytes to read in any layer."""
    end = min(end, top.length)
    while place < end:
        status = _status(top, None, place, end - place)
        if status.data:
            return True
        place += status.length
    return False


def _is_cut(device: str, machine: Machine) -> bool:
    """QEMU looks at the length that it has found when the filter was asked last, which a query may have done."""
    node = device_node(device, machine)
    while node is not None:
        if isinstance(node, AlignedNode) and node.length % node.limits.request:
            return True
        node = node.filtered
    return False


def _copies_too_far(step: Step, device: str, machine: Machine) -> str | None:
    """QEMU copies old data behind the end of a target that is shorter than the disk, and dies of it."""
    node, end = device_node(device, machine), range_end(step)
    while node is not None and end is not None and not _is_read(step):
        target = node.child("target")
        unit = node.copy_state.cluster_size if isinstance(node, CopyBeforeWriteNode) and node.copy_state else 1
        if target is not None and target.node.length < min(end + -end % unit, node.length):
            return "a request through copy-before-write to a shorter target"
        raw = node.child("file") if node.driver == "raw" else None
        node = raw.node if raw is not None else node.filtered
    return None


def device_node(name: str, machine: Machine) -> Node | None:
    """The node of that name, or that of the drive."""
    drive = machine.graph.drives.get(name)
    return drive.root.node if drive is not None and drive.root is not None else machine.graph.nodes.get(name)


def _ends_behind(step: Step, device: str, machine: Machine) -> str | None:
    """A node below was resized: QEMU dies of a write behind its end, or behind the end of a bitmap of a node above."""
    end = range_end(step)
    node = device_node(device, machine)
    while node is not None and end is not None and end <= node.length:
        if any(bitmap.size < end for bitmap in node.bitmaps):
            return "a write behind the end of a bitmap"
        if node.driver == "quorum" and any(edge.node.length < end for edge in node.children):
            return "a request behind the end of a child of a quorum"
        node = node.filtered or (node.children[0].node if node.driver in {"raw", "snapshot-access"} else None)
        if node is not None and node.length < end:
            return "a request behind the end of a node that is shorter than what is above it"
    return None


def _below_compress(device: str, machine: Machine) -> Node | None:
    """What a compress filter that a device leads to writes to."""
    node = device_node(device, machine)
    while isinstance(node, FilterNode) and node.driver != "compress":
        node = node.filtered
    return node.skip_filters() if node is not None and node.driver == "compress" else None


def _spoils_a_cluster(device: str, machine: Machine, compressed: Collection[str]) -> str | None:
    """A cluster of compressed data was freed and taken by others: QEMU puts the next compressed data into it.

    (qcow2_alloc_bytes, block/qcow2-refcount.c, 10.0; ``qemu-img check`` calls the image corrupt.)
    """
    below = _below_compress(device, machine)
    lost = isinstance(below, Qcow2Node) and not below.image.layout.clusters._byte_cursor
    if below is not None and below.filename in compressed and lost:
        return "compressed data in an image that lost some"
    return None


def _fails_among_others(step: Step, device: str, machine: Machine) -> str | None:
    """Clusters are compressed side by side; how many have begun when QEMU sees that one failed depends on the host."""
    below, end = _below_compress(device, machine), range_end(step)
    if end is None or not isinstance(below, Qcow2Node):
        return None
    unit, layout = below.cluster_size, below.image.layout
    clusters = range(range_begin(step) // unit, -(-end // unit))
    if any(layout.host_offset(cluster * unit) is not None for cluster in clusters[: -COMPRESSING - 1]):
        return "much compressed data over what has a place"
    return None


def _is_undefined(step: Step, device: str, machine: Machine) -> str | None:
    """QEMU leaves the reader's buffer as it is, which may be for what a write leaves of a cluster."""
    top = device_node(device, machine)
    for node, parts in _reached(step, top):
        undefined = isinstance(node, NullNode) and not node.read_zeroes
        if undefined and any(_is_missing(top or node, node, *part) for part in parts):
            return "reading what a null node without read-zeroes holds"
    return None


def _passes_a_short_layer(step: Step, device: str, machine: Machine) -> str | None:
    """The filter of a stream stops reading where the layer below its node ends, and leaves the buffer as it is.

    So it is, too, if the buffer is for what a write to a part of a cluster leaves of it (cor_co_preadv_part, 10.0).
    """
    top = device_node(device, machine)
    for node, parts in _reached(step, top):
        below = node.skip_filters().backing_chain_next
        short = isinstance(node, CopyOnReadNode) and node.bottom is not None and below is not None
        if short and top is not None and any(_is_read_behind(top, below, *part) for part in parts):
            return "a request behind the end of a layer below the filter of a stream"
    return None


def _reached(step: Step, top: Node | None) -> Iterator[tuple[Node, Parts]]:
    """The nodes that a request goes through, from the top, each with what is read of it.

    A write reads nothing before it has come to a format, or to a filter that makes copies of old data.
    """
    node, parts = top, _parts_read(step) if _is_read(step) else []
    while node is not None:
        yield node, parts
        passed_on = node.filtered or (node.children[0].node if node.driver == "raw" and node.children else None)
        if isinstance(node, CopyBeforeWriteNode) and (end := range_end(step)) is not None:
            parts = [(range_begin(step), end)]
        elif passed_on is None:
            parts = _parts_read(step)
        node = passed_on or node.backing


def _is_read_behind(top: Node, below: Node | None, place: int, end: int) -> bool:
    """Whether no layer above ``below`` has a part of the range that is behind its end."""
    assert below is not None
    return _is_missing(top, below, max(place, below.length), end)


def _is_missing(top: Node, below: Node, place: int, end: int) -> bool:
    """Whether no layer above ``below`` has a part of the range."""
    end = min(end, top.length)
    while place < end:
        status = _status(top, below, place, end - place)
        if not status.allocated:
            return True
        place += status.length
    return False


def _parts_read(step: Step) -> Parts:
    """What a format reads from below for a request: all of it, or for a write what it leaves of clusters."""
    end = range_end(step)
    if end is None or ("io" in step and str(step["io"][1]).startswith("discard")):
        return []
    begin = range_begin(step)
    if _is_read(step):
        return [(begin, end)]
    return [(begin - begin % CLUSTER, begin), (end, end + -end % CLUSTER)]


def _is_read(step: Step) -> bool:
    return "io" in step and str(step["io"][1]).startswith("read")


def range_begin(step: Step) -> int:
    """Where a request of a guest begins that has a place."""
    return int(step["write"][1]) if "write" in step else int(str(step["io"][1]).split()[-2])


def range_end(step: Step) -> int | None:
    """Where a request of a guest ends; None without a place."""
    if "write" in step:
        _, offset, length, _ = step["write"]
        return int(offset) + int(length)
    words = str(step["io"][1]).split()
    return int(words[-2]) + int(words[-1]) if len(words) > 2 else None


def danger(step: Step, answer: Records, machine: Machine) -> str | None:
    """Why real QEMU would not survive the step; None if it would.

    :param answer: what the emulator recorded for the step.
    :param machine: the emulated machine, after the step.
    """
    message = step.get("qmp", step.get("second", {}))
    arguments = message.get("arguments", {})
    if "is gone, with the job that has just ended" in json.dumps(answer):
        return "a node that goes with its job while a command waits for it"
    if machine.profile.name == "7.2" and _ends_a_stream_in_a_section(message, answer, machine):
        return "a backup or snapshot while a stream beside a throttle node is about to end"
    if _loses_an_exported_bitmap(machine):
        return "the end of a node whose bitmap an export holds"
    if _uses_what_is_over(arguments, answer, machine):
        return "a new user of the filter of a stream that is over"
    if message.get("execute") == "blockdev-reopen" and _cannot_keep_backing(arguments, answer, machine):
        return "a layer that cannot keep another backing file"
    if message.get("execute") == "block-dirty-bitmap-merge" and not arguments.get("bitmaps", True):
        return "a merge of nothing"
    return _danger_of_actions(arguments, answer, machine) if message.get("execute") == "transaction" else None


def _danger_of_actions(arguments: dict[str, Any], answer: Records, machine: Machine) -> str | None:
    """The same, of a transaction."""
    actions = [(action["type"], action["data"]) for action in arguments["actions"]]
    if any(kind == "block-dirty-bitmap-merge" and not data["bitmaps"] for kind, data in actions):
        return "a merge of nothing"
    if not any("error" in record.get("reply", {}) for record in answer):
        return None
    if arguments.get("properties", {}).get("completion-mode") == "grouped" and _two_unstarted(answer):
        return "a failed group with two jobs that were not started"
    for reason, check in _CHECKS.items():
        if check(actions, answer, machine):
            return reason
    return None


def _loses_an_exported_bitmap(machine: Machine) -> bool:
    """A job lets a node go, now or soon, and with it a bitmap that is in use (bdrv_release_named_dirty_bitmaps)."""
    if not any(export.bitmaps for export in machine.exports.exports):
        return False
    later = copy.deepcopy(machine)
    later.advance(1)
    held = [bitmap.node for export in later.exports.exports for bitmap in export.bitmaps]
    return any(later.graph.nodes.get(node.name) is not node for node in held)


def _uses_what_is_over(arguments: dict[str, Any], answer: Records, machine: Machine) -> bool:
    """In 7.2 there is nothing below it any more whose length a new user could ask for."""
    over = [node.name for node in machine.graph.nodes.values() if not node.shows_children]
    refused = any("error" in record.get("reply", {}) for record in answer)
    used = json.dumps({name: value for name, value in arguments.items() if name != "filter-node-name"})
    return not refused and any(f'"{name}"' in used for name in over)


def _ends_a_stream_in_a_section(message: dict[str, Any], answer: Records, machine: Machine) -> bool:
    """The section that a backup or snapshot begins ends the stream, whose nodes go, and QEMU ends it for others.

    With a throttle node alone (bdrv_do_drained_end, block/io.c, measured with 7.2.22).
    """
    begins = {"blockdev-backup", "drive-backup", "blockdev-snapshot", "blockdev-snapshot-sync"}
    actions = message.get("arguments", {}).get("actions", [])
    if not begins & {message.get("execute"), *(action["type"] for action in actions)}:
        return False
    gone = {record["data"].get("id") for record in answer if record.get("data", {}).get("status") == "null"}
    return bool(_completed(answer, "stream") & gone) and any(
        node.driver == "throttle" for node in machine.graph.nodes.values()
    )


def _completed(answer: Records, *kinds: str) -> set[str]:
    """The jobs of these kinds that end in the answer."""
    over = [record["data"] for record in answer if record.get("event") == "BLOCK_JOB_COMPLETED"]
    return {data["device"] for data in over if data["type"] in kinds}


def _cannot_keep_backing(arguments: dict[str, Any], answer: Records, machine: Machine) -> bool:
    """7.2 takes the new backing file, and dies when users of one of the nodes disagree and it has to take it back.

    It ends a drained section of nodes that did not enter it (bdrv_subtree_drained_end, block/io.c).
    """
    texts = ("Permission conflict", "Read-only block node")
    errors = [record["reply"].get("error", {}).get("desc", "") for record in answer if "reply" in record]
    if machine.profile.name != "7.2" or not any(error.startswith(texts) for error in errors):
        return False
    below = {"node0": "mid0", "mid0": "base0"}
    return any(each.get("backing") not in {None, below.get(each.get("node-name"))} for each in arguments["options"])


def _enable(actions: Actions, answer: Records, machine: Machine) -> bool:
    """If the action itself fails, its abort handler uses a bitmap that it never found, or disables one in use.

    Which action failed is told by the name in the error alone, if it is not the kind of action that is refused.
    """
    del machine
    failed = " ".join(record["reply"]["error"]["desc"] for record in answer if "error" in record.get("reply", {}))
    enabled = [data for kind, data in actions if kind == "block-dirty-bitmap-enable"]
    refused = failed.startswith("Action 'block-dirty-bitmap-enable'")  # its kind, before it has found anything
    return refused or any(f"'{data[key]}'" in failed for data in enabled for key in ("node", "name"))


def _adds_above_what_ends(actions: Actions, answer: Records, machine: Machine) -> bool:
    """What is added by drive belongs to the filter of a job; when that has ended, it is not found to be taken back."""
    by_drive = any(kind == "block-dirty-bitmap-add" and data["node"] in machine.graph.drives for kind, data in actions)
    return by_drive and any(record.get("event") == "BLOCK_JOB_COMPLETED" for record in answer)


def _two_on_one_drive(actions: Actions, answer: Records, machine: Machine) -> bool:
    """By drive or its name, the second one means the filter of the first, in 7.2 also its overlay, gone when undone.

    A backup that failed has left no filter, and nothing comes after it.
    """
    created = _created(answer)
    taken: set[str] = set()
    filters: set[str] = set()
    for kind, data in actions:
        if "backup" in kind or "snapshot" in kind:
            root = _root(machine, data)
            if data.get("device") in filters or (root in taken and data.get("device") in machine.graph.drives):
                return True
            if "backup" in kind and not created:
                return False
            created -= "backup" in kind
            filters.add(str(data.get("filter-node-name")))
            if "backup" in kind or machine.profile.name == "7.2":
                taken.add(root)
    return False


def _created(answer: Records) -> int:
    """How many backups of a transaction got so far as to have a job: the first ones of its actions."""
    return sum(record.get("data", {}).get("status") == "created" for record in answer)


def _root(machine: Machine, data: dict[str, Any]) -> str:
    name = str(data.get("device", data.get("node", "")))
    drive = machine.graph.drives.get(name)
    return drive.root.node.name if drive is not None and drive.root is not None else name


def _two_unstarted(answer: Records) -> bool:
    """QEMU waits for the second one for ever."""
    ends = [record["data"]["id"] for record in answer if record.get("data", {}).get("status") == "null"]
    return _created(answer) > 1 and bool(ends)


def _always(actions: Actions, answer: Records, machine: Machine) -> bool:
    """A backup with bitmap-mode always puts another bitmap in the place of its own, which an earlier action undoes.

    Only a backup that was created has done so when it is undone. In 7.2 that does no harm to an addition.
    """
    created = _created(answer)
    changed: set[tuple[str, str | None]] = set()
    for kind, data in actions:
        changes = {"add", "clear", "disable", "enable", "merge"} - ({"add"} if machine.profile.name == "7.2" else set())
        if "dirty-bitmap" in kind and kind.rpartition("-")[2] in changes:
            changed.add((_root(machine, data), data.get("name", data.get("target"))))
        elif "backup" in kind:
            if not created:
                return False
            created -= 1
            if data.get("bitmap-mode") == "always" and (_root(machine, data), data.get("bitmap")) in changed:
                return True
    return False


_CHECKS: dict[str, Callable[[Actions, Records, Machine], bool]] = {
    "a failed transaction with an enable action": _enable,
    "a failed transaction with a backup or snapshot by drive after another one of that disk": _two_on_one_drive,
    "a failed transaction that adds a bitmap by drive while a job ends": _adds_above_what_ends,
    "a failed transaction that changes a bitmap before a backup with bitmap-mode always": _always,
}

_IN_DRAINED_SECTIONS: dict[str, Callable[[dict[str, Any], Machine], bool]] = {
    "a stream into a read-only layer that a backup looks into": _reopens_below_a_backup,
    "a reopening that gives a node something with a node that is used twice below": _gives_what_is_used_twice,
    "a limited stream below a throttle filter while that is drained": _lets_a_job_go_on,
    "two limited jobs that a drained section lets go on at once": _lets_jobs_go_on,
    "a job that begins and ends in the drained sections in which a limited stream or commit ends": (
        _ends_beside_a_new_job
    ),
}
