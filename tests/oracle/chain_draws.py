"""Draws steps for a machine whose disk has a backing chain: commits, streams, mirrors, exports, reopening.

Jobs that copy more than one piece are held by `speed` 1 unless nothing else moves, as for the other draws.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

from draws import SETTLE, Arguments, Drawer, Step, look, qmp

CHAIN = ("base0", "mid0", "node0")
TARGETS = ("target0", "target0", "target1")


FILTERS = {"throttle": "file", "blkdebug": "image", "compress": "file"}
"""Those that may stand between two layers, with the name of their child."""


def chain_world(rng: random.Random, *, filtered: bool = False) -> list[Step]:
    """A chain of three images on drive0, another disk on drive1, and targets.

    :param filtered: filters stand between the layers, `fm` and `fb` above `mid0` and `base0`.
    """
    size = rng.choice(("1M", "1M", "1000448"))
    base = rng.choice((size, size, "512k"))
    cluster = rng.choice(("64k", "64k", "64k", "4k"))
    unmap = {"discard": "unmap"} if rng.random() < 0.5 else {}
    images = [
        ["-f", "qcow2", "-o", f"cluster_size={cluster}", "base.qcow2", base],
        ["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "mid.qcow2", size],
        ["-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "src.qcow2"],
        ["-f", "raw", "disk1.raw", "1M"],
        ["-f", "qcow2", "tgt0.qcow2", rng.choice((size, size, size, "2M"))],
        ["-f", "raw", "tgt1.raw", "1M"],
    ]
    steps: list[Step] = [{"shell": ["qemu-img", "create", "-q", *image]} for image in images]
    for name in ("base.qcow2", "mid.qcow2", "src.qcow2"):
        for _ in range(rng.randint(0, 2)):
            place, length = rng.randrange(0, 7) * 65536, rng.choice(("64k", "128k", "4k"))
            pattern = rng.choice(("0x41", "0x42", "0"))
            steps.append({"shell": ["qemu-io", "-c", f"write -q -P {pattern} {place} {length}", name]})
    layers = ("src",) if filtered else ("src", "mid", "base")
    drives: list[Step] = [
        {"if": "none", "id": "drive0", "driver": "qcow2", **_layers(layers, unmap)},
        {"if": "none", "id": "drive1", "node-name": "node1", "file": "disk1.raw", "format": "raw"},
    ]
    blockdevs: list[Step] = [
        {"driver": "qcow2", "node-name": "target0", "file": {"driver": "file", "filename": "tgt0.qcow2"}, **unmap},
        {"driver": "raw", "node-name": "target1", "file": {"driver": "file", "filename": "tgt1.raw"}},
    ]
    if filtered:
        drives[0]["backing"] = "fm"
        blockdevs += [node for name, below in (("base", None), ("mid", "fb")) for node in _filtered(rng, name, below)]
    server = qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    return [*steps, {"start": {"drives": drives, "blockdevs": blockdevs, "args": []}}, server]


def _layers(files: tuple[str, ...], more: Step) -> Step:
    """The options of a chain, the topmost first, under dotted names."""
    names = {"src": "node0", "mid": "mid0", "base": "base0"}
    options: Step = dict(more)
    prefix = ""
    for file in files:
        if prefix:
            options[f"{prefix}driver"] = "qcow2"
        options[f"{prefix}node-name"] = names[file]
        options[f"{prefix}file.driver"] = "file"
        options[f"{prefix}file.node-name"] = f"{file}-file"
        options[f"{prefix}file.filename"] = f"{file}.qcow2"
        prefix += "backing."
    return options


def _filtered(rng: random.Random, name: str, below: str | None) -> list[Step]:
    """A read-only layer and the filter above it."""
    file = {"driver": "file", "filename": f"{name}.qcow2", "node-name": f"{name}-file"}
    layer = {"driver": "qcow2", "node-name": f"{name}0", "file": file, "backing": below, "read-only": True}
    driver = rng.choice(sorted(FILTERS))
    more = {"throttle-group": "tg1"} if driver == "throttle" else {}
    return [layer, {"driver": driver, "node-name": f"f{name[0]}", FILTERS[driver]: f"{name}0", **more}]


class ChainDrawer(Drawer):
    """Draws steps for a machine with a chain."""

    layers: ClassVar[tuple[str, ...]] = CHAIN

    def layer(self) -> str:
        """The name of a layer, rarely of something else."""
        return self.node() if self.often(0.06) else self.rng.choice(self.layers)

    def _is_free(self) -> bool:
        """Whether no job moves by itself."""
        return all(job.speed or str(job.status) != "running" for job in self.machine.jobs.jobs)

    def _job_options(self, arguments: Arguments, *, held: bool) -> Arguments:
        if held:
            arguments["speed"] = 1
        if self.often(0.4):
            arguments["job-id"] = self.rng.choice(("j0", "j1", "j2", "drive0"))
        for name, probability in (("auto-finalize", 0.3), ("auto-dismiss", 0.3)):
            if self.often(probability):
                arguments[name] = self.often(0.2)
        if self.often(0.25):
            arguments["filter-node-name"] = self.rng.choice(("f0", "f1", "node0", ""))
        return arguments

    def commit(self) -> list[Step]:
        """A commit of the active layer, or of one below."""
        arguments = self._job_options(
            {"device": self.rng.choice(("drive0", "drive0", "drive0", "node0", "mid0"))}, held=True
        )
        if self._is_free() and self.often(0.6):
            del arguments["speed"]
        if self.often(0.6):
            arguments["top-node"] = self.layer()
        if self.often(0.6):
            arguments["base-node"] = self.layer()
        if self.often(0.1):
            arguments["backing-file"] = "other.qcow2"
        return [{"qmp": {"execute": "block-commit", "arguments": arguments}}, SETTLE]

    def stream(self) -> list[Step]:
        """A stream into the active layer, or into one below."""
        arguments = self._job_options({"device": self.rng.choice(("drive0", "drive0", "node0", "mid0"))}, held=True)
        if self._is_free() and self.often(0.6):
            del arguments["speed"]
        if self.often(0.35):
            arguments["base-node"] = self.layer()
        elif self.often(0.3):
            arguments["bottom"] = self.layer()
        if self.often(0.06):
            arguments["backing-file"] = "other.qcow2"
        return [{"qmp": {"execute": "block-stream", "arguments": arguments}}, SETTLE]

    def mirror(self) -> list[Step]:
        """A mirror to a node or to a file."""
        arguments = self._job_options({"device": self.rng.choice(("drive0", "drive0", "drive1", "node0"))}, held=True)
        if self._is_free() and self.often(0.7):
            del arguments["speed"]
        arguments["sync"] = self.rng.choice(("full", "full", "top", "none", "incremental"))
        if self.often(0.3):
            arguments["copy-mode"] = self.rng.choice(("write-blocking", "background"))
        if self.often(0.2):
            arguments["granularity"] = self.rng.choice((4096, 65536, 131072, 100))
        if self.often(0.25):
            arguments.pop("filter-node-name", None)
            file: Arguments = {"target": self.fresh("mir") + ".img", "format": self.rng.choice(("qcow2", "raw"))}
            if self.often(0.3):
                file["node-name"] = self.fresh("mn")
            return [{"qmp": {"execute": "drive-mirror", "arguments": {**arguments, **file}}}, SETTLE]
        arguments["target"] = self.layer() if self.often(0.08) else self.rng.choice(TARGETS)
        if self.often(0.1):
            arguments["replaces"] = self.layer()
        return [{"qmp": {"execute": "blockdev-mirror", "arguments": arguments}}, SETTLE]

    def copy(self) -> list[Step]:
        """A backup of a layer or a drive."""
        return self.backup_command()

    def finish_job(self) -> list[Step]:
        """Let a job come to its end, if there is one."""
        verbs = {"ready": "complete", "pending": "finalize", "concluded": "dismiss"}
        for job in self.machine.jobs.jobs:
            verb = verbs.get(str(job.status))
            if verb is not None:
                return [qmp(f"job-{verb}", id=job.id), SETTLE]
        return self.control()

    def export(self) -> list[Step]:
        """Exports come and go."""
        exports = [each.id for each in self.machine.exports.exports]
        if exports and self.often(0.5):
            return [qmp("block-export-del", id=self.rng.choice(exports)), SETTLE]
        arguments: Arguments = {"type": "nbd", "id": self.fresh("e"), "node-name": self.node()}
        arguments["name"] = arguments["id"]
        if self.often(0.4):
            arguments["writable"] = self.often(0.8)
        if self.often(0.4):
            arguments["bitmaps"] = [self.bitmap(arguments["node-name"])]
        return [{"qmp": {"execute": "block-export-add", "arguments": arguments}}, SETTLE]

    def run_state(self) -> list[Step]:
        """The guest stops or goes on."""
        stops = self.machine.profile.name != "7.2" or self.streams_or_commits() < 2
        return [qmp(self.rng.choice(("stop", "cont")) if stops else "cont"), SETTLE]

    def layers_guest(self) -> list[Step]:
        """The guest writes, to a layer below now and then; a job that keeps a disk drained is mostly ended before."""
        if any(node.quiesce for node in self.machine.graph.nodes.values()) and self.often(0.95):
            return self.finish_job()
        steps = self.guest()
        if self.often(0.15):
            for step in steps:
                for key in ("write", "io"):
                    if key in step:
                        step[key] = [self.layer(), *step[key][1:]]
        return steps

    def look(self) -> list[Step]:
        """The graph, too."""
        return self.dismiss_streams() or [*look(self.machine), graph_of_nodes()]

    def last_look(self) -> list[Step]:
        """Without streams that are over, which 7.2 must not show."""
        over = self._dismissals() if self.machine.profile.dropped_filter_detached else []
        return [*over, *look(self.machine)]

    def dismiss_streams(self) -> list[Step]:
        """Streams that are over mostly go before anybody looks: 7.2 dies of looks at their filters."""
        if self.machine.profile.dropped_filter_detached and self.often(0.97):
            return self._dismissals()
        return []

    def _dismissals(self) -> list[Step]:
        """Dismiss all streams that are over."""
        over = [job.id for job in self.machine.jobs.jobs if job.kind == "stream" and str(job.status) == "concluded"]
        return [step for job in over for step in (qmp("job-dismiss", id=job), SETTLE)]

    def streams_or_commits(self) -> int:
        """How many jobs work on chains; in 7.2 what stops the machine meanwhile may end them, and QEMU dies of that."""
        return sum(job.kind in {"stream", "commit"} for job in self.machine.jobs.jobs)

    def draw(self) -> list[Step]:
        """Any of these."""
        jobs = bool(self.machine.jobs.jobs)
        kinds: tuple[tuple[Any, float], ...] = (
            (self.commit, 2.5),
            (self.stream, 2),
            (self.mirror, 2.5),
            (self.copy, 1),
            (self.finish_job, 5 if jobs else 0.1),
            (self.control, 3 if jobs else 0.2),
            (self.layers_guest, 3),
            (self.bitmap_command, 2),
            (self.export, 0.8),
            (self.run_state, 0.2),
            (self.graph, 0.6),
            (self.transaction, 0.4),
            (self.look, 1.5),
            (self.restart, 0.1),
        )
        method = self.rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        steps: list[Step] = method()
        return steps


def graph_of_nodes() -> Step:
    """The query that shows all nodes, without what files take."""
    return {"qmp": {"execute": "query-named-block-nodes", "arguments": {"flat": True}}, "pick": "nodes"}
