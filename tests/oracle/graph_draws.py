"""Draws steps for a machine whose graph changes: filters, reopening, internal snapshots, tools between restarts.

The world is that of the chain, with an image for old data, two small disks for a quorum and a throttle group. A second
client asks in between, and whole replies are compared.
"""

from __future__ import annotations

import random
from typing import Any

from chain_draws import CHAIN, ChainDrawer, chain_world
from draws import SETTLE, Arguments, Step, look, qmp

MIB = 1 << 20
DETECT = ("off", "on", "unmap")
ON_TOP = ("node1", "target0", "target1", "extra0", "small0", *CHAIN)
TAGS = ("s1", "s2", "1")
IMAGES = ("src.qcow2", "mid.qcow2", "base.qcow2", "tgt0.qcow2", "extra.qcow2")
QUERIES = (
    *("query-block", "query-named-block-nodes", "query-blockstats", "query-block-jobs", "query-jobs"),
    *("query-block-exports", "x-debug-query-block-graph", "query-status"),
)
REPORTS = ("info block", "info block -v", "info block -n", "info block-jobs", "info snapshots", "info status")


def graph_world(rng: random.Random, *, filtered: bool = False) -> list[Step]:
    """The world of the chain and more nodes; ``filtered`` as there."""
    *images, start, server = chain_world(rng, filtered=filtered)
    more = [
        ["-f", "qcow2", "-o", f"cluster_size={rng.choice(('64k', '64k', '128k', '4k'))}", "extra.qcow2", "1M"],
        ["-f", "raw", "small0.raw", "256k"],
        ["-f", "raw", "small1.raw", "256k"],
    ]
    images += [{"shell": ["qemu-img", "create", "-q", *image]} for image in more]
    config = start["start"]
    blockdevs: list[Step] = [
        {"driver": "qcow2", "node-name": "extra0", "file": _file("extra"), **_discard(rng)},
        {"driver": "raw", "node-name": "small0", "file": _file("small0", "raw")},
        {"driver": "raw", "node-name": "small1", "file": _file("small1", "raw")},
    ]
    if rng.random() < 0.5:
        config["drives"][0]["detect-zeroes"] = rng.choice(DETECT[1:] if "discard" in config["drives"][0] else ("on",))
    args = ["-object", "throttle-group,id=tg0,x-bps-total=1000000000", "-object", "throttle-group,id=tg1"]
    return [
        *images,
        {"start": {**config, "blockdevs": config["blockdevs"] + blockdevs, "args": args}},
        server,
    ]


def _file(name: str, suffix: str = "qcow2") -> Step:
    return {"driver": "file", "filename": f"{name}.{suffix}", "node-name": f"{name}-file"}


def _discard(rng: random.Random) -> Step:
    return {"discard": "unmap"} if rng.random() < 0.5 else {}


