"""What the drivers share that put a filter above another node."""

from __future__ import annotations

from qbitsim.block.filter import FilterNode
from qbitsim.drivers.driver import DriverNode
from qbitsim.drivers.options import flag, passes_discards

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener
    from qbitsim.drivers.options import Options


class FilterDriverNode(DriverNode, FilterNode):
    """A filter that clients can open by the name of its driver."""

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Open the child ``file`` and the filter above it."""
        graph = opener.graph
        node = cls(graph, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        return opener.open_filter(node, options, "file")
