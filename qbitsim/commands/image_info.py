"""What queries tell of the image that a node shows, with those of its backing files inside.

The facts are those of block/qapi.c (QEMU 10.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import snapshot_holder
from qbitsim.commands.filenames import ShownFilenames
from qbitsim.engine.scheduler import NANOSECONDS

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile


class ImageInfos:
    """Each ImageInfo of one reply, made once: the nodes of a chain show each other's (bdrv_query_image_info).

    :param flat: leave out the images of backing files.
    :ivar names: the file names that the reply shows.
    """

    def __init__(self, profile: Profile, *, flat: bool) -> None:
        self.profile = profile
        self.names = ShownFilenames()
        self._flat = flat
        self._made: dict[tuple[Node, bool], Json] = {}

    def of(self, node: Node, *, skip_implicit: bool = False) -> Json:
        """ImageInfo of one node.

        :param skip_implicit: leave out filters that no client has named.
        """
        layers, layer = [], node
        while (layer, skip_implicit) not in self._made:
            layers.append(layer)
            below = layer.backing or layer.filtered
            if self._flat or below is None:
                break
            layer = below.skip_implicit_filters() if skip_implicit else below
        backing = self._made.get((layer, skip_implicit))
        for each in reversed(layers):
            info = self._of_layer(each)
            if backing is not None:
                info["backing-image"] = backing
            self._made[each, skip_implicit] = backing = info
        return self._made[node, skip_implicit]

    def _of_layer(self, node: Node) -> Json:
        info: Json = {"filename": self.names.of(node), "format": node.driver, "virtual-size": node.length}
        if node.knows_cluster_size:
            info["dirty-flag"] = node.is_dirty
            if node.cluster_size:
                info["cluster-size"] = node.cluster_size
        allocated = node.allocated_file_size()
        if allocated is not None:
            info["actual-size"] = allocated
        if self.profile.images_show_limits:
            info["limits"] = node.limits.described()
        specific = node.specific_info(self.profile)
        if specific is not None:
            info["format-specific"] = specific
        name = node.header_backing
        if name is not None:
            info["backing-filename"] = name
            info["full-backing-filename"] = node.graph.images.backing_name(node.filename, name)
            if node.image is not None and node.image.backing_format is not None:
                info["backing-filename-format"] = node.image.backing_format
        holder = snapshot_holder(node)
        if holder is not None and holder.snapshots:
            info["snapshots"] = [snapshot_info(snapshot) for snapshot in holder.snapshots]
        return info


def backing_depth(image: Json) -> int:
    """How many images are inside of one."""
    depth = 0
    while "backing-image" in image:
        image = image["backing-image"]
        depth += 1
    return depth


def snapshot_info(snapshot: StoredSnapshot) -> Json:
    """SnapshotInfo of an internal snapshot."""
    seconds, rest = divmod(snapshot.date, NANOSECONDS)
    clock, clock_rest = divmod(snapshot.clock, NANOSECONDS)
    info: Json = {
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.state_size,
        "date-sec": seconds,
        "date-nsec": rest,
        "vm-clock-sec": clock,
        "vm-clock-nsec": clock_rest,
    }
    if snapshot.icount >= 0:
        info["icount"] = snapshot.icount
    return info
