"""The nodes of one program that opens files and has no machine."""

from __future__ import annotations

from qbitsim.block.graph import Graph
from qbitsim.drivers.opener import Opener
from qbitsim.engine.scheduler import Scheduler, first_in_first_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile


class World:
    """The nodes of what a program has open: a machine needs more, and more time to start.

    :param print_: called with what nodes print.
    :ivar graph: of the nodes; :ivar opener: opens them.
    """

    __slots__ = ("graph", "opener", "profile")

    def __init__(self, images: ImageStore, profile: Profile, print_: Callable[[str], None] | None = None) -> None:
        self.profile = profile
        self.graph = Graph(images, Scheduler(first_in_first_out))
        if print_ is not None:
            self.graph.print = print_
        self.graph.drains_on_change = profile.graph_changes_drain
        self.graph.quiet_during_change = profile.graph_changes_stay_quiet
        self.graph.hide_filters = profile.backup_filter_hidden
        self.graph.nbd_asks_for_extended_headers = profile.nbd_extended_headers
        self.graph.allocation_looks_for_zeroes = profile.allocation_looks_for_zeroes
        self.opener = Opener(self.graph, profile)