class GraphDrawer(ChainDrawer):
    """Draws steps for a machine whose graph changes."""

    def any_node(self) -> str:
        """The name of any node that has a name of its own."""
        names = sorted(node.name for node in self.machine.graph.nodes.values() if not node.auto_named)
        return "nonode" if self.often(0.03) else self.rng.choice(names)

    def _made(self) -> list[str]:
        """The nodes that were added."""
        return sorted(name for name in self.machine.graph.nodes if name.startswith("x"))

    # -- nodes

    def add_node(self) -> list[Step]:
        """A node over another one, or one that stands alone."""
        kinds: tuple[Any, ...] = (
            *(self._null, self._throttle, self._plain_filter, self._plain_filter, self._copy_before_write),
            *(self._copy_before_write, self._snapshot_access, self._quorum, self._window, self._faulty),
        )
        options: Arguments = self.rng.choice(kinds)()
        options["node-name"] = self.fresh("x")
        if self.often(0.15):
            options["detect-zeroes"] = self.rng.choice(DETECT)
        if self.often(0.15):
            options["discard"] = self.rng.choice(("unmap", "ignore"))
        if self.often(0.08):
            options["read-only"] = True
        return [{"qmp": {"execute": "blockdev-add", "arguments": options}}, SETTLE]

    def _null(self) -> Arguments:
        options: Arguments = {"driver": self.rng.choice(("null-co", "null-aio")), "size": self.rng.choice((MIB, 65536))}
        if self.often(0.6):
            options["read-zeroes"] = self.often(0.8)
        return options

    def _throttle(self) -> Arguments:
        return {"driver": "throttle", "throttle-group": self.rng.choice(("tg0", "tg1", "tg9")), "file": self._child()}

    def _plain_filter(self) -> Arguments:
        return {"driver": self.rng.choice(("copy-on-read", "copy-on-read", "compress", "raw")), "file": self._child()}

    def _window(self) -> Arguments:
        offset, size = self.rng.choice(((65536, 65536), (0, 131072), (4096, 61440), (100, 512), (0, 2 * MIB)))
        return {"driver": "raw", "file": self._child(), "offset": offset, "size": size}

    def _faulty(self) -> Arguments:
        rule: Arguments = {"event": "none", "iotype": self.rng.choice(("read", "write", "flush")), "once": True}
        return {"driver": "blkdebug", "image": self._child(), "inject-error": [rule]}

    def _copy_before_write(self) -> Arguments:
        target = self.rng.choice(("extra0", "extra0", "target0"))
        # In 7.2 the filter's bitmap belongs to the node below, and QEMU dies when a job takes that away.
        file = self.rng.choice(("extra0", "target1", "small0")) if self.machine.profile.name == "7.2" else self._child()
        options: Arguments = {"driver": "copy-before-write", "file": file, "target": target}
        if self.often(0.4):
            options["on-cbw-error"] = self.rng.choice(("break-guest-write", "break-snapshot"))
        if self.often(0.3):
            node, name = self.place()
            options["bitmap"] = {"node": node, "name": name}
        if self.often(0.25) and self.machine.profile.name != "7.2":
            options["min-cluster-size"] = self.rng.choice((4096, 65536, 131072, 1 << 20, 1000))
        return options

    def _snapshot_access(self) -> Arguments:
        filters = self._of_driver("copy-before-write")
        child = self.rng.choice(filters) if filters and not self.often(0.1) else self._child()
        return {"driver": "snapshot-access", "file": child}

    def _quorum(self) -> Arguments:
        children = self.rng.choice((["small0", "small1"], ["small0", "small1"], ["small0"], ["target1", "node1"]))
        return {"driver": "quorum", "children": children, "vote-threshold": self.rng.choice((1, 2, 2, 3))}

    def _child(self) -> str:
        made = self._made()
        return self.rng.choice(made) if made and self.often(0.3) else self.rng.choice(ON_TOP)

    def _of_driver(self, driver: str) -> list[str]:
        nodes = self.machine.graph.nodes.values()
        return sorted(node.name for node in nodes if node.driver == driver and not node.auto_named)

    def remove_node(self) -> list[Step]:
        """One of those that were added, rarely another one."""
        made = self._made()
        name = self.rng.choice(made) if made and not self.often(0.1) else self.any_node()
        return [qmp("blockdev-del", **{"node-name": name}), SETTLE]

    def change_quorum(self) -> list[Step]:
        """A child more or less."""
        quorums = self._of_driver("quorum")
        parent = self.rng.choice(quorums) if quorums else self.any_node()
        if self.often(0.5):
            return [qmp("x-blockdev-change", parent=parent, node=self.rng.choice(("small0", "target1"))), SETTLE]
        return [qmp("x-blockdev-change", parent=parent, child=f"children.{self.rng.randint(0, 2)}"), SETTLE]

    def reopen(self) -> list[Step]:
        """A layer with other options, perhaps with another node below."""
        layer = self.rng.choice(CHAIN)
        file = {"node0": "src-file", "mid0": "mid-file", "base0": "base-file"}[layer]
        options: Arguments = {"driver": "qcow2", "node-name": layer, "file": file}
        below = {"node0": "mid0", "mid0": "base0"}.get(layer)
        if below is not None or self.often(0.1):
            options["backing"] = below
        if self.often(0.25):
            options["backing"] = self.rng.choice((None, *self._made(), "base0", "mid0"))
        if self.often(0.05):
            options.pop("backing", None)
        if self.often(0.3):
            options["detect-zeroes"] = self.rng.choice(DETECT)
        if self.often(0.3):
            options["discard"] = self.rng.choice(("unmap", "ignore"))
        if self.often(0.25):
            options["read-only"] = self.often(0.5)
        return [qmp("blockdev-reopen", options=[options]), SETTLE]

    def throttle(self) -> list[Step]:
        """Throttle groups and limits of drives, all far away."""
        kind = self.rng.choice(("add", "del", "drive"))
        if kind == "add":
            return [qmp("object-add", **{"qom-type": "throttle-group", "id": self.rng.choice(("tg2", "tg0"))}), SETTLE]
        if kind == "del":
            return [qmp("object-del", id=self.rng.choice(("tg0", "tg1", "tg2"))), SETTLE]
        limits = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        device = self.rng.choice(("drive0", "drive1"))
        bps = self.rng.choice((0, 10**9))
        return [qmp("block_set_io_throttle", device=device, bps=bps, **limits), SETTLE]

    def odd(self) -> list[Step]:
        """What is rarely done."""
        kind = self.rng.choice(("threshold", "backing", "resize", "latency"))
        if kind == "threshold":
            threshold = self.rng.choice((0, 65536, 327680, MIB))
            return [qmp("block-set-write-threshold", **{"node-name": self.any_node(), "write-threshold": threshold})]
        if kind == "backing":
            layer = self.layer()
            below = {"node0": "mid.qcow2", "mid0": "base.qcow2"}.get(layer, "other.qcow2")
            arguments = {"device": "drive0", "image-node-name": layer, "backing-file": below}
            return [{"qmp": {"execute": "change-backing-file", "arguments": arguments}}, SETTLE]
        if kind == "latency":
            return [qmp("block-latency-histogram-set", id="drive0", boundaries=[10, 20])]
        arguments = {"node-name": self.any_node(), "size": self.rng.choice((MIB, 2 * MIB, 1000448, 327680))}
        return [{"qmp": {"execute": "block_resize", "arguments": arguments}}, SETTLE]

    # -- snapshots of disks and of the machine

    def snapshots(self) -> list[Step]:
        """Internal snapshots come and go."""
        tag = self.rng.choice(TAGS)
        stops = self.machine.profile.name != "7.2" or not self.streams_or_commits()
        if stops and self.often(0.45):
            line = f"{self.rng.choice(('savevm', 'savevm', 'loadvm', 'loadvm', 'delvm'))} {tag}"
            return [qmp("human-monitor-command", **{"command-line": line}), SETTLE]
        device = self.rng.choice(("drive0", "drive0", "drive1", "target0"))
        if not stops or self.often(0.6):
            kind = self.rng.choice(("", "", "delete-"))
            return [qmp(f"blockdev-snapshot-{kind}internal-sync", device=device, name=tag), SETTLE]
        kind = self.rng.choice(("save", "load", "delete"))
        arguments: Arguments = {"job-id": self.fresh("s"), "tag": tag, "devices": ["node0"]}
        if kind != "delete":
            arguments["vmstate"] = self.rng.choice(("node0", "node0", "target0"))
        return [{"qmp": {"execute": f"snapshot-{kind}", "arguments": arguments}}, SETTLE]

    # -- others

    def second_client(self) -> list[Step]:
        """Another client of the other monitor does what it likes."""
        steps = self.rng.choice((self.control, self.bitmap_command, self.finish_job, self.commit, self.run_state))()
        return [{"second": step["qmp"]} if "qmp" in step else step for step in steps] + [SETTLE]

    def with_discard(self) -> list[Step]:
        """A backup that empties its source."""
        name, arguments = self.backup(held=not self._is_free() or self.often(0.5))
        if name == "blockdev-backup" and self.machine.profile.name != "7.2":
            arguments["discard-source"] = True
            if self.often(0.7):
                arguments["device"] = self.any_node()
        return [{"qmp": {"execute": name, "arguments": arguments}}, SETTLE]

    def tools(self) -> list[Step]:
        """A clean end, some work on the images, and a new start."""
        assert self.start is not None
        lines = [self._tool() for _ in range(self.rng.randint(1, 3))]
        return [{"quit": True}, *({"shell": line.split(), "may_fail": True} for line in lines), self.start]

    def _tool(self) -> str:
        name = self.rng.choice(IMAGES)
        bitmap = self.rng.choice(("b0", "b1", "b2", "p0"))
        action = self.rng.choice(("--add", "--remove", "--clear", "--enable", "--disable"))
        return self.rng.choice(
            (
                f"qemu-img bitmap {action} {name} {bitmap}",
                f"qemu-img bitmap {action} {name} {bitmap}",
                f"qemu-img snapshot -c {self.rng.choice(TAGS)} {name}",
                f"qemu-img snapshot -{self.rng.choice('ad')} {self.rng.choice(TAGS)} {name}",
                f"qemu-img snapshot -l {name}",
                f"qemu-img info {name}",
                f"qemu-img check {name}",
                f"qemu-img map --output=json {name}",
                f"qemu-img resize -q {name} 2M",
                f"qemu-img commit -q {self.rng.choice(('src.qcow2', 'mid.qcow2'))}",
                "qemu-img rebase -q -b base.qcow2 -F qcow2 src.qcow2",
                "qemu-img rebase -q -u -b mid.qcow2 -F qcow2 src.qcow2",
                f"qemu-img compare {name} {self.rng.choice(IMAGES)}",
                f"qemu-io -c {self.rng.choice(('map', 'flush', 'length'))} {name}",
            )
        )

    # -- looking

    def look(self) -> list[Step]:
        """Whole replies, and what people read."""
        steps = self.dismiss_streams()
        if steps:
            return steps
        steps = [*look(self.machine)]
        steps += [qmp(name) for name in self.rng.sample(QUERIES, 4)]
        line = self.rng.choice(REPORTS)
        return [*steps, qmp("human-monitor-command", **{"command-line": line})]

    def draw(self) -> list[Step]:
        """Any of these."""
        jobs = bool(self.machine.jobs.jobs)
        kinds: tuple[tuple[Any, float], ...] = (
            (self.add_node, 3),
            (self.remove_node, 1),
            (self.reopen, 1.5),
            (self.change_quorum, 0.4),
            (self.throttle, 0.7),
            (self.odd, 1),
            (self.snapshots, 1.5),
            (self.second_client, 1.5),
            (self.with_discard, 0.8),
            (self.tools, 0.35),
            (self.commit, 1),
            (self.stream, 1),
            (self.mirror, 1),
            (self.copy, 0.7),
            (self.finish_job, 3 if jobs else 0.1),
            (self.control, 2 if jobs else 0.2),
            (self.layers_guest, 3),
            (self.nodes_guest, 1.5),
            (self.bitmap_command, 2),
            (self.export, 0.7),
            (self.run_state, 0.5),
            (self.graph, 0.5),
            (self.transaction, 0.5),
            (self.look, 2.5),
            (self.restart, 0.1),
        )
        method = self.rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        steps: list[Step] = method()
        return steps

    def nodes_guest(self) -> list[Step]:
        """Requests of a node that was added."""
        steps = self.guest()
        made = self._made()
        for step in steps:
            for key in ("write", "io"):
                if key in step and made:
                    step[key] = [self.rng.choice(made), *step[key][1:]]
        return steps


def filtered_world(rng: random.Random) -> list[Step]:
    """The world of the graph with filters between the layers of the chain."""
    return graph_world(rng, filtered=True)


class FilteredDrawer(GraphDrawer):
    """Draws steps for a machine whose chain has filters."""

    layers = ("base0", "fb", "mid0", "fm", "node0")
