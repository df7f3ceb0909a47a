"""What is known of a disk that is spread over the layers of a backing chain."""

from __future__ import annotations

from qbitsim.block.node import Node
from qbitsim.block.roles import ReadPart
from qbitsim.block.status import Status
from qbitsim.images import chain as images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def chain(node: Node | None) -> Iterator[Node]:
    """The node and everything in its backing chain, filters too."""
    while node is not None:
        yield node
        node = node.filter_or_cow


def status_above(node: Node, base: Node | None, offset: int, length: int, *, holes: bool = True) -> Status:
    """The status of the range in the layers from ``node`` down to, but without, ``base`` (or the whole chain).

    Filters have nothing of their own, so that it does not matter whether ``base`` is one, such as that of another job.

    :param holes: whether files are asked for their holes; otherwise a plain file that ends the chain has all that it
        covers (want_zero of bdrv_co_common_block_status_above).

    It ends where the node does, whatever is asked for. What no layer has reads as zeroes
    (bdrv_co_common_block_status_above, block/io.c, QEMU 10.0).
    """
    base = base.skip_filters() if base is not None else None
    layer = node.skip_filters()
    while True:
        if not holes and _is_plain_file(layer):
            return Status(length, data=True)
        status = layer.status(offset, length) if holes else layer.layer_status(offset, length)
        below = layer.backing_chain_next
        if status.allocated or below is None or below is base:
            return status
        if offset >= below.length:
            status.zero = status.allocated = True
            return status
        layer, length = below, min(status.length, below.length - offset)


def _is_plain_file(node: Node) -> bool:
    """Whether the node shows the bytes of a file, itself or by way of its children."""
    image, below = node.disk_image, node
    while not below.supports_backing and below.children:
        below = below.children[0].node
    return image is not None and not below.supports_backing


def missing_above(node: Node, overlay: Node, offset: int, length: int) -> tuple[int, bool]:
    """Whether ``node`` lacks what the layers below it, down to and with ``overlay``, hold.

    So the job and the filter of a stream see what is to be copied (stream_run and cor_co_preadv_part, QEMU 10.0). The
    filter of one that has nothing to copy, whose overlay is the node itself, sees what all layers below hold.

    :return: for how many bytes from ``offset`` it is so, and whether they lack.
    """
    layer = node.skip_filters()
    own = layer.layer_status(offset, length)
    below = layer.backing_chain_next
    if own.allocated or below is None:
        return own.length, False
    if offset >= below.length:
        return length, False
    length = min(own.length, below.length - offset)
    status = status_above(below, overlay.backing_chain_next, offset, length, holes=False)
    return status.length, status.allocated


def status_waits(node: Node, base: Node | None) -> bool:
    """Whether a look at the layers from ``node`` down to, but without, ``base`` has to wait for I/O."""
    layer: Node | None = node.skip_filters()
    while layer is not None and layer is not base:
        if layer.waits_for_io("status"):
            return True
        layer = layer.backing_chain_next
    return False


def read_below(backing: Node, offset: int, length: int) -> bytes:
    """What a backing file reads as; behind its end there are zeroes.

    In a loop, as a chain can be longer than the stack is deep.

    :raises OSError: as reading any of the layers fails.
    """
    found: list[bytes] = []
    pending = [ReadPart(backing, offset, length)]
    while pending:
        part = pending.pop()
        source, start = part.source, part.offset
        if not isinstance(source, Node):
            found.append(source.read(start, part.length))
            continue
        inside = max(0, min(start + part.length, source.length) - start)
        if not inside:
            found.append(bytes(part.length))
            continue
        if inside < part.length:
            pending.append(ReadPart(source, start + inside, part.length - inside))
        parts = source.read_in_parts(start, inside)
        if parts is None:
            found.append(source.read(start, inside))
        else:
            pending += reversed(parts)
    return found[0] if len(found) == 1 else b"".join(found)


def is_all_zeroes(node: Node) -> bool:
    """As :func:`qbitsim.images.chain.is_all_zeroes`.

    :raises OSError: the beginning cannot be read.
    """
    bottom = node.skip_filters()
    while (below := bottom.backing_chain_next) is not None:
        bottom = below

    def known(offset: int, length: int) -> tuple[bool, int]:
        status = status_above(node, None, offset, length)
        return status.zero or (bottom.supports_backing and not status.allocated), status.length

    return images.is_all_zeroes(node.length, known, node.read)


def snapshot_holder(node: Node) -> Node | None:
    """The node itself, or one below it, that takes snapshots for it; None if there is none."""
    path = snapshot_path(node)
    return path[-1] if path else None


def snapshot_path(node: Node) -> list[Node]:
    """The nodes from this one down to the one that takes its snapshots (bdrv_snapshot_fallback); none if none does."""
    path = [node]
    while node.snapshots is None:
        below = node.filtered or node.child("file")
        if below is None or len(node.children) != 1:
            return []
        node = node.children[0].node
        path.append(node)
    return path
